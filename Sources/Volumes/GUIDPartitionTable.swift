// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The GPT on-disk format.
///
/// Header (92 bytes, little-endian): signature "EFI PART" @0, revision 00010000 @8, header size @12, header CRC @16,
/// own LBA @24, other copy's LBA @32, first usable @40, last usable @48, disk GUID @56, entries LBA @72, entry count
/// @80, entry size @84, entries CRC @88. Source: UEFI 2.10, table 5.5.
enum GUIDPartitionTable {
  static let headerSize = 92
  /// Four megabytes of entries are 32768 partitions: beyond that a header lies.
  static let maximumArrayBytes = 4 << 20

  struct Header: Equatable {
    var ownLBA: UInt64
    var otherLBA: UInt64
    var parameters: PartitionTable.GPTParameters
    var entriesCRC: UInt32
  }

  /// Why a header cannot be used.
  enum Defect: Error {
    case noSignature
    case broken(String)
  }

  /// Parses a header sector and checks all that can be checked without the entries.
  static func header(_ sector: [UInt8], sectorSize: Int, sectorCount: UInt64) throws -> Header {
    guard sector.count >= headerSize, sector.prefix(8).elementsEqual("EFI PART".utf8) else { throw Defect.noSignature }
    let size = Int(try sector.littleEndian(UInt32.self, at: 12))
    guard size >= headerSize, size <= sector.count else { throw Defect.broken("a header size of \(size) bytes") }
    var checked = Array(sector.prefix(size))
    checked.store(UInt32(0), at: 16)
    guard CRC32.checksum(checked) == (try sector.littleEndian(UInt32.self, at: 16)) else {
      throw Defect.broken("a wrong header checksum")
    }
    let count = Int(try sector.littleEndian(UInt32.self, at: 80))
    let entrySize = Int(try sector.littleEndian(UInt32.self, at: 84))
    guard entrySize >= 128, entrySize <= 4096, entrySize.isMultiple(of: 8), count > 0,
      count * entrySize <= maximumArrayBytes
    else { throw Defect.broken("\(count) entries of \(entrySize) bytes") }
    let header = Header(
      ownLBA: try sector.littleEndian(UInt64.self, at: 24), otherLBA: try sector.littleEndian(UInt64.self, at: 32),
      parameters: PartitionTable.GPTParameters(
        diskGUID: GUID(bytes: try sector.span.bytes.array(at: 56, count: 16)) ?? .zero,
        firstUsable: try sector.littleEndian(UInt64.self, at: 40),
        lastUsable: try sector.littleEndian(UInt64.self, at: 48), entryCount: count, entrySize: entrySize,
        entriesStart: try sector.littleEndian(UInt64.self, at: 72)),
      entriesCRC: try sector.littleEndian(UInt32.self, at: 88))
    let parameters = header.parameters
    guard parameters.firstUsable >= 2, parameters.firstUsable <= parameters.lastUsable,
      parameters.lastUsable < sectorCount
    else {
      throw Defect.broken("usable sectors \(parameters.firstUsable) to \(parameters.lastUsable) of \(sectorCount)")
    }
    return header
  }

  /// The partitions of an entry array that has the checksum its header names.
  static func partitions(_ array: [UInt8], header: Header) throws -> [Partition] {
    let parameters = header.parameters
    guard array.count >= parameters.entryCount * parameters.entrySize,
      CRC32.checksum(array.span.bytes.extracting(0..<(parameters.entryCount * parameters.entrySize)))
        == header.entriesCRC
    else { throw Defect.broken("a wrong checksum of the entries") }
    var partitions: [Partition] = []
    for index in 0..<parameters.entryCount {
      let offset = index * parameters.entrySize
      let entry = try array.span.bytes.slice(offset, parameters.entrySize)
      guard let type = GUID(bytes: try entry.array(at: 0, count: 16)), type != .zero else { continue }
      let first = try entry.littleEndian(UInt64.self, at: 32)
      let last = try entry.littleEndian(UInt64.self, at: 40)
      guard first >= parameters.firstUsable, first <= last, last <= parameters.lastUsable else {
        throw Defect.broken(
          "partition \(index + 1) claims sectors \(first) to \(last), outside the usable "
            + "\(parameters.firstUsable) to \(parameters.lastUsable)")
      }
      partitions.append(
        Partition(
          number: index + 1, start: first, count: last - first + 1, type: .gpt(type),
          uuid: GUID(bytes: try entry.array(at: 16, count: 16)), name: try name(entry),
          attributes: try entry.littleEndian(UInt64.self, at: 48)))
    }
    return partitions
  }

