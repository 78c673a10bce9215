// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// JFS, as Linux and OS/2 have it: what the block allocation map marks as used, in its working or its persistent copy.
///
/// The log and the working space of fsck stand behind the last block of the map, so they count as used. The log is not
/// replayed: without a clean unmount the map cannot be trusted, and the volume needs recovery.
/// Source: Steve Best and Dave Kleikamp, JFS Layout (IBM, 2000); fs/jfs/jfs_dmap.h of Linux.
struct JFS: FileSystemReader {
  private let volume: Volume
  private let superblock: JFSSuperblock
  let identity: FileSystemIdentity

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .jfs)
    guard volume.contains(JFSSuperblock.offset, UInt64(JFSSuperblock.byteCount)),
      try device.read(at: JFSSuperblock.offset, count: 4) == JFSSuperblock.signature
    else { return nil }
    superblock = try JFSSuperblock(volume)
    identity = FileSystemIdentity(
      kind: .jfs, uuid: superblock.uuid, label: superblock.label, byteCount: superblock.byteCount)
  }

  func allocationMap() throws -> AllocationMap {
    guard superblock.state == 0 else {
      throw volume.needsRecovery("its state is \(superblock.state), so its log has to be replayed")
    }
    return try volume.parsing("the block allocation map") {
      let map = try JFSBlockMap(volume, superblock)
      var bitmap = try map.bitmap()
      let fixedEnd: UInt64 = 0x10000  // boot code, superblocks, the aggregate inode table and its map
      mark(0..<(fixedEnd / UInt64(superblock.blockSize)), in: &bitmap)
      for extent in superblock.reservedExtents + map.extents { mark(extent.blocks, in: &bitmap) }
      for page in map.treePages { mark(page..<(page + 1), in: &bitmap) }
      var warnings: [String] = []
      if superblock.hasExternalLog { warnings.append("its log is on another device; save that along") }
      return AllocationMap(
        identity: identity, blockSize: superblock.blockSize, bitmap: bitmap, warnings: warnings)
    }
  }

  private func mark(_ blocks: Range<UInt64>, in bitmap: inout BlockBitmap) {
    bitmap.set(Int(blocks.lowerBound)..<Int(blocks.upperBound))
  }
}

/// The superblock of JFS: little-endian, 32 KiB into the volume.
struct JFSSuperblock: Sendable {
  static let offset: UInt64 = 0x8000
  static let byteCount = 512
  static let signature = Array("JFS1".utf8)

  /// Bytes; Linux has no other than 4096.
  let blockSize: Int
  /// With the log and the working space of fsck, which are behind the blocks of the map.
  let byteCount: UInt64
  /// Blocks that the map may describe.
  let blockCount: UInt64
  /// Zero when it was unmounted.
  let state: UInt32
  let hasExternalLog: Bool
  /// The second inode table and its map, the log, the working space of fsck.
  let reservedExtents: [JFSExtent]
  let uuid: String?
  let label: String?

  /// - Throws: ``FileSystemError`` when the fields contradict themselves or the size of the volume.
  init(_ volume: Volume) throws {
    let bytes = try volume.read("the superblock", at: Self.offset, count: Self.byteCount)
    let version = try bytes.littleEndian(UInt32.self, at: 4)
    guard 1...2 ~= version else { throw volume.unsupported("version \(version)") }
    let size = try bytes.littleEndian(UInt32.self, at: 16)
    guard size == 4096 else { throw volume.unsupported("blocks of \(size) bytes") }
    blockSize = Int(size)
    // Counted in sectors, as small as the device's.
    let sectorCount = try bytes.littleEndian(UInt64.self, at: 8)
    let sectorSize = try bytes.littleEndian(UInt32.self, at: 24)
    guard [512, 1024, 2048, 4096].contains(sectorSize), sectorCount <= volume.device.byteCount / UInt64(sectorSize)
    else {
      throw volume.damaged(
        "\(sectorCount) sectors of \(sectorSize) bytes do not fit the volume's \(volume.device.byteCount) bytes")
    }
    blockCount = sectorCount * UInt64(sectorSize) / UInt64(blockSize)
    let bigEndianFlag: UInt32 = 0x8000_0000
    let flags = try bytes.littleEndian(UInt32.self, at: 36)
    guard flags & bigEndianFlag == 0 else { throw volume.unsupported("the layout of AIX") }
    state = try bytes.littleEndian(UInt32.self, at: 40)
    let inlineLogFlag: UInt32 = 0x800
    hasExternalLog = flags & inlineLogFlag == 0
    reservedExtents = try [48, 56, 72, 80].map { try JFSExtent(bytes, at: $0) }
    byteCount = reservedExtents.reduce(blockCount) { max($0, $1.blocks.upperBound) } * UInt64(blockSize)
    guard byteCount <= volume.device.byteCount else {
      throw volume.damaged("with its log it has \(byteCount) of the volume's \(volume.device.byteCount) bytes")
    }
    uuid = UUIDText.text(of: bytes[136..<152])
    label = labelText(of: bytes[152..<168])
  }
}

/// A run of blocks: 24 bits of length and 40 of address.
struct JFSExtent: Sendable {
  let blocks: Range<UInt64>

  init(_ bytes: [UInt8], at offset: Int) throws(OutOfBounds) {
    let word = try bytes.littleEndian(UInt32.self, at: offset)
    let start = UInt64(word >> 24) << 32 | UInt64(try bytes.littleEndian(UInt32.self, at: offset + 4))
    blocks = start..<(start + UInt64(word & 0xFF_FFFF))
  }
}
