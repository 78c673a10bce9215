// SPDX-License-Identifier: GPL-3.0-or-later

private import Glibc
public import Reporting
public import SystemPackage

/// Why a squashfs cannot be written.
public enum SquashfsError: Failure, Equatable {
  case cannotCreate(file: FilePath, errno: CInt)
  case cannotWrite(file: FilePath, errno: CInt)
  /// libsquashfs failed for a reason of its own.
  case library(file: FilePath, step: String, code: CInt)
  case invalidOption(name: String, value: Int, allowed: String)
  /// An entry that squashfs, or Linux, has no room for.
  case invalidEntry(path: FilePath, problem: String)
  case missingHardLinkTarget(path: FilePath, target: FilePath)
  /// More than the format or this writer can hold.
  case tooMany(what: String, limit: Int)

  public var reason: String {
    switch self {
    case .cannotCreate(let file, let errno): "cannot create \(file): \(String(cString: strerror(errno)))"
    case .cannotWrite(let file, let errno): "cannot write \(file): \(String(cString: strerror(errno)))"
    case .library(let file, let step, let code):
      "cannot write \(file): libsquashfs failed at \(step): \(Self.text(of: code))"
    case .invalidOption(let name, let value, let allowed):
      "squashfs: \(name) is \(value), but must be \(allowed)"
    case .invalidEntry(let path, let problem): "\(path) cannot be stored in a squashfs: \(problem)"
    case .missingHardLinkTarget(let path, let target):
      "\(path) is a hard link to \(target), which is not there (yet)"
    case .tooMany(let what, let limit): "too many \(what) for a squashfs: at most \(limit) are possible"
    }
  }

  public var remedy: String? {
    switch self {
    case .cannotCreate: "check that its folder exists and that you may write there"
    case .cannotWrite(_, let errno): errno == ENOSPC ? "make room on its file system" : "look at the kernel log"
    case .library, .invalidOption, .invalidEntry, .missingHardLinkTarget, .tooMany: nil
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .cannotCreate: .cannotCreate
    case .cannotWrite(_, let errno): errno == ENOSPC ? .cannotCreate : .ioError
    case .library: .failure
    case .invalidOption: .usage
    case .invalidEntry, .missingHardLinkTarget, .tooMany: .invalidData
    }
  }

  /// The values of `SQFS_ERROR` that a writer can meet.
  private static func text(of code: CInt) -> String {
    switch code {
    case -1: "out of memory"
    case -2: "input or output failed"
    case -3: "the compressor failed"
    case -4: "internal error"
    case -5: "corrupted data"
    case -6: "not supported"
    case -7: "numeric overflow"
    case -8: "out of bounds"
    default: "error \(code)"
    }
  }
}
