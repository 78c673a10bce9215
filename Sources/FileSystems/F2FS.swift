// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// F2FS: all in front of the main area, the blocks of it that the segment information table (SIT) marks as valid at
/// the last checkpoint, and what fsync has written since.
///
/// fsync writes nodes into one chain without a checkpoint; mounting after a crash follows that chain, also when the last
/// checkpoint was that of an unmount: mounting alone writes none.
/// Source: Linux, Documentation/filesystems/f2fs.rst and include/linux/f2fs_fs.h.
struct F2FS: FileSystemReader {
  private let volume: Volume
  private let superblock: F2FSSuperblock

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .f2fs)
    guard let superblock = try F2FSSuperblock(volume) else { return nil }
    self.superblock = superblock
  }

  var identity: FileSystemIdentity {
    FileSystemIdentity(
      kind: .f2fs, uuid: UUIDText.text(of: superblock.uuid[...]), label: superblock.label,
      byteCount: UInt64(superblock.blockCount) * UInt64(superblock.blockSize))
  }

  func allocationMap() throws -> AllocationMap {
    try superblock.refuseUnknownFeatures(volume)
    return try volume.parsing("a table") {
      let checkpoint = try F2FSCheckpoint.newest(superblock, volume)
      var space = F2FSUsedSpace(volume, superblock, checkpoint)
      try space.addSegments()
      let nodeCount = superblock.isReadOnly ? 0 : try space.addNodesSinceCheckpoint()
      var warnings: [String] = []
      if !checkpoint.isCleanlyUnmounted || nodeCount > 0 {
        warnings.append(
          "\(volume.device.name): was not cleanly unmounted; \(nodeCount) nodes written since its last checkpoint are "
            + "saved along")
      }
      if checkpoint.wantsCheck {
        warnings.append("\(volume.device.name): its last checkpoint asks for fsck.f2fs")
      }
      return AllocationMap(
        identity: identity, blockSize: superblock.blockSize, bitmap: space.bitmap, warnings: warnings)
    }
  }
}

/// The used blocks, gathered from the segments and the chain of nodes.
private struct F2FSUsedSpace {
  let volume: Volume
  let superblock: F2FSSuperblock
  let checkpoint: F2FSCheckpoint
  private(set) var bitmap: BlockBitmap

  init(_ volume: Volume, _ superblock: F2FSSuperblock, _ checkpoint: F2FSCheckpoint) {
    self.volume = volume
    self.superblock = superblock
    self.checkpoint = checkpoint
    bitmap = BlockBitmap(count: superblock.blockCount, used: true)
    bitmap.set(superblock.mainBlocks, used: false)
  }

  /// Bytes: a 16-bit count with the segment's type in its upper six bits, a bit a block, a time stamp.
  private static let entrySize = 74

  /// Marks the valid blocks of all segments, and checks their numbers against the checkpoint's.
  mutating func addSegments() throws {
    let journal = try readJournal()
    let entriesPerBlock = superblock.blockSize / Self.entrySize
    let blockCount = (superblock.mainSegmentCount + entriesPerBlock - 1) / entriesPerBlock
    guard blockCount <= superblock.segmentTableBlockCount, (blockCount + 7) / 8 <= checkpoint.segmentTableBitmap.count
    else { throw volume.damaged("the SIT has too few blocks for \(superblock.mainSegmentCount) segments") }
    var nodeCount: UInt64 = 0
    var total: UInt64 = 0
    for index in 0..<blockCount {
      let isInSecondArea = checkpoint.segmentTableBitmap[index >> 3] >> UInt8(7 - index & 7) & 1 == 1
      let table = try read(
        "the SIT", superblock.segmentTableStart + index + (isInSecondArea ? superblock.segmentTableBlockCount : 0))
      for entry in 0..<min(entriesPerBlock, superblock.mainSegmentCount - index * entriesPerBlock) {
        let segment = index * entriesPerBlock + entry
        let bytes = try table.span.bytes.slice(entry * Self.entrySize, Self.entrySize)
        let count: (isNode: Bool, valid: Int)
        if let newer = journal[UInt32(segment)] {
          count = try add(segment: segment, newer.span.bytes)
        } else {
          count = try add(segment: segment, bytes)
        }
        total += UInt64(count.valid)
        if count.isNode { nodeCount += UInt64(count.valid) }
      }
    }
    // Room that was promised to a file, but not written to, counts as valid in the checkpoint only.
    guard nodeCount == checkpoint.validNodeCount, total <= checkpoint.validBlockCount else {
      throw volume.damaged(
        "the SIT has \(total) valid blocks, \(nodeCount) of them nodes; the checkpoint counts "
          + "\(checkpoint.validBlockCount) and \(checkpoint.validNodeCount)")
    }
  }