  private static func name(_ entry: RawSpan) throws(OutOfBounds) -> String {
    var units: [UInt16] = []
    for index in 0..<36 {
      let unit = try entry.littleEndian(UInt16.self, at: 56 + index * 2)
      if unit == 0 { break }
      units.append(unit)
    }
    return String(decoding: units, as: UTF16.self)
  }

  // MARK: Reading

  private static func copy(
    at lba: UInt64, of device: any BlockDevice, sectorSize: Int
  ) throws -> (header: Header, partitions: [Partition]) {
    let sectorCount = device.byteCount / UInt64(sectorSize)
    guard lba > 0, lba < sectorCount else { throw Defect.noSignature }
    let sector = try device.read(at: lba * UInt64(sectorSize), count: sectorSize)
    let header = try header(sector, sectorSize: sectorSize, sectorCount: sectorCount)
    guard header.ownLBA == lba else { throw Defect.broken("a header that belongs at sector \(header.ownLBA)") }
    let parameters = header.parameters
    let length = parameters.entrySectors(sectorSize: sectorSize)
    guard parameters.entriesStart >= 2, parameters.entriesStart < sectorCount,
      length <= sectorCount - parameters.entriesStart
    else { throw Defect.broken("entries at sector \(parameters.entriesStart)") }
    let array = try device.read(
      at: parameters.entriesStart * UInt64(sectorSize), count: parameters.entryCount * parameters.entrySize)
    return (header, try partitions(array, header: header))
  }

  /// The table of a GPT disk; the backup copy serves when the primary one is damaged.
  /// - Returns: nil when sector 0 is not protective or neither copy shows the signature.
  static func read(from device: any BlockDevice, sectorSize: Int, bootSector: [UInt8]) throws -> PartitionTable? {
    let sectorCount = device.byteCount / UInt64(sectorSize)
    guard MasterBootRecord.types(of: bootSector).contains(MasterBootRecord.protectiveType), sectorCount > 3 else {
      return nil
    }
    var warnings: [String] = []
    var defects: [String] = []
    var found: (header: Header, partitions: [Partition])?
    for (name, lba) in [("primary", 1), ("backup", sectorCount - 1)] {
      do {
        let copy = try copy(at: lba, of: device, sectorSize: sectorSize)
        if found == nil { found = copy }
      } catch Defect.broken(let detail) {
        defects.append("the \(name) GPT has \(detail)")
      } catch Defect.noSignature {
        warnings.append("there is no \(name) GPT at sector \(lba)")
      }
    }
    guard let found else {
      guard defects.isEmpty else {
        throw PartitionTableError.damaged(device: device.name, detail: defects.joined(separator: "; "))
      }
      return nil
    }
    var parameters = found.header.parameters
    if found.header.ownLBA != 1 {
      // The backup's entries start says nothing about the primary's.
      parameters.entriesStart = 2
      let room = parameters.firstUsable
      guard 2 + parameters.entrySectors(sectorSize: sectorSize) <= room else {
        throw PartitionTableError.damaged(
          device: device.name, detail: "the primary GPT has no room before sector \(room)")
      }
    }
    return PartitionTable(
      scheme: .gpt(parameters), sectorSize: sectorSize, sectorCount: sectorCount, bootSector: bootSector,
      partitions: found.partitions, warnings: defects + warnings)
  }

  // MARK: Writing

