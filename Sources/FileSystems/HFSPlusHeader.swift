// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The volume header of HFS Plus and HFSX: 512 bytes, 1024 bytes into the volume, big-endian.
///
/// Source: Apple, Technical Note TN1150, HFS Plus Volume Format.
struct HFSPlusHeader: Sendable {
  static let byteCount = 512
  /// Of the header, and of the end of its copy from the end of the volume.
  static let offset: UInt64 = 1024

  let attributes: Attributes
  /// Who wrote to it last: four characters.
  let lastMountedVersion: UInt32
  /// Allocation block of the journal's description.
  let journalInfoBlock: UInt32
  /// Size of an allocation block in bytes; a power of two.
  let blockSize: Int
  let blockCount: Int
  let freeBlockCount: Int
  let uuid: String?
  let allocationFile: HFSPlusFork
  let extentsFile: HFSPlusFork
  let catalogFile: HFSPlusFork
  let attributesFile: HFSPlusFork
  let startupFile: HFSPlusFork

  struct Attributes: OptionSet {
    let rawValue: UInt32
    static let unmounted = Attributes(rawValue: 1 << 8)
    static let inconsistent = Attributes(rawValue: 1 << 11)
    static let journaled = Attributes(rawValue: 1 << 13)
  }

  var byteCount: UInt64 { UInt64(blockCount) * UInt64(blockSize) }

  /// - Parameters:
  ///   - base: where the volume begins, which is later than the device when it is wrapped in one of HFS.
  /// - Throws: ``FileSystemError`` when the fields contradict themselves or the size of the volume.
  init(_ volume: Volume, base: UInt64) throws {
    let bytes = try volume.read("the volume header", at: base + Self.offset, count: Self.byteCount)
    let signature = Array(bytes[0..<2])
    let version = try bytes.bigEndian(UInt16.self, at: 2)
    guard
      (signature == HFSPlus.signature && version == 4) || (signature == HFSPlus.caseSensitiveSignature && version == 5)
    else { throw volume.unsupported("version \(version)") }
    attributes = Attributes(rawValue: try bytes.bigEndian(UInt32.self, at: 4))
    lastMountedVersion = try bytes.bigEndian(UInt32.self, at: 8)
    journalInfoBlock = try bytes.bigEndian(UInt32.self, at: 12)
    let size = try bytes.bigEndian(UInt32.self, at: 40)
    guard size >= 512, size.nonzeroBitCount == 1 else { throw volume.damaged("allocation blocks of \(size) bytes") }
    blockSize = Int(size)
    blockCount = Int(try bytes.bigEndian(UInt32.self, at: 44))
    freeBlockCount = Int(try bytes.bigEndian(UInt32.self, at: 48))
    guard blockCount > 0, freeBlockCount <= blockCount, volume.contains(base, UInt64(blockCount) * UInt64(blockSize))
    else {
      throw volume.damaged(
        "\(blockCount) allocation blocks of \(blockSize) bytes, \(freeBlockCount) of them free, in "
          + "\(volume.device.byteCount - base) bytes")
    }
    uuid = try HFSPlusUUID.text(ofFinderInfo: bytes[104..<112])
    allocationFile = try HFSPlusFork(bytes, at: 112)
    extentsFile = try HFSPlusFork(bytes, at: 192)
    catalogFile = try HFSPlusFork(bytes, at: 272)
    attributesFile = try HFSPlusFork(bytes, at: 352)
    startupFile = try HFSPlusFork(bytes, at: 432)
  }
}

/// The contents of a file: its size, and its first eight extents in order.
struct HFSPlusFork: Sendable {
  let byteCount: UInt64
  /// In allocation blocks; with more extents, the rest stand in the extents overflow file.
  let blockCount: UInt32
  var extents: [Range<Int>]

  init(_ bytes: [UInt8], at offset: Int) throws(OutOfBounds) {
    byteCount = try bytes.bigEndian(UInt64.self, at: offset)
    blockCount = try bytes.bigEndian(UInt32.self, at: offset + 12)
    extents = try Self.extents(bytes, at: offset + 16)
  }

  /// An extent record: eight pairs of first block and count; an empty one ends it.
  static func extents(_ bytes: [UInt8], at offset: Int) throws(OutOfBounds) -> [Range<Int>] {
    var extents: [Range<Int>] = []
    for position in stride(from: offset, to: offset + 64, by: 8) {
      let start = Int(try bytes.bigEndian(UInt32.self, at: position))
      let count = Int(try bytes.bigEndian(UInt32.self, at: position + 4))
      if count == 0 { break }
      extents.append(start..<(start + count))
    }
    return extents
  }
}
