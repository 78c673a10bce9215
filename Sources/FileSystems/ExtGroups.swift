// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// How an ext file system is cut into block groups, checked: every number fits the volume.
///
/// Blocks are counted from the start of the volume.
struct ExtGeometry {
  let blockSize: Int
  let blockCount: Int
  /// Where the first group begins: 1 with blocks of 1 KiB (the boot sector is block 0), otherwise 0.
  let firstBlock: Int
  let blocksPerGroup: Int
  /// A bit of a block bitmap stands for 2 to this power of blocks.
  let clusterBlocksLog2: Int
  let groupCount: Int
  let inodesPerGroup: Int
  /// In bytes.
  let inodeSize: Int
  let inodeTableBlocks: Int
  let descriptorSize: Int
  let descriptorsPerBlock: Int
  let descriptorBlockCount: Int
  /// Descriptor blocks from this one on are spread over the groups they describe.
  private let firstMetaBlock: Int
  private let superblock: ExtSuperblock

  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)``.
  init(_ superblock: ExtSuperblock, _ volume: Volume) throws(FileSystemError) {
    func require(_ holds: Bool, _ detail: @autoclosure () -> String) throws(FileSystemError) {
      if !holds { throw volume.damaged(detail()) }
    }
    self.superblock = superblock
    blockSize = superblock.blockSize
    let bitsPerBitmap = UInt64(blockSize) * 8

    try require(
      superblock.blockCount > UInt64(superblock.firstDataBlock)
        && superblock.blockCount <= volume.device.byteCount / UInt64(blockSize),
      "\(superblock.blockCount) blocks of \(blockSize) bytes do not fit the volume's \(volume.device.byteCount) bytes")
    blockCount = Int(superblock.blockCount)

    let isBigAlloc = superblock.readOnlyCompatible.contains(.bigAlloc)
    if isBigAlloc {
      let exponent = Int(superblock.clusterSizeLog2) + 10
      try require(
        exponent >= superblock.blockSizeLog2 && superblock.clusterSizeLog2 <= 29,
        "a cluster size of 1024 × 2^\(superblock.clusterSizeLog2)")
      clusterBlocksLog2 = exponent - superblock.blockSizeLog2
      try require(
        UInt64(superblock.clustersPerGroup) << UInt64(clusterBlocksLog2) == UInt64(superblock.blocksPerGroup),
        "\(superblock.clustersPerGroup) clusters of \(1 << clusterBlocksLog2) blocks a group, "
          + "but \(superblock.blocksPerGroup) blocks")
    } else {
      clusterBlocksLog2 = 0
    }
    firstBlock = Int(superblock.firstDataBlock)
    try require(
      firstBlock == (blockSize == 1024 && clusterBlocksLog2 == 0 ? 1 : 0), "its first block is \(firstBlock)")
    blocksPerGroup = Int(superblock.blocksPerGroup)
    try require(
      blocksPerGroup >= 256 && UInt64(blocksPerGroup) >> UInt64(clusterBlocksLog2) <= bitsPerBitmap,
      "\(blocksPerGroup) blocks a group")
    groupCount = (blockCount - firstBlock + blocksPerGroup - 1) / blocksPerGroup
    try require(groupCount <= UInt32.max, "\(groupCount) groups")

    inodeSize = Int(superblock.inodeSize)
    inodesPerGroup = Int(superblock.inodesPerGroup)
    try require(
      inodeSize >= 128 && inodeSize <= blockSize && inodeSize.nonzeroBitCount == 1, "inodes of \(inodeSize) bytes")
    try require(
      inodesPerGroup > 0 && UInt64(inodesPerGroup) <= bitsPerBitmap
        && inodesPerGroup * groupCount == Int(superblock.inodeCount),
      "\(groupCount) groups of \(inodesPerGroup) inodes, but \(superblock.inodeCount) inodes")
    inodeTableBlocks = (inodesPerGroup * inodeSize + blockSize - 1) / blockSize

    descriptorSize = Int(superblock.descriptorSize)
    try require(
      descriptorSize == 32 || descriptorSize >= 64 && descriptorSize <= 1024 && descriptorSize.nonzeroBitCount == 1,
      "group descriptors of \(descriptorSize) bytes")
    descriptorsPerBlock = blockSize / descriptorSize
    descriptorBlockCount = (groupCount + descriptorsPerBlock - 1) / descriptorsPerBlock
    let hasMetaGroups = superblock.incompatible.contains(.metaBlockGroups)
    firstMetaBlock = hasMetaGroups ? Int(superblock.firstMetaBlockGroup) : descriptorBlockCount
    try require(
      firstMetaBlock <= descriptorBlockCount,
      "its meta block groups begin at \(firstMetaBlock) of \(descriptorBlockCount)")
  }

  func firstBlock(of group: Int) -> Int { firstBlock + group * blocksPerGroup }

  /// How many blocks a group has; the last one may be short.
  func blockCount(of group: Int) -> Int { min(blocksPerGroup, blockCount - firstBlock(of: group)) }

  /// Whether a group begins with a copy of the superblock.
  func hasSuperblock(_ group: Int) -> Bool {
    if group == 0 { return true }
    if superblock.compatible.contains(.sparseSuper2) {
      return superblock.backupGroups.contains { Int($0) == group }
    }
    if !superblock.readOnlyCompatible.contains(.sparseSuper) || group == 1 { return true }
    return [3, 5, 7].contains { Self.isPower(group, of: $0) }
  }

  /// Where a block of group descriptors is (its first copy).
  func descriptorBlock(_ index: Int) -> Int {
    if index < firstMetaBlock { return superblockBlock(of: 0) + 1 + index }
    let group = index * descriptorsPerBlock
    return hasSuperblock(group) ? superblockBlock(of: group) + 1 : firstBlock(of: group)
  }

  /// The superblock and the descriptor blocks, used or held in reserve, at the start of a group.
  func fixedBlocks(of group: Int) -> Range<Int> {
    let start = firstBlock(of: group)
    var end = hasSuperblock(group) ? superblockBlock(of: group) + 1 : start
    let metaGroup = group / descriptorsPerBlock
    if metaGroup >= firstMetaBlock {
      // The descriptors of a meta group are in its first, second and last group.
      if [0, 1, descriptorsPerBlock - 1].contains(group % descriptorsPerBlock) { end += 1 }
    } else if hasSuperblock(group) {
      end += firstMetaBlock + Int(superblock.reservedDescriptorBlocks)
    }
    return start..<end
  }

  /// With clusters over blocks of 1 KiB, group 0 begins at the boot sector, one block before the superblock.
  private func superblockBlock(of group: Int) -> Int {
    firstBlock(of: group) + (group == 0 && blockSize == 1024 && firstBlock == 0 ? 1 : 0)
  }

  private static func isPower(_ number: Int, of base: Int) -> Bool {
    var number = number
    while number > 1, number.isMultiple(of: base) { number /= base }
    return number == 1
  }
}

