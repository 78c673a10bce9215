// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// A superblock: at byte 1024, and again in the last whole 4096 bytes of the volume. Little-endian.
struct NILFS2Superblock: Sendable {
  static let byteCount = 1024
  static let magic: UInt16 = 0x3434
  static let firstOffset: UInt64 = 1024

  /// Bytes; a power of two from 1024 to 65536.
  let blockSize: Int
  let segmentCount: UInt64
  let blocksPerSegment: UInt64
  /// The first block of segment 0, which is shorter by what is in front of it.
  let firstDataBlock: UInt64
  /// What the file system believes the volume to have.
  let deviceByteCount: UInt64
  let lastCheckpoint: UInt64
  /// First block of a log that ends in a super root, and the number of its segment in the order of writing.
  let lastLog: (block: UInt64, sequence: UInt64)
  let isCleanlyUnmounted: Bool
  let hasErrors: Bool
  let checksumSeed: UInt32
  let inodeSize: Int
  let translationEntrySize: Int
  let segmentUsageSize: Int
  let uuid: [UInt8]
  let label: String?
  private let incompatibleFeatures: UInt64

  /// Both superblocks, as far as they are intact, the one to use first; like Linux that is the first, unless the second
  /// knows of a newer checkpoint.
  /// - Returns: nil when there is no sign of either.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` when none is intact, or the newest one contradicts itself.
  static func all(_ volume: Volume) throws -> [NILFS2Superblock]? {
    let size = volume.device.byteCount
    guard size >= 8192 else { return nil }
    var isMarked = false
    var superblocks: [NILFS2Superblock] = []
    for offset in [firstOffset, secondOffset(size)] where volume.contains(offset, UInt64(byteCount)) {
      let bytes = try volume.device.read(at: offset, count: byteCount)
      guard try bytes.littleEndian(UInt16.self, at: 6) == magic else { continue }
      guard try hasValidChecksum(bytes) else {
        // Two bytes alone are no signature at a place that is someone else's.
        isMarked = isMarked || offset == firstOffset
        continue
      }
      isMarked = true
      let superblock = try NILFS2Superblock(bytes, volume)
      // The segments may have grown over what was a superblock at the end of a smaller volume.
      if offset != firstOffset, superblock.segmentsEnd > offset { continue }
      superblocks.append(superblock)
    }
    guard isMarked else { return nil }
    guard !superblocks.isEmpty else { throw volume.damaged("no superblock is intact") }
    if superblocks.count > 1, superblocks[1].lastCheckpoint > superblocks[0].lastCheckpoint { superblocks.swapAt(0, 1) }
    return superblocks
  }

  private static func secondOffset(_ size: UInt64) -> UInt64 { (size / 4096 - 1) * 4096 }

  private init(_ bytes: [UInt8], _ volume: Volume) throws {
    let exponent = try bytes.littleEndian(UInt32.self, at: 20)
    guard exponent <= 6 else { throw volume.damaged("blocks of two to the power of \(UInt64(exponent) + 10) bytes") }
    blockSize = 1024 << Int(exponent)
    segmentCount = try bytes.littleEndian(UInt64.self, at: 24)
    deviceByteCount = try bytes.littleEndian(UInt64.self, at: 32)
    firstDataBlock = try bytes.littleEndian(UInt64.self, at: 40)
    blocksPerSegment = UInt64(try bytes.littleEndian(UInt32.self, at: 48))
    let (blocks, overflow) = segmentCount.multipliedReportingOverflow(by: blocksPerSegment)
    guard !overflow, segmentCount > 0, 16...(1 << 20) ~= blocksPerSegment, firstDataBlock > 0,
      firstDataBlock < blocksPerSegment, blocks <= volume.device.byteCount / UInt64(blockSize),
      deviceByteCount <= volume.device.byteCount
    else {
      throw volume.damaged(
        "the superblock counts \(segmentCount) segments of \(blocksPerSegment) blocks from block \(firstDataBlock) on, "
          + "and \(deviceByteCount) bytes; the volume has \(volume.device.byteCount) bytes")
    }
    lastCheckpoint = try bytes.littleEndian(UInt64.self, at: 56)
    lastLog = (try bytes.littleEndian(UInt64.self, at: 64), try bytes.littleEndian(UInt64.self, at: 72))
    let state = try bytes.littleEndian(UInt16.self, at: 116)
    isCleanlyUnmounted = state & 1 != 0
    hasErrors = state & 2 != 0
    checksumSeed = try bytes.littleEndian(UInt32.self, at: 12)

    inodeSize = Int(try bytes.littleEndian(UInt16.self, at: 144))
    translationEntrySize = Int(try bytes.littleEndian(UInt16.self, at: 146))
    segmentUsageSize = Int(try bytes.littleEndian(UInt16.self, at: 150))
    guard 128...blockSize ~= inodeSize, 32...blockSize ~= translationEntrySize, 16...blockSize ~= segmentUsageSize
    else {
      throw volume.damaged(
        "inodes of \(inodeSize) bytes, entries of \(translationEntrySize) and \(segmentUsageSize) bytes")
    }
    uuid = Array(bytes[152..<168])
    label = labelText(of: bytes[168..<248])
    incompatibleFeatures = try bytes.littleEndian(UInt64.self, at: 272)
  }

  /// Blocks of a segment.
  /// - Parameter number: less than ``segmentCount``.
  func blocks(ofSegment number: UInt64) -> Range<UInt64> {
    let start = number * blocksPerSegment
    return max(start, firstDataBlock)..<(start + blocksPerSegment)
  }

  /// The first byte behind the segments.
  var segmentsEnd: UInt64 { segmentCount * blocksPerSegment * UInt64(blockSize) }

  /// - Throws: ``FileSystemError/unsupported(volume:kind:feature:)``; no incompatible feature is known so far.
  func refuseUnknownFeatures(_ volume: Volume) throws {
    guard incompatibleFeatures == 0 else {
      throw volume.unsupported("incompatible features 0x\(String(incompatibleFeatures, radix: 16))")
    }
  }

  /// CRC-32 over the bytes the superblock says it has, its own field taken for zero.
  private static func hasValidChecksum(_ bytes: [UInt8]) throws(OutOfBounds) -> Bool {
    let size = Int(try bytes.littleEndian(UInt16.self, at: 8))
    let field = 16..<20
    guard field.upperBound...bytes.count ~= size else { return false }
    let seed = try bytes.littleEndian(UInt32.self, at: 12)
    var cleared = Array(bytes[..<size])
    cleared.replaceSubrange(field, with: [0, 0, 0, 0])
    return try CRC32.shiftRegister(seed: seed, cleared.span.bytes)
      == bytes.littleEndian(UInt32.self, at: field.lowerBound)
  }
}
