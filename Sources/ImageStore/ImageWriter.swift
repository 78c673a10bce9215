// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
public import SystemPackage

/// Fills an image directory under a temporary name; it gets its own name only when all of it is on stable storage.
///
/// The files `disk` and `parts`, by which Clonezilla too tells an image from any other folder, are written last.
public final class ImageWriter: Sendable {
  static let partialSuffix = ".partial"

  /// Where the files go until ``commit(disks:parts:)``.
  public let directory: FilePath
  /// What it is called afterwards.
  public let destination: FilePath
  /// Whether the remains of a save that was interrupted were removed.
  public let replacedPartial: Bool
  private let replacesExisting: Bool
  /// Held while saving, so that a second process doesn't take this one's files for remains.
  private let lock: FileDescriptor

  /// - Parameters:
  ///   - repository: an existing folder.
  ///   - name: of the image: one path component without blanks.
  ///   - replacesExisting: whether a complete image of this name may be replaced, once the new one is complete.
  /// - Throws: ``ImageError``.
  public init(repository: FilePath, name: String, replacesExisting: Bool = false) throws(ImageError) {
    try Self.check(name: name)
    guard StoreFiles.isFolder(repository) else { throw .notFound(path: repository.string) }
    destination = repository.appending(name)
    directory = repository.appending(name + Self.partialSuffix)
    self.replacesExisting = replacesExisting
    if !replacesExisting, StoreFiles.exists(destination) { throw .alreadyExists(path: destination.string) }
    if mkdir(directory.string, 0o755) == 0 {
      replacedPartial = false
    } else if errno == EEXIST {
      replacedPartial = true
    } else {
      throw .cannotWrite(file: directory.string, errno: errno)
    }
    let number = open(directory.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard number >= 0 else { throw .cannotWrite(file: directory.string, errno: errno) }
    lock = FileDescriptor(rawValue: number)
    // A file system without locks (some network ones) gives another error; then this guard is simply not there.
    if flock(number, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK { throw .busy(path: directory.string) }
    if replacedPartial { try StoreFiles.removeFiles(in: directory) }
  }

  deinit { try? lock.close() }

  /// Throws unless `name` can be the name of an image.
  public static func check(name: String) throws(ImageError) {
    let isPlain = name.utf8.allSatisfy { $0 > 32 && $0 != 127 && $0 != UInt8(ascii: "/") }
    guard isPlain, !name.isEmpty, !name.hasPrefix("."), !name.hasPrefix("-"), !name.hasSuffix(partialSuffix),
      name.utf8.count <= 200
    else { throw .notAName(name) }
  }

  /// In file names every slash of a device's name is a dash: `GROUP/VOLUME` becomes `GROUP-VOLUME`.
  public static func fileName(of device: String) -> String { String(device.map { $0 == "/" ? "-" : $0 }) }

  /// Writes a small file.
  /// - Throws: ``ImageError/cannotWrite(file:errno:)``.
  public func write(_ name: String, _ text: String) throws(ImageError) { try write(name, bytes: Array(text.utf8)) }

  public func write(_ name: String, bytes: [UInt8]) throws(ImageError) {
    try StoreFiles.write(
      bytes, to: directory.appending(name), permissions: [.ownerReadWrite, .groupRead, .otherRead])
  }

  /// The path of a data file, without a volume's suffix: `sda1.ext4-ptcl-img.zst`.
  ///
  /// - Parameters:
  ///   - device: `sda1`.
  ///   - content: Clonezilla's name of the file system, or `dd` for every byte.
  ///   - compressionSuffix: `zst`, `gz`, `uncomp`.
  public func dataFile(_ device: String, content: String, compressionSuffix: String) -> FilePath {
    directory.appending("\(Self.fileName(of: device)).\(content)-ptcl-img.\(compressionSuffix)")
  }

  /// Marks the image as complete and gives it its name.
  ///
  /// - Parameters:
  ///   - disks: names of the disks saved whole; nil for an image of single partitions.
  ///   - parts: names of the partitions with data.
  /// - Throws: ``ImageError``.
  public func commit(disks: [String]?, parts: [String]) throws(ImageError) {
    try write("parts", parts.joined(separator: " ") + "\n")
    if let disks { try write("disk", disks.joined(separator: " ") + "\n") }
    try StoreFiles.synchronize(folder: directory)
    let former = FilePath(destination.string + ".replaced")
    if replacesExisting, StoreFiles.exists(destination) {
      if StoreFiles.exists(former) { try StoreFiles.remove(folder: former) }
      try StoreFiles.rename(destination, to: former)
    } else if StoreFiles.exists(destination) {
      throw .alreadyExists(path: destination.string)
    }
    try StoreFiles.rename(directory, to: destination)
    try StoreFiles.synchronize(folder: destination.removingLastComponent())
    if StoreFiles.exists(former) { try StoreFiles.remove(folder: former) }
  }

  /// Removes what was written; for a save that failed.
  public func discard() throws(ImageError) { try StoreFiles.remove(folder: directory) }
}