  static func headerBytes(_ header: Header) -> [UInt8] {
    var bytes = Array("EFI PART".utf8) + [UInt8](repeating: 0, count: headerSize - 8)
    bytes.store(UInt32(0x0001_0000), at: 8)
    bytes.store(UInt32(headerSize), at: 12)
    bytes.store(header.ownLBA, at: 24)
    bytes.store(header.otherLBA, at: 32)
    bytes.store(header.parameters.firstUsable, at: 40)
    bytes.store(header.parameters.lastUsable, at: 48)
    bytes.store(bytes: header.parameters.diskGUID.bytes, at: 56)
    bytes.store(header.parameters.entriesStart, at: 72)
    bytes.store(UInt32(header.parameters.entryCount), at: 80)
    bytes.store(UInt32(header.parameters.entrySize), at: 84)
    bytes.store(header.entriesCRC, at: 88)
    bytes.store(CRC32.checksum(bytes), at: 16)
    return bytes
  }

  static func entryArray(_ table: PartitionTable, _ parameters: PartitionTable.GPTParameters) -> [UInt8] {
    var array = [UInt8](repeating: 0, count: parameters.entryCount * parameters.entrySize)
    for partition in table.partitions {
      guard case .gpt(let type) = partition.type else { continue }
      let offset = (partition.number - 1) * parameters.entrySize
      array.store(bytes: type.bytes, at: offset)
      array.store(bytes: (partition.uuid ?? .zero).bytes, at: offset + 16)
      array.store(partition.start, at: offset + 32)
      array.store(partition.end - 1, at: offset + 40)
      array.store(partition.attributes, at: offset + 48)
      for (index, unit) in partition.name.utf16.enumerated() { array.store(unit, at: offset + 56 + index * 2) }
    }
    return array
  }

  /// Both headers and the entries that they share.
  static func copies(
    of table: PartitionTable, _ parameters: PartitionTable.GPTParameters
  ) -> (primary: Header, backup: Header, entries: [UInt8]) {
    let entries = entryArray(table, parameters)
    let crc = CRC32.checksum(entries)
    let last = table.sectorCount - 1
    var behind = parameters
    behind.entriesStart = last - parameters.entrySectors(sectorSize: table.sectorSize)
    return (
      Header(ownLBA: 1, otherLBA: last, parameters: parameters, entriesCRC: crc),
      Header(ownLBA: last, otherLBA: 1, parameters: behind, entriesCRC: crc), entries
    )
  }

  /// Sector 0 of a GPT disk: what was there if it is protective, else a fresh protective entry behind its boot code.
  static func protectiveSector(of table: PartitionTable) -> [UInt8] {
    var sector = table.bootSector
    guard !MasterBootRecord.types(of: sector).contains(MasterBootRecord.protectiveType) else { return sector }
    MasterBootRecord.sign(&sector)
    for index in 0..<4 { MasterBootRecord.clear(at: index, in: &sector) }
    let offset = MasterBootRecord.entriesOffset
    // Source: UEFI 2.10, table 5.4: starting CHS 000200, ending CHS FFFFFF where the size can't be expressed.
    sector.store(bytes: [0x00, 0x00, 0x02, 0x00, MasterBootRecord.protectiveType, 0xFF, 0xFF, 0xFF], at: offset)
    sector.store(UInt32(1), at: offset + 8)
    sector.store(UInt32(clamping: table.sectorCount - 1), at: offset + 12)
    return sector
  }

  /// What to write, by byte offset: the backup first, so that at every moment one copy is whole; sector 0 last.
  static func encoded(
    _ table: PartitionTable, _ parameters: PartitionTable.GPTParameters
  ) -> [(offset: UInt64, bytes: [UInt8])] {
    let sectorSize = UInt64(table.sectorSize)
    let (primary, backup, entries) = copies(of: table, parameters)
    func padded(_ bytes: [UInt8]) -> [UInt8] {
      bytes + [UInt8](repeating: 0, count: (table.sectorSize - bytes.count % table.sectorSize) % table.sectorSize)
    }
    return [
      (backup.parameters.entriesStart * sectorSize, padded(entries)),
      (backup.ownLBA * sectorSize, padded(headerBytes(backup))),
      (primary.parameters.entriesStart * sectorSize, padded(entries)),
      (primary.ownLBA * sectorSize, padded(headerBytes(primary))),
      (0, protectiveSector(of: table)),
    ]
  }
}
