// ImageStore: the Clonezilla image directory, read and written.
// SPDX-License-Identifier: GPL-3.0-or-later

public import SystemPackage
public import Volumes

/// One disk of an image: its partition table and boot code.
public struct ImageDisk: Sendable, Equatable {
  /// As the saving machine called it: `sda`.
  public let name: String
  /// The table; nil for a disk that had none (its file system began at its first sector).
  public let table: PartitionTable?
  /// Size of the source disk in bytes; nil when the image doesn't tell.
  public let byteCount: UInt64?
  /// What was found wanting in the table's files, though the table could be had.
  public let warnings: [String]
  /// `sda-mbr`: its sector 0, 512 bytes.
  public let bootSector: [UInt8]?
  /// `sda-hidden-data-after-mbr`: the sectors between the MBR and the first partition.
  public let hiddenData: FilePath?
  /// `sda2-ebr`: 512 bytes from the start of an extended partition, by its number.
  public let extendedBootRecords: [Int: [UInt8]]

  public init(
    name: String, table: PartitionTable?, byteCount: UInt64?, warnings: [String], bootSector: [UInt8]?,
    hiddenData: FilePath?, extendedBootRecords: [Int: [UInt8]]
  ) {
    self.name = name
    self.table = table
    self.byteCount = byteCount
    self.warnings = warnings
    self.bootSector = bootSector
    self.hiddenData = hiddenData
    self.extendedBootRecords = extendedBootRecords
  }
}

/// The saved content of one partition.
public struct ImageVolume: Sendable, Equatable {
  public enum Content: Sendable, Equatable {
    /// A partclone stream of a file system, by Clonezilla's name for it; or, of NTFS, one of ntfsclone.
    case partclone(fileSystem: String)
    /// Every byte of the device, without a header.
    case raw
    /// An image of partimage: from before partclone.
    case legacy(program: String)
    /// The partition belongs to an LVM volume group, whose volumes are saved instead.
    case physicalVolume(group: String)
    /// A LUKS container that was open, whose content is saved instead.
    case encrypted

    public var isPartclone: Bool { if case .partclone = self { true } else { false } }
  }

  /// As the saving machine called it: `sda1`, `nvme0n1p2`.
  public let device: String
  /// The disk it is on, and its number there; nil when it is no partition of a disk of the image.
  public let disk: String?
  public let number: Int?
  public let content: Content
  /// The compression as the file names say (`zst`, `gz`, `uncomp` …); nil for names from before that was told.
  public let compressionSuffix: String?
  /// The volumes of the stream, in order.
  public let files: [FilePath]
  /// Bytes that all the files have.
  public let storedByteCount: UInt64

  /// `ext4`, `dd`, … as shown in lists.
  public var contentName: String {
    switch content {
    case .partclone(let fileSystem): fileSystem
    case .raw: "dd"
    case .legacy(let program): program
    case .physicalVolume: "LVM2_member"
    case .encrypted: "crypto_LUKS"
    }
  }
}

/// A swap partition: not saved, but made anew with the same identity.
public struct ImageSwap: Sendable, Equatable {
  public let device: String
  public let disk: String?
  public let number: Int?
  public let uuid: String?
  public let label: String?

  public init(device: String, disk: String?, number: Int?, uuid: String?, label: String?) {
    self.device = device
    self.disk = disk
    self.number = number
    self.uuid = uuid
    self.label = label
  }
}

/// An LVM volume group of an image: what it was made of, and the content of its logical volumes.
public struct ImageVolumeGroup: Sendable, Equatable {
  /// Where a physical volume was.
  public struct PhysicalVolume: Sendable, Equatable {
    /// Its place among those of the group.
    public let index: Int
    /// As the saving machine called it: `sda2`.
    public let device: String
  }

  /// What Clonezilla calls the group of a physical volume that belongs to none.
  static let none = "/NOT_FOUND"

  public let group: VolumeGroup
  /// Fewer than the group has when only some of its disks were saved.
  public let physicalVolumes: [PhysicalVolume]
  /// The logical volumes with data, called `GROUP/VOLUME`.
  public let volumes: [ImageVolume]
  public let swaps: [ImageSwap]
}

/// An image directory, looked through: all its tables are read and all its data files known to be there.
public struct StoredImage: Sendable {
  public let path: FilePath
  /// Whether whole disks were saved (there is a file `disk`), not just partitions.
  public let isOfDisks: Bool
  public let disks: [ImageDisk]
  /// In the order of the file `parts`.
  public let volumes: [ImageVolume]
  public let swaps: [ImageSwap]
  /// The LVM volume groups that were saved by logical volumes.
  public let groups: [ImageVolumeGroup]
  /// `### Image created time:` of the log, as it stands there.
  public let created: String?
  /// Names of the files that hold none of this: notes, listings, checksums. Sorted.
  public let otherFiles: [String]
  /// The boot entries of the source (`efibootmgr -v`), when it was booted by EFI.
  public let firmwareBootEntries: String?

  public var name: String { path.lastComponent?.string ?? path.string }
  /// Bytes of all data files.
  public var storedByteCount: UInt64 { dataVolumes.reduce(0) { $0 &+ $1.storedByteCount } }

  /// Partitions and logical volumes.
  public var dataVolumes: [ImageVolume] { volumes + groups.flatMap(\.volumes) }

  public func disk(named name: String) -> ImageDisk? { disks.first { $0.name == name } }
  public func volume(named device: String) -> ImageVolume? { volumes.first { $0.device == device } }
}
