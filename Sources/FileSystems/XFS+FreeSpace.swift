// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The free space of XFS, gathered one allocation group after the other.
struct XFSFreeSpace {
  private let volume: Volume
  private let superblock: XFSSuperblock
  private let overlay: OverlayDevice?
  /// One bit a block of the file system.
  private(set) var bitmap: BlockBitmap
  /// Free blocks, those on the free lists and those of the free-space trees: what the superblock counts as free.
  private(set) var unallocatedBlocks: UInt64 = 0

  /// - Parameter overlay: where the log was replayed; what it replaces has no checksum until it is written.
  init(_ volume: Volume, _ superblock: XFSSuperblock, replacedIn overlay: OverlayDevice? = nil) {
    self.volume = volume
    self.overlay = overlay
    self.superblock = superblock
    // The superblock was checked to be no larger than the volume.
    bitmap = BlockBitmap(count: Int(superblock.blockCount), used: true)
  }

  /// Clears the blocks that a group's tree by block number lists, and checks them against the group's own count.
  mutating func addGroup(_ number: UInt64) throws {
    let firstBlock = number * superblock.groupBlocks
    let sectorSize = superblock.sectorSize
    let header = try volume.read(
      "the header of allocation group \(number)", at: firstBlock * UInt64(superblock.blockSize) + UInt64(sectorSize),
      count: sectorSize)
    guard try header.bigEndian(UInt32.self, at: 0) == 0x5841_4746 else {  // "XAGF"
      throw volume.damaged("allocation group \(number) has no free-space header")
    }
    if superblock.version == 5 {
      let offset = firstBlock * UInt64(superblock.blockSize) + UInt64(sectorSize)
      guard try isReplaced(offset, sectorSize) || header.hasValidXFSChecksum(at: 216) else {
        throw volume.damaged("the checksum of the free-space header of allocation group \(number) is wrong")
      }
      guard header[64..<80].elementsEqual(superblock.metadataUUID) else {
        throw volume.damaged("the free-space header of allocation group \(number) is of another file system")
      }
    }
    let length = min(superblock.groupBlocks, superblock.blockCount - firstBlock)
    let recordedNumber = try header.bigEndian(UInt32.self, at: 8)
    let recordedLength = try header.bigEndian(UInt32.self, at: 12)
    guard recordedNumber == number, recordedLength == length else {
      throw volume.damaged(
        "allocation group \(number) of \(length) blocks says it is number \(recordedNumber) of \(recordedLength) blocks"
      )
    }
    let levels = Int(try header.bigEndian(UInt32.self, at: 28))
    guard 1...10 ~= levels else {
      throw volume.damaged("a free-space tree of \(levels) levels in allocation group \(number)")
    }
    // Superblock, free-space header, inode header and free list have a sector each.
    let reserved = UInt64((4 * sectorSize + superblock.blockSize - 1) / superblock.blockSize)
    var group = Group(number: number, firstBlock: firstBlock, length: length, end: reserved, reserved: reserved)
    try walk(block: UInt64(header.bigEndian(UInt32.self, at: 16)), level: levels - 1, isRoot: true, &group)

    let recordedFree = UInt64(try header.bigEndian(UInt32.self, at: 52))
    guard group.freeBlocks == recordedFree else {
      throw volume.damaged(
        "the free-space tree of allocation group \(number) lists \(group.freeBlocks) blocks, its header \(recordedFree)"
      )
    }
    unallocatedBlocks += recordedFree
    unallocatedBlocks += UInt64(try header.bigEndian(UInt32.self, at: 48))
    unallocatedBlocks += UInt64(try header.bigEndian(UInt32.self, at: 60))
  }

  /// Takes back what was found of a group, so that it adds nothing to another map.
  mutating func disregardGroup(_ number: UInt64) {
    let first = Int(number * superblock.groupBlocks)
    bitmap.set(first..<(first + Int(superblock.groupBlocks)), used: false)
  }

  private func isReplaced(_ offset: UInt64, _ count: Int) -> Bool { overlay?.replaces(offset, UInt64(count)) ?? false }

  private struct Group {
    let number: UInt64
    let firstBlock: UInt64
    let length: UInt64
    /// Where the last extent ended: extents are in order and do not overlap, which also bounds the walk.
    var end: UInt64
    let reserved: UInt64
    var freeBlocks: UInt64 = 0
  }

  private mutating func walk(block: UInt64, level: Int, isRoot: Bool, _ group: inout Group) throws {
    guard block >= group.reserved, block < group.length else {
      throw volume.damaged("a free-space tree block at block \(block) of allocation group \(group.number)")
    }
    let position = group.firstBlock + block
    let node = try volume.read(
      "a free-space tree block", at: position * UInt64(superblock.blockSize), count: superblock.blockSize)
    let headerSize = try check(node, position, level, group)
    let recordCount = Int(try node.bigEndian(UInt16.self, at: 6))
    let pairSize = 8  // start and count, 32 bits each
    let pointerSize = 4
    let capacity = (superblock.blockSize - headerSize) / (level == 0 ? pairSize : pairSize + pointerSize)
    guard recordCount <= capacity, recordCount > 0 || (isRoot && level == 0) else {
      throw volume.damaged("\(recordCount) records in the free-space tree block at block \(position)")
    }
    for index in 0..<recordCount {
      let pair = headerSize + index * pairSize
      let start = UInt64(try node.bigEndian(UInt32.self, at: pair))
      guard level == 0 else {
        let pointer = headerSize + capacity * pairSize + index * pointerSize
        try walk(block: UInt64(node.bigEndian(UInt32.self, at: pointer)), level: level - 1, isRoot: false, &group)
        continue
      }
      let count = UInt64(try node.bigEndian(UInt32.self, at: pair + 4))
      guard count > 0, start >= group.end, start + count <= group.length else {
        throw volume.damaged("\(count) free blocks at block \(start) of allocation group \(group.number)")
      }
      group.end = start + count
      group.freeBlocks += count
      let first = Int(group.firstBlock + start)
      bitmap.set(first..<(first + Int(count)), used: false)
    }
  }

  /// - Returns: the size of the block's header in bytes.
  private func check(_ node: [UInt8], _ position: UInt64, _ level: Int, _ group: Group) throws -> Int {
    let checksummed = superblock.version == 5
    let magic: UInt32 = checksummed ? 0x4142_3342 : 0x4142_5442  // "AB3B", "ABTB"
    guard try node.bigEndian(UInt32.self, at: 0) == magic else {
      throw volume.damaged("block \(position) is no free-space tree block")
    }
    guard try node.bigEndian(UInt16.self, at: 4) == level else {
      throw volume.damaged("the free-space tree block at block \(position) is not of level \(level)")
    }
    guard checksummed else { return 16 }
    guard
      try isReplaced(position * UInt64(superblock.blockSize), superblock.blockSize)
        || node.hasValidXFSChecksum(at: 52)
    else {
      throw volume.damaged("the checksum of the free-space tree block at block \(position) is wrong")
    }
    guard try node.bigEndian(UInt64.self, at: 16) == position * UInt64(superblock.blockSize / 512),
      node[32..<48].elementsEqual(superblock.metadataUUID), try node.bigEndian(UInt32.self, at: 48) == group.number
    else { throw volume.damaged("the free-space tree block at block \(position) belongs elsewhere") }
    return 56
  }
}
