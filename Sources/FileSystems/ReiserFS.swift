// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// ReiserFS 3.5 and 3.6: a bitmap of one block for every 8 × block size blocks, least significant bit first.
///
/// Its journal holds whole blocks. What the kernel would replay on the next mount is replayed in memory, and a block is
/// free only when it is so both before and after.
/// Source: Linux 6.1, fs/reiserfs (super.c, bitmap.c, journal.c).
struct ReiserFS: FileSystemReader {
  private let volume: Volume
  private let superblock: ReiserFSSuperblock

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .reiserfs)
    guard let superblock = try ReiserFSSuperblock(volume) else { return nil }
    self.superblock = superblock
  }

  var identity: FileSystemIdentity {
    FileSystemIdentity(
      kind: .reiserfs, uuid: superblock.uuid, label: superblock.label,
      byteCount: UInt64(superblock.blockCount) * UInt64(superblock.blockSize))
  }

  func allocationMap() throws -> AllocationMap {
    try volume.parsing("a structure") {
      try superblock.refuse(volume)
      let overlay = try ReiserFSJournal(volume, superblock).replayed()
      guard overlay.replacedCount > 0 else {
        return AllocationMap(
          identity: identity, blockSize: superblock.blockSize, bitmap: try checkedBitmap(volume, superblock))
      }
      guard let replayed = try ReiserFSSuperblock(overlay.volume, at: superblock.offset),
        replayed.blockSize == superblock.blockSize
      else { throw volume.damaged("its journal would overwrite the superblock with something else") }
      guard replayed.blockCount == superblock.blockCount else {
        throw volume.needsRecovery("its journal changes its size")
      }
      var bitmap = try checkedBitmap(overlay.volume, replayed)
      bitmap.formUnion(try self.bitmap(volume))
      return AllocationMap(
        identity: identity, blockSize: superblock.blockSize, bitmap: bitmap,
        warnings: ["it was not cleanly unmounted: its journal was replayed in memory to learn what is used"])
    }
  }

  /// The map, its free blocks as many as the superblock of the same state has.
  private func checkedBitmap(_ volume: Volume, _ superblock: ReiserFSSuperblock) throws -> BlockBitmap {
    let bitmap = try bitmap(volume)
    let free = bitmap.count - bitmap.usedCount
    guard free == superblock.freeBlockCount else {
      throw volume.damaged("its bitmaps have \(free) free blocks, its superblock \(superblock.freeBlockCount)")
    }
    return bitmap
  }

  private func bitmap(_ volume: Volume) throws -> BlockBitmap {
    let blockSize = superblock.blockSize
    let blocksPerBitmap = blockSize * 8
    var bitmap = BlockBitmap(count: superblock.blockCount)
    for number in 0..<superblock.bitmapCount {
      let block = superblock.bitmapBlock(number)
      let bytes = try volume.read(
        "bitmap \(number)", at: UInt64(block) * UInt64(blockSize), count: blockSize)
      let first = number * blocksPerBitmap
      try bitmap.formUnion(
        at: first, count: min(blocksPerBitmap, superblock.blockCount - first),
        leastSignificantBitFirst: bytes.span.bytes)
      bitmap.set(block..<(block + 1))
    }
    bitmap.set(0..<(superblock.block + 1))
    bitmap.set(superblock.journal.lowerBound..<(superblock.journal.upperBound + 1))
    return bitmap
  }
}
