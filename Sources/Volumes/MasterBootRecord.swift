// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The table in the last 66 bytes of a boot sector, in sector 0 and in every extended boot record.
enum MasterBootRecord {
  static let byteCount = 512
  /// Bytes 0 to 439 are code; 440 to 443 the disk signature; 444 and 445 unused.
  static let signatureOffset = 440
  static let entriesOffset = 446
  static let entrySize = 16
  static let protectiveType: UInt8 = 0xEE
  /// Linux gives up at 256 partitions a disk; a longer chain is a loop or an attack.
  static let maximumLogicalPartitions = 252

  struct Entry: Equatable {
    var isBootable: Bool
    var type: UInt8
    /// Relative to what the record is relative to.
    var start: UInt32
    var count: UInt32

    var isUsed: Bool { type != 0 && count > 0 }
    var isExtended: Bool { PartitionType.mbr(type).isExtended }
  }

  /// Whether the sector ends in 55 AA and has the boot indicators 00 or 80, which is how Linux tells a table.
  static func isTable(_ sector: [UInt8]) -> Bool {
    guard sector.count >= byteCount, sector[510] == 0x55, sector[511] == 0xAA else { return false }
    return (0..<4).allSatisfy { sector[entriesOffset + $0 * entrySize] & 0x7F == 0 }
  }

  /// Whether the sector is a FAT or NTFS boot sector: these too end in 55 AA.
  static func isVolumeBootSector(_ sector: [UInt8]) -> Bool {
    guard sector.count >= byteCount, sector[0] == 0xEB || sector[0] == 0xE9 else { return false }
    return sector[3..<11].elementsEqual("NTFS    ".utf8) || sector[3..<11].elementsEqual("EXFAT   ".utf8)
      || sector[54..<57].elementsEqual("FAT".utf8) || sector[82..<87].elementsEqual("FAT32".utf8)
  }

  static func types(of sector: [UInt8]) -> [UInt8] {
    guard sector.count >= byteCount, sector[510] == 0x55, sector[511] == 0xAA else { return [] }
    return (0..<4).map { sector[entriesOffset + $0 * entrySize + 4] }
  }

  /// The four entries of a sector of at least 512 bytes.
  static func entries(of sector: [UInt8]) throws(OutOfBounds) -> [Entry] {
    var entries: [Entry] = []
    for index in 0..<4 {
      let offset = entriesOffset + index * entrySize
      entries.append(
        Entry(
          isBootable: try sector.littleEndian(UInt8.self, at: offset) == 0x80,
          type: try sector.littleEndian(UInt8.self, at: offset + 4),
          start: try sector.littleEndian(UInt32.self, at: offset + 8),
          count: try sector.littleEndian(UInt32.self, at: offset + 12)))
    }
    return entries
  }

  /// Stores an entry, unless the very same is there already: its CHS fields may be worth keeping.
  static func store(_ entry: Entry, at index: Int, in sector: inout [UInt8], absoluteStart: UInt64) {
    if let present = try? entries(of: sector)[index], present == entry { return }
    let offset = entriesOffset + index * entrySize
    sector[offset] = entry.isBootable ? 0x80 : 0
    sector.store(bytes: chs(absoluteStart), at: offset + 1)
    sector[offset + 4] = entry.type
    sector.store(bytes: chs(absoluteStart + UInt64(entry.count) - 1), at: offset + 5)
    sector.store(entry.start, at: offset + 8)
    sector.store(entry.count, at: offset + 12)
  }

  static func clear(at index: Int, in sector: inout [UInt8]) {
    sector.store(bytes: [UInt8](repeating: 0, count: entrySize), at: entriesOffset + index * entrySize)
  }

  static func sign(_ sector: inout [UInt8]) {
    sector[510] = 0x55
    sector[511] = 0xAA
  }

  /// Cylinder, head and sector for a geometry of 255 heads and 63 sectors, or FE FF FF past cylinder 1023.
  static func chs(_ sector: UInt64) -> [UInt8] {
    let cylinder = sector / (255 * 63)
    guard cylinder < 1024 else { return [0xFE, 0xFF, 0xFF] }
    let head = sector / 63 % 255
    return [UInt8(head), UInt8(sector % 63 + 1) | UInt8(cylinder >> 8) << 6, UInt8(cylinder & 0xFF)]
  }

  // MARK: Reading

  /// The table of an MBR disk.
  /// - Returns: nil when sector 0 holds no table.
  static func read(from device: any BlockDevice, sectorSize: Int, bootSector: [UInt8]) throws -> PartitionTable? {
    guard isTable(bootSector), !isVolumeBootSector(bootSector) else { return nil }
    let sectorCount = device.byteCount / UInt64(sectorSize)
    var table = PartitionTable(
      scheme: .mbr(diskSignature: try bootSector.littleEndian(UInt32.self, at: signatureOffset)),
      sectorSize: sectorSize, sectorCount: sectorCount, bootSector: bootSector, partitions: [])
    for (index, entry) in try entries(of: bootSector).enumerated() where entry.isUsed {
      guard entry.start > 0, UInt64(entry.start) + UInt64(entry.count) <= sectorCount else {
        throw PartitionTableError.damaged(
          device: device.name,
          detail:
            "partition \(index + 1) claims sectors \(entry.start) to \(UInt64(entry.start) + UInt64(entry.count) - 1) "
            + "of a disk of \(sectorCount) sectors")
      }
      table.partitions.append(
        Partition(
          number: index + 1, start: UInt64(entry.start), count: UInt64(entry.count), type: .mbr(entry.type),
          isBootable: entry.isBootable))
    }
    if let extended = table.extended { try readLogical(of: extended, from: device, into: &table) }
    return table
  }

