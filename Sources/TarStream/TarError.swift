// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// Why a tar stream cannot be read.
public enum TarError: Failure, Equatable {
  case outOfMemory
  case cannotRead(cause: String)
  /// The stream stops before the end-of-archive blocks.
  case truncated
  case malformed(entry: String?, problem: String)
  case unsafeName(name: String, problem: String)
  case tooLarge(entry: String, size: Int64)

  public var reason: String {
    switch self {
    case .outOfMemory: "no memory left to read a tar stream"
    case .cannotRead(let cause): "cannot read the tar stream: \(cause)"
    case .truncated: "the tar stream stops before its end-of-archive mark"
    case .malformed(let entry, let problem): "the tar stream is broken\(entry.map { " at \($0)" } ?? ""): \(problem)"
    case .unsafeName(let name, let problem): "the tar stream has an entry `\(name)` that is refused: \(problem)"
    case .tooLarge(let entry, let size):
      "the tar stream's entry \(entry) claims \(size) bytes; at most \(TarReader.largestFile) are accepted"
    }
  }

  public var remedy: String? {
    switch self {
    case .truncated: "see why the program that writes it stopped early"
    case .outOfMemory, .cannotRead, .malformed, .unsafeName, .tooLarge: nil
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .outOfMemory: .failure
    case .cannotRead: .ioError
    case .truncated, .malformed, .unsafeName, .tooLarge: .invalidData
    }
  }
}
