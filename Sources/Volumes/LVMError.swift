// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// Why the metadata of LVM can't be read or written.
public enum LVMError: Failure, Equatable {
  /// The label or the metadata area of a physical volume.
  case damaged(device: String, detail: String)
  /// The text of the metadata.
  case malformed(source: String, line: Int, expected: String, found: String)
  /// The text is well-formed, but what it says cannot be.
  case inconsistent(source: String, detail: String)
  /// Sizes in bytes.
  case noRoomForMetadata(device: String, needed: UInt64, available: UInt64)

  public var reason: String {
    switch self {
    case .damaged(let device, let detail): "the LVM physical volume on \(device) is damaged: \(detail)"
    case .malformed(let source, let line, let expected, let found):
      "\(source):\(line): expected \(expected), found \(found)"
    case .inconsistent(let source, let detail): "\(source) contradicts itself: \(detail)"
    case .noRoomForMetadata(let device, let needed, let available):
      "the LVM metadata for \(device) has \(needed) bytes, but before its first extent there is room for \(available)"
    }
  }

  /// What is wrong, without the name of the file that has it.
  public var detail: String {
    switch self {
    case .damaged(_, let detail), .inconsistent(_, let detail): detail
    case .malformed(_, let line, let expected, let found): "line \(line): expected \(expected), found \(found)"
    case .noRoomForMetadata: reason
    }
  }

  public var exitCode: ExitCode { .invalidData }
}
