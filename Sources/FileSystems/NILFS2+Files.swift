// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The files of metadata that a super root leads to: the disk address translation file (DAT), whose blocks are found by
/// their places on disk, and the segment usage file, whose blocks are found through the DAT.
struct NILFS2Files {
  private let volume: Volume
  private let superblock: NILFS2Superblock
  private let translation: [UInt8]
  private let usage: [UInt8]

  /// Of an inode, its place in it: the root of a B-tree, or addresses.
  private static let mappingOffset = 56
  private static let mappingSize = 56

  init(_ volume: Volume, _ superblock: NILFS2Superblock, superRoot: [UInt8]) throws(OutOfBounds) {
    self.volume = volume
    self.superblock = superblock
    // Three inodes: DAT, checkpoints, segment usage.
    let first = 16
    let size = superblock.inodeSize
    translation = try superRoot.span.bytes.array(at: first + Self.mappingOffset, count: Self.mappingSize)
    usage = try superRoot.span.bytes.array(at: first + 2 * size + Self.mappingOffset, count: Self.mappingSize)
  }

  /// What the header of the segment usage file counts.
  struct UsageCounts {
    let clean: UInt64
    let dirty: UInt64
  }

  /// Calls `body` with each segment in use, or known as bad, in order.
  /// - Returns: the counts the file has of its own.
  func forEachUsedSegment(_ body: (UInt64) throws -> Void) throws -> UsageCounts {
    let size = superblock.segmentUsageSize
    let perBlock = UInt64(superblock.blockSize / size)
    // The header takes the place of the first entries.
    let headerSize = 24
    let skipped = UInt64((headerSize + size - 1) / size)
    guard let first = try usageBlock(0) else { throw volume.damaged("the segment usage file has no first block") }
    let counts = UsageCounts(
      clean: try first.littleEndian(UInt64.self, at: 0), dirty: try first.littleEndian(UInt64.self, at: 8))
    var segment: UInt64 = 0
    while segment < superblock.segmentCount {
      let index = (segment + skipped) / perBlock
      let end = min((index + 1) * perBlock - skipped, superblock.segmentCount)
      // A hole stands for clean segments.
      if let block = try usageBlock(index) {
        for number in segment..<end {
          let entry = Int((number + skipped) % perBlock) * size
          if try block.littleEndian(UInt32.self, at: entry + 12) != 0 { try body(number) }
        }
      }
      segment = end
    }
    return counts
  }

  /// - Returns: nil for a hole.
  private func usageBlock(_ index: UInt64) throws -> [UInt8]? {
    guard let address = try lookUp(index, in: usage, { try place(of: $0) }) else { return nil }
    return try read("the segment usage file", place(of: address))
  }

  /// Where a block of a file is, by the DAT's entry of that number.
  ///
  /// The DAT consists of groups of as many entries as a block has bits. A group has a block with its bitmap in front of
  /// the entries; as many groups as a block has room for 4-byte descriptors have a block of these in front of them.
  private func place(of address: UInt64) throws -> UInt64 {
    let size = UInt64(superblock.blockSize)
    let perBlock = size / UInt64(superblock.translationEntrySize)
    let perGroup = size * 8
    let blocksPerGroup = (perGroup + perBlock - 1) / perBlock + 1
    let groupsPerDescriptors = size / 4
    let group = address / perGroup
    let within = address % perGroup
    // Far from overflow: a group takes more entries than it takes blocks.
    let block =
      group / groupsPerDescriptors * (groupsPerDescriptors * blocksPerGroup + 1) + 1
      + group % groupsPerDescriptors * blocksPerGroup + 1 + within / perBlock
    guard let place = try lookUp(block, in: translation, { $0 }) else {
      throw volume.damaged("the translation file has no block for address \(address)")
    }
    return try read("the translation file", place)
      .littleEndian(UInt64.self, at: Int(within % perBlock) * superblock.translationEntrySize)
  }

  /// The address of a block of a file.
  /// - Parameters:
  ///   - mapping: in the file's inode.
  ///   - place: translates the addresses of the B-tree's own blocks.
  /// - Returns: nil for a hole.
  private func lookUp(_ index: UInt64, in mapping: [UInt8], _ place: (UInt64) throws -> UInt64) throws -> UInt64? {
    let isTree = mapping[0] & 1 != 0
    let pointers = 8
    guard isTree else {
      let directCount: UInt64 = 6
      guard index < directCount else { return nil }
      return Self.valid(try mapping.littleEndian(UInt64.self, at: pointers + 8 * Int(index)))
    }
    // The root has room for three children, its keys being at byte 8; other nodes fill a block, with keys at byte 16.
    var node = mapping
    var keys = pointers
    var capacity = (Self.mappingSize - keys) / 16
    var level = mapping[1]
    let levelLimit = 14
    guard 1..<levelLimit ~= Int(level) else { throw volume.damaged("a B-tree of \(level) levels") }
    while true {
      let count = Int(try node.littleEndian(UInt16.self, at: 2))
      guard count <= capacity else { throw volume.damaged("a B-tree node of \(count) children, at most \(capacity)") }
      // The last key that is not larger.
      var low = 0
      var high = count
      while low < high {
        let middle = (low + high) / 2
        let key = try node.littleEndian(UInt64.self, at: keys + 8 * middle)
        if key <= index { low = middle + 1 } else { high = middle }
      }
      guard low > 0 else { return nil }
      let address = try node.littleEndian(UInt64.self, at: keys + 8 * (capacity + low - 1))
      if level == 1 {
        guard try node.littleEndian(UInt64.self, at: keys + 8 * (low - 1)) == index else { return nil }
        return Self.valid(address)
      }
      node = try read("a B-tree node", place(address))
      level -= 1
      guard node[1] == level else { throw volume.damaged("a B-tree node of level \(node[1]), not \(level)") }
      keys = 16
      capacity = (superblock.blockSize - keys) / 16
    }
  }

  private static func valid(_ address: UInt64) -> UInt64? {
    let invalid: UInt64 = 0
    return address == invalid ? nil : address
  }

  private func read(_ what: @autoclosure () -> String, _ block: UInt64) throws -> [UInt8] {
    let size = UInt64(superblock.blockSize)
    guard block > 0, block < superblock.segmentCount * superblock.blocksPerSegment else {
      throw volume.damaged("\(what()) has a block at block \(block)")
    }
    return try volume.read(what(), at: block * size, count: Int(size))
  }
}
