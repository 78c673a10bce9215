// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
public import SystemPackage

/// Writes empty HFS Plus volumes: Debian's main archive has no tool that makes them (`hfsprogs` is non-free).
///
/// Source: Apple, Technical Note TN1150, HFS Plus Volume Format.
public struct HFSPlusVolume {
  public var byteCount: Int
  public var blockSize = 4096
  public var name = "Lärm 3"
  /// HFSX, which may tell capital letters from small ones.
  public var isCaseSensitive = false
  /// The allocation file's pieces lie apart; with more than eight, the rest stand in the extents overflow file.
  public var allocationPieces = 1
  /// What the volume's journal is to look like; nil for none.
  public var journal: Journal?
  /// Bytes of an HFS volume put before this one; a multiple of 512.
  public var wrapper = 0

  public enum Journal: Sendable { case empty, full, toBeInitialised, elsewhere }

  private let nodeSize = 4096

  public init(byteCount: Int) { self.byteCount = byteCount }

  private var blockCount: Int { byteCount / blockSize }

  /// Creates the file.
  /// - Returns: the blocks that are used, in order.
  @discardableResult
  public func write(_ path: FilePath) async throws -> [Range<Int>] {
    try await tool("truncate", "-s", "\(wrapper + byteCount)", path.string)
    let device = try FileDevice(path: path, access: .readWrite)
    func put(_ bytes: [UInt8], block: Int) throws {
      try device.write(bytes.span.bytes, at: UInt64(wrapper + block * blockSize))
    }
    // The header, the files one after another, the allocation file's pieces with gaps, the header's copy.
    var next = (1536 + blockSize - 1) / blockSize
    var used = [0..<next]
    func allocate(_ byteCount: Int) -> Range<Int> {
      let extent = next..<(next + (byteCount + blockSize - 1) / blockSize)
      next = extent.upperBound
      used.append(extent)
      return extent
    }
    let extentsFile = allocate(nodeSize * 4)
    let catalogFile = allocate(nodeSize * 64)
    let journalInfo = journal == nil ? nil : allocate(blockSize)
    let journalPlace = journal == nil ? nil : allocate(65536)
    let bitmapBlocks = ((blockCount + 7) / 8 + blockSize - 1) / blockSize
    var pieces: [Range<Int>] = []
    for piece in 0..<allocationPieces {
      let share = (piece + 1) * bitmapBlocks / allocationPieces - piece * bitmapBlocks / allocationPieces
      pieces.append(allocate(share * blockSize))
      if allocationPieces > 1 { next += 3 }
    }
    let copyBlock = (byteCount - 1024) / blockSize
    if copyBlock < blockCount { used.append(copyBlock..<blockCount) }

    var bitmap = [UInt8](repeating: 0, count: bitmapBlocks * blockSize)
    for block in used.joined() { bitmap[block / 8] |= 0x80 >> UInt8(block % 8) }
    var done = 0
    for piece in pieces {
      try put(Array(bitmap[done..<(done + piece.count * blockSize)]), block: piece.lowerBound)
      done += piece.count * blockSize
    }
    let overflow = pieces.count > 8 ? overflowLeaf(pieces) : nil
    try put(
      treeHeader(nodes: 4, leaf: overflow, maxKeyLength: 10, attributes: 2, comparison: 0)
        + (overflow ?? []), block: extentsFile.lowerBound)
    let catalog = catalogLeaf()
    try put(
      treeHeader(
        nodes: 64, leaf: catalog, maxKeyLength: 516, attributes: 6, comparison: isCaseSensitive ? 0xBC : 0xCF)
        + catalog, block: catalogFile.lowerBound)

    var header = [UInt8](repeating: 0, count: 512)
    header.store(bytes: Array((isCaseSensitive ? "HX" : "H+").utf8), at: 0)
    header.storeBigEndian(UInt16(isCaseSensitive ? 5 : 4), at: 2)
    header.storeBigEndian(UInt32(0x100 | (journal == nil ? 0 : 0x2000)), at: 4)
    header.store(bytes: Array((journal == nil ? "10.0" : "HFSJ").utf8), at: 8)
    for date in [16, 20, 28] { header.storeBigEndian(UInt32(0xD000_0000), at: date) }
    header.storeBigEndian(UInt32(blockSize), at: 40)
    header.storeBigEndian(UInt32(blockCount), at: 44)
    header.storeBigEndian(UInt32(blockCount - used.reduce(0) { $0 + $1.count }), at: 48)
    header.storeBigEndian(UInt32(next), at: 52)
    header.storeBigEndian(UInt32(blockSize), at: 56)
    header.storeBigEndian(UInt32(blockSize), at: 60)
    header.storeBigEndian(UInt32(16), at: 64)
    header.storeBigEndian(UInt64(1), at: 72)
    header.store(bytes: [1, 2, 3, 4, 5, 6, 7, 8], at: 104)
    store([UInt64(bitmap.count)], pieces.prefix(8), blocks: bitmapBlocks, at: 112, in: &header)
    store([UInt64(nodeSize * 4)], [extentsFile], blocks: extentsFile.count, at: 192, in: &header)
    store([UInt64(nodeSize * 64)], [catalogFile], blocks: catalogFile.count, at: 272, in: &header)
    if let journal, let journalInfo, let journalPlace {
      header.storeBigEndian(UInt32(journalInfo.lowerBound), at: 12)
      var info = [UInt8](repeating: 0, count: blockSize)
      info.storeBigEndian(UInt32(journal == .elsewhere ? 2 : journal == .toBeInitialised ? 5 : 1), at: 0)
      info.storeBigEndian(UInt64(journalPlace.lowerBound * blockSize), at: 36)
      info.storeBigEndian(UInt64(65536), at: 44)
      try put(info, block: journalInfo.lowerBound)
      if journal != .toBeInitialised {
        var log = [UInt8](repeating: 0, count: 512)
        log.store(UInt32(0x4A4E_4C78), at: 0)
        log.store(UInt32(0x1234_5678), at: 4)
        log.store(UInt64(512), at: 8)
        log.store(UInt64(journal == .full ? 4096 : 512), at: 16)
        log.store(UInt64(65536), at: 24)
        log.store(UInt32(4096), at: 32)
        log.store(UInt32(512), at: 40)
        try put(log, block: journalPlace.lowerBound)
      }
    }
    try device.write(header.span.bytes, at: UInt64(wrapper + 1024))
    try device.write(header.span.bytes, at: UInt64(wrapper + byteCount - 1024))
    if wrapper > 0 { try device.write(wrapperHeader().span.bytes, at: 1024) }
    return used
  }

