// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The superblock of UFS1 or UFS2, checked against itself and the volume's size.
struct UFSSuperblock: Sendable {
  let order: UFSByteOrder
  /// Bytes; a power of two from 512 to 65536.
  let fragmentSize: Int
  /// 1, 2, 4 or 8.
  let fragmentsPerBlock: Int
  /// Of the file system.
  let fragmentCount: Int
  /// Free blocks, counted in fragments, and free fragments of blocks that are partly in use.
  let freeFragmentCount: Int64
  let groupCount: Int
  /// Of each cylinder group but the last.
  let fragmentsPerGroup: Int
  /// Of a group's header with all its bitmaps, in bytes.
  let headerSize: Int
  /// Where the totals of all groups stand, in fragments.
  let summary: Range<Int>
  let uuid: String?
  let label: String?

  /// Where a group has its superblock copy, its header and its data, in fragments from the group's start.
  private let copyOffset: Int
  private let headerOffset: Int
  private let dataOffset: Int
  /// UFS1 moved the metadata on by so many fragments from group to group, so that it is not all on one platter, and
  /// began anew where the group's number has none of the mask's other bits.
  private let rotation: Int
  private let rotationMask: UInt32
  private let isClean: Bool
  private let flags: UInt32
  private let isOldFormat: Bool

  /// The places where a superblock is looked for, in the order FreeBSD has.
  private static let offsets: [UInt64] = [65536, 8192, 0, 262_144]
  private static let byteCount = 1376

  /// - Returns: nil when there is none.
  init?(_ volume: Volume) throws {
    for offset in Self.offsets where volume.contains(offset, UInt64(Self.byteCount)) {
      let bytes = try volume.device.read(at: offset, count: Self.byteCount)
      for order in [UFSByteOrder.little, .big] {
        let magic = try order.read(UInt32.self, bytes, at: 1372)
        let isVersion2 = magic == 0x1954_0119
        guard isVersion2 || magic == 0x0001_1954 else { continue }
        // UFS1 has a copy there when its blocks are that large; UFS2 says where each of its superblocks stands.
        let isCopy = isVersion2 ? try order.read(UInt64.self, bytes, at: 1000) != offset : offset == 65536
        guard !isCopy else { continue }
        try self.init(volume, bytes, order, isVersion2: isVersion2)
        return
      }
    }
    return nil
  }

