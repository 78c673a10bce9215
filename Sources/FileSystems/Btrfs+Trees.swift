// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The key of an item, in the order of its fields.
struct BtrfsKey {
  let objectID: UInt64
  let type: UInt8
  let offset: UInt64

  static let byteCount = 17

  init(_ bytes: RawSpan, at position: Int) throws {
    objectID = try bytes.littleEndian(UInt64.self, at: position)
    type = try bytes.byte(at: position + 8)
    offset = try bytes.littleEndian(UInt64.self, at: position + 9)
  }

  func follows(_ other: BtrfsKey) -> Bool {
    (objectID, type, offset) > (other.objectID, other.type, other.offset)
  }

  static let extentTreeID: UInt64 = 2
  static let blockGroupTreeID: UInt64 = 11
  static let extentData: UInt8 = 108
  static let rootItem: UInt8 = 132
  static let extentItem: UInt8 = 168
  static let metadataItem: UInt8 = 169
  static let blockGroupItem: UInt8 = 192
  static let chunkItem: UInt8 = 228
}

/// Where a tree begins.
struct BtrfsRoot: Sendable {
  /// Logical.
  let address: UInt64
  /// Zero for a leaf.
  let level: UInt8
  /// The transaction that wrote the block, when it is known.
  let generation: UInt64?

  init(address: UInt64, level: UInt8, generation: UInt64?) {
    self.address = address
    self.level = level
    self.generation = generation
  }

  /// - Parameter item: a root item.
  init(_ item: RawSpan) throws {
    address = try item.littleEndian(UInt64.self, at: 176)
    level = try item.byte(at: 238)
    generation = try item.littleEndian(UInt64.self, at: 160)
  }
}

/// Reads trees, in whatever copy of their blocks is on this device and intact.
struct BtrfsTrees {
  let volume: Volume
  let superblock: BtrfsSuperblock
  private(set) var chunks: BtrfsChunks

  /// Reads the chunk tree with the help of the superblock's own chunks.
  init(_ volume: Volume, _ superblock: BtrfsSuperblock) throws {
    self.volume = volume
    self.superblock = superblock
    var system: [BtrfsChunk] = []
    let array = superblock.systemChunks.span.bytes
    var position = 0
    while position < array.byteCount {
      let key = try BtrfsKey(array, at: position)
      let start = position + BtrfsKey.byteCount
      guard key.type == BtrfsKey.chunkItem else { throw volume.damaged("the system chunks hold something else") }
      let item = try array.slice(start, 48 + 32 * Int(array.littleEndian(UInt16.self, at: start + 44)))
      system.append(try BtrfsChunk(start: key.offset, item: item, deviceID: superblock.deviceID, in: volume))
      position = start + item.byteCount
    }
    chunks = try BtrfsChunks(system, in: volume)
    var all: [BtrfsChunk] = []
    try walk(superblock.chunkTree, onBlock: { _ in }) { key, item in
      guard key.type == BtrfsKey.chunkItem else { return }
      all.append(try BtrfsChunk(start: key.offset, item: item, deviceID: superblock.deviceID, in: volume))
    }
    chunks = try BtrfsChunks(all, in: volume)
  }

  /// Visits a tree from its first key to its last.
  ///
  /// Levels fall from parent to child and keys rise from leaf to leaf, so a walk through forged blocks ends too.
  /// - Parameters:
  ///   - onBlock: gets the logical address of each tree block.
  ///   - onItem: gets each item of the leaves.
  func walk(
    _ root: BtrfsRoot, onBlock: (UInt64) throws -> Void, onItem: (BtrfsKey, RawSpan) throws -> Void
  ) throws {
    let levelLimit = 8
    guard root.level < levelLimit else { throw volume.damaged("a tree of \(root.level) levels") }
    var last: BtrfsKey?
    try walk(root, isRoot: true, &last, onBlock, onItem)
  }

  private func walk(
    _ root: BtrfsRoot, isRoot: Bool, _ last: inout BtrfsKey?, _ onBlock: (UInt64) throws -> Void,
    _ onItem: (BtrfsKey, RawSpan) throws -> Void
  ) throws {
    let block = try block(root)
    let bytes = block.span.bytes
    try onBlock(root.address)
    let headerSize = 101
    let isLeaf = root.level == 0
    let entrySize = isLeaf ? BtrfsKey.byteCount + 8 : BtrfsKey.byteCount + 16
    let count = Int(try bytes.littleEndian(UInt32.self, at: 0x60))
    guard count <= (block.count - headerSize) / entrySize, count > 0 || (isLeaf && isRoot) else {
      throw volume.damaged("\(count) items in the tree block at logical address \(root.address)")
    }
    for index in 0..<count {
      let entry = headerSize + index * entrySize
      let key = try BtrfsKey(bytes, at: entry)
      guard isLeaf else {
        let child = BtrfsRoot(
          address: try bytes.littleEndian(UInt64.self, at: entry + BtrfsKey.byteCount), level: root.level - 1,
          generation: try bytes.littleEndian(UInt64.self, at: entry + BtrfsKey.byteCount + 8))
        try walk(child, isRoot: false, &last, onBlock, onItem)
        continue
      }
      if let last, !key.follows(last) {
        throw volume.damaged("the keys in the tree block at logical address \(root.address) are out of order")
      }
      last = key
      let start = headerSize + Int(try bytes.littleEndian(UInt32.self, at: entry + BtrfsKey.byteCount))
      let size = Int(try bytes.littleEndian(UInt32.self, at: entry + BtrfsKey.byteCount + 4))
      try onItem(key, bytes.slice(start, size))
    }
  }

  /// The first intact copy of a tree block.
  private func block(_ root: BtrfsRoot) throws -> [UInt8] {
    let size = UInt64(superblock.nodeSize)
    let chunk = try chunks.chunk(holding: root.address, size, in: volume)
    let places = chunk.readablePlaces(of: root.address - chunk.start)
    for place in places {
      let bytes = try volume.read("a tree block", at: place, count: superblock.nodeSize)
      if try isIntact(bytes, root) { return bytes }
    }
    if places.isEmpty, superblock.deviceCount > 1 {
      throw volume.unsupported(
        "\(superblock.deviceCount) devices, of which another one holds the tree block at logical address "
          + "\(root.address)")
    }
    throw volume.damaged("no copy of the tree block at logical address \(root.address) is intact")
  }

  private func isIntact(_ bytes: [UInt8], _ root: BtrfsRoot) throws -> Bool {
    guard bytes[0x20..<0x30].elementsEqual(superblock.metadataUUID), bytes[0x64] == root.level,
      try bytes.littleEndian(UInt64.self, at: 0x30) == root.address
    else { return false }
    if let generation = root.generation {
      guard try bytes.littleEndian(UInt64.self, at: 0x50) == generation else { return false }
    }
    return try !superblock.hasCRC32C || BtrfsSuperblock.hasValidChecksum(bytes)
  }
}
