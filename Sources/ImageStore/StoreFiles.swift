// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import SystemPackage

/// The small files of an image directory.
enum StoreFiles {
  /// No file but those with a volume's data, and those read elsewhere, is anywhere near as large.
  static let maximumByteCount = 16 << 20

  /// - Returns: nil when there is no such file.
  static func bytes(_ path: FilePath) throws(ImageError) -> [UInt8]? {
    do {
      let descriptor = try FileDescriptor.open(path, .readOnly, options: [.closeOnExec, .nonBlocking])
      return try descriptor.closeAfter {
        var content: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while content.count <= maximumByteCount {
          let count = try part.withUnsafeMutableBytes { try descriptor.read(into: $0) }
          if count == 0 { return content }
          content += part[..<count]
        }
        throw Errno.fileTooLarge
      }
    } catch let error as Errno where error == .noSuchFileOrDirectory {
      return nil
    } catch {
      throw ImageError.cannotRead(file: path.string, errno: (error as? Errno ?? .ioError).rawValue)
    }
  }

  static func text(_ path: FilePath) throws(ImageError) -> String? {
    try bytes(path).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The blank-separated words of a file such as `parts`.
  static func words(_ path: FilePath) throws(ImageError) -> [String]? {
    try text(path)?.split(whereSeparator: \.isWhitespace).map(String.init)
  }

  /// What is in a folder, in no order.
  private static func names(in folder: FilePath) throws(ImageError) -> [String] {
    guard let stream = opendir(folder.string) else { throw .cannotRead(file: folder.string, errno: errno) }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  /// Names of the folders in a folder, sorted.
  static func folders(in folder: FilePath) throws(ImageError) -> [String] {
    try names(in: folder).filter { isFolder(folder.appending($0)) }.sorted()
  }

  /// Names and sizes of the regular files in a folder.
  static func sizes(in folder: FilePath) throws(ImageError) -> [String: UInt64] {
    var sizes: [String: UInt64] = [:]
    for name in try names(in: folder) {
      var status = stat()
      guard stat(folder.appending(name).string, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { continue }
      sizes[name] = UInt64(max(0, status.st_size))
    }
    return sizes
  }

  static func isFolder(_ path: FilePath) -> Bool {
    var status = stat()
    return stat(path.string, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  static func exists(_ path: FilePath) -> Bool { access(path.string, F_OK) == 0 }

  /// Creates or replaces a file and waits until it is on stable storage.
  static func write(_ bytes: some Sequence<UInt8>, to path: FilePath, permissions: FilePermissions)
    throws(ImageError)
  {
    do {
      let descriptor = try FileDescriptor.open(
        path, .writeOnly, options: [.create, .truncate, .closeOnExec], permissions: permissions)
      try descriptor.closeAfter {
        _ = try descriptor.writeAll(bytes)
        guard fsync(descriptor.rawValue) == 0 else { throw Errno(rawValue: errno) }
      }
    } catch {
      throw .cannotWrite(file: path.string, errno: (error as? Errno ?? .ioError).rawValue)
    }
  }

  /// Waits until the names in a folder are on stable storage. File systems that know no such thing (SMB, FAT by FUSE)
  /// say so, and that is that.
  static func synchronize(folder: FilePath) throws(ImageError) {
    let number = open(folder.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard number >= 0 else { throw .cannotWrite(file: folder.string, errno: errno) }
    defer { close(number) }
    if fsync(number) != 0, errno != EINVAL, errno != ENOTSUP {
      throw .cannotWrite(file: folder.string, errno: errno)
    }
  }

  static func rename(_ source: FilePath, to target: FilePath) throws(ImageError) {
    guard Glibc.rename(source.string, target.string) == 0 else { throw .cannotWrite(file: target.string, errno: errno) }
  }

  /// Removes the files of a folder; folders inside are none of an image's and stop it.
  static func removeFiles(in folder: FilePath) throws(ImageError) {
    for name in try names(in: folder) {
      guard unlink(folder.appending(name).string) == 0 else {
        throw .cannotWrite(file: folder.appending(name).string, errno: errno)
      }
    }
  }

  /// Removes a folder of files.
  static func remove(folder: FilePath) throws(ImageError) {
    try removeFiles(in: folder)
    guard rmdir(folder.string) == 0 else { throw .cannotWrite(file: folder.string, errno: errno) }
  }
}
