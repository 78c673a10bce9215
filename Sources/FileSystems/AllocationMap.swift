// FileSystems: which blocks of a volume its file system uses, read from the device without mounting it.
// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
public import Bytes
public import Reporting

/// The file systems (and other contents) a volume can hold, by their Clonezilla names.
public enum FileSystemKind: String, Sendable, CaseIterable {
  case ext2, ext3, ext4, xfs, btrfs, ntfs, fat12, fat16, fat32, exfat, f2fs, nilfs2, hfsplus, apfs, jfs, reiserfs
  case reiser4, ufs, minix, swap

  /// The name in an image's file names: `sda1.<name>-ptcl-img.zst`. Clonezilla calls every FAT `vfat`.
  public var clonezillaName: String {
    switch self {
    case .fat12, .fat16, .fat32: "vfat"
    default: rawValue
    }
  }

  /// The name in a partclone stream's header; nil for what partclone does not save.
  public var partcloneName: String? {
    switch self {
    case .ext2, .ext3, .ext4: "EXTFS"
    case .xfs: "XFS"
    case .btrfs: "BTRFS"
    case .ntfs: "NTFS"
    case .fat12: "FAT12"
    case .fat16: "FAT16"
    case .fat32: "FAT32"
    case .exfat: "EXFAT"
    case .f2fs: "F2FS"
    case .nilfs2: "NILFS"
    case .hfsplus: "HFS Plus"
    case .apfs: "APFS"
    case .jfs: "JFS"
    case .reiserfs: "REISERFS"
    case .reiser4: "REISER4"
    case .ufs: "UFS"
    case .minix: "MINIX"
    case .swap: nil
    }
  }
}

/// What a volume holds, as its superblock says.
public struct FileSystemIdentity: Sendable, Equatable {
  public let kind: FileSystemKind
  /// In the form `blkid` prints it: `XXXX-XXXX` for FAT, sixteen digits for NTFS, RFC 4122 text for the rest.
  public let uuid: String?
  public let label: String?
  /// Bytes the file system believes to have; may be less than the volume.
  public let byteCount: UInt64

  public init(kind: FileSystemKind, uuid: String?, label: String?, byteCount: UInt64) {
    self.kind = kind
    self.uuid = uuid
    self.label = label
    self.byteCount = byteCount
  }
}

/// Which blocks of a volume are used.
public struct AllocationMap: Sendable {
  public let identity: FileSystemIdentity
  /// Size of one block of the map in bytes; block b begins at byte b × blockSize of the volume.
  public let blockSize: Int
  /// One bit a block, from the start of the volume to the last block the file system knows of.
  public let bitmap: BlockBitmap
  /// Worth telling a person; the map is right all the same.
  public let warnings: [String]

  public init(identity: FileSystemIdentity, blockSize: Int, bitmap: BlockBitmap, warnings: [String] = []) {
    self.identity = identity
    self.blockSize = blockSize
    self.bitmap = bitmap
    self.warnings = warnings
  }

  /// The map in blocks that divide the volume, with everything past the file system's end marked as used
  /// (NTFS keeps its backup boot sector there, RAID its superblock).
  ///
  /// - Parameter byteCount: size of the volume in bytes, a multiple of 512.
  /// - Returns: the largest block size that divides both the volume and ``blockSize``, and the map in such blocks.
  public func covering(_ byteCount: UInt64) -> (blockSize: Int, bitmap: BlockBitmap) {
    var size = blockSize
    while size > 512, !byteCount.isMultiple(of: UInt64(size)) { size /= 2 }
    let finer = size == blockSize ? bitmap : bitmap.refined(by: blockSize / size)
    return (size, finer.extended(to: max(finer.count, Int(byteCount / UInt64(size))), used: true))
  }
}

/// Why no allocation map can be had; the volume is then copied whole, and the log says why.
public enum FileSystemError: Failure, Equatable {
  /// The structures contradict themselves or the size of the volume.
  case damaged(volume: String, kind: FileSystemKind, detail: String)
  /// A feature whose layout this reader does not know.
  case unsupported(volume: String, kind: FileSystemKind, feature: String)
  /// Its journal or log holds changes that the map on disk lacks: it was not unmounted.
  case needsRecovery(volume: String, kind: FileSystemKind, detail: String)

  public var reason: String {
    switch self {
    case .damaged(let volume, let kind, let detail):
      "the \(kind.rawValue) file system on \(volume) is damaged: \(detail)"
    case .unsupported(let volume, let kind, let feature):
      "the \(kind.rawValue) file system on \(volume) uses \(feature), which is not known here"
    case .needsRecovery(let volume, let kind, let detail):
      "the \(kind.rawValue) file system on \(volume) was not cleanly unmounted: \(detail)"
    }
  }

  public var remedy: String? {
    switch self {
    case .damaged: "check it with its own fsck; until then it is copied sector by sector"
    case .unsupported: "it is copied sector by sector"
    case .needsRecovery:
      "mount and unmount it once to save only its used blocks; until then it is copied sector by sector"
    }
  }

  public var exitCode: ExitCode { .invalidData }
}

/// A reader of one file system.
protocol FileSystemReader: Sendable {
  /// Reads the superblock.
  /// - Returns: nil when the volume holds something else.
  init?(_ device: any BlockDevice) throws
  var identity: FileSystemIdentity { get }
  /// - Throws: ``FileSystemError`` or `DeviceError`.
  func allocationMap() throws -> AllocationMap
}
