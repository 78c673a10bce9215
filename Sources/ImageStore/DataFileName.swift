// SPDX-License-Identifier: GPL-3.0-or-later

/// What the name of a data file says: `sda1.ext4-ptcl-img.zst.aa`.
struct DataFileName: Equatable {
  var content: ImageVolume.Content
  var compressionSuffix: String?
  /// The part of the name that all volumes of one stream share.
  var stem: String
  /// Place among the volumes; nil for a stream in one file.
  var volume: Int?
  /// Letters or digits in the volume's suffix.
  var suffixLength = 0

  /// Names that look like data but are not.
  private static let others = ["dd-img.info", ".info.gz", ".notes.txt"]

  /// - Parameters:
  ///   - name: a file of the image directory.
  ///   - device: the partition asked for, in its file-name form.
  /// - Returns: nil for a file that has another purpose.
  init?(_ name: String, device: String) {
    guard name.hasPrefix(device), !Self.others.contains(where: name.hasSuffix) else { return nil }
    let rest = name.dropFirst(device.count)
    if rest.isEmpty {
      // partimage, in one file.
      self.init(content: .legacy(program: "partimage"), compressionSuffix: nil, stem: name, volume: nil)
      return
    }
    guard rest.first == "." else { return nil }
    var fields = rest.dropFirst().split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    var volume: Int?
    var suffixLength = 0
    // What follows `-ptcl-img` is the compression, though `gz` could count volumes too.
    let endsInCompression = fields.count == 2 && fields[0].hasSuffix("-ptcl-img")
    if let last = fields.last, !endsInCompression, let index = Self.volumeIndex(last) {
      volume = index
      suffixLength = last.utf8.count
      fields.removeLast()
    }
    let content: ImageVolume.Content
    let suffix: String?
    switch fields.count {
    case 0 where volume != nil:
      content = .legacy(program: "partimage")
      suffix = nil
    case 1 where fields[0].hasSuffix("-img") && !fields[0].hasSuffix("-ptcl-img"):
      let token = String(fields[0].dropLast(4))
      // Partclone's files were once named like ntfsclone's; only NTFS was ever saved by the latter.
      content = token == "dd" ? .raw : token == "ntfs" ? .legacy(program: "ntfsclone") : .partclone(fileSystem: token)
      suffix = nil
    case 2 where fields[0].hasSuffix("-ptcl-img"):
      let token = String(fields[0].dropLast(9))
      content = token == "dd" ? .raw : .partclone(fileSystem: token)
      suffix = fields[1]
    default: return nil
    }
    let stem = ([device] + fields).joined(separator: ".")
    self.init(content: content, compressionSuffix: suffix, stem: stem, volume: volume, suffixLength: suffixLength)
  }

  private init(
    content: ImageVolume.Content, compressionSuffix: String?, stem: String, volume: Int?, suffixLength: Int = 0
  ) {
    self.content = content
    self.compressionSuffix = compressionSuffix
    self.stem = stem
    self.volume = volume
    self.suffixLength = suffixLength
  }

  /// `aa` is 0, `ab` 1, `ba` 26, `aaa` 0; partimage counts `000`.
  private static func volumeIndex(_ text: String) -> Int? {
    guard (2...3).contains(text.utf8.count) else { return nil }
    if text.utf8.count == 3, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
      return Int(text)
    }
    var index = 0
    for byte in text.utf8 {
      guard (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) else { return nil }
      index = index * 26 + Int(byte - UInt8(ascii: "a"))
    }
    return index
  }

  /// The suffix of a volume: the inverse of ``volumeIndex(_:)`` for letters.
  static func volumeSuffix(_ index: Int, length: Int) -> String {
    var letters: [UInt8] = []
    var rest = index
    for _ in 0..<length {
      letters.append(UInt8(ascii: "a") + UInt8(rest % 26))
      rest /= 26
    }
    return String(decoding: letters.reversed(), as: UTF8.self)
  }
}
