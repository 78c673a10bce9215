// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The internal log of XFS: a ring of 512-byte blocks, each of which begins with the number of the round it was
/// written in (the cycle), or, at the start of a record, with the record's magic number.
///
/// No flag says whether the log is clean: its last record does.
/// Source: XFS Algorithms & Data Structures, chapter 15; Linux, fs/xfs/xfs_log_recover.c, for where the log ends.
struct XFSLog {
  let volume: Volume
  private let superblock: XFSSuperblock
  /// In bytes.
  private let start: UInt64
  /// In blocks of 512 bytes.
  let blockCount: Int

  static let blockSize = 512
  static let recordMagic: UInt32 = 0xFEED_BABE
  /// The largest record has 256 KiB.
  static let recordBlockLimit = 512
  /// As many records may be written at once, so that a crash can leave holes among the last ones.
  private static let recordsInFlight = 8

  /// - Parameter superblock: of a file system with an internal log.
  init(_ volume: Volume, _ superblock: XFSSuperblock) {
    self.volume = volume
    self.superblock = superblock
    start = UInt64(superblock.logBlocks.lowerBound) * UInt64(superblock.blockSize)
    blockCount = superblock.logBlocks.count * (superblock.blockSize / Self.blockSize)
  }

  /// Replays what the log holds in memory.
  /// - Returns: nil when nothing has to be replayed: the log was never written, or its last record says that the file
  ///   system was unmounted.
  /// - Throws: ``FileSystemError``, `DeviceError`, `OutOfBounds`.
  func replay() throws -> XFSLogReplay? {
    guard let end = try findEnd() else { return nil }
    var (last, head) = end
    if try isUnmount(last, head) { return nil }
    try superblock.refuseUnknownLogFeatures(volume)
    try setAsideTornRecords(&last, &head)

    var replay = XFSLogReplay(volume)
    guard last.tail < blockCount else { throw volume.damaged("its log begins at block \(last.tail)") }
    var position = last.tail
    var walked = 0
    while position != head {
      let record = try record(at: position)
      walked += record.blockCount
      guard walked <= blockCount else { throw volume.damaged("the records of its log do not lead to its end") }
      try replay.add(try contents(of: record), operationCount: record.operationCount)
      position = (position + record.blockCount) % blockCount
    }
    return replay
  }

  /// The header of a log record.
  struct Record {
    /// Of its first block in the ring.
    let position: Int
    let headerBlocks: Int
    /// Bytes of data after the header.
    let byteCount: Int
    let operationCount: Int
    /// Where the oldest record begins that has to be replayed once this one is written.
    let tail: Int
    let cycle: UInt32
    let checksum: UInt32

    var dataBlocks: Int { (byteCount + XFSLog.blockSize - 1) / XFSLog.blockSize }
    var blockCount: Int { headerBlocks + dataBlocks }
  }

  func record(at position: Int) throws -> Record {
    let header = try blocks(position, count: 1)
    let version = try header.bigEndian(UInt32.self, at: 8)
    let byteCount = try header.bigEndian(UInt32.self, at: 12)
    guard try header.bigEndian(UInt32.self, at: 0) == Self.recordMagic, version == 1 || version == 2,
      byteCount <= Self.recordBlockLimit * Self.blockSize,
      try header.bigEndian(UInt32.self, at: 20) == position
    else { throw volume.damaged("its log has no record at block \(position)") }
    guard header[304..<320].elementsEqual(superblock.uuid) else {
      throw volume.damaged("the record at block \(position) of its log is of another file system")
    }
    let littleEndianFormat: UInt32 = 1
    guard try header.bigEndian(UInt32.self, at: 300) == littleEndianFormat else {
      throw volume.unsupported("a log written by a big-endian machine")
    }
    let bufferSize = version == 2 ? try header.bigEndian(UInt32.self, at: 320) : 0
    let cyclesPerHeader = UInt64(64 * Self.blockSize)
    let headerBlocks = max(1, Int((UInt64(bufferSize) + cyclesPerHeader - 1) / cyclesPerHeader))
    let record = Record(
      position: position, headerBlocks: headerBlocks, byteCount: Int(byteCount),
      operationCount: Int(try header.bigEndian(UInt32.self, at: 40)),
      tail: Int(try header.bigEndian(UInt32.self, at: 28)), cycle: try header.bigEndian(UInt32.self, at: 4),
      checksum: try header.littleEndian(UInt32.self, at: 32))
    // The one record mkfs writes is as long as a stripe of the log, with a header for less.
    guard record.headerBlocks <= 8, record.headerBlocks * 64 >= record.dataBlocks || record.operationCount == 1,
      record.blockCount < blockCount
    else {
      throw volume.damaged("the record at block \(position) of its log has \(byteCount) bytes")
    }
    return record
  }

