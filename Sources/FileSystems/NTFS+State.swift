// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// What an NTFS volume says of itself: its label, and whether Windows has left it in order.
extension NTFSMetadata {
  /// The name in `$Volume`, or nil when it has none.
  func label() throws -> String? {
    guard let name = try stream(of: NTFSSystemFile.volume, .volumeName), name.byteCount <= 256 else { return nil }
    return try volume.parsing("the volume's name") {
      let bytes = try read(name, at: 0, count: Int(name.byteCount))
      return labelText(of: Array(try NTFSAttribute.utf16(bytes, at: 0, count: bytes.count / 2).utf8)[...])
    }
  }

  /// How many clusters stand in `$BadClus`.
  func badClusterCount() throws -> UInt64 {
    let stream = try stream(of: NTFSSystemFile.badClusters, .data, named: "$Bad")
    return stream?.extents.reduce(0) { $1.cluster == nil ? $0 : $0 + $1.count } ?? 0
  }

  /// - Throws: ``FileSystemError/needsRecovery(volume:kind:detail:)`` naming what Windows left undone.
  func refuseUnclean() throws {
    try volume.parsing("$Volume") {
      guard let information = try stream(of: NTFSSystemFile.volume, .volumeInformation) else {
        throw volume.damaged("$Volume has no volume information")
      }
      let bytes = try read(information, at: 0, count: 12)
      guard 1...3 ~= bytes[8] else { throw volume.unsupported("version \(bytes[8]).\(bytes[9])") }
      let dirtyFlag: UInt16 = 1
      guard try bytes.littleEndian(UInt16.self, at: 10) & dirtyFlag == 0 else {
        throw volume.needsRecovery("it is marked as dirty, so Windows means to check it")
      }
    }
    try volume.parsing("the root directory") {
      guard try !isHibernated() else {
        throw volume.needsRecovery("Windows is hibernated or was shut down by fast startup (hiberfil.sys)")
      }
    }
    try volume.parsing("$LogFile") {
      guard try isLogClean() else { throw volume.needsRecovery("its log ($LogFile) has not been closed") }
    }
  }

  // MARK: $LogFile

  /// Whether the log has no client, was closed with the volume, or is empty: all ones.
  private func isLogClean() throws -> Bool {
    guard let log = try stream(of: NTFSSystemFile.logFile, .data), log.byteCount > 0 else { return true }
    let usualPageSize = 4096
    let first = try page(of: log, at: 0, size: usualPageSize)
    var areas: [RestartArea] = []
    if let area = try restartArea(first) { areas.append(area) }
    let second = try page(of: log, at: UInt64(areas.first?.pageSize ?? usualPageSize), size: usualPageSize)
    if let area = try restartArea(second) { areas.append(area) }
    if let newest = areas.max(by: { $0.sequenceNumber < $1.sequenceNumber }) { return newest.isClean }
    return first.allSatisfy { $0 == 0xFF } && second.allSatisfy { $0 == 0xFF }
  }

  private struct RestartArea {
    let pageSize: Int
    /// Of the last record when the area was written.
    let sequenceNumber: UInt64
    let isClean: Bool
  }

  private func page(of log: NTFSStream, at offset: UInt64, size: Int) throws -> [UInt8] {
    guard offset < log.byteCount else { return [] }
    return try read(log, at: offset, count: Int(min(UInt64(size), log.byteCount - offset)))
  }

  /// What a restart page says; nil when the bytes are no such page, or it was not written completely.
  private func restartArea(_ page: [UInt8]) throws -> RestartArea? {
    guard page.starts(with: "RSTR".utf8) else { return nil }
    let pageSize = try page.littleEndian(UInt32.self, at: 16)
    guard 512...65536 ~= pageSize, pageSize.nonzeroBitCount == 1 else { return nil }
    // The part that matters stands in the first 4096 bytes of a larger page; the number repeats in every 512 bytes.
    let updateSequence = Int(try page.littleEndian(UInt16.self, at: 4))
    let number = try page.littleEndian(UInt16.self, at: updateSequence)
    for end in stride(from: 512, through: min(Int(pageSize), page.count), by: 512) {
      guard try page.littleEndian(UInt16.self, at: end - 2) == number else { return nil }
    }
    let area = Int(try page.littleEndian(UInt16.self, at: 24))
    let noClient: UInt16 = 0xFFFF
    let volumeIsClean: UInt16 = 2
    let isClean =
      try page.littleEndian(UInt16.self, at: area + 12) == noClient
      || page.littleEndian(UInt16.self, at: area + 14) & volumeIsClean != 0
    return RestartArea(
      pageSize: Int(pageSize), sequenceNumber: try page.littleEndian(UInt64.self, at: area), isClean: isClean)
  }

