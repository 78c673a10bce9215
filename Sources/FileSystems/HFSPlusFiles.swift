// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The special files of an HFS Plus volume.
struct HFSPlusFiles {
  let volume: Volume
  /// Where allocation block 0 begins, in bytes.
  let base: UInt64
  let header: HFSPlusHeader

  /// The allocation file's number, by which its extents are filed.
  private static let allocationFileID: UInt32 = 6
  private static let leafKind: Int8 = -1

  /// All extents of the allocation file.
  func allocationExtents() throws -> [Range<Int>] {
    var extents = header.allocationFile.extents
    var count = extents.reduce(0) { $0 + $1.count }
    if count < Int(header.allocationFile.blockCount) {
      // Keys are in the order of file, fork and block, so the allocation file's records come in the order of its blocks.
      try forEachLeafRecord(of: header.extentsFile, "the extents overflow file") { key, value in
        guard try key.bigEndian(UInt32.self, at: 2) == Self.allocationFileID, key[0] == 0 else { return true }
        guard Int(try key.bigEndian(UInt32.self, at: 6)) == count else {
          throw volume.damaged("the extents of the allocation file are not in order")
        }
        let more = try HFSPlusFork.extents(value, at: 0)
        extents += more
        count += more.reduce(0) { $0 + $1.count }
        return count < Int(header.allocationFile.blockCount)
      }
    }
    guard count >= Int(header.allocationFile.blockCount) else {
      throw volume.damaged(
        "the allocation file has \(header.allocationFile.blockCount) blocks, but extents for only \(count)")
    }
    return extents
  }

  /// The volume's name: the key of the root folder, which is the first in the catalog.
  func label() throws -> String? {
    var label: String?
    try forEachLeafRecord(of: header.catalogFile, "the catalog file") { key, _ in
      let rootParentID: UInt32 = 1
      guard try key.bigEndian(UInt32.self, at: 0) == rootParentID else { return false }
      let length = Int(try key.bigEndian(UInt16.self, at: 4))
      let characters = try (0..<length).map { try key.bigEndian(UInt16.self, at: 6 + 2 * $0) }
      label = labelText(of: Array(String(decoding: characters, as: UTF16.self).utf8)[...])
      return false
    }
    return label
  }

  /// Calls `body` with part after part of a file, each of at most a mebibyte.
  func forEachPart(
    of extents: [Range<Int>], byteCount: Int, _ what: @autoclosure () -> String, _ body: (inout [UInt8]) throws -> Void
  ) throws {
    var left = byteCount
    for extent in extents where left > 0 {
      guard extent.upperBound <= header.blockCount else {
        throw volume.damaged("\(what()) has blocks up to \(extent.upperBound) of \(header.blockCount)")
      }
      var position = UInt64(extent.lowerBound) * UInt64(header.blockSize)
      let end = UInt64(extent.upperBound) * UInt64(header.blockSize)
      while position < end, left > 0 {
        let count = Int(min(1 << 20, end - position, UInt64(left)))
        var part = try volume.read(what(), at: base + position, count: count)
        try body(&part)
        position += UInt64(count)
        left -= count
      }
    }
    guard left == 0 else { throw volume.damaged("\(what()) lacks \(left) bytes") }
  }

  /// Goes through the leaves of a B-tree from the first to the last, until `body` returns false.
  /// - Parameter body: is given the key behind its length, and the record's data.
  private func forEachLeafRecord(
    of file: HFSPlusFork, _ what: String, _ body: ([UInt8], [UInt8]) throws -> Bool
  ) throws {
    guard file.byteCount >= 512 else { throw volume.damaged("\(what) has \(file.byteCount) bytes") }
    try volume.parsing(what) {
      let head = try read(file, at: 0, count: 512, what)
      let nodeSize = Int(try head.bigEndian(UInt16.self, at: 32))
      guard 512...32768 ~= nodeSize, nodeSize.nonzeroBitCount == 1 else {
        throw volume.damaged("\(what) has nodes of \(nodeSize) bytes")
      }
      var number = try head.bigEndian(UInt32.self, at: 24)
      // Each node is met once.
      var left = file.byteCount / UInt64(nodeSize)
      while number != 0 {
        guard left > 0 else { throw volume.damaged("the leaves of \(what) form a ring") }
        left -= 1
        let node = try read(file, at: UInt64(number) * UInt64(nodeSize), count: nodeSize, what)
        guard try node.littleEndian(Int8.self, at: 8) == Self.leafKind else {
          throw volume.damaged("node \(number) of \(what) is no leaf")
        }
        for index in 0..<Int(try node.bigEndian(UInt16.self, at: 10)) {
          let start = Int(try node.bigEndian(UInt16.self, at: nodeSize - 2 * (index + 1)))
          let keyLength = Int(try node.bigEndian(UInt16.self, at: start))
          let key = try node.span.bytes.array(at: start + 2, count: keyLength)
          let end = Int(try node.bigEndian(UInt16.self, at: nodeSize - 2 * (index + 2)))
          let value = try node.span.bytes.array(at: start + 2 + keyLength, count: end - start - 2 - keyLength)
          guard try body(key, value) else { return }
        }
        number = try node.bigEndian(UInt32.self, at: 0)
      }
    }
  }

  /// Bytes of a file whose extents are all in the header: the B-trees' first nodes, and all of the extents file.
  private func read(_ file: HFSPlusFork, at offset: UInt64, count: Int, _ what: String) throws -> [UInt8] {
    var skip = offset
    var bytes: [UInt8] = []
    for extent in file.extents {
      let size = UInt64(extent.count) * UInt64(header.blockSize)
      guard skip < size else {
        skip -= size
        continue
      }
      let part = Int(min(UInt64(count - bytes.count), size - skip))
      bytes += try volume.read(
        what, at: base + UInt64(extent.lowerBound) * UInt64(header.blockSize) + skip, count: part)
      skip = 0
      if bytes.count == count { return bytes }
    }
    throw volume.damaged("\(what) ends before byte \(offset) + \(count)")
  }
}