  /// A fork: its size, then as many extents as there are, up to eight.
  private func store(
    _ size: [UInt64], _ extents: some Sequence<Range<Int>>, blocks: Int, at offset: Int, in header: inout [UInt8]
  ) {
    header.storeBigEndian(size[0], at: offset)
    header.storeBigEndian(UInt32(blockSize), at: offset + 8)
    header.storeBigEndian(UInt32(blocks), at: offset + 12)
    store(extents, at: offset + 16, in: &header)
  }

  private func store(_ extents: some Sequence<Range<Int>>, at offset: Int, in bytes: inout [UInt8]) {
    for (index, extent) in extents.enumerated() {
      bytes.storeBigEndian(UInt32(extent.lowerBound), at: offset + index * 8)
      bytes.storeBigEndian(UInt32(extent.count), at: offset + index * 8 + 4)
    }
  }

  /// The master directory block of an HFS volume around this one.
  private func wrapperHeader() -> [UInt8] {
    var block = [UInt8](repeating: 0, count: 512)
    block.store(bytes: Array("BD".utf8), at: 0)
    block.storeBigEndian(UInt16(3), at: 14)
    block.storeBigEndian(UInt16(100), at: 18)
    block.storeBigEndian(UInt32(512), at: 20)
    block.storeBigEndian(UInt16(8), at: 28)
    block.store(bytes: Array("H+".utf8), at: 124)
    block.storeBigEndian(UInt16(wrapper / 512 - 8), at: 126)
    block.storeBigEndian(UInt16(100), at: 128)
    return block
  }

