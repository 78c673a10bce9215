// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The superblock of ext2, ext3 and ext4: 1024 bytes at byte 1024 of the volume, little-endian.
///
/// Source: Linux, Documentation/filesystems/ext4/super.rst.
struct ExtSuperblock: Sendable {
  static let offset: UInt64 = 1024
  static let byteCount = 1024

  /// Features that may be ignored.
  struct Compatible: OptionSet {
    let rawValue: UInt32
    static let hasJournal = Compatible(rawValue: 0x4)
    static let sparseSuper2 = Compatible(rawValue: 0x200)
  }

  /// Features without which nothing can be read.
  struct Incompatible: OptionSet {
    let rawValue: UInt32
    static let fileType = Incompatible(rawValue: 0x2)
    static let recover = Incompatible(rawValue: 0x4)
    static let journalDevice = Incompatible(rawValue: 0x8)
    static let metaBlockGroups = Incompatible(rawValue: 0x10)
    static let wide = Incompatible(rawValue: 0x80)
    static let checksumSeed = Incompatible(rawValue: 0x2000)
  }

  /// Features without which nothing can be written; some change what the block bitmaps mean.
  struct ReadOnlyCompatible: OptionSet {
    let rawValue: UInt32
    static let sparseSuper = ReadOnlyCompatible(rawValue: 0x1)
    static let largeFile = ReadOnlyCompatible(rawValue: 0x2)
    static let directoryTrees = ReadOnlyCompatible(rawValue: 0x4)
    static let descriptorChecksum = ReadOnlyCompatible(rawValue: 0x10)
    static let bigAlloc = ReadOnlyCompatible(rawValue: 0x200)
    static let metadataChecksum = ReadOnlyCompatible(rawValue: 0x400)
  }

  /// Bits of ``state``.
  struct State: OptionSet {
    let rawValue: UInt16
    static let valid = State(rawValue: 0x1)
    static let errors = State(rawValue: 0x2)
    static let orphans = State(rawValue: 0x4)
  }

  let blockSizeLog2: Int
  let clusterSizeLog2: UInt32
  let blockCount: UInt64
  let inodeCount: UInt32
  let firstDataBlock: UInt32
  let blocksPerGroup: UInt32
  let clustersPerGroup: UInt32
  let inodesPerGroup: UInt32
  let inodeSize: UInt16
  let state: State
  let revision: UInt32
  let compatible: Compatible
  let incompatible: Incompatible
  let readOnlyCompatible: ReadOnlyCompatible
  let descriptorSize: UInt16
  let reservedDescriptorBlocks: UInt16
  let firstMetaBlockGroup: UInt32
  /// The two groups with backups when ``Compatible/sparseSuper2`` is set.
  let backupGroups: [UInt32]
  /// What the superblock counts as free, in blocks; brought up to date on unmounting.
  let freeBlockCount: UInt64
  /// The inode of the journal; 0 when it is on another device or there is none.
  let journalInode: UInt32
  let uuid: String?
  let label: String?
  /// False when the superblock has a checksum and it is wrong.
  let checksumMatches: Bool

  var blockSize: Int { 1 << blockSizeLog2 }

