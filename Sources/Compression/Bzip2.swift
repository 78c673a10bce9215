// SPDX-License-Identifier: GPL-3.0-or-later

import CBzip2

/// bzip2 streams, bit by bit: one as bzip2 and lbzip2 write it, or many as pbzip2 does.
final class Bzip2Decoder: StreamDecoder, @unchecked Sendable {
  // libbz2 keeps a pointer to the structure, so it must not move.
  private let stream: UnsafeMutablePointer<bz_stream>
  private var isOpen = false

  init() {
    stream = .allocate(capacity: 1)
    stream.initialize(to: bz_stream())
  }

  deinit {
    if isOpen { BZ2_bzDecompressEnd(stream) }
    stream.deallocate()
  }

  /// `BZh`, the block size, then the magic number of a block or of the stream's end.
  static func startsStream(_ bytes: [UInt8]) -> Bool {
    guard bytes.count >= 10, bytes.starts(with: Array("BZh".utf8)),
      (UInt8(ascii: "1")...UInt8(ascii: "9")).contains(bytes[3])
    else { return false }
    let magic = bytes[4..<10]
    return magic.elementsEqual([0x31, 0x41, 0x59, 0x26, 0x53, 0x59])
      || magic.elementsEqual([0x17, 0x72, 0x45, 0x38, 0x50, 0x90])
  }

  func startsUnit(_ bytes: [UInt8]) -> Bool { Self.startsStream(bytes) }

  func step(_ input: RawSpan, into output: inout MutableRawSpan) throws(StreamFault) -> StreamStep {
    if !isOpen {
      guard BZ2_bzDecompressInit(stream, 0, 0) == BZ_OK else { throw .library("no memory for a bzip2 stream") }
      isOpen = true
    }
    let offered = min(input.byteCount, Int(UInt32.max))
    let room = min(output.byteCount, Int(UInt32.max))
    let result = input.withUnsafeBytes { source in
      output.withUnsafeMutableBytes { target in
        // libbz2 does not write to its input; the field merely lacks a const.
        stream.pointee.next_in = UnsafeMutablePointer(mutating: source.bindMemory(to: CChar.self).baseAddress)
        stream.pointee.avail_in = UInt32(offered)
        stream.pointee.next_out = target.bindMemory(to: CChar.self).baseAddress
        stream.pointee.avail_out = UInt32(room)
        return BZ2_bzDecompress(stream)
      }
    }
    switch result {
    case BZ_OK, BZ_STREAM_END: break
    case BZ_MEM_ERROR: throw .library("no memory for a bzip2 block")
    case BZ_DATA_ERROR: throw .damaged("a block's data or checksum is wrong")
    default: throw .damaged("it is no bzip2 stream (error \(result))")
    }
    if result == BZ_STREAM_END {
      BZ2_bzDecompressEnd(stream)
      isOpen = false
    }
    return StreamStep(
      taken: offered - Int(stream.pointee.avail_in), given: room - Int(stream.pointee.avail_out),
      endsUnit: result == BZ_STREAM_END)
  }
}