  private init(_ volume: Volume, _ bytes: [UInt8], _ order: UFSByteOrder, isVersion2: Bool) throws {
    self.order = order
    func field(_ offset: Int) throws -> Int { Int(try order.read(Int32.self, bytes, at: offset)) }
    func wide(_ offset: Int) throws -> Int64 { try order.read(Int64.self, bytes, at: offset) }
    fragmentSize = try field(52)
    fragmentsPerBlock = try field(56)
    guard 512...65536 ~= fragmentSize, fragmentSize.nonzeroBitCount == 1, 1...8 ~= fragmentsPerBlock,
      fragmentsPerBlock.nonzeroBitCount == 1, try field(48) == fragmentSize * fragmentsPerBlock
    else { throw volume.damaged("blocks of \(fragmentsPerBlock) fragments of \(fragmentSize) bytes") }

    let count = isVersion2 ? try wide(1080) : Int64(try field(36))
    guard count > 0, UInt64(count) <= volume.device.byteCount / UInt64(fragmentSize) else {
      throw volume.damaged(
        "the superblock counts \(count) fragments of \(fragmentSize) bytes, the volume has "
          + "\(volume.device.byteCount) bytes")
    }
    fragmentCount = Int(count)
    groupCount = try field(44)
    fragmentsPerGroup = try field(188)
    // Both have 31 bits.
    guard groupCount > 0, fragmentsPerGroup > 0, fragmentCount > (groupCount - 1) * fragmentsPerGroup,
      fragmentCount <= groupCount * fragmentsPerGroup
    else {
      throw volume.damaged("\(groupCount) groups of \(fragmentsPerGroup) fragments for \(fragmentCount) fragments")
    }
    copyOffset = try field(8)
    headerOffset = try field(12)
    dataOffset = try field(20)
    headerSize = try field(160)
    let headerFragments = (headerSize + fragmentSize - 1) / fragmentSize
    guard copyOffset >= 0, headerOffset > copyOffset, 128...(fragmentSize * fragmentsPerBlock) ~= headerSize,
      headerOffset + headerFragments <= dataOffset, dataOffset <= fragmentsPerGroup
    else {
      throw volume.damaged(
        "cylinder groups with a header of \(headerSize) bytes at fragment \(headerOffset) and data from \(dataOffset) on"
      )
    }
    rotation = isVersion2 ? 0 : try field(24)
    rotationMask = isVersion2 ? .max : try order.read(UInt32.self, bytes, at: 28)
    guard rotation >= 0 else { throw volume.damaged("cylinder groups turned by \(rotation) fragments") }

    let summaryStart = isVersion2 ? try wide(1096) : Int64(try field(152))
    let summarySize = try field(156)
    let summaryFragments = (summarySize + fragmentSize - 1) / fragmentSize
    guard summarySize >= 0, summaryStart >= 0, summaryStart <= count - Int64(summaryFragments) else {
      throw volume.damaged("a summary of \(summarySize) bytes at fragment \(summaryStart)")
    }
    summary = Int(summaryStart)..<(Int(summaryStart) + summaryFragments)

    let freeBlocks = isVersion2 ? try wide(1016) : Int64(try field(196))
    let freeFragments = isVersion2 ? try wide(1032) : Int64(try field(204))
    guard 0...count ~= freeBlocks, 0...count ~= freeFragments else {
      throw volume.damaged("\(freeBlocks) free blocks and \(freeFragments) fragments of \(count) fragments")
    }
    freeFragmentCount = freeBlocks * Int64(fragmentsPerBlock) + freeFragments

    isClean = bytes[209] == 1
    let areFlagsWide = isVersion2 || bytes[211] & 0x80 != 0
    flags = areFlagsWide ? try order.read(UInt32.self, bytes, at: 1312) : UInt32(bytes[211])
    isOldFormat = try !isVersion2 && field(1356) == -1
    let identifiers = [try order.read(UInt32.self, bytes, at: 144), try order.read(UInt32.self, bytes, at: 148)]
    uuid = identifiers == [0, 0] ? nil : identifiers.map(Self.text(of:)).joined()
    label = isVersion2 ? labelText(of: bytes[680..<712]) : nil
  }

  /// Where a group's header stands, in fragments from the start of the volume.
  func header(ofGroup number: Int) -> Int { start(ofGroup: number) + headerOffset }

  /// A group's superblock copy, header and inodes, and all before them in the first group.
  func metadata(ofGroup number: Int) -> Range<Int> {
    (number == 0 ? 0 : start(ofGroup: number) + copyOffset)..<(start(ofGroup: number) + dataOffset)
  }

  /// What the offsets of a group's metadata are counted from; at most 2⁶³.
  private func start(ofGroup number: Int) -> Int {
    number * fragmentsPerGroup + rotation * Int(UInt32(number) & ~rotationMask)
  }

  /// Throws unless the cylinder groups can be understood and say what is used.
  func refuse(_ volume: Volume) throws(FileSystemError) {
    if isOldFormat { throw volume.unsupported("cylinder groups as 4.2BSD had them") }
    guard isClean, flags & (Self.uncleanFlag | Self.needsCheckFlag) == 0 else {
      let journal =
        flags & Self.softUpdateJournalFlag != 0
        ? "its soft updates journal holds changes"
        : flags & Self.journalFlag != 0
          ? "its journal (gjournal) holds changes" : "its superblock is not marked as clean"
      throw volume.needsRecovery(journal)
    }
  }

  private static let uncleanFlag: UInt32 = 0x01
  private static let needsCheckFlag: UInt32 = 0x04
  private static let softUpdateJournalFlag: UInt32 = 0x08
  private static let journalFlag: UInt32 = 0x40

  /// Eight digits.
  private static func text(of number: UInt32) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
