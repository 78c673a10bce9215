// SPDX-License-Identifier: GPL-3.0-or-later

import CIsofs
import Glibc
public import SystemPackage

extension ISOImageWriter {
  /// Writes the image. Blocks for as long as that takes, and while another image is written by the same process
  /// (libisofs can make one at a time), so call it on a thread of its own.
  ///
  /// The file appears under its name only when it is complete and on the disk; when anything goes wrong, nothing of it
  /// remains.
  ///
  /// - Parameters:
  ///   - path: a regular file there is replaced.
  ///   - progress: called about every mebibyte with the bytes written and their final number; what it throws ends the
  ///     work. So does cancelling the task.
  /// - Returns: the size in bytes.
  /// - Throws: ``ISOImageError``, `CancellationError`, or what `progress` throws.
  @discardableResult
  public func write(to path: FilePath, progress: (UInt64, UInt64) throws -> Void = { _, _ in }) throws -> UInt64 {
    try Isofs.exclusively {
      var image = try IsofsImage(self)
      for entry in tree.entries { try image.add(entry) }
      let options = try IsofsOptions()
      try options.setFormat(self)
      guard let boot else { return try copy(image.source(options), to: path, progress: progress) }
      try image.setBoot()
      let partition = try MemoryFile(holding: boot.efiSystemPartition)
      try options.setDiskLayout(self, masterBootRecord: boot.masterBootRecord, efiPath: partition.path)
      return try withExtendedLifetime(partition) {
        try copy(image.source(options), to: path, progress: progress)
      }
    }
  }

  private func copy(
    _ source: consuming IsofsSource, to path: FilePath, progress: (UInt64, UInt64) throws -> Void
  ) throws -> UInt64 {
    let total = source.byteCount
    let file = try PartialFile(for: path, byteCount: total)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var done: UInt64 = 0
    while done < total {
      try Task.checkCancellation()
      try progress(done, total)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(Int(min(UInt64(buffer.count), total - done))))
      try source.read(into: part)
      try file.write(UnsafeRawBufferPointer(part))
      done += UInt64(part.count)
    }
    try tree.checkSourcesUnchanged()
    try file.complete()
    try progress(total, total)
    return total
  }
}

/// A file without a name, for a library that wants a path.
private final class MemoryFile {
  private let descriptor: FileDescriptor
  var path: String { "/proc/self/fd/\(descriptor.rawValue)" }

  init(holding bytes: [UInt8]) throws(ISOImageError) {
    let number = slipway_memory_file("efi-system-partition")
    guard number >= 0 else { throw .unreadable(file: "memory file", errno: errno) }
    descriptor = FileDescriptor(rawValue: number)
    do {
      try descriptor.writeAll(bytes)
    } catch {
      throw .unreadable(file: "memory file", errno: (error as? Errno)?.rawValue ?? EIO)
    }
  }

  deinit { try? descriptor.close() }
}
