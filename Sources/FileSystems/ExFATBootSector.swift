// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The main boot region of exFAT: twelve sectors at the start of the volume, little-endian.
///
/// Source: Microsoft, exFAT file system specification, section 3.
struct ExFATBootSector: Sendable {
  static let signature = Array("EXFAT   ".utf8)

  /// Bytes; a power of two from 512 to 4096.
  let sectorSize: Int
  /// Bytes; a power of two, at most 32 MiB.
  let clusterSize: Int
  let sectorCount: UInt64
  /// First byte of the FAT that counts.
  let tableOffset: UInt64
  /// First byte of cluster 2.
  let heapOffset: UInt64
  /// Clusters are numbered from 2.
  let clusterCount: UInt32
  let rootCluster: UInt32
  /// The FAT and the bitmap that count: 1 only with two FATs (TexFAT).
  let activeTable: UInt8
  /// It was not unmounted, or something on it was found to be wrong.
  let isDirty: Bool
  let hasMediaFailure: Bool
  let uuid: String?

  var byteCount: UInt64 { sectorCount * UInt64(sectorSize) }
  /// First byte behind the last cluster.
  var heapEnd: UInt64 { heapOffset + UInt64(clusterCount) * UInt64(clusterSize) }

  /// - Throws: ``FileSystemError`` when the fields contradict themselves, their checksum or the size of the volume.
  init(_ volume: Volume) throws {
    let sector = try volume.read("the boot sector", at: 0, count: 512)
    guard sector[11..<64].allSatisfy({ $0 == 0 }), sector[510] == 0x55, sector[511] == 0xAA else {
      throw volume.damaged("its boot sector is not that of exFAT")
    }
    let (sectorShift, clusterShift, tableCount) = (sector[108], sector[109], sector[110])
    guard 9...12 ~= sectorShift, clusterShift <= 25 - sectorShift, 1...2 ~= tableCount else {
      throw volume.damaged(
        "sectors of 2^\(sectorShift) bytes, clusters of 2^\(clusterShift) sectors, \(tableCount) FATs")
    }
    sectorSize = 1 << sectorShift
    clusterSize = sectorSize << clusterShift
    try Self.verifyChecksum(volume, sectorSize: sectorSize)
    let revision = try sector.littleEndian(UInt16.self, at: 104)
    guard revision >> 8 == 1 else { throw volume.unsupported("version \(revision >> 8).\(revision & 0xFF)") }

    sectorCount = try sector.littleEndian(UInt64.self, at: 72)
    guard sectorCount <= volume.device.byteCount / UInt64(sectorSize) else {
      throw volume.damaged(
        "\(sectorCount) sectors of \(sectorSize) bytes do not fit the volume's \(volume.device.byteCount) bytes")
    }
    let tableSector = UInt64(try sector.littleEndian(UInt32.self, at: 80))
    let tableSectors = UInt64(try sector.littleEndian(UInt32.self, at: 84))
    let heapSector = UInt64(try sector.littleEndian(UInt32.self, at: 88))
    clusterCount = try sector.littleEndian(UInt32.self, at: 92)
    rootCluster = try sector.littleEndian(UInt32.self, at: 96)
    guard tableSector >= 24, tableSectors * UInt64(sectorSize) / 4 >= UInt64(clusterCount) + 2,
      heapSector >= tableSector + tableSectors * UInt64(tableCount), heapSector <= sectorCount,
      1...0xFFFF_FFF5 ~= clusterCount, UInt64(clusterCount) << clusterShift <= sectorCount - heapSector
    else {
      throw volume.damaged(
        "\(clusterCount) clusters from sector \(heapSector) of \(sectorCount) on, \(tableCount) FATs of "
          + "\(tableSectors) sectors from sector \(tableSector) on")
    }
    heapOffset = heapSector << sectorShift
    let flags = try sector.littleEndian(UInt16.self, at: 106)
    activeTable = tableCount == 2 ? UInt8(flags & 1) : 0
    isDirty = flags & 2 != 0
    hasMediaFailure = flags & 4 != 0
    tableOffset = (tableSector + UInt64(activeTable) * tableSectors) << sectorShift
    uuid = Self.text(ofSerial: try sector.littleEndian(UInt32.self, at: 100))
  }

  /// The eleven sectors before the last of the region add up to what that one repeats; the flags and the percentage of
  /// used clusters, which change all the time, are left out.
  private static func verifyChecksum(_ volume: Volume, sectorSize: Int) throws {
    let region = try volume.read("the boot region", at: 0, count: 12 * sectorSize)
    var sum: UInt32 = 0
    for (offset, byte) in region.prefix(11 * sectorSize).enumerated() where ![106, 107, 112].contains(offset) {
      sum = (sum << 31 | sum >> 1) &+ UInt32(byte)
    }
    for offset in stride(from: 11 * sectorSize, to: region.count, by: 4)
    where try region.littleEndian(UInt32.self, at: offset) != sum {
      throw volume.damaged("the checksum of its boot region is wrong")
    }
  }

  private static func text(ofSerial serial: UInt32) -> String? {
    guard serial != 0 else { return nil }
    let digits = String(serial, radix: 16, uppercase: true)
    let padded = String(repeating: "0", count: 8 - digits.count) + digits
    return "\(padded.prefix(4))-\(padded.suffix(4))"
  }
}
