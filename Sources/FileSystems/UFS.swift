// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// UFS1 (the Berkeley Fast File System) and UFS2, in either byte order: a bitmap of free fragments a cylinder group.
///
/// The map's block is a fragment. Bit f of the bitmap of group c, least significant bit first, stands for fragment f of
/// the group, counted from where the group's share begins, not from its superblock copy, which UFS1 moves about.
/// A bit that is set means free.
/// Source: FreeBSD 14, sys/ufs/ffs/fs.h.
struct UFS: FileSystemReader {
  private let volume: Volume
  private let superblock: UFSSuperblock

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .ufs)
    guard let superblock = try UFSSuperblock(volume) else { return nil }
    self.superblock = superblock
  }

  var identity: FileSystemIdentity {
    FileSystemIdentity(
      kind: .ufs, uuid: superblock.uuid, label: superblock.label,
      byteCount: UInt64(superblock.fragmentCount) * UInt64(superblock.fragmentSize))
  }

  func allocationMap() throws -> AllocationMap {
    try superblock.refuse(volume)
    return try volume.parsing("a structure") {
      var bitmap = BlockBitmap(count: superblock.fragmentCount, used: true)
      var free: Int64 = 0
      for number in 0..<superblock.groupCount { free += try addGroup(number, to: &bitmap) }
      guard free == superblock.freeFragmentCount else {
        throw volume.damaged(
          "its cylinder groups have \(free) free fragments, its superblock \(superblock.freeFragmentCount)")
      }
      guard bitmap.usedCount(in: superblock.summary) == superblock.summary.count else {
        throw volume.damaged("it has the totals of its cylinder groups as free")
      }
      return AllocationMap(identity: identity, blockSize: superblock.fragmentSize, bitmap: bitmap)
    }
  }

  /// Clears the fragments that a group says are free.
  /// - Returns: how many they are.
  private func addGroup(_ number: Int, to bitmap: inout BlockBitmap) throws -> Int64 {
    let start = number * superblock.fragmentsPerGroup
    let count = min(superblock.fragmentsPerGroup, superblock.fragmentCount - start)
    let metadata = superblock.metadata(ofGroup: number)
    // The last group has as many fragments as are left, but its metadata whole.
    guard metadata.upperBound <= start + count else {
      throw volume.damaged("cylinder group \(number) of \(count) fragments has no room for its metadata")
    }
    let bytes = try volume.read(
      "cylinder group \(number)",
      at: UInt64(superblock.header(ofGroup: number)) * UInt64(superblock.fragmentSize), count: superblock.headerSize)
    let order = superblock.order
    func field(_ offset: Int) throws -> Int { Int(try order.read(UInt32.self, bytes, at: offset)) }
    guard try field(4) == 0x90255, try field(12) == number, try field(20) == count else {
      throw volume.damaged("cylinder group \(number) of \(count) fragments has no header")
    }
    let bitmapOffset = try field(96)
    let size = (count + 7) / 8
    guard bitmapOffset >= 100, bitmapOffset <= bytes.count - size else {
      throw volume.damaged("cylinder group \(number) would have its bitmap at byte \(bitmapOffset)")
    }
    let free = try BlockBitmap(
      count: count, leastSignificantBitFirst: bytes.span.bytes.slice(bitmapOffset, size))
    let recorded =
      Int64(try field(28)) * Int64(superblock.fragmentsPerBlock) + Int64(try field(36))
    guard Int64(free.usedCount) == recorded else {
      throw volume.damaged(
        "the bitmap of cylinder group \(number) has \(free.usedCount) free fragments, its header \(recorded)")
    }
    let inGroup = (metadata.lowerBound - start)..<(metadata.upperBound - start)
    guard free.usedCount(in: inGroup) == 0 else {
      throw volume.damaged("cylinder group \(number) has its own metadata as free")
    }
    free.forEachUsedRun { run in
      bitmap.set((start + run.lowerBound)..<(start + run.upperBound), used: false)
    }
    return recorded
  }
}

/// The byte order of the machine that made a file system.
enum UFSByteOrder: Sendable {
  case little, big

  func read<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type, _ bytes: [UInt8], at offset: Int
  ) throws(OutOfBounds) -> T {
    switch self {
    case .little: try bytes.littleEndian(type, at: offset)
    case .big: try bytes.bigEndian(type, at: offset)
    }
  }
}
