// SPDX-License-Identifier: GPL-3.0-or-later

import PartcloneStream

/// What a parser made of a stream.
struct Parsed {
  var header: PartcloneHeader?
  var volume: [UInt8] = []
  /// Bytes told before the last `verified`.
  var verified = 0
  var told = 0
  var warning: String?

  init(_ stream: [UInt8], portion: Int = .max, limit: UInt64 = 1 << 20) throws {
    let parser = VolumeStreamParser(image: "test")
    var position = 0
    while position < stream.count {
      let count = min(portion, stream.count - position)
      let part = Array(stream[position..<(position + count)])
      try parser.parse(part.span.bytes) { event in
        switch event {
        case .header(let header):
          guard header.deviceSize <= limit else {
            throw PartcloneError.unsupported(image: "test", feature: "more than the caller allows")
          }
          self.header = header
          // Of NTFS the backup boot sector lies behind the last block.
          let size = header.format == .ntfsclone ? Int(header.deviceSize) : Int(header.totalBlocks) * header.blockSize
          volume = [UInt8](repeating: 0, count: size)
        case .bitmap: break
        case .data(let range, let offset):
          volume.replaceSubrange(Int(offset)..<(Int(offset) + range.count), with: part[range])
          told += range.count
        case .keptData(let bytes, let offset):
          volume.replaceSubrange(Int(offset)..<(Int(offset) + bytes.count), with: bytes)
          told += bytes.count
        case .verified: verified = told
        }
      }
      position += count
    }
    warning = try parser.finish()
  }
}
