// SPDX-License-Identifier: GPL-3.0-or-later

import Compression

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
  /// The name of the first volume, which must be there.
  var firstVolume: String?

  /// Names that look like data but are not.
  private static let others = ["dd-img.info", ".info.gz", ".notes.txt"]

  /// - Parameters:
  ///   - name: a file of the image directory.
  ///   - device: the partition asked for, in its file-name form.
  ///   - isThere: whether the directory has a file of a name.
  /// - Returns: nil for a file that has another purpose.
  init?(_ name: String, device: String, isThere: (String) -> Bool) {
    guard name.hasPrefix(device), !Self.others.contains(where: name.hasSuffix) else { return nil }
    let rest = name.dropFirst(device.count)
    if rest.isEmpty {
      // partimage, in one file.
      self.init(content: .legacy(program: "partimage"), compressionSuffix: nil, stem: name, volume: nil)
      return
    }
    guard rest.first == "." else { return nil }
    var fields = rest.dropFirst().split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    // What follows `-ptcl-img` is the compression, though `gz` could count volumes too. What follows `-img` counts
    // volumes when there is a first one.
    let endsInCompression =
      fields.count == 2
      && (fields[0].hasSuffix("-ptcl-img")
        || fields[0].hasSuffix("-img") && Self.isCompression(fields[1])
          && !isThere("\(device).\(fields[0]).\(Self.firstSuffix(like: fields[1]))"))
    var last: (text: String, volume: Int)?
    if !endsInCompression, let text = fields.last, let volume = Self.volumeIndex(text) {
      last = (text, volume)
      fields.removeLast()
    }
    let content: ImageVolume.Content
    let suffix = fields.count == 2 ? fields[1] : nil
    if fields.isEmpty {
      content = .legacy(program: "partimage")
    } else if fields.count <= 2, let token = Self.token(fields[0], compressionSuffix: suffix) {
      content = token == "dd" ? .raw : .partclone(fileSystem: token)
    } else {
      return nil
    }
    let stem = ([device] + fields).joined(separator: ".")
    self.init(content: content, compressionSuffix: suffix, stem: stem, volume: last?.volume)
    if let text = last?.text {
      suffixLength = text.utf8.count
      firstVolume = "\(stem).\(Self.firstSuffix(like: text))"
    }
  }

  private init(content: ImageVolume.Content, compressionSuffix: String?, stem: String, volume: Int?) {
    self.content = content
    self.compressionSuffix = compressionSuffix
    self.stem = stem
    self.volume = volume
  }

  /// `ext4` of `ext4-ptcl-img`, whose compression follows, or of `ext4-img`, where it may.
  ///
  /// `ntfs-img` may be of ntfsclone or, like the others, of partclone: their streams tell.
  private static func token(_ field: String, compressionSuffix: String?) -> String? {
    if field.hasSuffix("-ptcl-img") { return compressionSuffix == nil ? nil : String(field.dropLast(9)) }
    guard field.hasSuffix("-img"), compressionSuffix.map(isCompression) ?? true else { return nil }
    return String(field.dropLast(4))
  }

  private static func isCompression(_ suffix: String) -> Bool { Codec.allCases.contains { $0.suffix == suffix } }

  /// `aa`, `aaa` or `000`.
  private static func firstSuffix(like suffix: String) -> String {
    String(repeating: suffix.utf8.first.map { $0 < UInt8(ascii: "a") } ?? false ? "0" : "a", count: suffix.utf8.count)
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
