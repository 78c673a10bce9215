// BlockIO: disks, partitions and files read and written at byte offsets, with bounds checked and errors named.
// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// Something that holds bytes at fixed offsets: a disk, a partition of one, a file.
public protocol BlockDevice: Sendable {
  /// What people call it: a path, or a path and a partition.
  var name: String { get }
  /// Size in bytes.
  var byteCount: UInt64 { get }
  /// Logical sector size in bytes: 512 or 4096.
  var sectorSize: Int { get }

  /// Fills all of `buffer` with the bytes from `offset` on.
  func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError)
  /// Says that a range will be read soon, so that the device can fetch it while other things are done.
  func willRead(at offset: UInt64, count: UInt64)
}

/// A block device that can be changed.
public protocol WritableBlockDevice: BlockDevice {
  /// Writes all of `bytes` from `offset` on.
  func write(_ bytes: RawSpan, at offset: UInt64) throws(DeviceError)
  /// Makes a range read as zeros, in the cheapest way the device has.
  func zero(at offset: UInt64, count: UInt64) throws(DeviceError)
  /// Returns when all that was written is on stable storage.
  func synchronize() throws(DeviceError)
}

extension BlockDevice {
  public func willRead(at offset: UInt64, count: UInt64) {}

  /// A copy of `count` bytes from `offset` on; for headers, not for hot loops.
  public func read(at offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
    try checkRange(offset, UInt64(count))
    var bytes = [UInt8](repeating: 0, count: count)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    try read(at: offset, into: &raw)
    return bytes
  }

  /// Throws unless `count` bytes from `offset` on lie inside the device.
  public func checkRange(_ offset: UInt64, _ count: UInt64) throws(DeviceError) {
    guard count <= byteCount, offset <= byteCount - count else {
      throw DeviceError.outOfRange(device: name, offset: offset, count: count, size: byteCount)
    }
  }
}

/// What can go wrong with a block device.
public enum DeviceError: Failure, Equatable {
  case cannotOpen(device: String, errno: Int32)
  case cannotRead(device: String, offset: UInt64, count: UInt64, errno: Int32)
  case cannotWrite(device: String, offset: UInt64, count: UInt64, errno: Int32)
  case cannotSynchronize(device: String, errno: Int32)
  case outOfRange(device: String, offset: UInt64, count: UInt64, size: UInt64)
  case notADevice(device: String)

  public var reason: String {
    switch self {
    case .cannotOpen(let device, let errno): "cannot open \(device): \(errorText(errno))"
    case .cannotRead(let device, let offset, let count, let errno):
      "cannot read \(count) bytes at offset \(offset) of \(device): \(errorText(errno))"
    case .cannotWrite(let device, let offset, let count, let errno):
      "cannot write \(count) bytes at offset \(offset) of \(device): \(errorText(errno))"
    case .cannotSynchronize(let device, let errno):
      "\(device) did not confirm that all was written: \(errorText(errno))"
    case .outOfRange(let device, let offset, let count, let size):
      "\(count) bytes at offset \(offset) lie outside \(device), which has \(size) bytes"
    case .notADevice(let device): "\(device) is neither a block device nor a regular file"
    }
  }

  public var remedy: String? {
    switch self {
    case .cannotOpen: "check that it exists and that you may read and write it"
    case .cannotRead: "the medium may be failing: look at the kernel log"
    case .cannotWrite, .cannotSynchronize: "check its free space and the kernel log"
    case .outOfRange, .notADevice: nil
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .cannotOpen(_, let errno): errno == 2 ? .noInput : errno == 13 || errno == 1 ? .noPermission : .ioError
    case .outOfRange: .invalidData
    case .notADevice: .noInput
    case .cannotRead, .cannotWrite, .cannotSynchronize: .ioError
    }
  }
}