  /// - Parameter bytes: ``byteCount`` bytes.
  /// - Returns: nil without the signature, and for the journal device of another file system.
  init?(_ bytes: [UInt8]) throws(OutOfBounds) {
    guard try bytes.littleEndian(UInt16.self, at: 0x38) == 0xEF53 else { return nil }
    let incompatible = Incompatible(rawValue: try bytes.littleEndian(UInt32.self, at: 0x60))
    let blockSizeExponent = try bytes.littleEndian(UInt32.self, at: 0x18)
    guard !incompatible.contains(.journalDevice), blockSizeExponent <= 6 else { return nil }
    blockSizeLog2 = 10 + Int(blockSizeExponent)
    clusterSizeLog2 = try bytes.littleEndian(UInt32.self, at: 0x1C)
    inodeCount = try bytes.littleEndian(UInt32.self, at: 0x00)
    firstDataBlock = try bytes.littleEndian(UInt32.self, at: 0x14)
    blocksPerGroup = try bytes.littleEndian(UInt32.self, at: 0x20)
    clustersPerGroup = try bytes.littleEndian(UInt32.self, at: 0x24)
    inodesPerGroup = try bytes.littleEndian(UInt32.self, at: 0x28)
    state = State(rawValue: try bytes.littleEndian(UInt16.self, at: 0x3A))
    revision = try bytes.littleEndian(UInt32.self, at: 0x4C)
    inodeSize = revision == 0 ? 128 : try bytes.littleEndian(UInt16.self, at: 0x58)
    compatible = Compatible(rawValue: try bytes.littleEndian(UInt32.self, at: 0x5C))
    self.incompatible = incompatible
    readOnlyCompatible = ReadOnlyCompatible(rawValue: try bytes.littleEndian(UInt32.self, at: 0x64))
    reservedDescriptorBlocks = try bytes.littleEndian(UInt16.self, at: 0xCE)
    firstMetaBlockGroup = try bytes.littleEndian(UInt32.self, at: 0x104)
    backupGroups = [
      try bytes.littleEndian(UInt32.self, at: 0x24C), try bytes.littleEndian(UInt32.self, at: 0x250),
    ]
    let low = UInt64(try bytes.littleEndian(UInt32.self, at: 0x04))
    let freeLow = UInt64(try bytes.littleEndian(UInt32.self, at: 0x0C))
    journalInode = try bytes.littleEndian(UInt32.self, at: 0xE0)
    if incompatible.contains(.wide) {
      freeBlockCount = freeLow | UInt64(try bytes.littleEndian(UInt32.self, at: 0x158)) << 32
      blockCount = low | UInt64(try bytes.littleEndian(UInt32.self, at: 0x150)) << 32
      descriptorSize = try bytes.littleEndian(UInt16.self, at: 0xFE)
    } else {
      freeBlockCount = freeLow
      blockCount = low
      descriptorSize = 32
    }
    uuid = UUIDText.text(of: bytes[0x68..<0x78])
    label = labelText(of: bytes[0x78..<0x88])
    if readOnlyCompatible.contains(.metadataChecksum) {
      // The format leaves out the final inversion.
      let expected = ~CRC32C.checksum(try bytes.span.bytes.slice(0, 0x3FC))
      checksumMatches = try bytes.littleEndian(UInt32.self, at: 0x3FC) == expected
    } else {
      checksumMatches = true
    }
  }

  /// Told apart by features as `blkid` does: ext4 is what the ext3 driver would refuse.
  var kind: FileSystemKind {
    let known = Incompatible([.fileType, .recover, .metaBlockGroups])
    let knownReadOnly = ReadOnlyCompatible([.sparseSuper, .largeFile, .directoryTrees])
    guard incompatible.isSubset(of: known), readOnlyCompatible.isSubset(of: knownReadOnly) else { return .ext4 }
    return compatible.contains(.hasJournal) ? .ext3 : .ext2
  }

  /// A feature whose effect on the allocation map is not known here, by the name `dumpe2fs` gives it.
  var unknownFeature: String? {
    // filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, dirdata, csum_seed, large_dir,
    // inline_data, encrypt, casefold
    let known: UInt32 =
      0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
    // sparse_super, large_file, btree_dir, huge_file, uninit_bg, dir_nlink, extra_isize, quota, bigalloc,
    // metadata_csum, read-only, project, shared_blocks, verity, orphan_present
    let knownReadOnly: UInt32 =
      0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000
    if revision > 1 { return "revision \(revision)" }
    if let bit = Self.lowestBit(of: incompatible.rawValue & ~known) {
      return bit == 0x1 ? "the feature compression" : "the feature FEATURE_I\(bit.trailingZeroBitCount)"
    }
    if let bit = Self.lowestBit(of: readOnlyCompatible.rawValue & ~knownReadOnly) {
      return switch bit {
      case 0x80: "the feature snapshot"
      case 0x800: "the feature replica"
      default: "the feature FEATURE_R\(bit.trailingZeroBitCount)"
      }
    }
    return nil
  }

  private static func lowestBit(of bits: UInt32) -> UInt32? { bits == 0 ? nil : bits & ~(bits - 1) }
}
