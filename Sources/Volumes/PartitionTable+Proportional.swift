// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

extension PartitionType {
  static let microsoftReserved = Self.gpt(GUID("E3C9E316-0B5C-4DB8-817D-F92DF00215AE") ?? .zero)

  /// Whether a partition of this type gains nothing from more room: boot code, ESP, swap and what Windows reserves.
  var keepsSize: Bool {
    switch self {
    case .efiSystem, .biosBoot, .linuxSwap, .microsoftReserved, .microsoftRecovery: true
    // Hidden NTFS of a recovery system, Linux swap, ESP, Compaq diagnostics.
    case .mbr(0x27), .mbr(0x82), .mbr(0xEF), .mbr(0x12): true
    default: false
    }
  }
}

extension PartitionTable {
  /// The same table for a disk that is at least as large, whose partitions share what there is more of in proportion to
  /// their sizes, up to the end of the disk.
  ///
  /// As Clonezilla's `ocs-expand-gpt-pt` and `ocs-expand-mbr-pt` do for `-k1`, but that what moves begins on a MiB and no
  /// partition gets smaller. Partitions for booting, swap and recovery keep their sizes, and everything up to the first
  /// partition that grows keeps its place, so that boot code which counts on sectors there stays right.
  ///
  /// - Parameters:
  ///   - byteCount: size of the target in bytes.
  ///   - targetSectorSize: its logical sector size in bytes.
  /// - Throws: as ``adapted(toByteCount:sectorSize:)``.
  public func proportional(
    toByteCount byteCount: UInt64, sectorSize targetSectorSize: Int
  ) throws(PartitionTableError) -> PartitionTable {
    var table = try adapted(toByteCount: byteCount, sectorSize: targetSectorSize)
    let alignment = UInt64((1 << 20) / sectorSize)
    // An extended partition follows its logical ones; an empty one stays what it is.
    let hasLogical = table.partitions.contains(where: \.isLogical)
    let ordered = table.partitions.indices.filter { !hasLogical || !table.partitions[$0].type.isExtended }
      .sorted { table.partitions[$0].start < table.partitions[$1].start }
    guard let first = ordered.firstIndex(where: { table.grows(table.partitions[$0]) }) else { return table }
    // Where partitions overlap there is no telling what may move.
    let isOrderly = zip(ordered, ordered.dropFirst()).allSatisfy {
      table.partitions[$0].end <= table.partitions[$1].start
    }
    guard isOrderly, ordered.allSatisfy({ table.partitions[$0].bootRecordSector ?? 0 <= table.partitions[$0].start })
    else { return table }
    let moving = ordered[first...]
    let growing = moving.filter { table.grows(table.partitions[$0]) }

    // Entries of an MBR count sectors in 32 bits, as do its addresses.
    var limit = min(table.sectorCount, UInt64(UInt32.max))
    if case .gpt(let parameters) = table.scheme { limit = parameters.lastUsable + 1 }
    limit -= limit % alignment
    guard let end = moving.last.map({ table.partitions[$0].end }), end < limit else { return table }
    // What comes to each, when the alignment of each following one is allowed for.
    let slack = alignment * UInt64(moving.count)
    let total = growing.reduce(UInt64(0)) { $0 &+ table.partitions[$1].count }
    guard limit - end > slack, total > 0 else { return table }
    let extra = limit - end - slack

    var cursor = table.partitions[moving[moving.startIndex]].start
    var formerEnd = cursor
    for index in moving {
      var partition = table.partitions[index]
      // The room before it, which for a logical partition holds its boot record.
      let gap = partition.start - formerEnd
      formerEnd = partition.end
      var start = cursor + gap
      if start != partition.start { start += (alignment - start % alignment) % alignment }
      var count = partition.count
      if growing.contains(index) {
        count += total.dividingFullWidth(extra.multipliedFullWidth(by: count)).quotient
        let end = start + count
        count = max(partition.count, end - end % alignment - min(start, end - end % alignment))
      }
      if let record = partition.bootRecordSector { partition.bootRecordSector = start - (partition.start - record) }
      (partition.start, partition.count) = (start, count)
      table.partitions[index] = partition
      cursor = partition.end
    }
    if let last = growing.last, last == moving.last {
      table.partitions[last].count = limit - table.partitions[last].start
    }
    table.coverLogicalPartitions(in: self)
    return table
  }

  /// Whether a partition takes part of the room that is more.
  private func grows(_ partition: Partition) -> Bool {
    guard !partition.type.keepsSize, !partition.type.isExtended else { return false }
    // The active NTFS partition from which Windows starts, beside a large one that it starts.
    let isWindowsBoot =
      partition.isBootable && partition.type == .mbr(7) && byteCount(of: partition) <= 1 << 30
      && partitions.contains { $0.number != partition.number && $0.type == .mbr(7) && $0.count > partition.count }
    return !isWindowsBoot
  }

  /// Moves and stretches the extended partition with the logical ones.
  private mutating func coverLogicalPartitions(in former: PartitionTable) {
    guard let index = partitions.firstIndex(where: \.type.isExtended) else { return }
    let extended = partitions[index]
    let logical = partitions.filter(\.isLogical)
    guard let first = logical.min(by: { $0.start < $1.start }), let end = logical.map(\.end).max(),
      let formerFirst = former.partition(first.number)
    else { return }
    let start = first.start - (formerFirst.start - min(formerFirst.start, extended.start))
    partitions[index].start = start
    // Room behind the last logical partition stays free, as far as there is any.
    partitions[index].count = end - start
  }
}
