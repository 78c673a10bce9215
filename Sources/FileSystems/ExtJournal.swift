// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The journal of ext3 and ext4 (JBD2), all of it big-endian: a ring of blocks in which each transaction is a row of
/// descriptor blocks, each followed by the blocks it describes, revoke blocks and one commit block.
///
/// Source: Linux, Documentation/filesystems/ext4/journal.rst; fs/jbd2/recovery.c for where it ends.
struct ExtJournal {
  private let volume: Volume
  private let file: ExtFileBlocks
  private let blockSize: Int
  private let superblock: ExtJournalSuperblock
  /// What every checksum of the newer kinds begins with: that of the journal's UUID.
  private let seed: UInt32

  /// - Throws: `DeviceError`, `OutOfBounds`, ``FileSystemError``.
  init(_ volume: Volume, _ file: ExtFileBlocks, blockSize: Int) throws {
    self.volume = volume
    self.file = file
    self.blockSize = blockSize
    guard file.count > 0 else { throw volume.damaged("its journal is empty") }
    let bytes = try volume.read("the journal", at: UInt64(file[0] * blockSize), count: blockSize)
    superblock = try ExtJournalSuperblock(bytes, volume, blockSize: blockSize, blockCount: file.count)
    seed = ExtJournalChecksum.castagnoli(.max, try bytes.span.bytes.slice(0x30, 16))
  }

  /// The volume with all committed transactions in place, and how many these are.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` when the kernel would not replay the journal,
  ///   ``FileSystemError/needsRecovery(volume:kind:detail:)`` when only the kernel can, `DeviceError`, `OutOfBounds`.
  func replayed() throws -> (overlay: OverlayDevice, transactionCount: Int) {
    var overlay = OverlayDevice(volume, blockSize: blockSize)
    guard var position = superblock.start else { return (overlay, 0) }
    var sequence = superblock.sequence
    var transaction = Transaction()
    var transactionCount = 0
    // Every turn takes a block: a journal full of one transaction is the longest walk.
    var remaining = superblock.ring.count
    while remaining > 0 {
      let block = try controlBlock(position)
      guard try block.bigEndian(UInt32.self, at: 0) == ExtJournalSuperblock.magic,
        try block.bigEndian(UInt32.self, at: 8) == sequence
      else { break }
      position = next(position)
      remaining -= 1
      let type = try block.bigEndian(UInt32.self, at: 4)
      if type == BlockType.descriptor {
        let tags = try tags(of: block)
        guard tags.count <= remaining else { break }
        try add(block, tags, at: &position, sequence, to: &transaction)
        remaining -= tags.count
      } else if type == BlockType.revoke {
        try addRevoked(block, to: &transaction)
      } else if type == BlockType.commit {
        try check(transaction, commit: block, sequence)
        try apply(transaction, to: &overlay)
        transaction = Transaction()
        transactionCount += 1
        sequence &+= 1
      } else {
        break
      }
    }
    try refuseFastCommits(of: sequence)
    return (overlay, transactionCount)
  }

  private enum BlockType {
    static let descriptor: UInt32 = 1
    static let commit: UInt32 = 2
    static let revoke: UInt32 = 5
  }

  /// What a descriptor block says of one of the blocks behind it.
  private struct Tag {
    let block: UInt64
    let isEscaped: Bool
    /// The lower 16 bits only, with ``ExtJournalSuperblock/Incompatible/checksums2``.
    let checksum: UInt32
  }

  /// A transaction of which no commit block was seen yet.
  private struct Transaction {
    var changes: [(block: UInt64, source: UInt64, isEscaped: Bool)] = []
    var revoked: [UInt64] = []
    /// Tells nothing unless the transaction proves committed: a crash may well leave such blocks behind the last commit.
    var damage: String?
    var ethernetChecksum = UInt32.max
  }

  private func next(_ position: Int) -> Int {
    position + 1 < superblock.ring.upperBound ? position + 1 : superblock.ring.lowerBound
  }

  private func offset(_ position: Int) -> UInt64 { UInt64(file[position] * blockSize) }

  private func controlBlock(_ position: Int) throws -> [UInt8] {
    try volume.read("the journal", at: offset(position), count: blockSize)
  }

  private func tags(of block: [UInt8]) throws(OutOfBounds) -> [Tag] {
    let features = superblock.incompatible
    let size = superblock.tagSize
    var tags: [Tag] = []
    var offset = 12
    while offset + size <= blockSize - superblock.tailSize {
      let flags: UInt32
      let checksum: UInt32
      if features.contains(.checksums3) {
        flags = try block.bigEndian(UInt32.self, at: offset + 4)
        checksum = try block.bigEndian(UInt32.self, at: offset + 12)
      } else {
        flags = UInt32(try block.bigEndian(UInt16.self, at: offset + 6))
        checksum = UInt32(try block.bigEndian(UInt16.self, at: offset + 4))
      }
      let high = features.contains(.wide) ? try block.bigEndian(UInt32.self, at: offset + 8) : 0
      tags.append(
        Tag(
          block: UInt64(high) << 32 | UInt64(try block.bigEndian(UInt32.self, at: offset)),
          isEscaped: flags & 1 != 0, checksum: checksum))
      let hasUUID = flags & 2 == 0
      offset += size + (hasUUID ? 16 : 0)
      let isLast = flags & 8 != 0
      if isLast { break }
    }
    return tags
  }

