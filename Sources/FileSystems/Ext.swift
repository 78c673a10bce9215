// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// ext2, ext3 and ext4: one block bitmap a block group.
///
/// Source: Linux, Documentation/filesystems/ext4; e2fsprogs for what an uninitialized group holds.
struct Ext: FileSystemReader {
  private let volume: Volume
  private let superblock: ExtSuperblock
  let identity: FileSystemIdentity

  init?(_ device: any BlockDevice) throws {
    guard device.byteCount >= ExtSuperblock.offset + UInt64(ExtSuperblock.byteCount) else { return nil }
    let bytes = try device.read(at: ExtSuperblock.offset, count: ExtSuperblock.byteCount)
    guard let superblock = try ExtSuperblock(bytes) else { return nil }
    volume = Volume(device: device, kind: superblock.kind)
    self.superblock = superblock
    let byteCount = superblock.blockCount.multipliedReportingOverflow(by: UInt64(superblock.blockSize))
    identity = FileSystemIdentity(
      kind: superblock.kind, uuid: superblock.uuid, label: superblock.label,
      byteCount: byteCount.overflow ? .max : byteCount.partialValue)
  }

  func allocationMap() throws -> AllocationMap {
    try checkSuperblock()
    guard superblock.incompatible.contains(.recover) else {
      if !superblock.state.contains(.valid) || superblock.state.contains(.orphans) {
        throw volume.needsRecovery("its superblock is not marked as clean")
      }
      let geometry = try ExtGeometry(superblock, volume)
      let clusters = try clusterMap(geometry)
      let bitmap = clusters.blocks()
      return AllocationMap(
        identity: identity, blockSize: geometry.blockSize, bitmap: bitmap,
        warnings: bitmap.count - bitmap.usedCount == superblock.freeBlockCount
          ? []
          : [
            "\(volume.device.name): the superblock counts \(superblock.freeBlockCount) free blocks, "
              + "the groups \(bitmap.count - bitmap.usedCount)"
          ])
    }
    return try volume.parsing("its journal") { try recoveredMap() }
  }

  /// The map as it is once the journal is replayed, and what was used before.
  private func recoveredMap() throws -> AllocationMap {
    guard superblock.compatible.contains(.hasJournal), superblock.journalInode != 0 else {
      throw volume.needsRecovery("the journal with its last changes is on another device")
    }
    let geometry = try ExtGeometry(superblock, volume)
    let file = try ExtFileBlocks(inode: superblock.journalInode, geometry, volume)
    let (overlay, transactionCount) = try ExtJournal(volume, file, blockSize: geometry.blockSize).replayed()
    guard let recovered = try Ext(overlay) else { throw volume.damaged("its journal replaces the superblock") }
    try recovered.checkSuperblock()
    let recoveredGeometry = try ExtGeometry(recovered.superblock, recovered.volume)
    // A file system only grows while it is mounted.
    guard recoveredGeometry.blockSize == geometry.blockSize, recoveredGeometry.blockCount >= geometry.blockCount else {
      throw volume.damaged("its journal changes it to \(recoveredGeometry.blockCount) blocks")
    }
    var bitmap = try recovered.clusterMap(recoveredGeometry).blocks()
    // The map after the replay is the right one; what was used before only adds to it, as far as it can be read.
    do {
      let before = try clusterMap(geometry, isConsistent: false).blocks()
      bitmap.formUnion(before.extended(to: bitmap.count, used: false))
    } catch is FileSystemError {}
    file.forEachRun { bitmap.set($0) }
    return AllocationMap(
      identity: recovered.identity, blockSize: geometry.blockSize, bitmap: bitmap,
      warnings: [
        "\(volume.device.name): not cleanly unmounted; its journal (\(transactionCount) transactions) was replayed "
          + "in memory to find the used blocks"
      ])
  }

  /// Throws unless the superblock can be understood.
  private func checkSuperblock() throws(FileSystemError) {
    if let feature = superblock.unknownFeature { throw volume.unsupported(feature) }
    guard superblock.checksumMatches else { throw volume.damaged("the checksum of its superblock is wrong") }
    if superblock.state.contains(.errors) { throw volume.damaged("the kernel has marked it as having errors") }
  }

  /// - Parameter isConsistent: whether the bitmaps must agree with the groups' counts, which on disk they need not until
  ///   the journal is replayed.
  private func clusterMap(_ geometry: ExtGeometry, isConsistent: Bool = true) throws -> ExtClusterMap {
    var clusters = ExtClusterMap(geometry)
    try readGroups(geometry, into: &clusters)
    guard isConsistent else { return clusters }
    for group in 0..<geometry.groupCount {
      let counts = clusters.freeCounts(of: group)
      guard counts.found == counts.expected else {
        throw volume.damaged(
          "group \(group) has \(counts.found) free clusters by its bitmap, \(counts.expected) by its count")
      }
    }
    return clusters
  }

  /// Takes the block bitmaps and what the descriptors say into the map.
  private func readGroups(_ geometry: ExtGeometry, into clusters: inout ExtClusterMap) throws {
    // Only checksums of the descriptors make the kernel trust their flags.
    let hasFlags = !superblock.readOnlyCompatible.isDisjoint(with: [.descriptorChecksum, .metadataChecksum])
    var pending = PendingBitmaps()
    try forEachDescriptor(geometry) { group, descriptor in
      let fixed = geometry.fixedBlocks(of: group)
      let owned = [
        (UInt64(fixed.lowerBound), fixed.count), (descriptor.blockBitmap, 1), (descriptor.inodeBitmap, 1),
        (descriptor.inodeTable, geometry.inodeTableBlocks),
      ]
      for (block, count) in owned {
        guard block >= UInt64(geometry.firstBlock),
          block <= UInt64(geometry.blockCount - min(count, geometry.blockCount))
        else { throw volume.damaged("group \(group) has \(count) blocks at block \(block), which is outside") }
        clusters.markUsed(Int(block)..<(Int(block) + count))
      }
      clusters.expectFree(descriptor.freeCount, in: group)
      if hasFlags, descriptor.isBlockBitmapUninitialized { return }
      if !pending.append(group, bitmap: Int(descriptor.blockBitmap), limit: Self.readSize / geometry.blockSize) {
        try read(pending, geometry, into: &clusters)
        pending = PendingBitmaps(group, bitmap: Int(descriptor.blockBitmap))
      }
    }
    try read(pending, geometry, into: &clusters)
  }

