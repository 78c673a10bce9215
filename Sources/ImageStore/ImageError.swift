// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting
import SystemPackage

/// Why an image can't be read or written.
public enum ImageError: Failure, Equatable {
  case notFound(path: String)
  case notAnImage(path: String, missing: String)
  /// Clonezilla's own mark of a save that failed.
  case markedBroken(path: String)
  /// A save that didn't end: ours carry `.partial` in their name until they are complete.
  case incomplete(path: String)
  case locked(path: String)
  case missingFile(image: String, file: String, purpose: String)
  case missingVolume(image: String, file: String, present: String)
  case malformed(file: String, detail: String)
  case notAName(String)
  case alreadyExists(path: String)
  case busy(path: String)
  case cannotRead(file: String, errno: Int32)
  case cannotWrite(file: String, errno: Int32)

  public var reason: String {
    switch self {
    case .notFound(let path): "there is no image \(path)"
    case .notAnImage(let path, let missing): "\(path) is not a complete image: it has no file \"\(missing)\""
    case .markedBroken(let path): "\(path) is marked as broken (THIS_IMAGE_DIR_IS_BROKEN.txt): saving it failed"
    case .incomplete(let path): "\(path) is an image that was not saved to its end"
    case .locked(let path): "\(path) is an encrypted image that is still locked"
    case .missingFile(let image, let file, let purpose): "\(image) lacks the file \(file), \(purpose)"
    case .missingVolume(let image, let file, let present):
      "\(image) lacks the volume \(file), though \(present) is there"
    case .malformed(let file, let detail): "\(file): \(detail)"
    case .notAName(let name): "\"\(name)\" can't be the name of an image"
    case .alreadyExists(let path): "there is an image \(path) already"
    case .busy(let path): "another process is saving to \(path) right now"
    case .cannotRead(let file, let errno): "cannot read \(file): \(Errno(rawValue: errno).description)"
    case .cannotWrite(let file, let errno): "cannot write \(file): \(Errno(rawValue: errno).description)"
    }
  }

  public var remedy: String? {
    switch self {
    case .notFound: "`reimage list` shows the images of a repository"
    case .notAnImage, .markedBroken, .incomplete: "save it again"
    case .locked: "unlock it with Clonezilla first"
    case .missingFile, .missingVolume: "copy it there from another copy of the image"
    case .notAName: "use letters, digits, dots, dashes and underscores"
    case .alreadyExists: "choose another name, or say that it is to be replaced"
    case .busy: "wait for it, or choose another name"
    case .cannotWrite(_, let errno) where errno == Errno.noSpace.rawValue: "free space in the repository"
    case .malformed, .cannotRead, .cannotWrite: nil
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .notFound: .noInput
    case .notAName: .usage
    case .alreadyExists, .busy: .refused
    case .cannotRead: .ioError
    case .cannotWrite: .cannotCreate
    case .notAnImage, .markedBroken, .incomplete, .locked, .missingFile, .missingVolume, .malformed: .invalidData
    }
  }
}