  /// The data of a record, with the words that the cycle numbers took the place of.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` unless it is complete.
  private func contents(of record: Record) throws -> [UInt8] {
    guard let contents = try completeContents(of: record) else {
      throw volume.damaged("the record at block \(record.position) of its log is not complete")
    }
    return contents
  }

  private func completeContents(of record: Record) throws -> [UInt8]? {
    let headers = try blocks(record.position, count: record.headerBlocks)
    var data = try blocks((record.position + record.headerBlocks) % blockCount, count: record.dataBlocks)
    guard try matchesChecksum(record, headers, data) else { return nil }
    for block in 0..<min(record.dataBlocks, record.headerBlocks * 64) {
      let word = block * Self.blockSize
      // Past the end of the ring a new round begins; the magic number is never a cycle.
      let wrapped = (record.position + record.headerBlocks + block) >= blockCount
      guard try data.bigEndian(UInt32.self, at: word) == (wrapped ? cycle(after: record.cycle) : record.cycle) else {
        return nil
      }
      let (header, index) = block.quotientAndRemainder(dividingBy: 64)
      let place = header * Self.blockSize + (header == 0 ? 44 : 4) + index * 4
      data.store(try headers.bigEndian(UInt32.self, at: place).byteSwapped, at: word)
    }
    data.removeLast(data.count - record.byteCount)
    return data
  }

  /// The header's structure has 328 bytes on most machines, 324 where 64-bit numbers are aligned to four bytes.
  private func matchesChecksum(_ record: Record, _ headers: [UInt8], _ data: [UInt8]) throws -> Bool {
    // Neither old kernels nor mkfs compute one.
    guard record.checksum != 0 else { return superblock.version < 5 || record.operationCount == 1 }
    for headerSize in [328, 324] {
      var crc = CRC32C()
      crc.update(try headers.span.bytes.slice(0, 32))
      crc.update([UInt8](repeating: 0, count: 4).span.bytes)
      crc.update(try headers.span.bytes.slice(36, headerSize - 36))
      let cyclesPerHeader = 64 * Self.blockSize
      let usedHeaders = (record.byteCount + cyclesPerHeader - 1) / cyclesPerHeader
      for header in 1..<max(1, usedHeaders) {
        crc.update(try headers.span.bytes.slice(header * Self.blockSize, 260))
      }
      crc.update(try data.span.bytes.slice(0, record.byteCount))
      if crc.value == record.checksum { return true }
    }
    return false
  }

  /// Whether the log ends with the one record that unmounting writes.
  private func isUnmount(_ record: Record, _ head: Int) throws -> Bool {
    guard record.operationCount == 1, (record.position + record.blockCount) % blockCount == head else { return false }
    let data = try blocks((record.position + record.headerBlocks) % blockCount, count: 1)
    let unmountFlag: UInt8 = 0x20
    return data[9] & unmountFlag != 0
  }

  /// Moves the end of the log before the first record that is not complete, among those that may have been on their way
  /// to the disk when the machine stopped.
  private func setAsideTornRecords(_ last: inout Record, _ head: inout Int) throws {
    var records = [last]
    while records.count <= Self.recordsInFlight, records[0].position != last.tail,
      let position = try previousRecord(before: records[0].position)
    {
      records.insert(try record(at: position), at: 0)
    }
    guard let torn = try records.firstIndex(where: { try completeContents(of: $0) == nil }) else { return }
    guard torn > 0 else { throw volume.damaged("the end of its log is not complete") }
    head = records[torn].position
    last = records[torn - 1]
  }

