// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting
import SystemPackage

/// What can go wrong with the files that hold a volume's stream.
public enum StreamFileError: Failure, Equatable {
  case cannotOpen(file: String, errno: Int32)
  case cannotRead(file: String, errno: Int32)
  case cannotWrite(file: String, errno: Int32)
  case cannotRename(file: String, errno: Int32)
  /// It has become shorter since it was opened.
  case cutShort(file: String)
  /// Its suffix has not letters enough for so many volumes.
  case tooManyVolumes(file: String, limit: Int)

  public var reason: String {
    switch self {
    case .cannotOpen(let file, let errno): "cannot open \(file): \(Errno(rawValue: errno))"
    case .cannotRead(let file, let errno): "cannot read \(file): \(Errno(rawValue: errno))"
    case .cannotWrite(let file, let errno): "cannot write \(file): \(Errno(rawValue: errno))"
    case .cannotRename(let file, let errno): "cannot give \(file) its final name: \(Errno(rawValue: errno))"
    case .cutShort(let file): "\(file) became shorter while it was read"
    case .tooManyVolumes(let file, let limit): "\(file) would be split into more than \(limit) volumes"
    }
  }

  public var remedy: String? {
    switch self {
    case .cannotOpen: "check that it exists and that you may use it"
    case .cannotRead, .cutShort: "check the connection to the repository"
    case .cannotWrite(_, let errno) where errno == Errno.noSpace.rawValue: "free some space in the repository"
    case .cannotWrite, .cannotRename: "check the repository and its free space"
    case .tooManyVolumes: "choose larger volumes"
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .cannotOpen(_, let errno):
      errno == Errno.noSuchFileOrDirectory.rawValue
        ? .noInput : errno == Errno.permissionDenied.rawValue ? .noPermission : .ioError
    case .cannotWrite(_, let errno) where errno == Errno.noSpace.rawValue: .cannotCreate
    case .cannotRead, .cannotWrite, .cannotRename, .cutShort: .ioError
    case .tooManyVolumes: .usage
    }
  }
}