  /// Takes in a descriptor block and the blocks behind it.
  /// - Parameter position: of the first of these; then of the block after the last.
  private func add(
    _ descriptor: [UInt8], _ tags: [Tag], at position: inout Int, _ sequence: UInt32, to transaction: inout Transaction
  ) throws {
    try checkTail(descriptor, &transaction)
    guard transaction.changes.count + tags.count <= OverlayDevice.blockLimit else { throw tooMany }
    let features = superblock.incompatible
    let hasEthernet = superblock.hasEthernetChecksums
    if hasEthernet {
      transaction.ethernetChecksum = ExtJournalChecksum.ethernet(transaction.ethernetChecksum, descriptor.span.bytes)
    }
    var bytes = [UInt8]()
    for tag in tags {
      let source = offset(position)
      transaction.changes.append((tag.block, source, tag.isEscaped))
      if hasEthernet || superblock.tailSize > 0 {
        bytes = try volume.read("the journal", at: source, count: blockSize)
      }
      if hasEthernet {
        transaction.ethernetChecksum = ExtJournalChecksum.ethernet(transaction.ethernetChecksum, bytes.span.bytes)
      }
      if superblock.tailSize > 0 {
        var number = [UInt8](repeating: 0, count: 4)
        number.storeBigEndian(sequence, at: 0)
        let found = ExtJournalChecksum.castagnoli(
          ExtJournalChecksum.castagnoli(seed, number.span.bytes), bytes.span.bytes)
        if tag.checksum != (features.contains(.checksums3) ? found : found & 0xFFFF) {
          transaction.damage = "block \(position) of its journal does not match its checksum"
        }
      }
      position = next(position)
    }
  }

  private func addRevoked(_ block: [UInt8], to transaction: inout Transaction) throws {
    try checkTail(block, &transaction)
    let end = Int(try block.bigEndian(UInt32.self, at: 12))
    guard end <= blockSize - superblock.tailSize else {
      transaction.damage = "a revoke block of its journal has \(end) bytes"
      return
    }
    let isWide = superblock.incompatible.contains(.wide)
    let size = isWide ? 8 : 4
    for offset in stride(from: 16, through: end - size, by: size) {
      transaction.revoked.append(
        isWide
          ? try block.bigEndian(UInt64.self, at: offset) : UInt64(try block.bigEndian(UInt32.self, at: offset)))
    }
    guard transaction.revoked.count <= OverlayDevice.blockLimit else { throw tooMany }
  }

  /// Checks the checksum that descriptor and revoke blocks have at their end.
  private func checkTail(_ block: [UInt8], _ transaction: inout Transaction) throws(OutOfBounds) {
    guard superblock.tailSize > 0 else { return }
    let offset = blockSize - superblock.tailSize
    let found = try ExtJournalChecksum.castagnoli(seed, block.span.bytes, without: offset)
    if try block.bigEndian(UInt32.self, at: offset) != found {
      transaction.damage = "a descriptor block of its journal does not match its checksum"
    }
  }

  /// Throws unless a transaction is what was committed.
  private func check(_ transaction: Transaction, commit: [UInt8], _ sequence: UInt32) throws {
    if superblock.tailSize > 0 {
      guard
        try commit.bigEndian(UInt32.self, at: 16)
          == ExtJournalChecksum.castagnoli(seed, commit.span.bytes, without: 16)
      else { throw volume.damaged("the commit block of transaction \(sequence) does not match its checksum") }
    }
    if superblock.hasEthernetChecksums {
      let kind = (try commit.bigEndian(UInt16.self, at: 12), try commit.bigEndian(UInt32.self, at: 16))
      // Type 1 of four bytes; or none was computed.
      guard kind == (0x0104, transaction.ethernetChecksum) || kind == (0, 0) else {
        throw volume.damaged("transaction \(sequence) of its journal does not match its checksum")
      }
    }
    if let damage = transaction.damage { throw volume.damaged(damage) }
  }

  private func apply(_ transaction: Transaction, to overlay: inout OverlayDevice) throws {
    for change in transaction.changes {
      guard change.isEscaped else {
        try overlay.redirect(change.block, to: change.source)
        continue
      }
      // Its first bytes are those of a journal block, so they were left out.
      var bytes = try volume.read("the journal", at: change.source, count: blockSize)
      bytes.storeBigEndian(ExtJournalSuperblock.magic, at: 0)
      try overlay.store(bytes.span.bytes, at: change.block)
    }
    // A revocation holds for its own transaction and all before it.
    for block in transaction.revoked { overlay.restore(block) }
  }

  /// Fast commits are changes of another kind behind the ring; they count when they are of the transaction that would
  /// have been the next.
  private func refuseFastCommits(of sequence: UInt32) throws {
    let headTag: UInt16 = 9
    for position in superblock.fastCommits.prefix(2) {
      let block = try controlBlock(position)
      if try block.littleEndian(UInt16.self, at: 0) == headTag,
        try block.littleEndian(UInt32.self, at: 8) == sequence
      {
        throw volume.needsRecovery("its journal holds fast commits (fast_commit), which only the kernel can replay")
      }
    }
  }

