// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Reporting

/// A partition table as `parted print` shows it. Clonezilla reads the size of the source disk, the kind of table and
/// the rows from this text (`sda-pt.parted`); `sda-pt.parted.compact` is for people.
///
/// Source: what parted 3.5 prints.
public struct PartedPrint: Sendable, Equatable {
  public enum Unit: Sendable {
    /// `unit s`: sectors.
    case sectors
    /// `unit compact`: three significant digits in powers of ten.
    case compact
  }

  public struct Row: Sendable, Equatable {
    public var number: Int
    /// Sectors; the end is inclusive.
    public var start: UInt64
    public var end: UInt64
    /// `primary`, `extended` or `logical` (msdos only).
    public var type: String
    /// parted's name for the content, such as `ext4` or `linux-swap(v1)`; empty when there is none.
    public var fileSystem: String
    public var name: String
    public var flags: [String]
  }

  /// Vendor, product and, in brackets, transport.
  public var model: String
  /// Path of the disk.
  public var device: String
  /// Size of the disk in logical sectors.
  public var sectorCount: UInt64
  /// Bytes.
  public var sectorSize: Int
  /// Bytes.
  public var physicalSectorSize: Int
  /// `gpt` or `msdos`.
  public var tableName: String
  public var diskFlags: [String]
  public var rows: [Row]

  /// What parted prints of a table.
  ///
  /// - Parameters:
  ///   - device: path of the disk.
  ///   - model: vendor, product and, in brackets, transport.
  ///   - fileSystems: parted's name for the content of a partition, by number.
  public init(
    _ table: PartitionTable, device: String, model: String, physicalSectorSize: Int, fileSystems: [Int: String]
  ) {
    self.device = device
    self.model = model
    sectorCount = table.sectorCount
    sectorSize = table.sectorSize
    self.physicalSectorSize = physicalSectorSize
    tableName = table.isGPT ? (table.isHybrid ? "gpt_sync_mbr" : "gpt") : "msdos"
    let hasActiveEntry = (0..<4).contains { table.bootSector[446 + $0 * 16] == 0x80 }
    diskFlags = table.isGPT && !table.isHybrid && hasActiveEntry ? ["pmbr_boot"] : []
    rows = table.partitions.map { partition in
      Row(
        number: partition.number, start: partition.start, end: partition.end &- 1,
        type: partition.isLogical ? "logical" : partition.type.isExtended ? "extended" : "primary",
        fileSystem: fileSystems[partition.number] ?? "", name: partition.name,
        flags: PartedFlags.names(of: partition))
    }
  }

  /// What parted prints of a disk without a table: `loop` when it holds a file system, else `unknown`.
  public init(
    withoutTable device: String, model: String, sectorCount: UInt64, sectorSize: Int, physicalSectorSize: Int,
    fileSystem: String
  ) {
    self.device = device
    self.model = model
    self.sectorCount = sectorCount
    self.sectorSize = sectorSize
    self.physicalSectorSize = physicalSectorSize
    tableName = fileSystem.isEmpty ? "unknown" : "loop"
    diskFlags = []
    rows =
      fileSystem.isEmpty
      ? []
      : [
        Row(number: 1, start: 0, end: sectorCount &- 1, type: "", fileSystem: fileSystem, name: "", flags: [])
      ]
  }