  /// Calls `body` with the descriptor of each group, in order.
  private func forEachDescriptor(
    _ geometry: ExtGeometry, _ body: (Int, ExtGroupDescriptor) throws -> Void
  ) throws {
    var index = 0
    while index < geometry.descriptorBlockCount {
      let start = geometry.descriptorBlock(index)
      var count = 1
      while count < Self.readSize / geometry.blockSize, index + count < geometry.descriptorBlockCount,
        geometry.descriptorBlock(index + count) == start + count
      { count += 1 }
      guard start + count <= geometry.blockCount else {
        throw volume.damaged("its group descriptors would lie at block \(start), which is outside")
      }
      let bytes = try volume.device.read(at: UInt64(start * geometry.blockSize), count: count * geometry.blockSize)
      let firstGroup = index * geometry.descriptorsPerBlock
      for group in firstGroup..<min(geometry.groupCount, firstGroup + count * geometry.descriptorsPerBlock) {
        let offset = (group - firstGroup) * geometry.descriptorSize
        try body(group, ExtGroupDescriptor(bytes.span.bytes.slice(offset, geometry.descriptorSize)))
      }
      index += count
    }
  }

  private func read(
    _ pending: PendingBitmaps, _ geometry: ExtGeometry, into clusters: inout ExtClusterMap
  ) throws {
    guard !pending.groups.isEmpty else { return }
    let bytes = try volume.device.read(
      at: UInt64(pending.firstBitmap * geometry.blockSize), count: pending.groups.count * geometry.blockSize)
    for (index, group) in pending.groups.enumerated() {
      try clusters.formUnion(group, bitmap: bytes.span.bytes.slice(index * geometry.blockSize, geometry.blockSize))
    }
  }

  /// Most bytes of descriptors or bitmaps read at once.
  private static let readSize = 1 << 20
}

/// Groups whose bitmaps lie one behind the other, to be read at once.
private struct PendingBitmaps {
  private(set) var groups: [Int] = []
  private(set) var firstBitmap = 0

  init() {}

  init(_ group: Int, bitmap: Int) {
    groups = [group]
    firstBitmap = bitmap
  }

  /// - Returns: false when the bitmap does not follow the others, or they are as many as `limit`.
  mutating func append(_ group: Int, bitmap: Int, limit: Int) -> Bool {
    if groups.isEmpty { firstBitmap = bitmap }
    guard groups.count < limit, bitmap == firstBitmap + groups.count else { return false }
    groups.append(group)
    return true
  }
}

/// The allocation map while it is put together: a bit a cluster, which is one block except with bigalloc.
private struct ExtClusterMap {
  private let geometry: ExtGeometry
  private var bitmap: BlockBitmap
  private var expectedFree: [UInt32]

  init(_ geometry: ExtGeometry) {
    self.geometry = geometry
    let blocksPerCluster = 1 << geometry.clusterBlocksLog2
    bitmap = BlockBitmap(count: (geometry.blockCount + blocksPerCluster - 1) / blocksPerCluster)
    bitmap.set(0..<geometry.firstBlock)
    expectedFree = [UInt32](repeating: 0, count: geometry.groupCount)
  }

  mutating func markUsed(_ blocks: Range<Int>) { bitmap.set(clusters(blocks)) }

  mutating func expectFree(_ count: UInt32, in group: Int) { expectedFree[group] = count }

  mutating func formUnion(_ group: Int, bitmap bytes: RawSpan) throws(OutOfBounds) {
    let range = clusters(of: group)
    try bitmap.formUnion(at: range.lowerBound, count: range.count, leastSignificantBitFirst: bytes)
  }

  /// The free clusters of a group as counted here and as the group says.
  func freeCounts(of group: Int) -> (found: Int, expected: Int) {
    let range = clusters(of: group)
    return (range.count - bitmap.usedCount(in: range), Int(expectedFree[group]))
  }

  /// The same map with a bit a block.
  func blocks() -> BlockBitmap {
    guard geometry.clusterBlocksLog2 > 0 else { return bitmap }
    var blocks = BlockBitmap(count: geometry.blockCount)
    bitmap.forEachUsedRun {
      blocks.set(($0.lowerBound << geometry.clusterBlocksLog2)..<($0.upperBound << geometry.clusterBlocksLog2))
    }
    return blocks
  }

  private func clusters(of group: Int) -> Range<Int> {
    let start = geometry.firstBlock(of: group)
    return clusters(start..<(start + geometry.blockCount(of: group)))
  }

  /// The clusters that hold blocks; clusters are only larger than blocks where block 0 begins the first one.
  private func clusters(_ blocks: Range<Int>) -> Range<Int> {
    let roundUp = (1 << geometry.clusterBlocksLog2) - 1
    return
      (blocks.lowerBound >> geometry.clusterBlocksLog2)..<((blocks.upperBound + roundUp) >> geometry.clusterBlocksLog2)
  }
}
