// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// Btrfs: all copies, on this device, of the extents in the extent tree.
///
/// Besides them count as used: the first MiB, where boot loaders keep code; the superblocks; and what a log tree
/// refers to, which the extent tree does not know until the log is replayed.
/// Source: the Btrfs documentation, "On-disk Format" (btrfs.readthedocs.io).
struct Btrfs: FileSystemReader {
  let volume: Volume
  let superblock: BtrfsSuperblock

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .btrfs)
    let offset = BtrfsSuperblock.offsets[0]
    guard volume.contains(offset, UInt64(BtrfsSuperblock.byteCount)),
      try device.read(at: offset + 0x40, count: 8) == BtrfsSuperblock.magic
    else { return nil }
    superblock = try BtrfsSuperblock(volume)
  }

  var identity: FileSystemIdentity {
    FileSystemIdentity(
      kind: .btrfs, uuid: UUIDText.text(of: superblock.uuid[...]), label: superblock.label,
      byteCount: superblock.deviceByteCount)
  }

  func allocationMap() throws -> AllocationMap {
    try superblock.refuseUnknownFeatures(volume)
    return try volume.parsing("a tree block") {
      var space = BtrfsUsedSpace(volume, superblock, try BtrfsTrees(volume, superblock))
      try space.addFixedPlaces()
      try space.addExtents()
      var warnings: [String] = []
      if superblock.logTree != nil {
        try space.addLog()
        warnings.append("\(volume.device.name): was not cleanly unmounted; the log tree is saved along")
      }
      if superblock.deviceCount > 1 {
        warnings.append(
          "\(volume.device.name): is one of \(superblock.deviceCount) devices of its file system; save them all")
      }
      return AllocationMap(
        identity: identity, blockSize: superblock.sectorSize, bitmap: space.bitmap, warnings: warnings)
    }
  }
}

/// The used space of the device, gathered tree by tree.
private struct BtrfsUsedSpace {
  let volume: Volume
  let superblock: BtrfsSuperblock
  let trees: BtrfsTrees
  /// One bit a sector of the file system.
  private(set) var bitmap: BlockBitmap

  init(_ volume: Volume, _ superblock: BtrfsSuperblock, _ trees: BtrfsTrees) {
    self.volume = volume
    self.superblock = superblock
    self.trees = trees
    // The superblock was checked to be no larger than the volume.
    bitmap = BlockBitmap(count: Int(superblock.deviceByteCount / UInt64(superblock.sectorSize)))
  }

  mutating func addFixedPlaces() throws {
    mark(0, 1 << 20)
    for offset in BtrfsSuperblock.offsets where offset < superblock.deviceByteCount {
      mark(offset, min(UInt64(BtrfsSuperblock.byteCount), superblock.deviceByteCount - offset))
    }
  }

  /// Marks all that the extent tree lists, and checks it against the counts of the superblock and the block groups.
  mutating func addExtents() throws {
    let trees = trees
    try trees.walk(superblock.chunkTree, onBlock: { try markBlock($0) }, onItem: { _, _ in })
    var extentTree: BtrfsRoot?
    var blockGroupTree: BtrfsRoot?
    try trees.walk(superblock.rootTree, onBlock: { try markBlock($0) }) { key, item in
      guard key.type == BtrfsKey.rootItem else { return }
      if key.objectID == BtrfsKey.extentTreeID { extentTree = try BtrfsRoot(item) }
      if key.objectID == BtrfsKey.blockGroupTreeID { blockGroupTree = try BtrfsRoot(item) }
    }
    guard let extentTree else { throw volume.damaged("the root tree has no extent tree") }
    var end: UInt64 = 0
    var total: UInt64 = 0
    // By the logical address of the block group: bytes listed, and bytes the group counts.
    var listed: [UInt64: UInt64] = [:]
    var counted: [UInt64: UInt64] = [:]
    try trees.walk(extentTree, onBlock: { try markBlock($0) }) { key, item in
      let length: UInt64
      switch key.type {
      case BtrfsKey.extentItem: length = key.offset
      case BtrfsKey.metadataItem: length = UInt64(superblock.nodeSize)
      case BtrfsKey.blockGroupItem:
        counted[key.objectID] = try item.littleEndian(UInt64.self, at: 0)
        return
      default: return
      }
      guard key.objectID >= end else {
        throw volume.damaged("the extent at logical address \(key.objectID) begins before the one before it ends")
      }
      let group = try markLogical(key.objectID, length)
      // `markLogical` has found the extent inside a chunk, so its end does not overflow.
      end = key.objectID + length
      total += length
      listed[group, default: 0] += length
    }
    guard total == superblock.usedByteCount else {
      throw volume.damaged(
        "the extent tree lists \(total) bytes, the superblock counts \(superblock.usedByteCount)")
    }
    // Newer file systems may keep the block groups in a tree of their own.
    if let blockGroupTree {
      try trees.walk(blockGroupTree, onBlock: { try markBlock($0) }) { key, item in
        guard key.type == BtrfsKey.blockGroupItem else { return }
        counted[key.objectID] = try item.littleEndian(UInt64.self, at: 0)
      }
    }
    for (group, count) in counted where count != listed[group, default: 0] {
      throw volume.damaged(
        "the block group at logical address \(group) counts \(count) bytes, the extent tree lists "
          + "\(listed[group, default: 0])")
    }
    for group in listed.keys where counted[group] == nil {
      throw volume.damaged("the chunk at logical address \(group) has no block group")
    }
  }

  /// Marks the blocks of the log trees and the file extents they refer to.
  mutating func addLog() throws {
    guard let logTree = superblock.logTree else { return }
    let trees = trees
    var logs: [BtrfsRoot] = []
    try trees.walk(logTree, onBlock: { try markBlock($0) }) { key, item in
      if key.type == BtrfsKey.rootItem { logs.append(try BtrfsRoot(item)) }
    }
    for log in logs {
      try trees.walk(log, onBlock: { try markBlock($0) }) { key, item in
        guard key.type == BtrfsKey.extentData else { return }
        let isInline = try item.byte(at: 20) == 0
        guard !isInline else { return }
        let address = try item.littleEndian(UInt64.self, at: 21)
        let length = try item.littleEndian(UInt64.self, at: 29)
        let isHole = address == 0
        if !isHole { try markLogical(address, length) }
      }
    }
  }

  private mutating func markBlock(_ address: UInt64) throws {
    try markLogical(address, UInt64(superblock.nodeSize))
  }

  /// - Returns: the logical address of the chunk that holds the extent.
  @discardableResult
  private mutating func markLogical(_ address: UInt64, _ length: UInt64) throws -> UInt64 {
    let chunk = try trees.chunks.chunk(holding: address, length, in: volume)
    for stripe in chunk.stripesHere {
      let (start, length) = chunk.place(of: address - chunk.start, length, on: stripe)
      guard length > 0 else { continue }
      guard start <= superblock.deviceByteCount, length <= superblock.deviceByteCount - start else {
        throw volume.damaged("an extent at byte \(start) of \(superblock.deviceByteCount)")
      }
      mark(start, length)
    }
    return chunk.start
  }

  private mutating func mark(_ start: UInt64, _ length: UInt64) {
    let unit = UInt64(superblock.sectorSize)
    bitmap.set(Int(start / unit)..<Int((start + length + unit - 1) / unit))
  }
}
