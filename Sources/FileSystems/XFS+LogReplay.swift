// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The transactions of an XFS log, put together from its records and, once committed, applied to the volume in memory.
///
/// Only what the map of free space is read from is applied: the superblock, the headers of the allocation groups and the
/// blocks of B+trees. These are in buffer items: pieces of 128 bytes, with a bit map of where they belong. An item that
/// cancels a buffer needs nothing done, as blocks that are not part of a free-space tree any more are never read.
/// Headers of operations are big-endian, items are in the order of the machine that wrote them: little-endian.
/// Source: XFS Algorithms & Data Structures, chapter 15.
struct XFSLogReplay {
  private(set) var overlay: OverlayDevice
  private(set) var transactionCount = 0
  private let volume: Volume
  private var open: [UInt32: Transaction] = [:]
  /// Bytes held by open transactions.
  private var heldBytes = 0

  init(_ volume: Volume) {
    self.volume = volume
    overlay = OverlayDevice(volume, blockSize: Self.pieceSize)
  }

  private static let pieceSize = 128
  private static let openLimit = 4096
  /// What a region costs beside its bytes.
  private static let regionCost = 64

  /// Takes in the data of a record.
  mutating func add(_ bytes: [UInt8], operationCount: Int) throws {
    var offset = 0
    for _ in 0..<operationCount {
      let transaction = try bytes.bigEndian(UInt32.self, at: offset)
      let count = Int(try bytes.bigEndian(UInt32.self, at: offset + 4))
      let flags = OperationFlags(rawValue: try bytes.span.bytes.byte(at: offset + 9))
      let region = try bytes.span.bytes.slice(offset + 12, count)
      try add(region, flags, to: transaction)
      offset += 12 + count
    }
  }

  private struct OperationFlags: OptionSet {
    let rawValue: UInt8
    static let start = OperationFlags(rawValue: 0x01)
    static let commit = OperationFlags(rawValue: 0x02)
    static let wasContinued = OperationFlags(rawValue: 0x08)
    static let unmount = OperationFlags(rawValue: 0x20)
  }

  private struct Item {
    let regionCount: Int
    var seenCount = 0
    /// Nil when nothing of it will be needed.
    var regions: [[UInt8]]?
  }

  private struct Transaction {
    /// Bytes of the transaction's own header still to come.
    var headerBytes = 16
    var items: [Item] = []
    /// What it holds in memory.
    var cost = 0
  }

  private mutating func add(_ region: RawSpan, _ flags: OperationFlags, to number: UInt32) throws {
    if flags.contains(.start) {
      guard open.count < Self.openLimit else { throw volume.damaged("more than \(Self.openLimit) open transactions") }
      heldBytes -= open[number]?.cost ?? 0
      open[number] = Transaction()
      return
    }
    // One that began before the log's tail was complete before the log's tail.
    guard var transaction = open.removeValue(forKey: number) else { return }
    heldBytes -= transaction.cost
    if flags.contains(.unmount) { return }
    if flags.contains(.commit) {
      try apply(transaction)
      transactionCount += 1
      return
    }
    if region.byteCount > 0 { try add(region, isContinued: flags.contains(.wasContinued), to: &transaction) }
    heldBytes += transaction.cost
    guard heldBytes <= OverlayDevice.byteLimit else {
      throw volume.needsRecovery("its log holds more changes than are replayed in memory")
    }
    open[number] = transaction
  }

  private func add(_ region: RawSpan, isContinued: Bool, to transaction: inout Transaction) throws {
    if transaction.headerBytes > 0 {
      guard region.byteCount <= transaction.headerBytes else {
        throw volume.damaged("its log has a transaction without a header")
      }
      transaction.headerBytes -= region.byteCount
      return
    }
    let last = transaction.items.count - 1
    let bytes = region.withUnsafeBytes { [UInt8]($0) }
    if isContinued {
      guard last >= 0 else { throw volume.damaged("its log goes on with an item that never began") }
      guard transaction.items[last].regions != nil else { return }
      let index = transaction.items[last].seenCount - 1
      transaction.items[last].regions?[index] += bytes
      transaction.cost += bytes.count
      return
    }
    if last >= 0, transaction.items[last].seenCount < transaction.items[last].regionCount {
      transaction.items[last].seenCount += 1
      guard transaction.items[last].regions != nil else { return }
      transaction.items[last].regions?.append(bytes)
      transaction.cost += bytes.count + Self.regionCost
      return
    }
    let regionCount = Int(try region.littleEndian(UInt16.self, at: 2))
    guard regionCount > 0 else { throw volume.damaged("its log has an item of no regions") }
    let isNeeded = try Self.isNeeded(region)
    let item = Item(regionCount: regionCount, seenCount: 1, regions: isNeeded ? [bytes] : nil)
    // Only the last item can still grow, so one that is not needed gives way to the next.
    if last >= 0, transaction.items[last].regions == nil {
      transaction.items[last] = item
    } else {
      transaction.items.append(item)
      transaction.cost += Self.regionCost
    }
    if isNeeded { transaction.cost += bytes.count + Self.regionCost }
  }

  /// Whether an item that begins with these bytes changes what the map is read from.
  private static func isNeeded(_ format: RawSpan) throws(OutOfBounds) -> Bool {
    let bufferItem: UInt16 = 0x123C
    guard try format.littleEndian(UInt16.self, at: 0) == bufferItem else { return false }
    let flags = try format.littleEndian(UInt16.self, at: 4)
    // Inodes, cancelled, and the three kinds of quota.
    guard flags & 0x1F == 0 else { return false }
    // Unknown (old kernels tell nothing), B+tree, header of an allocation group, superblock.
    return [0, 4, 5, 18].contains(flags >> 11)
  }

  private mutating func apply(_ transaction: Transaction) throws {
    for item in transaction.items {
      guard let regions = item.regions, let format = regions.first else { continue }
      guard item.seenCount == item.regionCount else {
        throw volume.damaged("its log commits an item that is cut short")
      }
      let sector = try format.littleEndian(UInt64.self, at: 8)
      let (byte, overflow) = sector.multipliedReportingOverflow(by: UInt64(XFSLog.blockSize))
      let wordCount = Int(try format.littleEndian(UInt32.self, at: 16))
      guard !overflow, volume.contains(byte, UInt64(Self.pieceSize)), wordCount <= (format.count - 20) / 4 else {
        throw volume.damaged("its log changes sector \(sector), which is outside")
      }
      var next = 1
      var piece = 0
      let pieceCount = wordCount * 32
      func isChanged(_ piece: Int) throws -> Bool {
        guard piece < pieceCount else { return false }
        return try format.littleEndian(UInt32.self, at: 20 + piece / 32 * 4) >> UInt32(piece % 32) & 1 == 1
      }
      while piece < pieceCount {
        guard try isChanged(piece) else {
          piece += 1
          continue
        }
        guard next < regions.count, regions[next].count >= Self.pieceSize else {
          throw volume.damaged("its log changes sector \(sector), but does not say how")
        }
        // A region ends no later than the row of bits does.
        let bytes = regions[next]
        let region = bytes.span.bytes
        var offset = 0
        while offset + Self.pieceSize <= region.byteCount, try isChanged(piece) {
          try overlay.store(
            region.slice(offset, Self.pieceSize), at: byte / UInt64(Self.pieceSize) + UInt64(piece))
          offset += Self.pieceSize
          piece += 1
        }
        next += 1
      }
    }
  }
}