  // MARK: The end of the log

  /// The last record and the block after it, or nil when the log was never written.
  private func findEnd() throws -> (last: Record, head: Int)? {
    guard var head = try findHead() else { return nil }
    if let position = try previousRecord(before: head) {
      let last = try record(at: position)
      if (position + last.blockCount) % blockCount == head { return (last, head) }
      // Its data never reached the disk, or not all of it: the log ends before.
      head = position
    }
    guard let position = try previousRecord(before: head) else {
      throw volume.damaged("its log has no record before block \(head)")
    }
    return (try record(at: position), head)
  }

  /// The block after the last one written, or nil when the log was never written.
  private func findHead() throws -> Int? {
    let first = try cycle(0)
    guard first != 0 else { return nil }
    let last = try cycle(blockCount - 1)
    // What stands before the blocks of this round: those of the round before, or zeros.
    let older: UInt32
    var head: Int
    if first == last {
      // The last round ended exactly at the end of the ring.
      older = last &- 1
      head = blockCount
    } else {
      older = last
      var newest = 0
      head = blockCount - 1
      while head - newest > 1 {
        let middle = (newest + head) / 2
        if try cycle(middle) == last { head = middle } else { newest = middle }
      }
    }
    // Records in flight reach the disk in any order: the log ends before the first block that was not written.
    let reach = min(blockCount, Self.recordsInFlight * Self.recordBlockLimit)
    if head < reach, first != last, last != 0 {
      let wrapped = (blockCount - (reach - head))..<blockCount
      if let hole = try firstBlock(in: wrapped, ofCycle: last &- 1) { return hole }
    }
    let hole = try firstBlock(in: max(0, head - reach)..<head, ofCycle: older)
    return (hole ?? head) % blockCount
  }

  /// The start of the nearest record before a block, or nil when there is none in the whole ring.
  private func previousRecord(before position: Int) throws -> Int? {
    let chunk = 256
    var distance = 0
    while distance < blockCount {
      let count = min(chunk, blockCount - distance)
      let first = (position + 2 * blockCount - distance - count) % blockCount
      let bytes = try blocks(first, count: count)
      for index in (0..<count).reversed()
      where try bytes.bigEndian(UInt32.self, at: index * Self.blockSize) == Self.recordMagic {
        return (first + index) % blockCount
      }
      distance += count
    }
    return nil
  }

  private func firstBlock(in range: Range<Int>, ofCycle cycle: UInt32) throws -> Int? {
    let chunk = 256
    for start in stride(from: range.lowerBound, to: range.upperBound, by: chunk) {
      let count = min(chunk, range.upperBound - start)
      let bytes = try blocks(start, count: count)
      for index in 0..<count where try self.cycle(bytes, at: index * Self.blockSize) == cycle { return start + index }
    }
    return nil
  }

  /// The number of the next round; the record's magic number is left out.
  private func cycle(after cycle: UInt32) -> UInt32 {
    cycle &+ 1 == Self.recordMagic ? cycle &+ 2 : cycle &+ 1
  }

  private func cycle(_ position: Int) throws -> UInt32 { try cycle(try blocks(position, count: 1), at: 0) }

  private func cycle(_ bytes: [UInt8], at offset: Int) throws(OutOfBounds) -> UInt32 {
    let word = try bytes.bigEndian(UInt32.self, at: offset)
    return word == Self.recordMagic ? try bytes.bigEndian(UInt32.self, at: offset + 4) : word
  }

  /// Blocks of the ring, which goes on at its start.
  /// - Parameter count: at most as many as the ring has.
  private func blocks(_ position: Int, count: Int) throws -> [UInt8] {
    let atEnd = min(count, blockCount - position)
    let bytes = try volume.read(
      "the log", at: start + UInt64(position * Self.blockSize), count: atEnd * Self.blockSize)
    guard atEnd < count else { return bytes }
    return bytes + (try volume.read("the log", at: start, count: (count - atEnd) * Self.blockSize))
  }
}
