// SPDX-License-Identifier: GPL-3.0-or-later

private import CLinux
import Glibc
import Reporting
public import SystemPackage

/// The system's text for an error number.
func errorText(_ errno: Int32) -> String { Errno(rawValue: errno).description }

/// A block device or a regular file, through the page cache.
///
/// The descriptor is closed when the last reference goes; reads and writes from several tasks may overlap.
public final class FileDevice: WritableBlockDevice {
  public enum Access: Sendable {
    case readOnly
    case readWrite
    /// Fails with `EBUSY` when something has mounted or claimed the block device.
    case exclusive
  }

  public let path: FilePath
  public let byteCount: UInt64
  public let sectorSize: Int
  /// False for a regular file.
  public let isBlockDevice: Bool
  private let descriptor: FileDescriptor

  public var name: String { path.string }

  /// - Throws: ``DeviceError/cannotOpen(device:errno:)`` or ``DeviceError/notADevice(device:)``.
  public init(path: FilePath, access: Access = .readOnly) throws(DeviceError) {
    var flags = O_CLOEXEC | (access == .readOnly ? O_RDONLY : O_RDWR)
    if access == .exclusive { flags |= O_EXCL }
    let number = open(path.string, flags)
    guard number >= 0 else { throw .cannotOpen(device: path.string, errno: errno) }
    var status = stat()
    var size: UInt64 = 0
    var sector: Int32 = 512
    var isBlock = false
    var failure: DeviceError?
    if fstat(number, &status) != 0 {
      failure = .cannotOpen(device: path.string, errno: errno)
    } else if status.st_mode & S_IFMT == S_IFBLK {
      isBlock = true
      if slipway_block_device_size(number, &size) != 0 || slipway_block_device_sector_size(number, &sector) != 0 {
        failure = .cannotOpen(device: path.string, errno: errno)
      }
    } else if status.st_mode & S_IFMT == S_IFREG {
      size = UInt64(max(0, status.st_size))
    } else {
      failure = .notADevice(device: path.string)
    }
    if let failure {
      close(number)
      throw failure
    }
    self.path = path
    byteCount = size
    sectorSize = Int(sector)
    isBlockDevice = isBlock
    descriptor = FileDescriptor(rawValue: number)
  }

  deinit { try? descriptor.close() }

  public func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError) {
    let count = buffer.byteCount
    try checkRange(offset, UInt64(count))
    let code = buffer.withUnsafeMutableBytes { bytes -> Int32 in
      var done = 0
      while done < count {
        let got = pread(
          descriptor.rawValue, bytes.baseAddress.map { $0 + done }, count - done, off_t(offset) + off_t(done))
        if got > 0 { done += got } else if got == 0 { return EIO } else if errno != EINTR { return errno }
      }
      return 0
    }
    guard code == 0 else { throw .cannotRead(device: name, offset: offset, count: UInt64(count), errno: code) }
  }

  public func willRead(at offset: UInt64, count: UInt64) {
    // Only advice: nothing is lost when the kernel does not take it.
    _ = posix_fadvise(
      descriptor.rawValue, off_t(clamping: offset), off_t(clamping: count), Int32(POSIX_FADV_WILLNEED))
  }

  public func write(_ bytes: RawSpan, at offset: UInt64) throws(DeviceError) {
    let count = bytes.byteCount
    try checkRange(offset, UInt64(count))
    let code = bytes.withUnsafeBytes { bytes -> Int32 in
      var done = 0
      while done < count {
        let put = pwrite(
          descriptor.rawValue, bytes.baseAddress.map { $0 + done }, count - done, off_t(offset) + off_t(done))
        if put > 0 { done += put } else if put == 0 { return EIO } else if errno != EINTR { return errno }
      }
      return 0
    }
    guard code == 0 else { throw .cannotWrite(device: name, offset: offset, count: UInt64(count), errno: code) }
  }

  public func zero(at offset: UInt64, count: UInt64) throws(DeviceError) {
    try checkRange(offset, count)
    guard count > 0 else { return }
    let aligned = offset.isMultiple(of: UInt64(sectorSize)) && count.isMultiple(of: UInt64(sectorSize))
    if isBlockDevice {
      if aligned, slipway_block_device_zero(descriptor.rawValue, offset, count) == 0 { return }
    } else if slipway_punch_hole(descriptor.rawValue, offset, count) == 0 {
      return
    }
    let zeros = [UInt8](repeating: 0, count: 1 << 20)
    var done: UInt64 = 0
    while done < count {
      let part = Int(min(UInt64(zeros.count), count - done))
      try write(zeros.span.bytes.extracting(0..<part), at: offset + done)
      done += UInt64(part)
    }
  }

  public func synchronize() throws(DeviceError) {
    guard fsync(descriptor.rawValue) == 0 else { throw .cannotSynchronize(device: name, errno: errno) }
  }

  /// Makes later reads come from the medium: a disk and its partitions are cached apart, so what was written to one is
  /// not always seen in the other. Does nothing for a regular file, or without the right to do it.
  public func dropCaches() {
    if isBlockDevice { _ = slipway_block_device_flush_buffers(descriptor.rawValue) }
  }

  /// Makes the kernel read the partition table anew.
  /// - Returns: false when it refuses because a partition is in use; true for a regular file, which has no kernel view.
  public func rereadPartitionTable() -> Bool {
    !isBlockDevice || slipway_block_device_reread_partitions(descriptor.rawValue) == 0
  }
}
