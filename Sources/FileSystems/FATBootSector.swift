// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The boot sector of FAT12, FAT16 and FAT32: the first 512 bytes of the volume, little-endian.
///
/// Source: Microsoft, FAT: General Overview of On-Disk Format, version 1.03. Where it and Linux differ, Linux decides:
/// it is FAT32 when the 16-bit FAT size is zero.
struct FATBootSector: Sendable {
  static let byteCount = 512

  let kind: FileSystemKind
  let sectorSize: Int
  let sectorsPerCluster: Int
  let sectorCount: Int
  let firstFATSector: Int
  let fatCount: Int
  let sectorsPerFAT: Int
  /// FAT12 and FAT16: number of entries of the root directory, which lies between the FATs and the clusters.
  let rootEntryCount: Int
  /// FAT32: first cluster of the root directory.
  let rootCluster: UInt32
  /// The FAT that counts when FAT32's mirroring is off.
  let activeFAT: Int
  /// Linux or Windows had it mounted for writing and did not unmount it.
  let isMarkedDirty: Bool
  let uuid: String?
  let label: String?

  /// First sector of cluster 2.
  var firstDataSector: Int { rootSector + (rootEntryCount * 32 + sectorSize - 1) / sectorSize }
  /// First sector after the FATs.
  var rootSector: Int { firstFATSector + fatCount * sectorsPerFAT }
  /// Clusters are numbered from 2.
  let clusterCount: Int

  /// - Parameter bytes: ``byteCount`` bytes.
  /// - Returns: nil for anything else: FAT has no signature of its own, so the fields must make sense together.
  init?(_ bytes: [UInt8]) throws(OutOfBounds) {
    // A jump over the parameters, and the mark of all boot sectors: what an MBR or NTFS has as well.
    guard bytes[0] == 0xEB || bytes[0] == 0xE9, bytes[510] == 0x55, bytes[511] == 0xAA else { return nil }
    // OS/2 gave HPFS and JFS a boot sector in the likeness of FAT.
    guard try !["HPFS", "JFS"].contains(bytes.text(at: 54, count: 4).prefix { $0 != " " }) else { return nil }

    sectorSize = Int(try bytes.littleEndian(UInt16.self, at: 11))
    sectorsPerCluster = Int(bytes[13])
    firstFATSector = Int(try bytes.littleEndian(UInt16.self, at: 14))
    fatCount = Int(bytes[16])
    rootEntryCount = Int(try bytes.littleEndian(UInt16.self, at: 17))
    let media = bytes[21]
    guard [512, 1024, 2048, 4096].contains(sectorSize), sectorsPerCluster.nonzeroBitCount == 1, firstFATSector > 0,
      fatCount > 0, media == 0xF0 || media >= 0xF8
    else { return nil }

    let sectors16 = try bytes.littleEndian(UInt16.self, at: 19)
    sectorCount = sectors16 == 0 ? Int(try bytes.littleEndian(UInt32.self, at: 32)) : Int(sectors16)
    let fatSize16 = try bytes.littleEndian(UInt16.self, at: 22)
    let isFAT32 = fatSize16 == 0
    sectorsPerFAT = isFAT32 ? Int(try bytes.littleEndian(UInt32.self, at: 36)) : Int(fatSize16)
    let dataSector =
      firstFATSector + fatCount * sectorsPerFAT + (rootEntryCount * 32 + sectorSize - 1) / sectorSize
    guard sectorsPerFAT > 0, isFAT32 || rootEntryCount > 0, sectorCount - dataSector >= sectorsPerCluster else {
      return nil
    }
    clusterCount = (sectorCount - dataSector) / sectorsPerCluster
    kind = isFAT32 ? .fat32 : clusterCount < 4085 ? .fat12 : .fat16
    guard clusterCount <= (isFAT32 ? 0x0FFF_FFF6 : 65524) else { return nil }

    let extended = isFAT32 ? 64 : 36
    isMarkedDirty = bytes[extended + 1] & 1 != 0
    let flags = isFAT32 ? try bytes.littleEndian(UInt16.self, at: 40) : 0
    activeFAT = flags & 0x80 == 0 ? 0 : Int(flags & 0xF)
    rootCluster = isFAT32 ? try bytes.littleEndian(UInt32.self, at: 44) : 0
    let signature = bytes[extended + 2]
    let serial = try bytes.littleEndian(UInt32.self, at: extended + 3)
    uuid = serial != 0 && (isFAT32 || signature == 0x28 || signature == 0x29) ? Self.text(ofSerial: serial) : nil
    let name = labelText(of: bytes[(extended + 7)..<(extended + 18)])
    label = signature == 0x29 && name != "NO NAME" ? name : nil
  }

  private static func text(ofSerial serial: UInt32) -> String {
    let digits = String(serial, radix: 16, uppercase: true)
    let padded = String(repeating: "0", count: 8 - digits.count) + digits
    return "\(padded.prefix(4))-\(padded.suffix(4))"
  }
}
