// SPDX-License-Identifier: GPL-3.0-or-later

import CIsofs
import Glibc
import SystemPackage

/// A new file that gets its name only when it is complete: until then it is `.NAME.partial` beside it, which goes away
/// with this object. What a killed process left there is taken over by the next.
final class PartialFile {
  let path: FilePath
  private let partialPath: String
  private let descriptor: Int32
  private let byteCount: UInt64
  private var isComplete = false

  /// - Parameter byteCount: the size it will have; where the file system can, the room is set aside at once.
  init(for path: FilePath, byteCount: UInt64) throws(ISOImageError) {
    guard let name = path.lastComponent else { throw .wrongFileType(file: path.string, found: "a folder") }
    var status = stat()
    // Renaming would put a file in the place of a device.
    if lstat(path.string, &status) == 0, status.st_mode & S_IFMT != S_IFREG, status.st_mode & S_IFMT != S_IFLNK {
      throw .wrongFileType(file: path.string, found: "\(try FileKind(of: path.string))")
    }
    self.path = path
    self.byteCount = byteCount
    partialPath = path.removingLastComponent().appending(".\(name.string).partial").string
    descriptor = try Self.claim(partialPath, for: path)
    guard ftruncate(descriptor, 0) == 0 else { throw failure("write", errno) }
    guard let length = Int64(exactly: byteCount) else { throw .outOfSpace(path: path.string, needed: byteCount) }
    if slipway_reserve_room(descriptor, length) != 0, errno == ENOSPC || errno == EDQUOT || errno == EFBIG {
      throw failure("reserve room", errno)
    }
  }

  deinit {
    if !isComplete { unlink(partialPath) }
    close(descriptor)
  }

  func write(_ bytes: UnsafeRawBufferPointer) throws(ISOImageError) {
    var rest = bytes[...]
    while let base = UnsafeRawBufferPointer(rebasing: rest).baseAddress, !rest.isEmpty {
      let count = Glibc.write(descriptor, base, rest.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw failure("write", errno) }
      rest = rest.dropFirst(count)
    }
  }

  /// Brings the file to the disk and gives it its name.
  func complete() throws(ISOImageError) {
    guard fsync(descriptor) == 0 else { throw failure("write", errno) }
    guard rename(partialPath, path.string) == 0 else { throw failure("create", errno) }
    isComplete = true
    let directory = path.removingLastComponent()
    let folder = open(directory.isEmpty ? "." : directory.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { return }
    // The name itself is then on the disk; not every file system can do it, and the file is complete without.
    fsync(folder)
    close(folder)
  }

  private func failure(_ operation: String, _ code: Int32) -> ISOImageError {
    switch code {
    case ENOSPC, EDQUOT, EFBIG: .outOfSpace(path: path.string, needed: byteCount)
    default: .cannotWrite(path: path.string, operation: operation, errno: code)
    }
  }

  /// Opens the file alone: locked, and still the one of that name once the lock is held.
  private static func claim(_ partialPath: String, for path: FilePath) throws(ISOImageError) -> Int32 {
    while true {
      let descriptor = open(partialPath, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
      guard descriptor >= 0 else { throw .cannotWrite(path: path.string, operation: "create", errno: errno) }
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
        let code = errno
        close(descriptor)
        if code == EWOULDBLOCK { throw .busy(path: path.string) }
        throw .cannotWrite(path: path.string, operation: "lock", errno: code)
      }
      var opened = stat()
      var named = stat()
      if fstat(descriptor, &opened) == 0, stat(partialPath, &named) == 0, opened.st_ino == named.st_ino,
        opened.st_dev == named.st_dev
      {
        return descriptor
      }
      close(descriptor)
    }
  }
}
