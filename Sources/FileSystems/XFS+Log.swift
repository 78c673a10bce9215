// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The internal log of XFS: a ring of 512-byte blocks, each of which begins with the number of the round it was
/// written in (the cycle), or, at the start of a record, with the record's magic number.
///
/// No flag says whether the log is clean: its last record does.
/// Source: XFS Algorithms & Data Structures, chapter 15; the search for the head follows its description there.
struct XFSLog {
  private let volume: Volume
  /// In bytes.
  private let start: UInt64
  /// In blocks of 512 bytes.
  private let blockCount: Int

  /// - Parameter superblock: of a file system with an internal log.
  init(_ volume: Volume, _ superblock: XFSSuperblock) {
    self.volume = volume
    start = UInt64(superblock.logBlocks.lowerBound) * UInt64(superblock.blockSize)
    blockCount = superblock.logBlocks.count * (superblock.blockSize / Self.blockSize)
  }

  /// Whether nothing has to be replayed: the log was never written, or its last record says that the file system was
  /// unmounted.
  ///
  /// Where a crash left holes before the head, the answer is no even when the records before them are complete.
  func isClean() throws -> Bool {
    guard let head = try findHead() else { return true }
    // The largest record has 256 KiB and eight blocks of header.
    let reach = min(blockCount, 1024)
    for distance in 1...reach {
      let position = (head + blockCount - distance) % blockCount
      let header = try block(position)
      guard try header.bigEndian(UInt32.self, at: 0) == Self.recordMagic else { continue }
      return try isUnmountRecord(header, at: position)
    }
    throw volume.damaged("its log has no record before block \(head)")
  }

  private static let blockSize = 512
  private static let recordMagic: UInt32 = 0xFEED_BABE

  /// The block after the last one written, or nil when the log was never written.
  private func findHead() throws -> Int? {
    let first = try cycle(0)
    guard first != 0 else { return nil }
    let last = try cycle(blockCount - 1)
    // The last round ended exactly at the end of the ring.
    guard first != last else { return 0 }
    // From the head on stand the blocks of the round before, or zeros.
    var newer = 0
    var older = blockCount - 1
    while older - newer > 1 {
      let middle = (newer + older) / 2
      if try cycle(middle) == last { older = middle } else { newer = middle }
    }
    return older
  }

  private func isUnmountRecord(_ header: [UInt8], at position: Int) throws -> Bool {
    let version = try header.bigEndian(UInt32.self, at: 8)
    let bufferSize = try header.bigEndian(UInt32.self, at: 320)
    let headerBlocks = version & 2 != 0 ? max(1, Int((UInt64(bufferSize) + 32767) / 32768)) : 1
    guard headerBlocks < blockCount else { throw volume.damaged("a log record with \(headerBlocks) header blocks") }
    let data = try block((position + headerBlocks) % blockCount)
    // The data must be of the record's round, or it never reached the disk.
    guard try data.bigEndian(UInt32.self, at: 0) == header.bigEndian(UInt32.self, at: 4) else { return false }
    let operationCount = try header.bigEndian(UInt32.self, at: 40)
    let unmountFlag: UInt8 = 0x20
    return operationCount == 1 && data[9] & unmountFlag != 0
  }

  private func cycle(_ position: Int) throws -> UInt32 {
    let words = try volume.read("the log", at: offset(position), count: 8)
    let word = try words.bigEndian(UInt32.self, at: 0)
    return word == Self.recordMagic ? try words.bigEndian(UInt32.self, at: 4) : word
  }

  private func block(_ position: Int) throws -> [UInt8] {
    try volume.read("the log", at: offset(position), count: Self.blockSize)
  }

  private func offset(_ position: Int) -> UInt64 { start + UInt64(position * Self.blockSize) }
}
