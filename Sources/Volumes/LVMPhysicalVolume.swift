// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO
import Bytes

/// What makes a device a physical volume of LVM2: its label, and the metadata of its group.
///
/// The label lies in one of the first four sectors of 512 bytes: `LABELONE`, the number of its sector (u64), a CRC-32
/// over all that follows it (u32), the offset of what follows (u32), `LVM2 001`; then the identifier (32 characters),
/// the size of the device (u64), the list of data areas and that of metadata areas (offset u64, size u64; an offset of
/// zero ends a list). A metadata area begins with a sector of its own and is a ring behind that. All little-endian.
/// Source: lvm2, lib/label/label.h, lib/format_text/layout.h.
public struct LVMPhysicalVolume: Sendable, Equatable {
  public let id: LVMIdentifier
  /// The group it belongs to, from the newest of its copies; nil when it belongs to none, or when it has no copy: then
  /// another physical volume of the group does.
  public let group: VolumeGroup?
  /// Copies of the metadata that can't be used.
  public let warnings: [String]

  static let checksumSeed: UInt32 = 0xF597_A6CF
  static let sectorSize = 512
  static let areaMagic = Array(" LVM2 x[5A%r0N*>".utf8)

  /// Looks for a label and reads the metadata.
  ///
  /// - Returns: nil when the device has no label.
  /// - Throws: ``LVMError/damaged(device:detail:)`` for a label that can't be trusted, `DeviceError`. Metadata that
  ///   can't be used is told in ``warnings``.
  public init?(_ device: any BlockDevice) throws {
    guard device.byteCount >= 4 * UInt64(Self.sectorSize) else { return nil }
    let start = try device.read(at: 0, count: 4 * Self.sectorSize)
    let found = (0..<4).first { start[($0 * Self.sectorSize)...].starts(with: "LABELONE".utf8) }
    guard let found else { return nil }
    let label = Array(start[(found * Self.sectorSize)...].prefix(Self.sectorSize))
    guard label[24...].starts(with: "LVM2 001".utf8) else { return nil }
    func damaged(_ detail: String) -> LVMError { .damaged(device: device.name, detail: detail) }
    guard try label.littleEndian(UInt64.self, at: 8) == UInt64(found) else {
      throw damaged("its label is not in the sector it names")
    }
    guard try label.littleEndian(UInt32.self, at: 16) == Self.checksum(label[20...]) else {
      throw damaged("the checksum of its label is wrong")
    }
    do {
      let header = try Int(label.littleEndian(UInt32.self, at: 20))
      guard let id = LVMIdentifier(try label.span.bytes.array(at: header, count: 32)) else {
        throw damaged("its identifier has characters that it can't have")
      }
      self.id = id
      var position = header + 40
      _ = try Self.areas(label, &position)
      let metadataAreas = try Self.areas(label, &position)
      var newest: VolumeGroup?
      var warnings: [String] = []
      for area in metadataAreas {
        do {
          let group = try Self.group(in: area, of: device)
          if let group, group.sequenceNumber > newest?.sequenceNumber ?? -1 { newest = group }
        } catch let error as LVMError {
          warnings.append(error.reason)
        }
      }
      group = newest
      self.warnings = warnings
    } catch is OutOfBounds {
      throw damaged("the lists in its label have no end")
    }
  }

  static func checksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
    let bytes = Array(bytes)
    return CRC32.shiftRegister(seed: checksumSeed, bytes.span.bytes)
  }

  private static func areas(
    _ label: [UInt8], _ position: inout Int
  ) throws(OutOfBounds) -> [(offset: UInt64, byteCount: UInt64)] {
    var areas: [(UInt64, UInt64)] = []
    while true {
      let offset = try label.littleEndian(UInt64.self, at: position)
      let byteCount = try label.littleEndian(UInt64.self, at: position + 8)
      position += 16
      if offset == 0 { return areas }
      areas.append((offset, byteCount))
    }
  }

  /// The group as one metadata area tells it; nil when that is empty or not in use.
  private static func group(
    in area: (offset: UInt64, byteCount: UInt64), of device: any BlockDevice
  ) throws -> VolumeGroup? {
    func damaged(_ detail: String) -> LVMError {
      .damaged(device: device.name, detail: "its metadata area at byte \(area.offset) \(detail)")
    }
    let size = device.byteCount
    guard area.offset < size, area.byteCount <= size - area.offset, area.byteCount >= 2 * UInt64(sectorSize) else {
      throw damaged("lies outside the device")
    }
    let header = try device.read(at: area.offset, count: sectorSize)
    guard header[4..<20].elementsEqual(areaMagic), try header.littleEndian(UInt32.self, at: 0) == checksum(header[4...])
    else { throw damaged("has no valid header") }
    guard try header.littleEndian(UInt64.self, at: 24) == area.offset,
      try header.littleEndian(UInt64.self, at: 32) == area.byteCount
    else { throw damaged("is not where its header says") }
    // The first location is that of the metadata in force.
    let offset = try header.littleEndian(UInt64.self, at: 40)
    let count = try header.littleEndian(UInt64.self, at: 48)
    let isIgnored = try header.littleEndian(UInt32.self, at: 60) & 1 == 1
    guard offset != 0, count != 0, !isIgnored else { return nil }
    guard count <= UInt64(LVMSection.maximumByteCount), count <= area.byteCount - UInt64(sectorSize),
      offset >= UInt64(sectorSize), offset < area.byteCount
    else { throw damaged("names \(count) bytes of metadata at byte \(offset), which it can't hold") }
    let straight = min(count, area.byteCount - offset)
    var text = try device.read(at: area.offset + offset, count: Int(straight))
    text += try device.read(at: area.offset + UInt64(sectorSize), count: Int(count - straight))
    guard try header.littleEndian(UInt32.self, at: 56) == checksum(text) else {
      throw damaged("holds metadata with a wrong checksum")
    }
    return try VolumeGroup(parsing: text, source: "the LVM metadata of \(device.name)")
  }
}
