// SPDX-License-Identifier: GPL-3.0-or-later

/// A range of another device seen as a device of its own: a partition.
public struct DeviceSlice<Base: BlockDevice>: BlockDevice {
  public let base: Base
  /// Where it begins in the base, in bytes.
  public let start: UInt64
  public let byteCount: UInt64
  public let name: String
  public var sectorSize: Int { base.sectorSize }

  /// - Throws: ``DeviceError/outOfRange(device:offset:count:size:)`` unless the range lies inside the base.
  public init(_ base: Base, start: UInt64, byteCount: UInt64, name: String) throws(DeviceError) {
    try base.checkRange(start, byteCount)
    self.base = base
    self.start = start
    self.byteCount = byteCount
    self.name = name
  }

  public func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError) {
    try checkRange(offset, UInt64(buffer.byteCount))
    try base.read(at: start + offset, into: &buffer)
  }

  public func willRead(at offset: UInt64, count: UInt64) {
    guard offset < byteCount else { return }
    base.willRead(at: start + offset, count: min(count, byteCount - offset))
  }
}

extension DeviceSlice: WritableBlockDevice where Base: WritableBlockDevice {
  public func write(_ bytes: RawSpan, at offset: UInt64) throws(DeviceError) {
    try checkRange(offset, UInt64(bytes.byteCount))
    try base.write(bytes, at: start + offset)
  }

  public func zero(at offset: UInt64, count: UInt64) throws(DeviceError) {
    try checkRange(offset, count)
    try base.zero(at: start + offset, count: count)
  }

  public func synchronize() throws(DeviceError) { try base.synchronize() }
}
