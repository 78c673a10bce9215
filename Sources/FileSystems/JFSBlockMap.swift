// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The block allocation map of JFS: the file of aggregate inode 2, in pages of 4096 bytes.
///
/// Page 0 counts; the pages that matter describe 8192 blocks each, with two bitmaps: the working one and the persistent
/// one, which lags behind it until a file is really gone.
struct JFSBlockMap {
  private let volume: Volume
  private let superblock: JFSSuperblock
  /// The file's extents in order.
  let extents: [JFSExtent]
  /// The blocks of the tree that lists the extents.
  let treePages: [UInt64]
  /// Entry i: where extent i begins in the file, in pages.
  private let starts: [UInt64]

  private static let pageSize = 4096
  private static let blocksPerPage = 8192

  init(_ volume: Volume, _ superblock: JFSSuperblock) throws {
    self.volume = volume
    self.superblock = superblock
    let inodeSize = 512
    let tableOffset: UInt64 = 0xB000
    let inode = try volume.read("the inode of the block map", at: tableOffset + 2 * UInt64(inodeSize), count: inodeSize)
    var tree = JFSExtentTree(volume: volume)
    try tree.collect(Array(inode[224...]), level: 0)
    extents = tree.extents
    starts = tree.starts
    treePages = tree.pages
  }

  func bitmap() throws -> BlockBitmap {
    let head = try page(0)
    let size = try head.littleEndian(UInt64.self, at: 0)
    let available = superblock.blockCount
    guard size > 0, size <= available else {
      throw volume.damaged("its block map describes \(size) of \(available) blocks")
    }
    var bitmap = BlockBitmap(count: Int(size))
    var free: UInt64 = 0
    for start in stride(from: 0, to: Int(size), by: Self.blocksPerPage) {
      // Between the pages of bits stand summaries of 1024 pages each, of 1024 such summaries, and of all of them.
      let number = UInt64(start >> 13) + UInt64(start >> 23) + UInt64(start >> 33) + 4
      let page = try page(number)
      let count = min(Self.blocksPerPage, Int(size) - start)
      guard try page.littleEndian(UInt32.self, at: 0) == UInt32(count),
        try page.littleEndian(UInt64.self, at: 8) == UInt64(start)
      else { throw volume.damaged("page \(number) of its block map is not that of block \(start)") }
      let working = try Self.bits(page, at: 2048)
      let persistent = try Self.bits(page, at: 3072)
      try bitmap.formUnion(at: start, count: count, leastSignificantBitFirst: working.span.bytes)
      let freeHere = count - bitmap.usedCount(in: start..<(start + count))
      guard try page.littleEndian(UInt32.self, at: 4) == UInt32(freeHere) else {
        throw volume.damaged("page \(number) of its block map counts other free blocks than the \(freeHere) it has")
      }
      free += UInt64(freeHere)
      try bitmap.formUnion(at: start, count: count, leastSignificantBitFirst: persistent.span.bytes)
    }
    let counted = try head.littleEndian(UInt64.self, at: 8)
    guard counted == free else {
      throw volume.damaged("its block map has \(free) free blocks, but counts \(counted)")
    }
    return bitmap
  }

  /// A bitmap of a page, least significant bit first: on disk each 32-bit word begins with its most significant bit.
  private static func bits(_ page: [UInt8], at offset: Int) throws(OutOfBounds) -> [UInt8] {
    var bits: [UInt8] = []
    bits.reserveCapacity(blocksPerPage / 8)
    for position in stride(from: offset, to: offset + blocksPerPage / 8, by: 4) {
      var word = try page.littleEndian(UInt32.self, at: position)
      word = word >> 16 | word << 16
      word = word >> 8 & 0x00FF_00FF | (word & 0x00FF_00FF) << 8
      word = word >> 4 & 0x0F0F_0F0F | (word & 0x0F0F_0F0F) << 4
      word = word >> 2 & 0x3333_3333 | (word & 0x3333_3333) << 2
      word = word >> 1 & 0x5555_5555 | (word & 0x5555_5555) << 1
      bits.append(littleEndian: word)
    }
    return bits
  }

  private func page(_ number: UInt64) throws -> [UInt8] {
    // The last extent that does not begin behind the page.
    var low = 0
    var high = starts.count
    while low < high {
      let middle = (low + high) / 2
      if starts[middle] <= number { low = middle + 1 } else { high = middle }
    }
    guard low > 0, number - starts[low - 1] < UInt64(extents[low - 1].blocks.count) else {
      throw volume.damaged("its block map lacks page \(number)")
    }
    let block = extents[low - 1].blocks.lowerBound + (number - starts[low - 1])
    return try volume.read(
      "page \(number) of the block map", at: block * UInt64(superblock.blockSize), count: Self.pageSize)
  }
}

/// The tree that lists a file's extents, with its root in the inode.
private struct JFSExtentTree {
  let volume: Volume
  private(set) var extents: [JFSExtent] = []
  private(set) var starts: [UInt64] = []
  private(set) var pages: [UInt64] = []
  private var end: UInt64 = 0

  private static let pageSize = 4096
  private static let entrySize = 16
  private static let levelLimit = 8

  init(volume: Volume) { self.volume = volume }

  /// Adds all extents below a node: a header of two entries' size, then the entries.
  mutating func collect(_ node: [UInt8], level: Int) throws {
    let leafFlag: UInt8 = 2
    let count = Int(try node.littleEndian(UInt16.self, at: 18))
    guard level < Self.levelLimit, 3...(node.count / Self.entrySize) ~= count else {
      throw volume.damaged("a node of \(count) entries at level \(level) of the block map's extents")
    }
    for position in stride(from: 2 * Self.entrySize, to: count * Self.entrySize, by: Self.entrySize) {
      let extent = try JFSExtent(node, at: position + 8)
      if node[16] & leafFlag != 0 {
        let start = UInt64(node[position + 3]) << 32 | UInt64(try node.littleEndian(UInt32.self, at: position + 4))
        guard start >= end, !extent.blocks.isEmpty else { throw volume.damaged("the block map's extents overlap") }
        end = start + UInt64(extent.blocks.count)
        starts.append(start)
        extents.append(extent)
      } else {
        // In order and never empty: so no node is met twice.
        let block = extent.blocks.lowerBound
        pages.append(block)
        try collect(
          volume.read("a node of the block map's extents", at: block * UInt64(Self.pageSize), count: Self.pageSize),
          level: level + 1)
      }
    }
  }
}
