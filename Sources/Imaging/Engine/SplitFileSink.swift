// SPDX-License-Identifier: GPL-3.0-or-later

public import Compression
import Glibc
public import SystemPackage

/// Writes a stream to one file, or cuts it into volumes `.aa`, `.ab` … as `split` does.
///
/// Until ``finish()`` the files have hidden names, `.NAME.partial`; then all are put on stable storage and renamed. A sink
/// that is dropped unfinished removes them.
public final class SplitFileSink: ByteSink {
  /// The files under their final names; there once ``finish()`` has returned.
  public private(set) var volumes: [FilePath] = []
  private let path: FilePath
  private let volumeByteCount: UInt64?
  private let suffixLength: Int
  private let permissions: FilePermissions
  private var current: (descriptor: FileDescriptor, room: UInt64)?
  /// Of the files begun so far.
  private var names: [(partial: FilePath, final: FilePath)] = []
  private var isFinished = false

  /// - Parameters:
  ///   - path: without the suffix of a volume.
  ///   - volumeByteCount: how many bytes a volume has; nil for one file without suffix. Clonezilla's `-i N` means
  ///     N × 10^6.
  ///   - suffixLength: letters of the suffix.
  public init(
    _ path: FilePath, volumeByteCount: UInt64? = nil, suffixLength: Int = 2,
    permissions: FilePermissions = [.ownerReadWrite]
  ) throws(StreamFileError) {
    precondition(volumeByteCount != 0 && suffixLength > 0, "a volume needs room and a suffix")
    self.path = path
    self.volumeByteCount = volumeByteCount
    self.suffixLength = suffixLength
    self.permissions = permissions
    try begin()
  }

  deinit {
    try? current?.descriptor.close()
    if !isFinished { for name in names { unlink(name.partial.string) } }
  }

  public func write(_ bytes: RawSpan) throws {
    var done = 0
    while done < bytes.byteCount {
      if current == nil || current?.room == 0 {
        try complete()
        try begin()
      }
      guard let (descriptor, room) = current else { return }
      let part = Int(min(UInt64(bytes.byteCount - done), room))
      let put = bytes.extracting(done..<(done + part)).withUnsafeBytes {
        Glibc.write(descriptor.rawValue, $0.baseAddress, $0.count)
      }
      if put < 0, errno == EINTR { continue }
      guard put > 0 else { throw StreamFileError.cannotWrite(file: currentName, errno: put < 0 ? errno : EIO) }
      current?.room -= UInt64(put)
      done += put
    }
  }

  public func finish() throws {
    try complete()
    for name in names {
      guard rename(name.partial.string, name.final.string) == 0 else {
        throw StreamFileError.cannotRename(file: name.final.string, errno: errno)
      }
      volumes.append(name.final)
    }
    isFinished = true
    // The new names last only when the folder is on stable storage, too; some network file systems can't say so.
    if let folder = try? FileDescriptor.open(path.removingLastComponent(), .readOnly) {
      fsync(folder.rawValue)
      try? folder.close()
    }
  }

  private var currentName: String { names.last?.final.string ?? path.string }

  private func begin() throws(StreamFileError) {
    let final = try finalName(names.count)
    let partial = final.removingLastComponent().appending(".\(final.lastComponent?.string ?? "").partial")
    let number = open(
      partial.string, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode_t(permissions.rawValue))
    guard number >= 0 else { throw .cannotOpen(file: partial.string, errno: errno) }
    names.append((partial, final))
    current = (FileDescriptor(rawValue: number), volumeByteCount ?? .max)
  }

  /// Closes the volume at hand, all of it on stable storage.
  private func complete() throws(StreamFileError) {
    guard let (descriptor, _) = current else { return }
    current = nil
    let synchronized = fdatasync(descriptor.rawValue)
    let code = errno
    // Network file systems report a full disk on close.
    guard close(descriptor.rawValue) == 0 else { throw .cannotWrite(file: currentName, errno: errno) }
    guard synchronized == 0 else { throw .cannotWrite(file: currentName, errno: code) }
  }

  private func finalName(_ index: Int) throws(StreamFileError) -> FilePath {
    guard volumeByteCount != nil else { return path }
    var rest = index
    var letters: [UInt8] = []
    for _ in 0..<suffixLength {
      letters.insert(UInt8(ascii: "a") + UInt8(rest % 26), at: 0)
      rest /= 26
    }
    guard rest == 0 else { throw .tooManyVolumes(file: path.string, limit: index) }
    return FilePath("\(path.string).\(String(decoding: letters, as: UTF8.self))")
  }
}
