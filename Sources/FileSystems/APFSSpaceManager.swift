// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The space manager of a checkpoint: a bitmap for each chunk of as many blocks as a block has bits.
///
/// It lists the blocks of chunk information; in a large container, blocks with the addresses of these.
struct APFSSpaceManager {
  /// What it keeps for itself: its internal pool with the bitmaps and all the blocks named here.
  let areas: [APFSExtent]
  private let container: APFSContainer
  private let blockCount: UInt64
  private let blocksPerChunk: UInt64
  private let freeCount: UInt64
  /// Where the blocks of chunk information are.
  private let information: [UInt64]

  init(_ container: APFSContainer, _ checkpoint: APFSSuperblock) throws {
    self.container = container
    blockCount = checkpoint.blockCount
    let volume = container.volume
    let place = try Self.place(of: checkpoint, in: container)
    let bytes = try container.object(at: place.block, count: place.byteCount, .spaceManager, "the space manager")
    blocksPerChunk = UInt64(try bytes.littleEndian(UInt32.self, at: 36))
    guard blocksPerChunk == UInt64(checkpoint.blockSize) * 8 else {
      throw volume.unsupported("chunks of \(blocksPerChunk) blocks")
    }
    let mainDevice = 48
    let secondDevice = 96
    guard try bytes.littleEndian(UInt64.self, at: secondDevice) == 0 else {
      throw volume.unsupported("a Fusion drive of two devices")
    }
    guard try bytes.littleEndian(UInt64.self, at: mainDevice) == blockCount else {
      throw volume.damaged("its space manager has another number of blocks than the \(blockCount) of its superblock")
    }
    let informationCount = Int(try bytes.littleEndian(UInt32.self, at: mainDevice + 16))
    let addressBlockCount = Int(try bytes.littleEndian(UInt32.self, at: mainDevice + 20))
    freeCount = try bytes.littleEndian(UInt64.self, at: mainDevice + 24)
    let addresses = Int(try bytes.littleEndian(UInt32.self, at: mainDevice + 32))

    var areas: [APFSExtent] = [
      APFSExtent(
        start: try bytes.littleEndian(UInt64.self, at: 168), count: UInt64(try bytes.littleEndian(UInt32.self, at: 164))
      ),
      APFSExtent(
        start: try bytes.littleEndian(UInt64.self, at: 176), count: try bytes.littleEndian(UInt64.self, at: 152)),
    ]
    var information: [UInt64] = []
    for index in 0..<(addressBlockCount > 0 ? addressBlockCount : informationCount) {
      let address = try bytes.littleEndian(UInt64.self, at: addresses + 8 * index)
      areas.append(APFSExtent(start: address, count: 1))
      guard addressBlockCount > 0 else {
        information.append(address)
        continue
      }
      let block = try container.object(at: address, .chunkAddresses, "a block of chunk addresses")
      for entry in 0..<Int(try block.littleEndian(UInt32.self, at: 36)) {
        information.append(try block.littleEndian(UInt64.self, at: 40 + 8 * entry))
      }
      guard information.count <= informationCount else { break }
    }
    guard information.count == informationCount else {
      throw volume.damaged("its space manager lists \(information.count) of \(informationCount) chunk blocks")
    }
    self.information = information
    self.areas = areas + information.map { APFSExtent(start: $0, count: 1) }
  }

  /// Where the checkpoint's maps say that the space manager is.
  private static func place(
    of checkpoint: APFSSuperblock, in container: APFSContainer
  ) throws -> (block: UInt64, byteCount: Int) {
    for index in 0..<checkpoint.descriptorCount {
      let bytes = try container.descriptor(checkpoint.descriptorIndex + index)
      guard try APFSContainer.isIntact(bytes, .checkpointMap) else { continue }
      let (first, entrySize) = (40, 40)
      for entry in 0..<Int(try bytes.littleEndian(UInt32.self, at: 36)) {
        let offset = first + entrySize * entry
        guard try bytes.littleEndian(UInt64.self, at: offset + 24) == checkpoint.spaceManager else { continue }
        return (
          try bytes.littleEndian(UInt64.self, at: offset + 32), Int(try bytes.littleEndian(UInt32.self, at: offset + 8))
        )
      }
    }
    throw container.volume.damaged("its newest checkpoint has no space manager")
  }

  /// The used blocks; what the bitmaps say is checked against the counts of each chunk and of all.
  func bitmap() throws -> BlockBitmap {
    let volume = container.volume
    var bitmap = BlockBitmap(count: Int(blockCount))
    var next: UInt64 = 0
    var free: UInt64 = 0
    for address in information {
      let block = try container.object(at: address, .chunkInformation, "a block of chunk information")
      let count = Int(try block.littleEndian(UInt32.self, at: 36))
      guard count > 0 else { throw volume.damaged("block \(address) describes no chunk") }
      let (first, entrySize) = (40, 32)
      for entry in 0..<count {
        let offset = first + entrySize * entry
        let countMask: UInt32 = 0xF_FFFF
        let start = try block.littleEndian(UInt64.self, at: offset + 8)
        let blocks = UInt64(try block.littleEndian(UInt32.self, at: offset + 16) & countMask)
        let freeBlocks = UInt64(try block.littleEndian(UInt32.self, at: offset + 20) & countMask)
        guard start == next, 1...blocksPerChunk ~= blocks, blocks <= blockCount - start, freeBlocks <= blocks else {
          throw volume.damaged("a chunk of \(blocks) blocks, \(freeBlocks) of them free, at block \(start)")
        }
        next = start + blocks
        free += freeBlocks
        // Without a bitmap, all of it is free.
        let place = try block.littleEndian(UInt64.self, at: offset + 24)
        if place != 0 {
          let bits = try container.block(place, "the bitmap of a chunk")
          try bitmap.formUnion(at: Int(start), count: Int(blocks), leastSignificantBitFirst: bits.span.bytes)
        }
        let found = Int(blocks) - bitmap.usedCount(in: Int(start)..<Int(next))
        guard found == Int(freeBlocks) else {
          throw volume.damaged("the chunk at block \(start) has \(found) free blocks, but counts \(freeBlocks)")
        }
      }
    }
    guard next == blockCount, free == freeCount else {
      throw volume.damaged(
        "its chunks have \(next) blocks, \(free) of them free; its space manager counts \(blockCount) and \(freeCount)")
    }
    return bitmap
  }
}
