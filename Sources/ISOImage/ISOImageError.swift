// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting
import SystemPackage

/// Why an image can't be written.
public enum ISOImageError: Failure {
  /// A text of the volume descriptor is too long or has characters it can't hold.
  case invalidText(field: String, text: String, limit: Int)
  case invalidTime(seconds: Int64)
  /// A path in the image that can't be.
  case invalidPath(path: String, problem: String)
  /// A path in the image that was added before.
  case alreadyAdded(path: String)
  case unreadable(file: String, errno: Int32)
  /// Neither a regular file nor a folder where one is needed.
  case wrongFileType(file: String, found: String)
  /// A file of the host was written to or replaced after it was added.
  case sourceChanged(file: String)
  case invalidBootFile(name: String, problem: String)
  /// libisofs refused, or a source file could not be read as a whole.
  case library(operation: String, code: Int32, messages: [String])
  /// There is no room for the image; nothing of it was left.
  case outOfSpace(path: String, needed: UInt64)
  case cannotWrite(path: String, operation: String, errno: Int32)
  /// Another process is writing the same image.
  case busy(path: String)

  public var reason: String {
    switch self {
    case .invalidText(let field, let text, let limit):
      "ISO image: \(field) \"\(text)\" must be at most \(limit) printable ASCII characters, and a volume has a name"
    case .invalidTime(let seconds):
      "ISO image: the modification time \(seconds) is outside the years 1970 to 2155"
    case .invalidPath(let path, let problem): "ISO image: the path \"\(path)\" \(problem)"
    case .alreadyAdded(let path): "ISO image: \"\(path)\" was added twice"
    case .unreadable(let file, let errno): "\(file): \(Errno(rawValue: errno).description)"
    case .wrongFileType(let file, let found): "\(file): expected a regular file or a folder, found \(found)"
    case .sourceChanged(let file): "\(file) changed while it was put into the ISO image"
    case .invalidBootFile(let name, let problem): "ISO image: \(name) \(problem)"
    case .library(let operation, let code, let messages):
      "ISO image: \(operation): "
        + (messages.isEmpty
          ? "libisofs error \(String(UInt32(bitPattern: code), radix: 16))" : messages.joined(separator: "; "))
    case .outOfSpace(let path, let needed):
      "\(path): no room for the ISO image of \(Quantity.bytes(needed)) (\(needed) bytes)"
    case .cannotWrite(let path, let operation, let errno):
      "\(path): cannot \(operation): \(Errno(rawValue: errno).description)"
    case .busy(let path): "\(path) is being written by another process"
    }
  }

  public var remedy: String? {
    switch self {
    case .outOfSpace: "make room, or write to another file system"
    case .busy: "wait for the other build, or write to another folder"
    default: nil
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .invalidText, .invalidTime, .invalidPath, .alreadyAdded, .wrongFileType, .invalidBootFile: .invalidData
    case .unreadable(_, let errno): errno == Errno.noSuchFileOrDirectory.rawValue ? .noInput : .ioError
    case .library, .sourceChanged: .ioError
    case .outOfSpace, .busy: .cannotCreate
    case .cannotWrite(_, let operation, _): operation == "create" ? .cannotCreate : .ioError
    }
  }
}