  private var tooMany: FileSystemError {
    volume.needsRecovery("its journal holds more changes than are replayed in memory")
  }
}

/// The first block of a JBD2 journal, checked.
struct ExtJournalSuperblock {
  static let magic: UInt32 = 0xC03B_3998

  struct Incompatible: OptionSet {
    let rawValue: UInt32
    static let wide = Incompatible(rawValue: 0x2)
    static let checksums2 = Incompatible(rawValue: 0x8)
    static let checksums3 = Incompatible(rawValue: 0x10)
    static let fastCommit = Incompatible(rawValue: 0x20)
    /// Revoke blocks, 64-bit block numbers, commit blocks that do not wait, both kinds of checksums, fast commits.
    static let known = Incompatible(rawValue: 0x3F)
  }

  let incompatible: Incompatible
  /// Whether commit blocks have the first kind of checksum.
  let hasEthernetChecksums: Bool
  /// The journal's blocks that transactions are written to in turn.
  let ring: Range<Int>
  /// The blocks behind them, for fast commits.
  let fastCommits: Range<Int>
  /// Of the first transaction to be replayed.
  let sequence: UInt32
  /// Where it begins; nil when there is none.
  let start: Int?

  /// - Parameter blockCount: of the file the journal is in.
  init(_ bytes: [UInt8], _ volume: Volume, blockSize: Int, blockCount: Int) throws {
    let type = try bytes.bigEndian(UInt32.self, at: 0x04)
    let isSecondVersion = type == 4
    guard try bytes.bigEndian(UInt32.self, at: 0x00) == Self.magic, type == 3 || isSecondVersion else {
      throw volume.damaged("its journal has no superblock")
    }
    let compatible = isSecondVersion ? try bytes.bigEndian(UInt32.self, at: 0x24) : 0
    incompatible = Incompatible(rawValue: isSecondVersion ? try bytes.bigEndian(UInt32.self, at: 0x28) : 0)
    hasEthernetChecksums = compatible & 1 != 0
    guard incompatible.isSubset(of: .known) else {
      throw volume.unsupported(
        "the journal feature FEATURE_I\(incompatible.subtracting(.known).rawValue.trailingZeroBitCount)")
    }
    if incompatible.contains(.checksums2) || incompatible.contains(.checksums3) {
      guard !incompatible.isSuperset(of: [.checksums2, .checksums3]), !hasEthernetChecksums else {
        throw volume.damaged("its journal has checksums of two kinds")
      }
      let castagnoliType: UInt8 = 4
      guard bytes[0x50] == castagnoliType else {
        throw volume.unsupported("journal checksums of type \(bytes[0x50])")
      }
      let found = try ExtJournalChecksum.castagnoli(.max, try bytes.span.bytes.slice(0, 1024), without: 0xFC)
      guard try bytes.bigEndian(UInt32.self, at: 0xFC) == found else {
        throw volume.damaged("the checksum of its journal's superblock is wrong")
      }
    }
    let ownBlockSize = try bytes.bigEndian(UInt32.self, at: 0x0C)
    let length = try bytes.bigEndian(UInt32.self, at: 0x10)
    let first = try bytes.bigEndian(UInt32.self, at: 0x14)
    let recordedFastCommits = incompatible.contains(.fastCommit) ? try bytes.bigEndian(UInt32.self, at: 0x54) : 0
    let fastCommitCount =
      incompatible.contains(.fastCommit) ? (recordedFastCommits == 0 ? 256 : recordedFastCommits) : 0
    guard Int(ownBlockSize) == blockSize, length <= blockCount, first > 0, fastCommitCount < length,
      first < length - fastCommitCount
    else {
      throw volume.damaged(
        "a journal of \(length) blocks of \(ownBlockSize) bytes from block \(first) on, in \(blockCount) blocks")
    }
    ring = Int(first)..<Int(length - fastCommitCount)
    fastCommits = ring.upperBound..<Int(length)
    guard try bytes.bigEndian(UInt32.self, at: 0x20) == 0 else {
      throw volume.damaged("its journal was given up after an error")
    }
    sequence = try bytes.bigEndian(UInt32.self, at: 0x18)
    let start = Int(try bytes.bigEndian(UInt32.self, at: 0x1C))
    guard start == 0 || ring.contains(start) else { throw volume.damaged("its journal begins at block \(start)") }
    self.start = start == 0 ? nil : start
  }

  /// Bytes of a tag in a descriptor block.
  var tagSize: Int {
    if incompatible.contains(.checksums3) { return 16 }
    return (incompatible.contains(.wide) ? 12 : 8) + (incompatible.contains(.checksums2) ? 2 : 0)
  }

  /// Bytes at the end of descriptor and revoke blocks that hold a checksum.
  var tailSize: Int { incompatible.isDisjoint(with: [.checksums2, .checksums3]) ? 0 : 4 }
}
