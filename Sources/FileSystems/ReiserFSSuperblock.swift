// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The superblock of ReiserFS, little-endian, checked against itself and the volume's size.
///
/// It stands at 64 KiB, with each bitmap at the start of the blocks it describes; before 3.5.10 it stood at 8 KiB, with
/// the bitmaps one behind the other after it. As Linux does, the older place is looked at first: the journal behind it
/// may hold what looks like a superblock at 64 KiB.
struct ReiserFSSuperblock: Sendable {
  /// Where it was found, in bytes.
  let offset: UInt64
  /// Bytes; a power of two from 512 to 65536.
  let blockSize: Int
  let blockCount: Int
  let freeBlockCount: Int
  /// The blocks of the journal; its header is the block behind them.
  let journal: Range<Int>
  /// Most blocks a transaction may change.
  let transactionLimit: Int
  /// What the header of a journal that is not standard must repeat.
  let journalMagic: UInt32?
  let uuid: String?
  let label: String?

  private let hasForeignJournal: Bool
  private let state: UInt16
  private let rootBlock: UInt32

  private static let offsets: [UInt64] = [8192, 65536]
  private static let byteCount = 204
  /// A journal has room for some transactions at least.
  private static let leastJournalSize = 16

  /// - Returns: nil when there is none at either place.
  init?(_ volume: Volume) throws {
    for offset in Self.offsets {
      if let found = try ReiserFSSuperblock(volume, at: offset) {
        self = found
        return
      }
    }
    return nil
  }

  /// - Returns: nil when there is none at that byte.
  init?(_ volume: Volume, at offset: UInt64) throws {
    guard volume.contains(offset, UInt64(Self.byteCount)) else { return nil }
    let bytes = try volume.device.read(at: offset, count: Self.byteCount)
    let magic = try bytes.text(at: 52, count: 10)
    guard ["ReIsErFs", "ReIsEr2Fs", "ReIsEr3Fs"].contains(magic) else { return nil }
    self.offset = offset

    blockSize = Int(try bytes.littleEndian(UInt16.self, at: 44))
    blockCount = Int(try bytes.littleEndian(UInt32.self, at: 0))
    freeBlockCount = Int(try bytes.littleEndian(UInt32.self, at: 4))
    rootBlock = try bytes.littleEndian(UInt32.self, at: 8)
    state = try bytes.littleEndian(UInt16.self, at: 62)
    guard blockSize >= 512, blockSize.nonzeroBitCount == 1 else {
      throw volume.damaged("blocks of \(blockSize) bytes")
    }
    let block = Int(offset) / blockSize
    guard blockCount > block + 2, UInt64(blockCount) <= volume.device.byteCount / UInt64(blockSize) else {
      throw volume.damaged(
        "the superblock counts \(blockCount) blocks of \(blockSize) bytes, the volume has "
          + "\(volume.device.byteCount) bytes")
    }

    let journalStart = Int(try bytes.littleEndian(UInt32.self, at: 12))
    let journalSize = Int(try bytes.littleEndian(UInt32.self, at: 20))
    let isStandardJournal = magic != "ReIsEr3Fs"
    hasForeignJournal =
      try bytes.littleEndian(UInt32.self, at: 16) != 0 || !isStandardJournal && journalStart <= block
    if hasForeignJournal {
      journal = 0..<0
    } else {
      guard journalStart > block + 1, journalSize >= Self.leastJournalSize, journalStart + journalSize < blockCount
      else {
        throw volume.damaged("a journal of \(journalSize) blocks at block \(journalStart) of \(blockCount)")
      }
      journal = journalStart..<(journalStart + journalSize)
    }
    journalMagic = isStandardJournal ? nil : try bytes.littleEndian(UInt32.self, at: 28)
    let limit = Int(try bytes.littleEndian(UInt32.self, at: 24))
    let highest = 1024 * min(blockSize, 4096) / 4096
    guard limit <= highest else { throw volume.damaged("transactions of \(limit) blocks") }
    transactionLimit = limit == 0 ? highest : limit

    // Only 3.6 has them; 3.5 may have anything there.
    let hasNames = magic != "ReIsErFs"
    uuid = hasNames ? UUIDText.text(of: bytes[84..<100]) : nil
    label = hasNames ? labelText(of: bytes[100..<116]) : nil
  }

  /// The block the superblock is in.
  var block: Int { Int(offset) / blockSize }

  var bitmapCount: Int { (blockCount - 1) / (blockSize * 8) + 1 }

  /// Where a bitmap stands.
  func bitmapBlock(_ number: Int) -> Int {
    offset == Self.offsets[0] || number == 0 ? block + 1 + number : number * blockSize * 8
  }

  /// Throws unless the bitmaps and the journal can be understood.
  func refuse(_ volume: Volume) throws(FileSystemError) {
    if hasForeignJournal { throw volume.unsupported("a journal on another device") }
    if rootBlock == .max { throw volume.damaged("reiserfsck --rebuild-tree has not finished") }
    if state != 0 { throw volume.damaged("reiserfsck has found errors that are still there") }
    guard bitmapBlock(bitmapCount - 1) < blockCount else {
      throw volume.damaged("bitmap \(bitmapCount - 1) would lie behind its last block")
    }
  }
}
