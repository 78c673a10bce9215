// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// Reiser4 in its only layout, format40: bitmap blocks of a checksum and a bit a block, least significant bit first.
///
/// The first bitmap block stands behind the two superblocks, the others each at the start of the blocks they describe.
/// Transactions are written to wandered places and then put in place; the journal's header names the last one that was
/// committed, its footer the last one that is in place.
/// Source: reiser4progs 1.2.2, plugin/{format/format40,alloc/alloc40,journal/journal40}.
struct Reiser4: FileSystemReader {
  private let volume: Volume
  private let superblock: Reiser4Superblock

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .reiser4)
    guard let superblock = try Reiser4Superblock(volume) else { return nil }
    self.superblock = superblock
  }

  var identity: FileSystemIdentity {
    FileSystemIdentity(
      kind: .reiser4, uuid: superblock.uuid, label: superblock.label,
      byteCount: superblock.blockCount * UInt64(superblock.blockSize))
  }

  func allocationMap() throws -> AllocationMap {
    try superblock.refuse(volume)
    return try volume.parsing("a structure") {
      let free = try settledFreeCount()
      let bitmap = try bitmap()
      guard UInt64(bitmap.count - bitmap.usedCount) == free else {
        throw volume.damaged("its bitmaps have \(bitmap.count - bitmap.usedCount) free blocks, its count is \(free)")
      }
      return AllocationMap(identity: identity, blockSize: superblock.blockSize, bitmap: bitmap)
    }
  }

  /// The number of free blocks, once it is certain that no transaction waits to be put in place.
  private func settledFreeCount() throws -> UInt64 {
    let header = try block("the journal's header", superblock.firstBlock + 3)
    let footer = try block("the journal's footer", superblock.firstBlock + 4)
    let committed = try header.littleEndian(UInt64.self, at: 0)
    let flushed = try footer.littleEndian(UInt64.self, at: 0)
    guard committed == flushed else {
      throw volume.needsRecovery("its journal holds transactions that are not yet in place")
    }
    let status = try block("the status", superblock.firstBlock + 5)
    let state = try status.littleEndian(UInt64.self, at: 16)
    guard try status.text(at: 0, count: 16) == "ReiSeR4StATusBl", state == 0 else {
      throw volume.damaged("its status block says that it has errors")
    }
    // The counts in the footer are those of the last transaction; before the first one it has none.
    return flushed == 0 ? superblock.freeBlockCount : try footer.littleEndian(UInt64.self, at: 8)
  }

  private func bitmap() throws -> BlockBitmap {
    let blocksPerBitmap = (superblock.blockSize - 4) * 8
    let count = Int(superblock.blockCount)
    var bitmap = BlockBitmap(count: count)
    bitmap.set(0..<(superblock.firstBlock + 6))
    for first in stride(from: 0, to: count, by: blocksPerBitmap) {
      // The first 64 KiB are a boot loader's.
      let place = first == 0 ? superblock.firstBlock + 2 : first
      let bytes = try block("the bitmap at block \(place)", place)
      let bits = try bytes.span.bytes.slice(4, superblock.blockSize - 4)
      guard try bytes.littleEndian(UInt32.self, at: 0) == Adler32.checksum(bits) else {
        throw volume.damaged("the checksum of the bitmap at block \(place) is wrong")
      }
      try bitmap.formUnion(at: first, count: min(blocksPerBitmap, count - first), leastSignificantBitFirst: bits)
      bitmap.set(place..<(place + 1))
    }
    return bitmap
  }

  private func block(_ what: @autoclosure () -> String, _ number: Int) throws -> [UInt8] {
    try volume.read(what(), at: UInt64(number) * UInt64(superblock.blockSize), count: superblock.blockSize)
  }
}

/// The two superblocks, little-endian: the master, which all layouts share, and behind it that of format40.
private struct Reiser4Superblock: Sendable {
  private static let offset: UInt64 = 65536

  /// Bytes; a power of two from 512 to 32768.
  let blockSize: Int
  let blockCount: UInt64
  let freeBlockCount: UInt64
  let uuid: String?
  let label: String?

  private let format: UInt16
  private let diskMap: UInt64

  /// The block of the master superblock; behind it stand the other one, the first bitmap, the journal's header and
  /// footer, and the status.
  var firstBlock: Int { Int(Self.offset) / blockSize }

  /// - Returns: nil when there is none.
  init?(_ volume: Volume) throws {
    guard volume.contains(Self.offset, 512) else { return nil }
    let master = try volume.device.read(at: Self.offset, count: 512)
    guard try master.text(at: 0, count: 16) == "ReIsEr4" else { return nil }
    format = try master.littleEndian(UInt16.self, at: 16)
    blockSize = Int(try master.littleEndian(UInt16.self, at: 18))
    uuid = UUIDText.text(of: master[20..<36])
    label = labelText(of: master[36..<52])
    diskMap = try master.littleEndian(UInt64.self, at: 52)
    guard 512...32768 ~= blockSize, blockSize.nonzeroBitCount == 1 else {
      throw volume.damaged("blocks of \(blockSize) bytes")
    }
    let bytes = try volume.read("the second superblock", at: Self.offset + UInt64(blockSize), count: 512)
    guard format == 0 else {
      blockCount = 0
      freeBlockCount = 0
      return
    }
    guard try bytes.text(at: 52, count: 16) == "ReIsEr40FoRmAt" else {
      throw volume.damaged("the second superblock is missing")
    }
    blockCount = try bytes.littleEndian(UInt64.self, at: 0)
    freeBlockCount = try bytes.littleEndian(UInt64.self, at: 8)
    guard blockCount <= volume.device.byteCount / UInt64(blockSize),
      blockCount > UInt64(Int(Self.offset) / blockSize + 6)
    else {
      throw volume.damaged(
        "the superblock counts \(blockCount) blocks of \(blockSize) bytes, the volume has "
          + "\(volume.device.byteCount) bytes")
    }
  }

  /// Throws unless the layout is the known one.
  func refuse(_ volume: Volume) throws(FileSystemError) {
    guard format == 0 else { throw volume.unsupported("disk format \(format)") }
    guard diskMap == 0 else { throw volume.unsupported("a disk map (structures in other places)") }
  }
}
