// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// NTFS, versions 1.2 to 3.1: the clusters that `$Bitmap` marks as used.
///
/// The backup boot sector stands behind the last cluster, so outside the map.
/// Source: the Linux-NTFS project's documentation of NTFS; Microsoft's description of the BIOS parameter block.
struct NTFS: FileSystemReader {
  let volume: Volume
  let boot: NTFSBootSector
  let identity: FileSystemIdentity

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .ntfs)
    guard device.byteCount >= 512, try device.read(at: 3, count: 8) == Array("NTFS    ".utf8) else { return nil }
    boot = try NTFSBootSector(volume)
    // A broken label is no reason not to know the file system; its map will be refused by name.
    let label: String?
    do { label = try NTFSMetadata(volume, boot).label() } catch is FileSystemError { label = nil }
    let digits = String(boot.serialNumber, radix: 16, uppercase: true)
    identity = FileSystemIdentity(
      kind: .ntfs, uuid: String(repeating: "0", count: 16 - digits.count) + digits, label: label,
      byteCount: boot.sectorCount * UInt64(boot.sectorSize))
  }

  func allocationMap() throws -> AllocationMap {
    let metadata = try NTFSMetadata(volume, boot)
    try metadata.refuseUnclean()
    guard let stream = try metadata.stream(of: NTFSSystemFile.bitmap, .data) else {
      throw volume.damaged("$Bitmap has no data")
    }
    let count = Int(boot.clusterCount)
    let needed = (count + 7) / 8
    guard stream.byteCount >= UInt64(needed) else {
      throw volume.damaged("$Bitmap has \(stream.byteCount) bytes for \(count) clusters")
    }
    let bytes = try metadata.read(stream, at: 0, count: needed)
    let bitmap = try volume.parsing("$Bitmap") {
      try BlockBitmap(count: count, leastSignificantBitFirst: bytes.span.bytes)
    }
    // Where the bitmap says that its own clusters or those of $MFT are free, it cannot be believed elsewhere.
    for (name, owner) in [("$MFT", metadata.masterFileTable), ("$Bitmap", stream)] {
      for extent in owner.extents {
        guard let first = extent.cluster else { continue }
        guard let run = bitmap.nextUsedRun(from: Int(first)), run.lowerBound == Int(first),
          run.upperBound >= Int(first + extent.count)
        else { throw volume.damaged("$Bitmap marks clusters of \(name) as free") }
      }
    }
    var warnings: [String] = []
    let badClusters = try metadata.badClusterCount()
    if badClusters > 0 {
      warnings.append("\(volume.device.name): \(badClusters) clusters are recorded as bad; reading them may fail")
    }
    return AllocationMap(identity: identity, blockSize: boot.clusterSize, bitmap: bitmap, warnings: warnings)
  }
}

/// The geometry in the boot sector, checked against itself and the volume's size.
struct NTFSBootSector: Sendable {
  /// Bytes; a power of two from 256 to 4096.
  let sectorSize: Int
  /// Bytes; a power of two, at most 2 MiB.
  let clusterSize: Int
  /// Without the backup boot sector.
  let sectorCount: UInt64
  let clusterCount: UInt64
  /// First cluster of `$MFT`.
  let masterFileTable: UInt64
  /// Of a record in `$MFT`, in bytes; a power of two from 512 to 65536.
  let recordSize: Int
  let serialNumber: UInt64

  init(_ volume: Volume) throws {
    let sector = try volume.read("the boot sector", at: 0, count: 512)
    sectorSize = Int(try sector.littleEndian(UInt16.self, at: 0x0B))
    let code = Int(sector[0x0D])
    // More than 128 sectors are written as the negative exponent of two.
    let sectorsPerCluster = code <= 128 ? code : 1 << min(256 - code, 32)
    guard 256...4096 ~= sectorSize, sectorSize.nonzeroBitCount == 1, sectorsPerCluster.nonzeroBitCount == 1,
      512...(2 << 20) ~= sectorSize * sectorsPerCluster
    else { throw volume.damaged("clusters of \(sectorsPerCluster) sectors of \(sectorSize) bytes") }
    clusterSize = sectorSize * sectorsPerCluster

    sectorCount = try sector.littleEndian(UInt64.self, at: 0x28)
    guard sectorCount <= volume.device.byteCount / UInt64(sectorSize) else {
      throw volume.damaged(
        "the boot sector counts \(sectorCount) sectors of \(sectorSize) bytes, the volume has "
          + "\(volume.device.byteCount) bytes")
    }
    clusterCount = sectorCount / UInt64(sectorsPerCluster)
    masterFileTable = try sector.littleEndian(UInt64.self, at: 0x30)
    guard masterFileTable < clusterCount else {
      throw volume.damaged("$MFT at cluster \(masterFileTable) of \(clusterCount)")
    }

    let sizeCode = Int(try sector.littleEndian(Int8.self, at: 0x40))
    recordSize = sizeCode > 0 ? sizeCode * clusterSize : 1 << min(-sizeCode, 32)
    guard 512...65536 ~= recordSize, recordSize.nonzeroBitCount == 1 else {
      throw volume.damaged("$MFT records of \(recordSize) bytes")
    }
    serialNumber = try sector.littleEndian(UInt64.self, at: 0x48)
  }
}
