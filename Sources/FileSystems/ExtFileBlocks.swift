// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// Where the blocks of a file are on an ext volume, by its extents or its indirect blocks; for the journal, which has no
/// holes.
///
/// Source: Linux, Documentation/filesystems/ext4/inodes.rst, ifork.rst.
struct ExtFileBlocks {
  private struct Run {
    let logical: Int
    let physical: Int
    var count: Int

    var logicalEnd: Int { logical + count }
  }

  private let volume: Volume
  private let geometry: ExtGeometry
  private var runs: [Run] = []

  /// How many blocks the file has, from block 0 on without a hole.
  private(set) var count = 0

  /// mke2fs makes no journal with more blocks.
  static let countLimit = 10_240_000
  private static let runLimit = 1 << 20

  /// - Parameter inode: its number, from 1.
  /// - Throws: `DeviceError`, `OutOfBounds`, ``FileSystemError``.
  init(inode: UInt32, _ geometry: ExtGeometry, _ volume: Volume) throws {
    self.volume = volume
    self.geometry = geometry
    let bytes = try Self.read(inode: inode, geometry, volume)
    let size =
      UInt64(try bytes.littleEndian(UInt32.self, at: 0x04))
      | UInt64(try bytes.littleEndian(UInt32.self, at: 0x6C)) << 32
    count = try checked(size / UInt64(geometry.blockSize))
    let map = try bytes.span.bytes.array(at: 0x28, count: 60)
    let extentsFlag: UInt32 = 0x80000
    if try bytes.littleEndian(UInt32.self, at: 0x20) & extentsFlag != 0 {
      try addExtents(map, depth: nil)
    } else {
      try addPointers(map)
    }
    guard (runs.last?.logicalEnd ?? 0) >= count else {
      throw volume.damaged("inode \(inode) has \(count) blocks, but a hole at block \(runs.last?.logicalEnd ?? 0)")
    }
  }

  /// The volume's block that holds a block of the file, which must be below ``count``.
  subscript(_ block: Int) -> Int {
    var low = 0
    var high = runs.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if runs[middle].logical <= block { low = middle } else { high = middle }
    }
    return runs[low].physical + (block - runs[low].logical)
  }

  /// The volume's blocks that hold the file.
  func forEachRun(_ body: (Range<Int>) -> Void) {
    for run in runs { body(run.physical..<(run.physical + run.count)) }
  }

  private static func read(inode: UInt32, _ geometry: ExtGeometry, _ volume: Volume) throws -> [UInt8] {
    guard inode > 0, Int(inode - 1) / geometry.inodesPerGroup < geometry.groupCount else {
      throw volume.damaged("there is no inode \(inode)")
    }
    let (group, index) = Int(inode - 1).quotientAndRemainder(dividingBy: geometry.inodesPerGroup)
    let (block, place) = group.quotientAndRemainder(dividingBy: geometry.descriptorsPerBlock)
    let bytes = try volume.read(
      "a group descriptor",
      at: UInt64(geometry.descriptorBlock(block) * geometry.blockSize + place * geometry.descriptorSize),
      count: geometry.descriptorSize)
    let table = try ExtGroupDescriptor(bytes.span.bytes).inodeTable
    guard table < UInt64(geometry.blockCount) else {
      throw volume.damaged("the inode table of group \(group) would begin at block \(table), which is outside")
    }
    return try volume.read(
      "inode \(inode)", at: table * UInt64(geometry.blockSize) + UInt64(index * geometry.inodeSize),
      count: geometry.inodeSize)
  }

  private func checked(_ count: UInt64) throws(FileSystemError) -> Int {
    guard count <= UInt64(Self.countLimit), count <= UInt64(geometry.blockCount) else {
      throw volume.damaged("a journal of \(count) blocks")
    }
    return Int(count)
  }

  private mutating func add(logical: Int, physical: UInt64, count: Int) throws(FileSystemError) {
    guard logical == runs.last?.logicalEnd ?? 0, physical > 0,
      physical <= UInt64(geometry.blockCount - min(count, geometry.blockCount))
    else { throw volume.damaged("the journal has \(count) blocks at block \(physical), which cannot be") }
    if let last = runs.last, last.physical + last.count == Int(physical) {
      runs[runs.count - 1].count += count
      return
    }
    guard runs.count < Self.runLimit else { throw volume.needsRecovery("its journal is in too many pieces") }
    runs.append(Run(logical: logical, physical: Int(physical), count: count))
  }

  /// - Parameters:
  ///   - node: the inode's part of the tree, or a block of it.
  ///   - depth: what the depth must be; nil for the root. It decreases on the way down, every node has an entry and every
  ///     extent follows the last one, so the walk ends.
  private mutating func addExtents(_ node: [UInt8], depth: Int?) throws {
    let ownDepth = Int(try node.littleEndian(UInt16.self, at: 6))
    let entryCount = Int(try node.littleEndian(UInt16.self, at: 2))
    guard try node.littleEndian(UInt16.self, at: 0) == 0xF30A, ownDepth == depth ?? ownDepth, ownDepth <= 5,
      entryCount > 0
    else { throw volume.damaged("the extents of its journal cannot be read") }
    for entry in 0..<entryCount {
      let offset = 12 + 12 * entry
      if ownDepth > 0 {
        let child =
          UInt64(try node.littleEndian(UInt32.self, at: offset + 4))
          | UInt64(try node.littleEndian(UInt16.self, at: offset + 8)) << 32
        try addExtents(try block(child), depth: ownDepth - 1)
        continue
      }
      let length = Int(try node.littleEndian(UInt16.self, at: offset + 4))
      let start =
        UInt64(try node.littleEndian(UInt32.self, at: offset + 8))
        | UInt64(try node.littleEndian(UInt16.self, at: offset + 6)) << 32
      // Longer ones were reserved, but never written.
      guard 1...32768 ~= length else { throw volume.damaged("its journal has an extent of \(length) blocks") }
      try add(logical: Int(node.littleEndian(UInt32.self, at: offset)), physical: start, count: length)
    }
  }

  /// Twelve blocks, then one with pointers to blocks, one with pointers to such, and one with pointers to those.
  private mutating func addPointers(_ map: [UInt8]) throws {
    for index in 0..<15 where (runs.last?.logicalEnd ?? 0) < count {
      try addPointer(try map.littleEndian(UInt32.self, at: index * 4), level: max(0, index - 11))
    }
  }

  private mutating func addPointer(_ pointer: UInt32, level: Int) throws {
    guard level > 0 else {
      return try add(logical: runs.last?.logicalEnd ?? 0, physical: UInt64(pointer), count: 1)
    }
    let pointers = try block(UInt64(pointer))
    for index in 0..<(geometry.blockSize / 4) where (runs.last?.logicalEnd ?? 0) < count {
      try addPointer(try pointers.littleEndian(UInt32.self, at: index * 4), level: level - 1)
    }
  }

  private func block(_ number: UInt64) throws -> [UInt8] {
    guard number > 0, number < UInt64(geometry.blockCount) else {
      throw volume.damaged("the journal is mapped by block \(number), which is outside")
    }
    return try volume.read(
      "a block that maps the journal", at: number * UInt64(geometry.blockSize), count: geometry.blockSize)
  }
}
