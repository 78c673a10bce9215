// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO
import Bytes
import FileSystems

/// Makes the boot sector of a restored NTFS or FAT volume fit the place it was restored to.
///
/// The boot code of Windows and DOS finds its own partition by the "hidden sectors" of the BIOS parameter block: 32 bits
/// at byte 0x1C, in sectors of the block's own size. Zero means the volume was made without a place on a disk, and stays.
public enum BootSectorFix {
  public struct Changes: Sendable, Equatable {
    /// The hidden sectors are new.
    public internal(set) var hiddenSectors = false
    /// NTFS's backup boot sector, just after the file system, was missing: images made by partclone don't have it.
    public internal(set) var backup = false

    public var isEmpty: Bool { !hiddenSectors && !backup }
  }

  private static let hiddenSectorsOffset = 0x1C

  /// Adapts the boot sector and its backup; anything but NTFS and FAT is left alone.
  /// - Parameters:
  ///   - volume: the partition as it was restored, before its file system is grown.
  ///   - start: where it begins on the disk, in bytes.
  public static func apply(to volume: some WritableBlockDevice, start: UInt64) throws(DeviceError) -> Changes {
    let identity: FileSystemIdentity?
    do {
      identity = try FileSystems.identify(volume)
    } catch let error as DeviceError {
      throw error
    } catch {
      // What contradicts itself is better left as it was saved.
      return Changes()
    }
    switch identity?.kind {
    case .ntfs: return try fixNTFS(volume, start: start)
    case .fat12, .fat16, .fat32: return try fixFAT(volume, start: start)
    default: return Changes()
    }
  }

  private static func fixNTFS(_ volume: some WritableBlockDevice, start: UInt64) throws(DeviceError) -> Changes {
    var changes = Changes()
    var sector = try volume.read(at: 0, count: 512)
    let sectorSize = UInt64(field(UInt16.self, sector, 0x0B))
    guard [512, 1024, 2048, 4096].contains(sectorSize) else { return changes }
    if let value = newValue(sector, start: start, sectorSize: sectorSize) {
      sector.store(value, at: hiddenSectorsOffset)
      try volume.write(sector.span.bytes, at: 0)
      changes.hiddenSectors = true
    }
    let (offset, overflow) = field(UInt64.self, sector, 0x28).multipliedReportingOverflow(by: sectorSize)
    guard !overflow, volume.byteCount >= sectorSize, offset <= volume.byteCount - sectorSize else { return changes }
    let whole = try volume.read(at: 0, count: Int(sectorSize))
    let backup = try volume.read(at: offset, count: Int(sectorSize))
    if backup != whole {
      changes.backup = !(isNTFS(backup) && field(UInt64.self, backup, 0x48) == field(UInt64.self, sector, 0x48))
      try volume.write(whole.span.bytes, at: offset)
    }
    return changes
  }

  private static func fixFAT(_ volume: some WritableBlockDevice, start: UInt64) throws(DeviceError) -> Changes {
    var sector = try volume.read(at: 0, count: 512)
    let sectorSize = UInt64(field(UInt16.self, sector, 11))
    guard sectorSize > 0, let value = newValue(sector, start: start, sectorSize: sectorSize) else { return Changes() }
    sector.store(value, at: hiddenSectorsOffset)
    try volume.write(sector.span.bytes, at: 0)
    let isFAT32 = field(UInt16.self, sector, 22) == 0
    let backupSector = UInt64(field(UInt16.self, sector, 50))
    if isFAT32, backupSector > 0, backupSector < UInt64(field(UInt16.self, sector, 14)) {
      var backup = try volume.read(at: backupSector * sectorSize, count: 512)
      if backup[510] == 0x55, backup[511] == 0xAA {
        backup.store(value, at: hiddenSectorsOffset)
        try volume.write(backup.span.bytes, at: backupSector * sectorSize)
      }
    }
    return Changes(hiddenSectors: true)
  }

  /// The hidden sectors as they should be; nil when they are right, zero, or could not say where the volume is.
  private static func newValue(_ sector: [UInt8], start: UInt64, sectorSize: UInt64) -> UInt32? {
    let old = field(UInt32.self, sector, hiddenSectorsOffset)
    guard old != 0, start.isMultiple(of: sectorSize), let new = UInt32(exactly: start / sectorSize), new != old else {
      return nil
    }
    return new
  }

  private static func isNTFS(_ sector: [UInt8]) -> Bool {
    sector[3..<11].elementsEqual("NTFS    ".utf8) && sector[510] == 0x55 && sector[511] == 0xAA
  }

  /// A field of a boot sector, which is always read whole.
  private static func field<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type, _ sector: [UInt8], _ offset: Int
  ) -> T {
    (try? sector.littleEndian(type, at: offset)) ?? 0
  }
}
