// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// XFS, versions 4 and 5.
///
/// Everything is used but what the free-space B+trees by block number prove free; the blocks on the allocation
/// groups' free lists stay used, because log recovery may write to them.
/// Source: XFS Algorithms & Data Structures, 3rd edition (kernel.org), chapters 13 to 15.
struct XFS: FileSystemReader {
  let volume: Volume
  let superblock: XFSSuperblock

  init?(_ device: any BlockDevice) throws { try self.init(device, replacedIn: nil) }

  /// - Parameter overlay: where the log was replayed; what it replaces has no checksum until it is written.
  private init?(_ device: any BlockDevice, replacedIn overlay: OverlayDevice?) throws {
    volume = Volume(device: device, kind: .xfs)
    guard device.byteCount >= 512, try device.read(at: 0, count: 4) == Array("XFSB".utf8) else { return nil }
    superblock = try XFSSuperblock(volume, replacedIn: overlay)
  }

  var identity: FileSystemIdentity {
    FileSystemIdentity(
      kind: .xfs, uuid: UUIDText.text(of: superblock.uuid[...]), label: superblock.label,
      byteCount: superblock.blockCount * UInt64(superblock.blockSize))
  }

  func allocationMap() throws -> AllocationMap {
    try superblock.refuseUnknownFeatures(volume)
    return try volume.parsing("a structure") {
      guard let replay = try XFSLog(volume, superblock).replay() else { return try cleanMap() }
      return try recoveredMap(replay)
    }
  }

  private func cleanMap() throws -> AllocationMap {
    var space = XFSFreeSpace(volume, superblock)
    for group in 0..<superblock.groupCount { try space.addGroup(group) }
    try checkLog(space.bitmap)
    var warnings: [String] = []
    if space.unallocatedBlocks != superblock.freeBlockCount {
      warnings.append(
        "\(volume.device.name): the superblock counts \(superblock.freeBlockCount) free blocks, "
          + "the allocation groups \(space.unallocatedBlocks)")
    }
    return AllocationMap(
      identity: identity, blockSize: superblock.blockSize, bitmap: space.bitmap, warnings: warnings)
  }

  /// The map as it is once the log is replayed, and what was used before.
  private func recoveredMap(_ replay: XFSLogReplay) throws -> AllocationMap {
    let overlay = replay.overlay
    guard let recovered = try XFS(overlay, replacedIn: overlay) else {
      throw volume.damaged("its log replaces the superblock")
    }
    try recovered.superblock.refuseUnknownFeatures(recovered.volume)
    // A file system only grows while it is mounted; shrinking takes blocks from its last group.
    guard recovered.superblock.blockSize == superblock.blockSize,
      recovered.superblock.sectorSize == superblock.sectorSize,
      recovered.superblock.groupBlocks == superblock.groupBlocks
    else { throw volume.damaged("its log changes the size of its blocks") }
    var space = XFSFreeSpace(recovered.volume, recovered.superblock, replacedIn: overlay)
    for group in 0..<recovered.superblock.groupCount { try space.addGroup(group) }
    try checkLog(space.bitmap)

    // Part of the trees may have reached the disk and part not, so that a group cannot be read. The map after the replay
    // is the right one all the same; what was used before only adds to it.
    var before = XFSFreeSpace(volume, superblock)
    for group in 0..<superblock.groupCount {
      do {
        try before.addGroup(group)
      } catch is FileSystemError {
        before.disregardGroup(group)
      }
    }
    var bitmap = space.bitmap
    before.bitmap.forEachUsedRun { bitmap.set($0) }
    return AllocationMap(
      identity: recovered.identity, blockSize: superblock.blockSize, bitmap: bitmap,
      warnings: [
        "\(volume.device.name): not cleanly unmounted; its log (\(replay.transactionCount) transactions) was replayed "
          + "in memory to find the used blocks"
      ])
  }

  private func checkLog(_ bitmap: BlockBitmap) throws(FileSystemError) {
    let log = superblock.logBlocks
    guard let run = bitmap.nextUsedRun(from: log.lowerBound), run.lowerBound == log.lowerBound,
      run.upperBound >= log.upperBound
    else { throw volume.damaged("blocks of its log are marked as free") }
  }
}

/// What the primary superblock says of the geometry, checked against itself and the volume's size.
struct XFSSuperblock: Sendable {
  /// Bytes; a power of two from 512 to 65536.
  let blockSize: Int
  /// Bytes; a power of two from 512 to 32768, at most ``blockSize``.
  let sectorSize: Int
  let blockCount: UInt64
  /// Blocks of each allocation group but the last.
  let groupBlocks: UInt64
  let groupCount: UInt64
  /// 4 or 5; the latter has checksums.
  let version: Int
  let uuid: [UInt8]
  /// The identifier in the metadata, which stays when the user changes ``uuid``.
  let metadataUUID: [UInt8]
  let label: String?
  let freeBlockCount: UInt64
  /// Of the internal log, counted from the start of the volume; empty when the log is on another device.
  let logBlocks: Range<Int>

  private let isInProgress: Bool
  private let hasRealtimeDevice: Bool
  private let incompatibleFeatures: UInt32
  private let logFeatures: UInt32

