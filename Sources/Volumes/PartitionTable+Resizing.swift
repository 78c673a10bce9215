// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

extension PartitionTable {
  /// The smallest disk, in sectors, that this table can be written to.
  public var minimumSectorCount: UInt64 {
    let end = partitions.map(\.end).max() ?? 1
    guard case .gpt(let parameters) = scheme else { return end }
    return max(end, parameters.firstUsable + 1) + parameters.entrySectors(sectorSize: sectorSize) + 1
  }

  /// The same table for a disk of another size: the backup GPT, the last usable sector and the protective entry move.
  ///
  /// - Parameters:
  ///   - byteCount: size of the target in bytes.
  ///   - targetSectorSize: its logical sector size in bytes.
  /// - Throws: ``PartitionTableError/sectorSizeDiffers(table:device:)`` or
  ///   ``PartitionTableError/doesNotFit(needed:available:)``.
  public func adapted(toByteCount byteCount: UInt64, sectorSize targetSectorSize: Int) throws(PartitionTableError)
    -> PartitionTable
  {
    guard targetSectorSize == sectorSize else {
      throw .sectorSizeDiffers(table: sectorSize, device: targetSectorSize)
    }
    let count = byteCount / UInt64(sectorSize)
    guard count >= minimumSectorCount else {
      throw .doesNotFit(needed: minimumSectorCount &* UInt64(sectorSize), available: byteCount)
    }
    var table = self
    table.sectorCount = count
    if case .gpt(var parameters) = scheme {
      if count != sectorCount {
        parameters.lastUsable = count - parameters.entrySectors(sectorSize: sectorSize) - 2
      }
      table.scheme = .gpt(parameters)
      table.bootSector = protectiveSector(for: count)
    }
    return table
  }

  /// Sector 0 with the protective entry stretched or shortened to `count` sectors. In a hybrid MBR only an entry that
  /// reached the end of the disk is changed.
  private func protectiveSector(for count: UInt64) -> [UInt8] {
    var sector = bootSector
    for index in 0..<4 {
      let offset = MasterBootRecord.entriesOffset + index * MasterBootRecord.entrySize
      guard let entry = try? MasterBootRecord.entries(of: sector)[index],
        entry.type == MasterBootRecord.protectiveType
      else { continue }
      let reachedEnd = UInt64(entry.start) + UInt64(entry.count) >= min(sectorCount, UInt64(UInt32.max))
      guard !isHybrid || reachedEnd, count > UInt64(entry.start) else { continue }
      sector.store(UInt32(clamping: count - UInt64(entry.start)), at: offset + 12)
    }
    return sector
  }

  /// The partition that ends last, which is the one that can grow into a larger disk; a logical one counts, the
  /// extended one around it does not.
  public var last: Partition? {
    partitions.filter { !$0.type.isExtended }.max { $0.start < $1.start }
  }

  /// The same table with its last partition, and an extended one around it, ending where the disk ends, on a MiB.
  ///
  /// - Returns: the table unchanged when there is less than a MiB to gain.
  public func growingLast() -> PartitionTable {
    guard let last else { return self }
    let alignment = UInt64((1 << 20) / sectorSize)
    var limit = sectorCount
    if case .gpt(let parameters) = scheme { limit = parameters.lastUsable + 1 }
    let extended = self.extended
    if !isGPT { limit = min(limit, (last.isLogical ? extended?.start ?? 0 : last.start) + UInt64(UInt32.max)) }
    // A primary partition before the extended one may be the last with content; it must not swallow the other.
    let obstacles = partitions.filter { $0.start > last.start && !(last.isLogical && $0.type.isExtended) }
    guard obstacles.isEmpty else { return self }
    limit -= limit % alignment
    guard limit > last.end, limit - last.end >= alignment else { return self }
    var table = self
    for index in table.partitions.indices {
      if table.partitions[index].number == last.number {
        table.partitions[index].count = limit - last.start
      } else if last.isLogical, let extended, table.partitions[index].number == extended.number {
        table.partitions[index].count = max(extended.end, limit) - extended.start
      }
    }
    return table
  }
}
