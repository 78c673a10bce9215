// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// A checkpoint pack: a block of its own first and last, and between them orphans and the summaries of open segments.
struct F2FSCheckpoint: Sendable {
  /// The number of the checkpoint.
  let version: UInt64
  /// As the nodes written since carry it.
  private let nodeVersion: UInt64
  private let nodeVersionMask: UInt64
  let isCleanlyUnmounted: Bool
  /// An error was met while the file system was in use, or fsck is due.
  let wantsCheck: Bool
  let validBlockCount: UInt64
  let validNodeCount: UInt64
  /// The next place for a node that fsync writes.
  let nextWarmNode: (segment: UInt32, block: UInt16)
  /// Which of its two areas holds a block of the SIT: bit 7 - (n & 7) of byte n >> 3.
  let segmentTableBitmap: [UInt8]
  /// Where the journal of the SIT stands: block of the volume, and byte of it.
  let segmentJournal: (block: Int, offset: Int)

  /// The newest intact pack; of two with the same number the first, like Linux. The tools that write offline leave such.
  static func newest(_ superblock: F2FSSuperblock, _ volume: Volume) throws -> F2FSCheckpoint {
    var newest: F2FSCheckpoint?
    for pack in 0..<2 {
      let start = superblock.checkpointStart + pack * F2FSSuperblock.blocksPerSegment
      guard let checkpoint = try F2FSCheckpoint(at: start, superblock, volume) else { continue }
      // Numbers may wrap around.
      if let newest, Int64(bitPattern: checkpoint.version &- newest.version) <= 0 { continue }
      newest = checkpoint
    }
    guard let newest else { throw volume.damaged("neither of its checkpoints is intact") }
    return newest
  }

  /// - Returns: nil when the pack is not complete: writing it was interrupted.
  private init?(at start: Int, _ superblock: F2FSSuperblock, _ volume: Volume) throws {
    let size = superblock.blockSize
    func read(_ block: Int) throws -> [UInt8] {
      try volume.read("a checkpoint", at: UInt64(block) * UInt64(size), count: size)
    }
    let bytes = try read(start)
    guard let checksum = try Self.validChecksum(of: bytes) else { return nil }
    version = try bytes.littleEndian(UInt64.self, at: 0)
    let blockCount = Int(try bytes.littleEndian(UInt32.self, at: 136))
    guard 2..<F2FSSuperblock.blocksPerSegment ~= blockCount else { return nil }
    let last = try read(start + blockCount - 1)
    guard try Self.validChecksum(of: last) != nil, try last.littleEndian(UInt64.self, at: 0) == version else {
      return nil
    }

    let flags = try bytes.littleEndian(UInt32.self, at: 132)
    isCleanlyUnmounted = flags & Flag.unmounted != 0
    wantsCheck = flags & (Flag.error | Flag.needsFsck) != 0
    nodeVersionMask = flags & Flag.withoutCRC != 0 ? UInt64(UInt32.max) : .max
    nodeVersion = flags & Flag.withCRC != 0 ? version | UInt64(checksum) << 32 : version
    validBlockCount = try bytes.littleEndian(UInt64.self, at: 16)
    validNodeCount = UInt64(try bytes.littleEndian(UInt32.self, at: 144))
    let warmNode = 1
    nextWarmNode = (
      try bytes.littleEndian(UInt32.self, at: 36 + 4 * warmNode),
      try bytes.littleEndian(UInt16.self, at: 68 + 2 * warmNode)
    )

    let bitmapSize = Int(try bytes.littleEndian(UInt32.self, at: 156))
    guard bitmapSize <= superblock.segmentTableBlockCount / 8 else {
      throw volume.damaged("a checkpoint has \(bitmapSize) bytes for the versions of the SIT")
    }
    if flags & Flag.largeNATBitmap != 0 {
      // Behind the bitmap of the NAT, and behind the checksum where that was moved to the front.
      let natBitmapSize = Int(try bytes.littleEndian(UInt32.self, at: 160))
      let checksumIsInFront = try bytes.littleEndian(UInt32.self, at: 164) == Self.bitmapOffset
      segmentTableBitmap = try bytes.span.bytes.array(
        at: Self.bitmapOffset + (checksumIsInFront ? 4 : 0) + natBitmapSize, count: bitmapSize)
    } else if superblock.checkpointPayload > 0 {
      guard bitmapSize <= superblock.checkpointPayload * size else {
        throw volume.damaged("the versions of the SIT do not fit their \(superblock.checkpointPayload) blocks")
      }
      segmentTableBitmap = try volume.read(
        "a checkpoint", at: UInt64(start + 1) * UInt64(size), count: bitmapSize)
    } else {
      segmentTableBitmap = try bytes.span.bytes.array(at: Self.bitmapOffset, count: bitmapSize)
    }

    // A summary block has seven bytes for each of a block's worth of entries, then its journal, then a footer.
    let entriesSize = size / 8 * 7
    let journalSize = size - entriesSize - 5
    if flags & Flag.compactSummaries != 0 {
      let summaries = Int(try bytes.littleEndian(UInt32.self, at: 140))
      guard summaries < blockCount else { throw volume.damaged("a checkpoint's summaries are outside of it") }
      segmentJournal = (start + summaries, journalSize)
    } else {
      // The summary of the segment for cold data: the third of those of data, behind which there are those of nodes
      // when it was unmounted, and the last block.
      let behind = flags & (Flag.unmounted | Flag.fastBoot) != 0 ? 5 : 2
      guard behind < blockCount else { throw volume.damaged("a checkpoint of \(blockCount) blocks") }
      segmentJournal = (start + blockCount - behind, entriesSize)
    }
  }

  /// Whether a node was written after this checkpoint and before any other, by the version in its footer.
  func isFollowed(byNodeOfVersion version: UInt64) -> Bool {
    (version ^ nodeVersion) & nodeVersionMask == 0
  }

  /// The block's checksum over all but itself; nil when it is wrong.
  private static func validChecksum(of block: [UInt8]) throws(OutOfBounds) -> UInt32? {
    let offset = Int(try block.littleEndian(UInt32.self, at: 164))
    guard bitmapOffset...(block.count - 4) ~= offset else { return nil }
    let bytes = block.span.bytes
    var checksum = CRC32.shiftRegister(seed: F2FSSuperblock.magic, try bytes.slice(0, offset))
    let rest = offset + 4
    checksum = CRC32.shiftRegister(seed: checksum, try bytes.slice(rest, block.count - rest))
    return try checksum == bytes.littleEndian(UInt32.self, at: offset) ? checksum : nil
  }

  /// Where the bitmaps begin, or a checksum moved in front of them.
  private static let bitmapOffset = 192

  private enum Flag {
    static let unmounted: UInt32 = 1 << 0
    static let compactSummaries: UInt32 = 1 << 2
    static let error: UInt32 = 1 << 3
    static let needsFsck: UInt32 = 1 << 4
    static let fastBoot: UInt32 = 1 << 5
    static let withCRC: UInt32 = 1 << 6
    static let withoutCRC: UInt32 = 1 << 9
    static let largeNATBitmap: UInt32 = 1 << 10
  }
}