  /// Entries of the SIT that are newer than the table's, by segment.
  private func readJournal() throws -> [UInt32: [UInt8]] {
    let (block, offset) = checkpoint.segmentJournal
    let bytes = try read("the journal of the SIT", block)
    let count = Int(try bytes.littleEndian(UInt16.self, at: offset))
    let journalSize = superblock.blockSize / 8 - 5
    let limit = (journalSize - 2) / (4 + Self.entrySize)
    guard count <= limit else { throw volume.damaged("\(count) entries in the journal of the SIT, at most \(limit)") }
    var entries: [UInt32: [UInt8]] = [:]
    for index in 0..<count {
      let start = offset + 2 + index * (4 + Self.entrySize)
      let segment = try bytes.littleEndian(UInt32.self, at: start)
      guard segment < superblock.mainSegmentCount else {
        throw volume.damaged("the journal of the SIT has segment \(segment) of \(superblock.mainSegmentCount)")
      }
      entries[segment] = try bytes.span.bytes.array(at: start + 4, count: Self.entrySize)
    }
    return entries
  }

  /// Marks the valid blocks of a segment.
  private mutating func add(segment: Int, _ entry: RawSpan) throws -> (isNode: Bool, valid: Int) {
    let field = try entry.littleEndian(UInt16.self, at: 0)
    let expected = Int(field & 0x3FF)
    let start = superblock.mainStart + segment * F2FSSuperblock.blocksPerSegment
    var valid = 0
    for word in 0..<(F2FSSuperblock.blocksPerSegment / 64) {
      // Bit 63 is the first block.
      var bits = try entry.bigEndian(UInt64.self, at: 2 + 8 * word)
      valid += bits.nonzeroBitCount
      var block = start + 64 * word
      while bits != 0 {
        let free = bits.leadingZeroBitCount
        let used = (~(bits << free)).leadingZeroBitCount
        bitmap.set((block + free)..<(block + free + used))
        block += free + used
        bits <<= free + used
      }
    }
    guard valid == expected else {
      throw volume.damaged("segment \(segment) counts \(expected) valid blocks, but marks \(valid)")
    }
    let firstNodeType: UInt16 = 3
    return (field >> 10 >= firstNodeType, valid)
  }

  /// Marks the nodes that fsync has written since the checkpoint, and the data they point at.
  ///
  /// The block where the chain ends is marked too: a disk that is restored to might have a block there that goes on with
  /// the chain.
  /// - Returns: how many nodes there are.
  mutating func addNodesSinceCheckpoint() throws -> Int {
    let main = superblock.mainBlocks
    var visited = BlockBitmap(count: main.count)
    let (segment, offset) = checkpoint.nextWarmNode
    guard segment < superblock.mainSegmentCount, offset <= F2FSSuperblock.blocksPerSegment else {
      throw volume.damaged("the next node should be at block \(offset) of segment \(segment)")
    }
    var count = 0
    var block = main.lowerBound + Int(segment) * F2FSSuperblock.blocksPerSegment + Int(offset)
    while main.contains(block), !visited[block - main.lowerBound] {
      visited[block - main.lowerBound] = true
      bitmap.set(block..<(block + 1))
      let bytes = try read("a node", block)
      let footer = bytes.count - Self.footerSize
      guard checkpoint.isFollowed(byNodeOfVersion: try bytes.littleEndian(UInt64.self, at: footer + 12)) else { break }
      count += 1
      // Inodes have other fields too, where a number may look like an address: that only makes the map larger.
      let isInode = try bytes.littleEndian(UInt32.self, at: footer) == bytes.littleEndian(UInt32.self, at: footer + 4)
      for position in stride(from: isInode ? Self.inodeAddresses : 0, to: footer, by: 4) {
        let address = Int(try bytes.littleEndian(UInt32.self, at: position))
        if main.contains(address) { bitmap.set(address..<(address + 1)) }
      }
      block = Int(try bytes.littleEndian(UInt32.self, at: footer + 20))
    }
    return count
  }

  /// Bytes at the end of a node: its number, its inode's, flags, the checkpoint's version, the next node in the chain.
  private static let footerSize = 24
  /// Where an inode's addresses of data begin.
  private static let inodeAddresses = 360

  private func read(_ what: @autoclosure () -> String, _ block: Int) throws -> [UInt8] {
    try volume.read(what(), at: UInt64(block) * UInt64(superblock.blockSize), count: superblock.blockSize)
  }
}