  // MARK: B-trees

  private func node(kind: UInt8, height: UInt8, records: [[UInt8]]) -> [UInt8] {
    var node = [UInt8](repeating: 0, count: nodeSize)
    node[8] = kind
    node[9] = height
    node.storeBigEndian(UInt16(records.count), at: 10)
    var position = 14
    for (index, record) in records.enumerated() {
      node.storeBigEndian(UInt16(position), at: nodeSize - 2 * (index + 1))
      node.store(bytes: record, at: position)
      position += record.count
    }
    node.storeBigEndian(UInt16(position), at: nodeSize - 2 * (records.count + 1))
    return node
  }

  /// Node 0; the only leaf, if there is one, is node 1.
  private func treeHeader(
    nodes: Int, leaf: [UInt8]?, maxKeyLength: Int, attributes: UInt32, comparison: UInt8
  ) -> [UInt8] {
    var record = [UInt8](repeating: 0, count: 106)
    var map = [UInt8](repeating: 0, count: nodeSize - 14 - 106 - 128 - 8)
    map[0] = leaf == nil ? 0x80 : 0xC0
    if let leaf {
      record.storeBigEndian(UInt16(1), at: 0)
      for place in [2, 10, 14] { record.storeBigEndian(UInt32(1), at: place) }
      record.storeBigEndian(UInt32(leaf[11]), at: 6)
    }
    record.storeBigEndian(UInt16(nodeSize), at: 18)
    record.storeBigEndian(UInt16(maxKeyLength), at: 20)
    record.storeBigEndian(UInt32(nodes), at: 22)
    record.storeBigEndian(UInt32(nodes - (leaf == nil ? 1 : 2)), at: 26)
    record.storeBigEndian(UInt32(nodes * nodeSize), at: 32)
    record[37] = comparison
    record.storeBigEndian(attributes, at: 38)
    return node(kind: 1, height: 0, records: [record, [UInt8](repeating: 0, count: 128), map])
  }

  /// The root folder and its thread.
  private func catalogLeaf() -> [UInt8] {
    func key(parent: UInt32, name: String) -> [UInt8] {
      let characters = Array(name.utf16)
      var key = [UInt8](repeating: 0, count: 8)
      key.storeBigEndian(UInt16(6 + 2 * characters.count), at: 0)
      key.storeBigEndian(parent, at: 2)
      key.storeBigEndian(UInt16(characters.count), at: 6)
      for character in characters { key.append(littleEndian: character.byteSwapped) }
      return key
    }
    var folder = [UInt8](repeating: 0, count: 88)
    folder.storeBigEndian(UInt16(1), at: 0)
    folder.storeBigEndian(UInt32(2), at: 8)
    for date in [12, 16, 20, 24] { folder.storeBigEndian(UInt32(0xD000_0000), at: date) }
    folder.storeBigEndian(UInt16(0o40755), at: 42)
    var thread: [UInt8] = [0, 3, 0, 0, 0, 0, 0, 1]
    thread += key(parent: 0, name: name)[6...]
    return node(
      kind: 0xFF, height: 1, records: [key(parent: 1, name: name) + folder, key(parent: 2, name: "") + thread])
  }

  /// The extents of the allocation file from the ninth on.
  private func overflowLeaf(_ pieces: [Range<Int>]) -> [UInt8] {
    var records: [[UInt8]] = []
    for first in stride(from: 8, to: pieces.count, by: 8) {
      var record = [UInt8](repeating: 0, count: 12 + 64)
      record.storeBigEndian(UInt16(10), at: 0)
      record.storeBigEndian(UInt32(6), at: 4)
      record.storeBigEndian(UInt32(pieces[..<first].reduce(0) { $0 + $1.count }), at: 8)
      store(pieces[first..<min(first + 8, pieces.count)], at: 12, in: &record)
      records.append(record)
    }
    return node(kind: 0xFF, height: 1, records: records)
  }
}
