// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO
import Bytes

extension LVMPhysicalVolume {
  /// Where `pvcreate` puts the metadata area.
  private static let areaStart: UInt64 = 4096

  /// Throws unless the group's metadata fits before the first extent of a physical volume.
  public static func checkRoom(for group: VolumeGroup, on volume: VolumeGroup.PhysicalVolume) throws(LVMError) {
    let needed = areaStart + UInt64(sectorSize + group.diskText.count)
    guard needed <= volume.extentStart else {
      throw .noRoomForMetadata(device: volume.id.description, needed: needed, available: volume.extentStart)
    }
  }

  /// Makes a device the physical volume of a group: clears what lies before the first extent and writes label and
  /// metadata there, as `pvcreate --uuid --restorefile` and `vgcfgrestore` do. The extents stay as they are.
  ///
  /// - Parameter device: may be larger than the physical volume was; the extents stay as many as the metadata says.
  /// - Throws: ``LVMError/noRoomForMetadata(device:needed:available:)``, `DeviceError`.
  public static func write(
    _ volume: VolumeGroup.PhysicalVolume, of group: VolumeGroup, to device: some WritableBlockDevice
  ) throws {
    try checkRoom(for: group, on: volume)
    try device.checkRange(0, volume.end)
    let text = group.diskText
    let areaByteCount = volume.extentStart - areaStart

    var header = [UInt8](repeating: 0, count: sectorSize)
    header.store(bytes: areaMagic, at: 4)
    header.store(UInt32(1), at: 20)
    header.store(areaStart, at: 24)
    header.store(areaByteCount, at: 32)
    header.store(UInt64(sectorSize), at: 40)
    header.store(UInt64(text.count), at: 48)
    header.store(checksum(text), at: 56)
    header.store(checksum(header[4...]), at: 0)

    var label = [UInt8](repeating: 0, count: sectorSize)
    label.store(bytes: Array("LABELONE".utf8), at: 0)
    label.store(UInt64(1), at: 8)
    label.store(UInt32(32), at: 20)
    label.store(bytes: Array("LVM2 001".utf8), at: 24)
    label.store(bytes: volume.id.characters, at: 32)
    label.store(device.byteCount, at: 64)
    // One data area, to the end of the device, and behind its list that of the metadata areas.
    label.store(volume.extentStart, at: 72)
    label.store(areaStart, at: 104)
    label.store(areaByteCount, at: 112)
    // The header's extension: version 2, "in use by a group", no bootloader area.
    label.store(UInt32(2), at: 136)
    label.store(UInt32(1), at: 140)
    label.store(checksum(label[20...]), at: 16)

    try device.zero(at: 0, count: volume.extentStart)
    try device.write(text.span.bytes, at: areaStart + UInt64(sectorSize))
    try device.write(header.span.bytes, at: areaStart)
    try device.write(label.span.bytes, at: UInt64(sectorSize))
  }
}
