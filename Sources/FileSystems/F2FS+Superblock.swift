// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The superblock: at byte 1024 of the first block, and again of the second.
///
/// Little-endian; addresses are in blocks from the start of the volume. The areas follow each other: checkpoint, SIT,
/// NAT, SSA, main.
struct F2FSSuperblock: Sendable {
  static let magic: UInt32 = 0xF2F5_2010
  static let byteCount = 3072
  static let offsetInBlock = 1024
  /// Blocks are as large as a page of the machine that made them: 4 to 64 KiB.
  static let blockSizeExponents = 12...16
  /// The only count Linux accepts.
  static let blocksPerSegment = 512

  let blockSize: Int
  /// Of the whole volume.
  let blockCount: Int
  let checkpointStart: Int
  /// The segment information table has two areas of this many blocks each.
  let segmentTableStart: Int
  let segmentTableBlockCount: Int
  let mainStart: Int
  let mainSegmentCount: Int
  /// Blocks behind the first of a checkpoint pack, for bitmaps that do not fit into it.
  let checkpointPayload: Int
  let uuid: [UInt8]
  let label: String?
  /// Made for reading only: fsync has never written to it, and it has no place for it.
  var isReadOnly: Bool { features & Self.readOnlyFeature != 0 }
  private let features: UInt32
  private let hasSeveralDevices: Bool

  var mainBlocks: Range<Int> { mainStart..<(mainStart + mainSegmentCount * Self.blocksPerSegment) }

  /// Like Linux, takes the first superblock that makes sense.
  /// - Returns: nil when there is no superblock at all.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` when none makes sense.
  init?(_ volume: Volume) throws {
    var places: [(block: UInt64, exponent: Int?)] = [(0, nil)]
    places += Self.blockSizeExponents.map { (1 << UInt64($0), $0) }
    var failure: FileSystemError?
    for (block, exponent) in places {
      let offset = block + UInt64(Self.offsetInBlock)
      guard volume.contains(offset, UInt64(Self.byteCount)) else { continue }
      let bytes = try volume.device.read(at: offset, count: Self.byteCount)
      guard try bytes.littleEndian(UInt32.self, at: 0) == Self.magic else { continue }
      if let exponent, try bytes.littleEndian(UInt32.self, at: 16) != UInt32(exponent) { continue }
      do {
        self = try volume.parsing("the superblock") { try F2FSSuperblock(bytes, volume) }
        return
      } catch let error as FileSystemError {
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
    return nil
  }

  private init(_ bytes: [UInt8], _ volume: Volume) throws {
    func field(_ offset: Int) throws(OutOfBounds) -> UInt64 { UInt64(try bytes.littleEndian(UInt32.self, at: offset)) }

    features = try bytes.littleEndian(UInt32.self, at: 2180)
    if features & Self.checksumFeature != 0 {
      let end = try field(32)
      guard end == Self.byteCount - 4 else { throw volume.damaged("a superblock with its checksum at byte \(end)") }
      let checksum = CRC32.shiftRegister(seed: Self.magic, try bytes.span.bytes.slice(0, Int(end)))
      guard try checksum == bytes.littleEndian(UInt32.self, at: Int(end)) else {
        throw volume.damaged("the superblock's checksum is wrong")
      }
    }
    let exponent = try field(16)
    guard Self.blockSizeExponents.contains(Int(exponent)) else {
      throw volume.damaged("blocks of two to the power of \(exponent) bytes")
    }
    blockSize = 1 << Int(exponent)
    let segmentExponent = try field(20)
    guard segmentExponent == Self.blocksPerSegment.trailingZeroBitCount else {
      throw volume.damaged("segments of two to the power of \(segmentExponent) blocks")
    }

    // The second entry of the list of devices, each with a path of 64 bytes and a count.
    hasSeveralDevices = bytes[2201 + 68] != 0
    let blocks = try bytes.littleEndian(UInt64.self, at: 36)
    // Addresses have 32 bits.
    guard blocks <= (hasSeveralDevices ? 1 << 32 : volume.device.byteCount >> exponent) else {
      throw volume.damaged(
        "the superblock counts \(blocks) blocks of \(blockSize) bytes, the volume has \(volume.device.byteCount) bytes")
    }
    blockCount = Int(blocks)

    // Each area ends where the next begins.
    let areas = ["checkpoint area", "SIT", "NAT", "SSA", "main area"]
    var starts: [Int] = []
    var next = try field(72)
    for (index, area) in areas.enumerated() {
      let start = try field(76 + 4 * index)
      guard start == next, start > 0 else { throw volume.damaged("the \(area) begins at block \(start), not \(next)") }
      starts.append(Int(start))
      next = start + (try field(52 + 4 * index)) << segmentExponent
    }
    guard next <= blocks else { throw volume.damaged("the main area ends at block \(next) of \(blocks)") }
    checkpointStart = starts[0]
    segmentTableStart = starts[1]
    mainStart = starts[4]
    mainSegmentCount = Int(try field(68))
    guard try field(52) == 2, try field(56).isMultiple(of: 2) else {
      throw volume.damaged("\(try field(52)) segments of checkpoints, \(try field(56)) of the SIT")
    }
    segmentTableBlockCount = Int(try field(56)) / 2 * Self.blocksPerSegment

    let payload = try field(1664)
    guard payload < Self.blocksPerSegment else { throw volume.damaged("checkpoints with \(payload) more blocks") }
    checkpointPayload = Int(payload)
    uuid = Array(bytes[108..<124])
    let units = try (0..<512).map { try bytes.littleEndian(UInt16.self, at: 124 + 2 * $0) }
    label = labelText(of: Array(String(decoding: units.prefix { $0 != 0 }, as: UTF16.self).utf8)[...])
  }

  /// - Throws: ``FileSystemError/unsupported(volume:kind:feature:)`` naming what this reader does not know.
  func refuseUnknownFeatures(_ volume: Volume) throws {
    if hasSeveralDevices { throw volume.unsupported("several devices") }
    if features & Self.zonesFeature != 0 { throw volume.unsupported("zones (blkzoned)") }
    let unknown = features & ~Self.knownFeatures
    guard unknown == 0 else { throw volume.unsupported("features 0x\(String(unknown, radix: 16))") }
  }

  private static let zonesFeature: UInt32 = 1 << 1
  private static let checksumFeature: UInt32 = 1 << 11
  private static let readOnlyFeature: UInt32 = 1 << 14
  /// encrypt, blkzoned, atomic_write, extra_attr, project_quota, inode_checksum, flexible_inline_xattr, quota,
  /// inode_crtime, lost_found, verity, sb_checksum, casefold, compression, ro, device_alias: but for zones, none changes
  /// how used blocks are recorded.
  private static let knownFeatures: UInt32 = 0xFFFF
}
