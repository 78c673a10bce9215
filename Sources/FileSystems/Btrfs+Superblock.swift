// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The first superblock, checked against itself, the volume's size, and the other superblocks.
struct BtrfsSuperblock: Sendable {
  /// Where superblocks stand, as far as the device reaches.
  static let offsets: [UInt64] = [64 << 10, 64 << 20, 256 << 30]
  static let byteCount = 4096
  static let magic = Array("_BHRfS_M".utf8)

  let uuid: [UInt8]
  /// The identifier in the tree blocks, which stays when the user changes ``uuid``.
  let metadataUUID: [UInt8]
  let label: String?
  let generation: UInt64
  let rootTree: BtrfsRoot
  let chunkTree: BtrfsRoot
  /// Nil after a clean unmount. Its generation is not known.
  let logTree: BtrfsRoot?
  /// Of extents, all devices together.
  let usedByteCount: UInt64
  let deviceCount: UInt64
  let deviceID: UInt64
  /// What the file system believes this device to have.
  let deviceByteCount: UInt64
  /// Bytes; a power of two from 4096 to 65536.
  let sectorSize: Int
  /// Bytes; a power of two from ``sectorSize`` to 65536.
  let nodeSize: Int
  /// Whether checksums are CRC-32C; the other kinds are not verified here.
  let hasCRC32C: Bool
  /// Keys and chunk items of the chunks that hold the chunk tree.
  let systemChunks: [UInt8]

  private let flags: UInt64
  private let incompatibleFeatures: UInt64

  init(_ volume: Volume) throws {
    let bytes = try volume.read("the superblock", at: Self.offsets[0], count: Self.byteCount)
    hasCRC32C = try bytes.littleEndian(UInt16.self, at: 0xC4) == 0
    guard try !hasCRC32C || Self.hasValidChecksum(bytes) else {
      throw volume.damaged("the superblock's checksum is wrong")
    }
    guard try bytes.littleEndian(UInt64.self, at: 0x30) == Self.offsets[0] else {
      throw volume.damaged("the superblock belongs elsewhere")
    }
    uuid = Array(bytes[0x20..<0x30])
    label = labelText(of: bytes[0x12B..<0x22B])
    generation = try bytes.littleEndian(UInt64.self, at: 0x48)
    flags = try bytes.littleEndian(UInt64.self, at: 0x38)
    incompatibleFeatures = try bytes.littleEndian(UInt64.self, at: 0xBC)
    metadataUUID = incompatibleFeatures & Self.metadataUUIDFeature != 0 ? Array(bytes[0x23B..<0x24B]) : uuid

    sectorSize = Int(try bytes.littleEndian(UInt32.self, at: 0x90))
    nodeSize = Int(try bytes.littleEndian(UInt32.self, at: 0x94))
    guard sectorSize.nonzeroBitCount == 1, 4096...65536 ~= sectorSize, nodeSize.nonzeroBitCount == 1,
      sectorSize...65536 ~= nodeSize
    else { throw volume.damaged("sectors of \(sectorSize) bytes and tree blocks of \(nodeSize) bytes") }

    usedByteCount = try bytes.littleEndian(UInt64.self, at: 0x78)
    deviceCount = try bytes.littleEndian(UInt64.self, at: 0x88)
    deviceID = try bytes.littleEndian(UInt64.self, at: 0xC9)
    deviceByteCount = try bytes.littleEndian(UInt64.self, at: 0xD1)
    guard deviceByteCount <= volume.device.byteCount else {
      throw volume.damaged(
        "the superblock counts \(deviceByteCount) bytes, the volume has \(volume.device.byteCount)")
    }

    rootTree = BtrfsRoot(
      address: try bytes.littleEndian(UInt64.self, at: 0x50), level: bytes[0xC6], generation: generation)
    chunkTree = BtrfsRoot(
      address: try bytes.littleEndian(UInt64.self, at: 0x58), level: bytes[0xC7],
      generation: try bytes.littleEndian(UInt64.self, at: 0xA4))
    let logAddress = try bytes.littleEndian(UInt64.self, at: 0x60)
    logTree = logAddress == 0 ? nil : BtrfsRoot(address: logAddress, level: bytes[0xC8], generation: nil)

    let systemSize = Int(try bytes.littleEndian(UInt32.self, at: 0xA0))
    let systemLimit = 2048
    guard systemSize <= systemLimit else { throw volume.damaged("\(systemSize) bytes of system chunks") }
    systemChunks = Array(bytes[0x32B..<(0x32B + systemSize)])

    try refuseNewerMirrors(volume)
  }

  /// A mirror that is newer than the first superblock means that writing that one failed.
  private func refuseNewerMirrors(_ volume: Volume) throws {
    for offset in Self.offsets.dropFirst() where volume.contains(offset, UInt64(Self.byteCount)) {
      let mirror = try volume.device.read(at: offset, count: Self.byteCount)
      guard mirror[0x40..<0x48].elementsEqual(Self.magic), mirror[0x20..<0x30].elementsEqual(uuid),
        try mirror.littleEndian(UInt64.self, at: 0x30) == offset,
        try mirror.littleEndian(UInt64.self, at: 0x48) > generation, try !hasCRC32C || Self.hasValidChecksum(mirror)
      else { continue }
      throw volume.damaged("the superblock at byte \(offset) is newer than the first")
    }
  }

  /// - Throws: ``FileSystemError/unsupported(volume:kind:feature:)`` naming the first feature whose layout is unknown.
  func refuseUnknownFeatures(_ volume: Volume) throws {
    let named: [(UInt64, String)] = [
      (1 << 12, "zones (zoned)"), (1 << 13, "extent tree version 2 (extent-tree-v2)"),
      (1 << 14, "a RAID stripe tree (raid-stripe-tree)"),
    ]
    for (bit, name) in named where incompatibleFeatures & bit != 0 { throw volume.unsupported(name) }
    let unknown = incompatibleFeatures & ~Self.knownFeatures
    guard unknown == 0 else { throw volume.unsupported("incompatible features 0x\(String(unknown, radix: 16))") }
    let metadataDumpFlags: UInt64 = 1 << 33 | 1 << 34
    guard flags & metadataDumpFlags == 0 else { throw volume.unsupported("a metadata dump in place of data") }
  }

  /// CRC-32C over everything behind the 32 bytes of the checksum field.
  static func hasValidChecksum(_ bytes: [UInt8]) throws -> Bool {
    try CRC32C.checksum(bytes.span.bytes.slice(32, bytes.count - 32)) == bytes.littleEndian(UInt32.self, at: 0)
  }

  private static let metadataUUIDFeature: UInt64 = 1 << 10
  /// mixed-backref, default-subvol, mixed-groups, compress-lzo, compress-zstd, big-metadata, extended-iref, raid56,
  /// skinny-metadata, no-holes, metadata-uuid, raid1c34, simple-quota: none changes how extents are recorded.
  private static let knownFeatures: UInt64 = 0xFFF | 1 << 16
}
