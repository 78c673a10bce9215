// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The logs from the superblock's last one on, followed as mounting does.
struct NILFS2Logs: Sendable {
  /// The newest super root: the block that leads to the files of metadata.
  let superRoot: [UInt8]
  /// All segments that were looked at. The last of them has no valid log, or none that goes on: it must be restored
  /// all the same, or what a disk has there could be taken for newer logs.
  let segments: [UInt64]
  /// How many logs were written since the super root; they hold data that fsync wrote.
  let newerLogCount: Int

  private static let superRootFlag: UInt16 = 4

  init(_ volume: Volume, _ superblock: NILFS2Superblock) throws {
    var (block, sequence) = superblock.lastLog
    guard block / superblock.blocksPerSegment < superblock.segmentCount, block >= superblock.firstDataBlock else {
      throw volume.damaged("the last log should be at block \(block)")
    }
    var segment = block / superblock.blocksPerSegment
    var visited: Set<UInt64> = [segment]
    var segments = [segment]
    var next: UInt64?
    var superRoot: [UInt8]?
    var newerLogCount = 0
    var hasLogInSegment = true
    search: while true {
      let blocks = superblock.blocks(ofSegment: segment)
      // A log has at least its summary and one more block.
      while block + 1 < blocks.upperBound, let log = try Log(at: block, sequence, within: blocks, volume, superblock) {
        guard log.next / superblock.blocksPerSegment < superblock.segmentCount else {
          throw volume.damaged("the log at block \(block) is followed by one at block \(log.next)")
        }
        hasLogInSegment = true
        next = log.next / superblock.blocksPerSegment
        let hasSuperRoot = log.flags & Self.superRootFlag != 0
        guard hasSuperRoot || superRoot != nil else {
          throw volume.damaged("the last log at block \(block) has no super root")
        }
        if hasSuperRoot { superRoot = try Self.superRoot(at: block + log.blockCount - 1, volume, superblock) }
        newerLogCount = hasSuperRoot ? 0 : newerLogCount + 1
        block += log.blockCount
      }
      // The search ends with the first segment that has none.
      guard let following = next, hasLogInSegment, visited.insert(following).inserted else { break search }
      hasLogInSegment = false
      segments.append(following)
      segment = following
      block = superblock.blocks(ofSegment: segment).lowerBound
      sequence &+= 1
    }
    guard let superRoot else { throw volume.damaged("no log is valid at block \(superblock.lastLog.block)") }
    self.superRoot = superRoot
    self.segments = segments
    self.newerLogCount = newerLogCount
  }

  private static func superRoot(at block: UInt64, _ volume: Volume, _ superblock: NILFS2Superblock) throws -> [UInt8] {
    let size = superblock.blockSize
    let bytes = try volume.read("a super root", at: block * UInt64(size), count: size)
    let count = Int(try bytes.littleEndian(UInt16.self, at: 4))
    guard count > 4, count <= size else { throw volume.damaged("a super root of \(count) bytes at block \(block)") }
    let checksum = CRC32.shiftRegister(seed: superblock.checksumSeed, try bytes.span.bytes.slice(4, count - 4))
    guard try checksum == bytes.littleEndian(UInt32.self, at: 0) else {
      throw volume.damaged("the checksum of the super root at block \(block) is wrong")
    }
    return bytes
  }

  /// A partial segment: summary blocks, the blocks of files, perhaps a super root.
  private struct Log {
    let flags: UInt16
    let blockCount: UInt64
    /// First block of the segment that will be written next.
    let next: UInt64

    /// - Returns: nil when there is no valid log of this number: here the logs end.
    init?(
      at block: UInt64, _ sequence: UInt64, within segment: Range<UInt64>, _ volume: Volume,
      _ superblock: NILFS2Superblock
    ) throws {
      let size = UInt64(superblock.blockSize)
      let magic: UInt32 = 0x1EAF_FA11
      let header = try volume.read("a log", at: block * size, count: 64)
      guard try header.littleEndian(UInt32.self, at: 8) == magic,
        try header.littleEndian(UInt64.self, at: 16) == sequence
      else { return nil }
      flags = try header.littleEndian(UInt16.self, at: 14)
      next = try header.littleEndian(UInt64.self, at: 32)
      blockCount = UInt64(try header.littleEndian(UInt32.self, at: 40))
      guard blockCount > 0, blockCount <= segment.upperBound - block else { return nil }

      // Over all but the checksum itself.
      var checksum = superblock.checksumSeed
      var done: UInt64 = 4
      while done < blockCount * size {
        let count = min(blockCount * size - done, 1 << 20)
        let part = try volume.read("a log", at: block * size + done, count: Int(count))
        checksum = CRC32.shiftRegister(seed: checksum, part.span.bytes)
        done += count
      }
      guard try checksum == header.littleEndian(UInt32.self, at: 0) else { return nil }
    }
  }
}
