// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// Why the stream of a volume and its target do not go together.
public enum VolumeError: Failure, Equatable {
  /// Nothing was written.
  case targetTooSmall(target: String, size: UInt64, image: String, needed: UInt64)
  /// A stream without header goes on past the end of the target, or past the size that was expected.
  case streamTooLong(image: String, limit: UInt64)
  /// A stream without header ended early.
  case streamTooShort(image: String, expected: UInt64, found: UInt64)

  public var reason: String {
    switch self {
    case .targetTooSmall(let target, let size, let image, let needed):
      "\(target) has \(size) bytes, but \(image) needs \(needed) bytes"
    case .streamTooLong(let image, let limit): "\(image) holds more than the \(limit) bytes expected"
    case .streamTooShort(let image, let expected, let found):
      "\(image) holds \(found) bytes where \(expected) bytes were expected"
    }
  }

  public var remedy: String? {
    switch self {
    case .targetTooSmall: "restore to a larger disk or partition"
    case .streamTooLong, .streamTooShort: "check that all volumes of the image are there, whole and in order"
    }
  }

  public var exitCode: ExitCode {
    if case .targetTooSmall = self { .refused } else { .invalidData }
  }
}