/// The descriptor of a block group.
///
/// Source: Linux, Documentation/filesystems/ext4/group_descr.rst.
struct ExtGroupDescriptor {
  let blockBitmap: UInt64
  let inodeBitmap: UInt64
  let inodeTable: UInt64
  /// In clusters where the file system has them.
  let freeCount: UInt32
  /// The block bitmap was never written. Means something only where descriptors have checksums.
  let isBlockBitmapUninitialized: Bool

  /// - Parameter bytes: 32 bytes, or at least 64 with the upper halves of the numbers.
  init(_ bytes: RawSpan) throws(OutOfBounds) {
    var blockBitmap = UInt64(try bytes.littleEndian(UInt32.self, at: 0x00))
    var inodeBitmap = UInt64(try bytes.littleEndian(UInt32.self, at: 0x04))
    var inodeTable = UInt64(try bytes.littleEndian(UInt32.self, at: 0x08))
    var freeCount = UInt32(try bytes.littleEndian(UInt16.self, at: 0x0C))
    isBlockBitmapUninitialized = try bytes.littleEndian(UInt16.self, at: 0x12) & 0x2 != 0
    if bytes.byteCount >= 64 {
      blockBitmap |= UInt64(try bytes.littleEndian(UInt32.self, at: 0x20)) << 32
      inodeBitmap |= UInt64(try bytes.littleEndian(UInt32.self, at: 0x24)) << 32
      inodeTable |= UInt64(try bytes.littleEndian(UInt32.self, at: 0x28)) << 32
      freeCount |= UInt32(try bytes.littleEndian(UInt16.self, at: 0x2C)) << 16
    }
    self.blockBitmap = blockBitmap
    self.inodeBitmap = inodeBitmap
    self.inodeTable = inodeTable
    self.freeCount = freeCount
  }
}
