// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The journal of ReiserFS: a ring of transactions, each a description block, the new contents of the blocks it
/// changes, and a commit block; behind the ring a header that says up to where all is in place.
///
/// Which transactions count is decided as Linux does (fs/reiserfs/journal.c, `journal_read`).
struct ReiserFSJournal {
  private let volume: Volume
  private let superblock: ReiserFSSuperblock

  /// What a description block says.
  private struct Transaction {
    let id: UInt32
    let mount: UInt32
    /// Of the description block, in blocks from the start of the ring.
    let position: Int
    /// How many blocks it changes.
    let length: Int
    /// The description block itself: it names as many of the blocks as it has room for, the commit block the others.
    let bytes: [UInt8]
  }

  init(_ volume: Volume, _ superblock: ReiserFSSuperblock) {
    self.volume = volume
    self.superblock = superblock
  }

  /// The volume as the replay would leave it.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` for a transaction that Linux would refuse to replay.
  func replayed() throws -> OverlayDevice {
    var overlay = OverlayDevice(volume, blockSize: superblock.blockSize)
    guard let start = try oldest() else { return overlay }
    var position = start.position
    var passed = 0
    while passed < ringSize {
      guard let transaction = try transaction(at: position), transaction.id >= start.id,
        transaction.mount == start.mount, let commit = try commit(of: transaction)
      else { break }
      for index in 0..<transaction.length {
        let block = try target(index, transaction, commit)
        try overlay.redirect(UInt64(block), to: offset(ofBlock: position + 1 + index))
      }
      passed += transaction.length + 2
      position = (position + transaction.length + 2) % ringSize
    }
    return overlay
  }

  private var ringSize: Int { superblock.journal.count }

  /// How many blocks a description block can name.
  private var namesPerBlock: Int { (superblock.blockSize - 24) / 4 }

  /// The transaction the replay begins with.
  private func oldest() throws -> (position: Int, id: UInt32, mount: UInt32)? {
    let header = try volume.read(
      "the journal header", at: UInt64(superblock.journal.upperBound) * UInt64(superblock.blockSize),
      count: superblock.blockSize)
    if let magic = superblock.journalMagic {
      let found = try header.littleEndian(UInt32.self, at: 28)
      guard found == magic else { throw volume.damaged("its journal belongs to another file system") }
    }
    let lastFlushed = try header.littleEndian(UInt32.self, at: 0)
    let firstUnflushed = Int(try header.littleEndian(UInt32.self, at: 4))
    guard lastFlushed > 0, firstUnflushed < ringSize else { return try oldestInRing() }
    let (next, overflow) = lastFlushed.addingReportingOverflow(1)
    return overflow ? nil : (firstUnflushed, next, try header.littleEndian(UInt32.self, at: 8))
  }

  /// The oldest transaction of the newest mount: the header is written only at the first flush.
  private func oldestInRing() throws -> (position: Int, id: UInt32, mount: UInt32)? {
    // Linux numbers mounts from 10 on.
    var newestMount: UInt32 = 9
    var oldestUncommitted: UInt32?
    var oldest: (position: Int, id: UInt32)?
    var position = 0
    while position < ringSize {
      guard let transaction = try transaction(at: position), transaction.id <= oldestUncommitted ?? .max,
        transaction.mount >= newestMount
      else {
        position += 1
        continue
      }
      guard try commit(of: transaction) != nil else {
        oldestUncommitted = transaction.id
        position += 1
        continue
      }
      if transaction.id < oldest?.id ?? .max { oldest = (position, transaction.id) }
      newestMount = transaction.mount
      position += transaction.length + 2
    }
    return oldest.map { ($0.position, $0.id, newestMount) }
  }

  /// The description block at a position, or nil when there is none.
  private func transaction(at position: Int) throws -> Transaction? {
    let bytes = try block(position)
    let length = Int(try bytes.littleEndian(UInt32.self, at: 4))
    guard bytes[(bytes.count - 12)..<(bytes.count - 4)].elementsEqual("ReIsErLB".utf8), length > 0,
      length <= superblock.transactionLimit, length <= 2 * namesPerBlock, length + 2 <= ringSize
    else { return nil }
    return Transaction(
      id: try bytes.littleEndian(UInt32.self, at: 0), mount: try bytes.littleEndian(UInt32.self, at: 8),
      position: position, length: length, bytes: bytes)
  }

  /// The commit block, or nil when it never reached the disk.
  private func commit(of transaction: Transaction) throws -> [UInt8]? {
    let bytes = try block(transaction.position + transaction.length + 1)
    let isCommit =
      try bytes.littleEndian(UInt32.self, at: 0) == transaction.id
      && bytes.littleEndian(UInt32.self, at: 4) == UInt32(transaction.length)
    return isCommit ? bytes : nil
  }

  /// The block that a transaction's block `index` is the new content of.
  private func target(_ index: Int, _ transaction: Transaction, _ commit: [UInt8]) throws -> Int {
    let inCommit = index - namesPerBlock
    let block = Int(
      inCommit < 0
        ? try transaction.bytes.littleEndian(UInt32.self, at: 12 + 4 * index)
        : try commit.littleEndian(UInt32.self, at: 8 + 4 * inCommit))
    guard block < superblock.blockCount, !superblock.journal.contains(block), block != superblock.journal.upperBound
    else { throw volume.damaged("its journal would overwrite block \(block)") }
    return block
  }

  private func block(_ position: Int) throws -> [UInt8] {
    try volume.read("the journal", at: offset(ofBlock: position), count: superblock.blockSize)
  }

  /// - Parameter position: in blocks from the start of the ring, which it may go round.
  private func offset(ofBlock position: Int) -> UInt64 {
    UInt64(superblock.journal.lowerBound + position % ringSize) * UInt64(superblock.blockSize)
  }
}
