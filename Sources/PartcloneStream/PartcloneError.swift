// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// What can be wrong with a partclone or ntfsclone stream. Offsets count the decompressed bytes of the stream.
public enum PartcloneError: Failure, Equatable {
  case notPartclone(image: String)
  /// Something partclone knows and this reader doesn't.
  case unsupported(image: String, feature: String)
  case invalidHeader(image: String, detail: String)
  case wrongHeaderChecksum(image: String, expected: UInt32, found: UInt32)
  case wrongBitmapChecksum(image: String, expected: UInt32, found: UInt32)
  /// The bitmap of a version 1 stream is not followed by its magic number.
  case wrongBitmapEnd(image: String)
  /// The blocks since the last checksum are not what was saved; `block` is the first of them on the volume.
  case wrongChecksum(image: String, block: UInt64, offset: UInt64, expected: String, found: String)
  /// The commands between the clusters of an ntfsclone stream make no sense.
  case invalidCommand(image: String, offset: UInt64, detail: String)
  case truncated(image: String, offset: UInt64, missing: String)
  case trailingData(image: String, offset: UInt64)
  case outOfMemory

  public var reason: String {
    switch self {
    case .notPartclone(let image):
      "\(image) is no partclone image: it begins with neither \"partclone-image\" nor \"ntfsclone-image\""
    case .unsupported(let image, let feature): "\(image) uses \(feature), which is not supported"
    case .invalidHeader(let image, let detail): "the header of \(image) is invalid: \(detail)"
    case .wrongHeaderChecksum(let image, let expected, let found):
      "the header of \(image) is damaged: its checksum is \(hex(expected)), its bytes give \(hex(found))"
    case .wrongBitmapChecksum(let image, let expected, let found):
      "the bitmap of \(image) is damaged: its checksum is \(hex(expected)), its bytes give \(hex(found))"
    case .wrongChecksum(let image, let block, let offset, let expected, let found):
      "the data of \(image) from block \(block) on is damaged: the checksum at offset \(offset) of the stream is "
        + "\(expected), the data gives \(found)"
    case .wrongBitmapEnd(let image): "the bitmap of \(image) is damaged: its end mark is missing"
    case .invalidCommand(let image, let offset, let detail):
      "\(image) is damaged at offset \(offset) of its stream: \(detail)"
    case .truncated(let image, let offset, let missing):
      "\(image) is cut short: its stream ends at offset \(offset), \(missing)"
    case .trailingData(let image, let offset):
      "\(image) goes on after its last block, at offset \(offset) of the stream"
    case .outOfMemory: "there is no memory for a checksum"
    }
  }

  public var remedy: String? {
    switch self {
    case .notPartclone: "check that the file is what its name says"
    case .unsupported: "restore it with Clonezilla"
    case .truncated, .trailingData: "check that all volumes of the image are there, whole and in order"
    case .outOfMemory: nil
    case .invalidHeader, .wrongHeaderChecksum, .wrongBitmapChecksum, .wrongBitmapEnd, .wrongChecksum, .invalidCommand:
      "the image can't be trusted: take another copy of it"
    }
  }

  public var exitCode: ExitCode { self == .outOfMemory ? .failure : .invalidData }
}

private func hex(_ value: UInt32) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 8 - digits.count) + digits
}
