// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// Minix, versions 1 to 3, in little-endian order: a bit a zone in the zone map.
///
/// There is no journal. Versions 1 and 2 say whether they were unmounted, version 3 does not.
/// Source: A. S. Tanenbaum, Operating Systems: Design and Implementation; fs/minix of Linux.
struct Minix: FileSystemReader {
  private let volume: Volume
  private let superblock: MinixSuperblock
  let identity: FileSystemIdentity

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .minix)
    guard volume.contains(MinixSuperblock.offset, UInt64(MinixSuperblock.byteCount)),
      let superblock = try MinixSuperblock(
        device.read(at: MinixSuperblock.offset, count: MinixSuperblock.byteCount))
    else { return nil }
    self.superblock = superblock
    identity = FileSystemIdentity(
      kind: .minix, uuid: nil, label: nil, byteCount: UInt64(superblock.zoneCount) * UInt64(superblock.zoneSize))
  }

  func allocationMap() throws -> AllocationMap {
    guard identity.byteCount <= volume.device.byteCount else {
      throw volume.damaged(
        "\(superblock.zoneCount) zones of \(superblock.zoneSize) bytes do not fit the volume's "
          + "\(volume.device.byteCount) bytes")
    }
    guard superblock.isClean else { throw volume.needsRecovery("its state is not that of an unmounted one") }
    // Bit 0 stands for no zone, the next for the first zone of data.
    let count = superblock.zoneCount - superblock.firstDataZone + 1
    let mapOffset = UInt64((2 + superblock.inodeMapBlocks) * superblock.blockSize)
    var bitmap = BlockBitmap(count: superblock.zoneCount)
    let partBits = 8 << 20
    for first in stride(from: 0, to: count, by: partBits) {
      let bits = min(partBits, count - first)
      let part = try volume.read("the zone map", at: mapOffset + UInt64(first / 8), count: (bits + 7) / 8)
      guard first > 0 || part[0] & 1 == 1 else { throw volume.damaged("bit 0 of its zone map is clear") }
      try bitmap.formUnion(
        at: superblock.firstDataZone - 1 + first, count: bits, leastSignificantBitFirst: part.span.bytes)
    }
    bitmap.set(0..<superblock.firstDataZone)
    return AllocationMap(identity: identity, blockSize: superblock.zoneSize, bitmap: bitmap)
  }
}

/// The superblock of Minix, 1024 bytes into the volume.
struct MinixSuperblock: Sendable {
  static let offset: UInt64 = 1024
  static let byteCount = 64

  /// Bytes; a power of two.
  let blockSize: Int
  /// Bytes; a power of two. Zones are what is allocated; they count from the start of the volume.
  let zoneSize: Int
  let zoneCount: Int
  let firstDataZone: Int
  let inodeMapBlocks: Int
  let isClean: Bool

  /// - Parameter bytes: ``byteCount`` bytes.
  /// - Returns: nil for anything else: a signature of two bytes is weak, so the fields must make sense together.
  init?(_ bytes: [UInt8]) throws(OutOfBounds) {
    func word(_ offset: Int) throws(OutOfBounds) -> Int { Int(try bytes.littleEndian(UInt16.self, at: offset)) }
    let isThird = try word(24) == 0x4D5A
    let shift = isThird ? 2 : 0  // version 3 has 32 bits for the number of inodes, and a gap
    let inodeCount: Int
    let inodeSize: Int
    if isThird {
      blockSize = try word(28)
      inodeCount = Int(try bytes.littleEndian(UInt32.self, at: 0))
      zoneCount = Int(try bytes.littleEndian(UInt32.self, at: 20))
      inodeSize = 64
      isClean = true
    } else {
      blockSize = 1024
      inodeCount = try word(0)
      switch try word(16) {
      case 0x137F, 0x138F: (zoneCount, inodeSize) = (try word(2), 32)
      case 0x2468, 0x2478: (zoneCount, inodeSize) = (Int(try bytes.littleEndian(UInt32.self, at: 20)), 64)
      default: return nil
      }
      let (unmounted, withErrors) = (1, 2)
      let state = try word(18)
      guard state & ~(unmounted | withErrors) == 0 else { return nil }
      isClean = state == unmounted
    }
    inodeMapBlocks = try word(4 + shift)
    let zoneMapBlocks = try word(6 + shift)
    firstDataZone = try word(8 + shift)
    let zoneShift = try word(10 + shift)
    guard [1024, 2048, 4096, 8192, 16384, 32768].contains(blockSize), zoneShift <= 8 else { return nil }
    zoneSize = blockSize << zoneShift
    let inodeTableBlocks = (inodeCount * inodeSize + blockSize - 1) / blockSize
    guard inodeCount > 0, firstDataZone > 0, firstDataZone < zoneCount,
      inodeMapBlocks * blockSize * 8 > inodeCount, zoneMapBlocks * blockSize * 8 > zoneCount - firstDataZone,
      (2 + inodeMapBlocks + zoneMapBlocks + inodeTableBlocks) * blockSize <= firstDataZone * zoneSize
    else { return nil }
  }
}