  // MARK: hiberfil.sys

  /// Whether `\hiberfil.sys` holds the memory of a Windows that means to come back.
  private func isHibernated() throws -> Bool {
    for reference in try rootEntries(named: "hiberfil.sys") {
      let number = reference & NTFSRecord.numberMask
      let record = try record(number)
      guard try record.isInUse, try record.sequenceNumber == UInt16(reference >> 48),
        let contents = try stream(of: number, .data), contents.byteCount >= 4
      else { continue }
      let signature = try read(contents, at: 0, count: 4)
      if signature == Array("hibr".utf8) || signature == Array("HIBR".utf8) { return true }
    }
    return false
  }

  /// The references of the root directory's entries with this name, in any case of ASCII.
  ///
  /// Every block of the index in use is looked at, so that the order of names, which depends on the volume's own
  /// table of capital letters, does not matter.
  private func rootEntries(named name: String) throws -> [UInt64] {
    let directory = NTFSSystemFile.rootDirectory
    let indexName = "$I30"
    guard let root = try stream(of: directory, .indexRoot, named: indexName), root.byteCount <= UInt64(boot.recordSize)
    else { throw volume.damaged("the root directory has no index") }
    let rootBytes = try read(root, at: 0, count: Int(root.byteCount))
    var found: [UInt64] = []
    try collectEntries(rootBytes.span.bytes.slice(16, rootBytes.count - 16), named: name, into: &found)

    guard let blocks = try stream(of: directory, .indexAllocation, named: indexName) else { return found }
    guard let usage = try stream(of: directory, .bitmap, named: indexName) else {
      throw volume.damaged("the root directory's index has no bitmap")
    }
    let blockSize = Int(try rootBytes.littleEndian(UInt32.self, at: 8))
    let limit: UInt64 = 256 << 20
    guard 512...65536 ~= blockSize, blockSize.nonzeroBitCount == 1, blocks.byteCount <= limit else {
      throw volume.damaged("the root directory has \(blocks.byteCount) bytes of index in blocks of \(blockSize) bytes")
    }
    let blockCount = Int(blocks.byteCount) / blockSize
    let usageBytes = try read(usage, at: 0, count: (blockCount + 7) / 8)
    for index in 0..<blockCount where usageBytes[index / 8] >> UInt8(index % 8) & 1 == 1 {
      let bytes = try undoUpdateSequence(
        read(blocks, at: UInt64(index * blockSize), count: blockSize), signature: "INDX",
        "block \(index) of the root directory's index")
      try collectEntries(bytes.span.bytes.slice(24, blockSize - 24), named: name, into: &found)
    }
    return found
  }

  /// - Parameter node: begins with the node's header.
  private func collectEntries(_ node: RawSpan, named name: String, into found: inout [UInt64]) throws {
    var offset = Int(try node.littleEndian(UInt32.self, at: 0))
    let lastEntryFlag: UInt16 = 2
    let headerSize = 16
    while true {
      let entry = try node.slice(offset, Int(node.littleEndian(UInt16.self, at: offset + 8)))
      guard try entry.littleEndian(UInt16.self, at: 12) & lastEntryFlag == 0 else { return }
      guard entry.byteCount >= headerSize else {
        throw OutOfBounds(offset: offset, count: headerSize, available: entry.byteCount)
      }
      let key = try entry.slice(headerSize, Int(entry.littleEndian(UInt16.self, at: 10)))
      let length = Int(try key.byte(at: 64))
      if length == name.utf8.count,
        try NTFSAttribute.utf16(key.array(at: 66, count: 2 * length), at: 0, count: length)
          .lowercased() == name
      {
        found.append(try entry.littleEndian(UInt64.self, at: 0))
      }
      offset += entry.byteCount
    }
  }
}
