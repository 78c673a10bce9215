// Volumes: partition tables read and written, disks found and chosen.
// SPDX-License-Identifier: GPL-3.0-or-later

public import Bytes

/// What a partition is for, as its table records it.
public enum PartitionType: Hashable, Sendable {
  case gpt(GUID)
  case mbr(UInt8)

  public static let linux = Self.gpt(guid("0FC63DAF-8483-4772-8E79-3D69D8477DE4"))
  public static let efiSystem = Self.gpt(guid("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"))
  public static let biosBoot = Self.gpt(guid("21686148-6449-6E6F-744E-656564454649"))
  public static let linuxSwap = Self.gpt(guid("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"))
  public static let microsoftRecovery = Self.gpt(guid("DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"))

  /// Whether it holds other partitions: MBR types 05, 0F and 85.
  public var isExtended: Bool {
    switch self {
    case .mbr(0x05), .mbr(0x0F), .mbr(0x85): true
    default: false
    }
  }

  /// The way `sfdisk -d` writes it: a GUID, or hexadecimal digits.
  public var sfdiskText: String {
    switch self {
    case .gpt(let guid): guid.description
    case .mbr(let code): String(code, radix: 16)
    }
  }

  /// A GUID written in this file; the zero GUID would show in every test of it.
  private static func guid(_ text: String) -> GUID { GUID(text) ?? .zero }
}

/// One partition of a table. Sectors are logical sectors of the disk.
public struct Partition: Sendable, Equatable {
  /// As Linux counts: a GPT entry's place from 1, MBR primaries 1 to 4, logical partitions from 5 on.
  public var number: Int
  /// First sector.
  public var start: UInt64
  /// Number of sectors.
  public var count: UInt64
  public var type: PartitionType
  /// Unique partition GUID (GPT).
  public var uuid: GUID?
  /// Partition name (GPT), at most 36 UTF-16 code units.
  public var name: String
  /// Attribute bits (GPT; UEFI 2.10, table 5.8).
  public var attributes: UInt64
  /// The active flag (MBR).
  public var isBootable: Bool
  /// Sector of the extended boot record that describes it (MBR logical partitions), where that is known.
  public var bootRecordSector: UInt64?

  public init(
    number: Int, start: UInt64, count: UInt64, type: PartitionType, uuid: GUID? = nil, name: String = "",
    attributes: UInt64 = 0, isBootable: Bool = false, bootRecordSector: UInt64? = nil
  ) {
    self.number = number
    self.start = start
    self.count = count
    self.type = type
    self.uuid = uuid
    self.name = name
    self.attributes = attributes
    self.isBootable = isBootable
    self.bootRecordSector = bootRecordSector
  }

  /// The first sector after it.
  public var end: UInt64 { start &+ count }

  /// Whether it is an MBR logical partition.
  public var isLogical: Bool { if case .mbr = type { number > 4 } else { false } }
}

/// A partition table: GPT, or MBR with logical partitions.
///
/// Sources: UEFI Specification 2.10, chapter 5; for MBR and the EBR chain, what Linux and `fdisk` read and write.
public struct PartitionTable: Sendable, Equatable {
  public enum Scheme: Sendable, Equatable {
    case gpt(GPTParameters)
    /// - Parameter diskSignature: the 32-bit disk identifier at byte 440.
    case mbr(diskSignature: UInt32)
  }

  /// What a GPT header says beside its partitions.
  public struct GPTParameters: Sendable, Equatable {
    public var diskGUID: GUID
    public var firstUsable: UInt64
    public var lastUsable: UInt64
    /// Number of entries, used or not: 128 nearly everywhere.
    public var entryCount: Int
    /// Bytes in an entry: 128 nearly everywhere.
    public var entrySize: Int
    /// First sector of the primary entry array: 2 nearly everywhere.
    public var entriesStart: UInt64

    public init(
      diskGUID: GUID, firstUsable: UInt64, lastUsable: UInt64, entryCount: Int = 128, entrySize: Int = 128,
      entriesStart: UInt64 = 2
    ) {
      self.diskGUID = diskGUID
      self.firstUsable = firstUsable
      self.lastUsable = lastUsable
      self.entryCount = entryCount
      self.entrySize = entrySize
      self.entriesStart = entriesStart
    }

    /// Sectors that an entry array takes.
    func entrySectors(sectorSize: Int) -> UInt64 {
      UInt64((entryCount * entrySize + sectorSize - 1) / sectorSize)
    }
  }

  public var scheme: Scheme
  /// Logical sector size in bytes.
  public var sectorSize: Int
  /// Size of the disk in sectors.
  public var sectorCount: UInt64
  /// Sector 0 as it was (512 bytes): boot code, and the MBR entries, which for GPT are protective or hybrid.
  public var bootSector: [UInt8]
  /// In order of their numbers.
  public var partitions: [Partition]
  /// What was wrong with the table when it was read, though not so wrong that it could not be.
  public var warnings: [String]

  public init(
    scheme: Scheme, sectorSize: Int, sectorCount: UInt64,
    bootSector: [UInt8] = [UInt8](repeating: 0, count: 512), partitions: [Partition], warnings: [String] = []
  ) {
    self.scheme = scheme
    self.sectorSize = sectorSize
    self.sectorCount = sectorCount
    self.bootSector = bootSector
    self.partitions = partitions
    self.warnings = warnings
  }

  /// `gpt` or `dos`, as `sfdisk` calls them.
  public var label: String { if case .gpt = scheme { "gpt" } else { "dos" } }

  public var isGPT: Bool { if case .gpt = scheme { true } else { false } }

  /// Size of the disk in bytes.
  public var byteCount: UInt64 { sectorCount &* UInt64(sectorSize) }

  /// The partition that holds the logical ones.
  public var extended: Partition? { partitions.first(where: \.type.isExtended) }

  public func partition(_ number: Int) -> Partition? { partitions.first { $0.number == number } }

  /// Where a partition begins, in bytes.
  public func byteOffset(of partition: Partition) -> UInt64 { partition.start &* UInt64(sectorSize) }

  /// Size of a partition in bytes.
  public func byteCount(of partition: Partition) -> UInt64 { partition.count &* UInt64(sectorSize) }

  /// Whether sector 0 of a GPT disk also lists partitions for systems that know only MBR.
  public var isHybrid: Bool {
    guard isGPT else { return false }
    let types = MasterBootRecord.types(of: bootSector)
    return types.contains(0xEE) && types.contains { $0 != 0 && $0 != 0xEE }
  }
}