  init(_ volume: Volume, replacedIn overlay: OverlayDevice?) throws {
    let start = try volume.read("the superblock", at: 0, count: 512)
    blockSize = Int(try start.bigEndian(UInt32.self, at: 4))
    sectorSize = Int(try start.bigEndian(UInt16.self, at: 102))
    guard blockSize.nonzeroBitCount == 1, 512...65536 ~= blockSize, sectorSize.nonzeroBitCount == 1,
      512...32768 ~= sectorSize, sectorSize <= blockSize
    else { throw volume.damaged("blocks of \(blockSize) bytes in sectors of \(sectorSize) bytes") }

    version = Int(try start.bigEndian(UInt16.self, at: 100) & 0xF)
    guard version >= 4 else { throw volume.unsupported("version \(version)") }
    guard version <= 5 else { throw volume.damaged("version \(version)") }
    if version == 5, !(overlay?.replaces(0, UInt64(sectorSize)) ?? false) {
      let sector = try volume.read("the superblock", at: 0, count: sectorSize)
      guard try sector.hasValidXFSChecksum(at: 224) else {
        throw volume.damaged("the superblock's checksum is wrong")
      }
    }

    blockCount = try start.bigEndian(UInt64.self, at: 8)
    groupBlocks = UInt64(try start.bigEndian(UInt32.self, at: 84))
    groupCount = UInt64(try start.bigEndian(UInt32.self, at: 88))
    guard blockCount <= volume.device.byteCount / UInt64(blockSize) else {
      throw volume.damaged(
        "the superblock counts \(blockCount) blocks of \(blockSize) bytes, the volume has \(volume.device.byteCount) bytes"
      )
    }
    // Both factors have 32 bits.
    guard groupBlocks * UInt64(blockSize) >= UInt64(4 * sectorSize), groupCount > 0,
      blockCount > (groupCount - 1) * groupBlocks, blockCount <= groupCount * groupBlocks
    else {
      throw volume.damaged("\(groupCount) allocation groups of \(groupBlocks) blocks for \(blockCount) blocks")
    }

    uuid = try start.span.bytes.array(at: 32, count: 16)
    label = labelText(of: start[108..<120])
    freeBlockCount = try start.bigEndian(UInt64.self, at: 144)
    isInProgress = start[126] != 0
    hasRealtimeDevice = try start.bigEndian(UInt64.self, at: 16) != 0 || start.bigEndian(UInt64.self, at: 24) != 0
    incompatibleFeatures = version == 5 ? try start.bigEndian(UInt32.self, at: 216) : 0
    logFeatures = version == 5 ? try start.bigEndian(UInt32.self, at: 220) : 0
    metadataUUID =
      incompatibleFeatures & Self.metaUUIDFeature != 0 ? try start.span.bytes.array(at: 248, count: 16) : uuid

    let logStart = try start.bigEndian(UInt64.self, at: 48)
    guard logStart != 0 else {
      logBlocks = 0..<0
      return
    }
    // A packed block number: the group above the bits of the block in the group.
    let shift = UInt64(start[124])
    guard shift < 32, 1 << shift >= groupBlocks else {
      throw volume.damaged("allocation groups of \(groupBlocks) blocks, numbered with \(shift) bits")
    }
    let group = logStart >> shift
    let block = logStart & (1 << shift - 1)
    let length = UInt64(try start.bigEndian(UInt32.self, at: 96))
    guard group < groupCount, block < groupBlocks, length > 0, length <= groupBlocks - block,
      group * groupBlocks + block + length <= blockCount
    else { throw volume.damaged("a log of \(length) blocks at block \(block) of allocation group \(group)") }
    let first = Int(group * groupBlocks + block)
    logBlocks = first..<(first + Int(length))
  }

  /// - Throws: ``FileSystemError/unsupported(volume:kind:feature:)`` naming the first feature whose layout is unknown.
  func refuseUnknownFeatures(_ volume: Volume) throws {
    guard !isInProgress else { throw volume.damaged("mkfs or growfs has not finished") }
    guard !logBlocks.isEmpty else { throw volume.unsupported("a log on another device") }
    if incompatibleFeatures & Self.needsRepairFeature != 0 {
      throw volume.damaged("xfs_repair has not finished")
    }
    if incompatibleFeatures & Self.zonedFeature != 0 { throw volume.unsupported("zones (zoned)") }
    let unknown = incompatibleFeatures & ~Self.knownFeatures
    guard unknown == 0 else {
      throw volume.unsupported("incompatible features 0x\(String(unknown, radix: 16))")
    }
    guard !hasRealtimeDevice else { throw volume.unsupported("a realtime device") }
  }

  /// - Throws: ``FileSystemError/needsRecovery(volume:kind:detail:)`` when the log may hold what is not known here.
  func refuseUnknownLogFeatures(_ volume: Volume) throws(FileSystemError) {
    let extendedAttributes: UInt32 = 1 << 0
    let unknown = logFeatures & ~extendedAttributes
    guard unknown == 0 else {
      throw volume.needsRecovery(
        "its log holds changes with the unknown features 0x\(String(unknown, radix: 16))")
    }
  }

  private static let metaUUIDFeature: UInt32 = 1 << 2
  private static let needsRepairFeature: UInt32 = 1 << 4
  private static let zonedFeature: UInt32 = 1 << 9
  /// ftype, sparse inodes, meta UUID, big time stamps, large extent counts, exchange range, parent pointers,
  /// metadata directory: none of them changes how free space is recorded.
  private static let knownFeatures: UInt32 =
    1 << 0 | 1 << 1 | metaUUIDFeature | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8
}

extension Array where Element == UInt8 {
  /// Whether a version 5 structure that fills this array matches its CRC-32C, stored little-endian at `offset` and
  /// computed with that field as zeros.
  func hasValidXFSChecksum(at offset: Int) throws -> Bool {
    let bytes = span.bytes
    var crc = CRC32C()
    crc.update(try bytes.slice(0, offset))
    crc.update([UInt8](repeating: 0, count: 4).span.bytes)
    crc.update(try bytes.slice(offset + 4, count - offset - 4))
    return try crc.value == littleEndian(UInt32.self, at: offset)
  }
}