  /// Follows the chain of extended boot records: each describes one logical partition, relative to itself, and the
  /// next record, relative to the extended partition.
  private static func readLogical(
    of extended: Partition, from device: any BlockDevice, into table: inout PartitionTable
  ) throws {
    var position = extended.start
    var visited: Set<UInt64> = []
    while visited.insert(position).inserted, visited.count <= maximumLogicalPartitions {
      let record = try device.read(at: position * UInt64(table.sectorSize), count: byteCount)
      guard record[510] == 0x55, record[511] == 0xAA else {
        if position != extended.start {
          table.warnings.append("the chain of logical partitions ends at sector \(position) in a sector that is no EBR")
        }
        return
      }
      let entries = try entries(of: record).prefix(2)
      if let entry = entries.first(where: { $0.isUsed && !$0.isExtended }) {
        let start = position + UInt64(entry.start)
        let number = 5 + table.partitions.count { $0.isLogical }
        guard start > position, start + UInt64(entry.count) <= extended.end else {
          throw PartitionTableError.damaged(
            device: device.name,
            detail: "logical partition \(number) (sectors \(start) to \(start + UInt64(entry.count) - 1)) leaves the "
              + "extended partition (sectors \(extended.start) to \(extended.end - 1))")
        }
        table.partitions.append(
          Partition(
            number: number, start: start, count: UInt64(entry.count), type: .mbr(entry.type),
            isBootable: entry.isBootable, bootRecordSector: position))
      }
      guard let link = entries.first(where: { $0.isUsed && $0.isExtended }) else { return }
      position = extended.start + UInt64(link.start)
      guard position < extended.end else {
        throw PartitionTableError.damaged(
          device: device.name, detail: "the chain of logical partitions leads to sector \(position), outside of it")
      }
    }
    throw PartitionTableError.damaged(device: device.name, detail: "the chain of logical partitions runs in a circle")
  }

  // MARK: Writing

  /// The sectors to write, by byte offset: every EBR, the boot sector last.
  static func encoded(_ table: PartitionTable, diskSignature: UInt32) throws -> [(offset: UInt64, bytes: [UInt8])] {
    var sector = table.bootSector
    sector.store(diskSignature, at: signatureOffset)
    sign(&sector)
    for index in 0..<4 {
      guard let partition = table.partition(index + 1), case .mbr(let type) = partition.type else {
        clear(at: index, in: &sector)
        continue
      }
      let entry = Entry(
        isBootable: partition.isBootable, type: type, start: UInt32(partition.start), count: UInt32(partition.count))
      store(entry, at: index, in: &sector, absoluteStart: partition.start)
    }
    var regions = try extendedBootRecords(of: table)
    regions.append((0, sector))
    return regions
  }

  private static func extendedBootRecords(of table: PartitionTable) throws -> [(offset: UInt64, bytes: [UInt8])] {
    guard let extended = table.extended else { return [] }
    let logical = table.partitions.filter(\.isLogical)
    let positions = try recordPositions(of: logical, in: extended)
    guard !logical.isEmpty else {
      var empty = [UInt8](repeating: 0, count: byteCount)
      sign(&empty)
      return [(extended.start * UInt64(table.sectorSize), empty)]
    }
    return logical.indices.map { index in
      var record = [UInt8](repeating: 0, count: byteCount)
      sign(&record)
      let partition = logical[index]
      var type: UInt8 = 0
      if case .mbr(let code) = partition.type { type = code }
      store(
        Entry(
          isBootable: partition.isBootable, type: type, start: UInt32(partition.start - positions[index]),
          count: UInt32(partition.count)),
        at: 0, in: &record, absoluteStart: partition.start)
      if index + 1 < logical.count {
        let next = positions[index + 1]
        store(
          Entry(
            isBootable: false, type: 0x05, start: UInt32(next - extended.start),
            count: UInt32(logical[index + 1].end - next)),
          at: 1, in: &record, absoluteStart: next)
      }
      return (positions[index] * UInt64(table.sectorSize), record)
    }
  }

  /// Where each EBR goes: the first at the start of the extended partition, the others where they were or, when that
  /// isn't known, up to 2048 sectors before their partition, as `fdisk` puts them.
  private static func recordPositions(of logical: [Partition], in extended: Partition) throws -> [UInt64] {
    var positions: [UInt64] = []
    for (index, partition) in logical.enumerated() {
      var position = extended.start
      if index > 0 {
        let before = logical.filter { $0.start < partition.start }.map(\.end).max() ?? extended.start + 1
        position = max(before, partition.start - min(2048, partition.start))
        if let known = partition.bootRecordSector { position = known }
      }
      guard position >= extended.start, position < partition.start, !positions.contains(position),
        !logical.contains(where: { $0.start <= position && position < $0.end })
      else {
        throw PartitionTableError.inconsistent(
          detail: "there is no sector for the boot record of logical partition \(partition.number)")
      }
      positions.append(position)
    }
    return positions
  }
}