  /// The text that `parted -s DEVICE unit UNIT print` writes.
  public func text(_ unit: Unit) -> String {
    var lines = [
      "Model: \(model)", "Disk \(device): \(size(sectorCount, unit))",
      "Sector size (logical/physical): \(sectorSize)B/\(physicalSectorSize)B", "Partition Table: \(tableName)",
      "Disk Flags: \(diskFlags.joined(separator: ", "))", "",
    ]
    let isMSDOS = tableName == "msdos"
    let isGPT = tableName.hasPrefix("gpt")
    let details = isMSDOS ? ["Type", "File system"] : isGPT ? ["File system", "Name"] : ["File system"]
    let header = ["Number", "Start", "End", "Size"] + details + ["Flags"]
    let table =
      rows.isEmpty && !isMSDOS && !isGPT
      ? []
      : [header]
        + rows.map { row in
          let number = row.number < 10 ? " \(row.number)" : "\(row.number)"
          let place = [
            number, size(row.start, unit), endPosition(row.end, unit), size(row.end &- row.start &+ 1, unit),
          ]
          let flags = row.flags.joined(separator: ", ")
          let details = isMSDOS ? [row.type, row.fileSystem] : isGPT ? [row.fileSystem, row.name] : [row.fileSystem]
          return place + details + [flags]
        }
    let widths = header.indices.map { column in table.map { $0[column].count }.max() ?? 0 }
    lines += table.map { row in
      let cells = zip(row, widths).map { cell, width in cell + String(repeating: " ", count: width - cell.count) }
      let line = cells.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed())
    }
    return lines.joined(separator: "\n") + "\n\n"
  }

  private func size(_ sectors: UInt64, _ unit: Unit) -> String {
    unit == .sectors ? "\(sectors)s" : Self.compact(sectors &* UInt64(sectorSize))
  }

  /// An end is shown as its last byte, which differs from the size only when compact.
  private func endPosition(_ sector: UInt64, _ unit: Unit) -> String {
    unit == .sectors ? "\(sector)s" : Self.compact((sector &+ 1) &* UInt64(sectorSize) &- 1)
  }

  /// `1049kB`, `68.2MB`, `872MB`: the largest unit that leaves ten or more, three significant digits.
  static func compact(_ bytes: UInt64) -> String {
    let units: [(bytes: UInt64, name: String)] = [
      (1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB"),
    ]
    guard let unit = units.first(where: { bytes >= 10 * $0.bytes }) else { return "\(bytes)B" }
    let value = Double(bytes) / Double(unit.bytes)
    return Quantity.decimal(value, digits: value < 99.95 ? 1 : 0) + unit.name
  }
}

/// The flags that parted shows for a partition, in its order.
enum PartedFlags {
  static func names(of partition: Partition) -> [String] {
    switch partition.type {
    case .gpt(let type): gpt(type.description, partition.attributes)
    case .mbr(let code): mbr(code, isBootable: partition.isBootable)
    }
  }

  private static func gpt(_ type: String, _ attributes: UInt64) -> [String] {
    var flags: [String] = []
    if type == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" { flags.append("boot") }
    if type == "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F" { flags.append("swap") }
    // Bit 0 (required) is what parted calls hidden on GPT.
    if attributes & 1 == 1 { flags.append("hidden") }
    let byType: [(String, String)] = [
      ("A19D880F-05FC-4D3B-A006-743F0F84911E", "raid"), ("E6D6D379-F507-44C2-A23C-238F2A3DF928", "lvm"),
      ("E2A1E728-32E3-11D6-A682-7B03A0000000", "hp-service"), ("9E1A2D38-C612-4316-AA26-8B49521E5A8B", "prep"),
      ("E3C9E316-0B5C-4DB8-817D-F92DF00215AE", "msftres"), ("21686148-6449-6E6F-744E-656564454649", "bios_grub"),
      ("5265636F-7665-11AA-AA11-00306543ECAC", "atvrecv"), ("DE94BBA4-06D1-4D40-A16A-BFD50179D6AC", "diag"),
    ]
    flags += byType.filter { $0.0 == type }.map(\.1)
    if attributes >> 2 & 1 == 1 { flags.append("legacy_boot") }
    let later: [(String, String)] = [
      ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "msftdata"), ("D3BFE2DE-3DAF-11DF-BA40-E3A556D89593", "irst"),
      ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "esp"), ("FE3A2A5D-4F32-41A7-B725-ACCC3285A309", "chromeos_kernel"),
      ("BC13C2FF-59E6-4262-A352-B275FD6F7172", "bls_boot"), ("933AC7E1-2EB4-4F13-B844-0E14E2AEF915", "linux-home"),
    ]
    return flags + later.filter { $0.0 == type }.map(\.1)
  }

  private static func mbr(_ type: UInt8, isBootable: Bool) -> [String] {
    var flags = isBootable ? ["boot"] : []
    switch type {
    case 0x82: flags.append("swap")
    case 0x11, 0x14, 0x16, 0x17: flags.append("hidden")
    case 0x1B: flags.append("hidden")
    case 0x1C, 0x1E: flags += ["hidden", "lba"]
    case 0xFD: flags.append("raid")
    case 0x8E: flags.append("lvm")
    case 0x0C, 0x0E, 0x0F: flags.append("lba")
    case 0xF0: flags.append("palo")
    case 0x41: flags.append("prep")
    case 0x12, 0x27: flags.append("diag")
    case 0x84: flags.append("irst")
    case 0xEF: flags.append("esp")
    case 0xEA: flags.append("bls_boot")
    default: break
    }
    return flags
  }
}
