// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// APFS, container by container: the blocks that the space manager of the newest checkpoint marks as used.
///
/// Volumes share their container's space, so they are not looked at, and it does not matter whether they are encrypted.
/// A container that was not unmounted is as its newest checkpoint left it; nothing has to be replayed.
/// Source: Apple, Apple File System Reference (2020-06-22).
struct APFS: FileSystemReader {
  private let volume: Volume
  private let container: APFSContainer
  let identity: FileSystemIdentity

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .apfs)
    guard device.byteCount >= 4096, try device.read(at: 32, count: 4) == APFSSuperblock.magic else { return nil }
    container = try APFSContainer(volume)
    let superblock = container.superblock
    identity = FileSystemIdentity(
      kind: .apfs, uuid: UUIDText.text(of: superblock.uuid[...]), label: nil, byteCount: superblock.byteCount)
  }

  func allocationMap() throws -> AllocationMap {
    try volume.parsing("the container") {
      let checkpoint = try container.newestCheckpoint()
      try checkpoint.refuseUnknownFeatures(volume)
      let manager = try APFSSpaceManager(container, checkpoint)
      var bitmap = try manager.bitmap()
      bitmap.set(0..<1)
      for extent in checkpoint.areas + manager.areas {
        guard extent.start <= checkpoint.blockCount, extent.count <= checkpoint.blockCount - extent.start else {
          throw volume.damaged("\(extent.count) blocks from block \(extent.start) of \(checkpoint.blockCount) on")
        }
        bitmap.set(Int(extent.start)..<Int(extent.start + extent.count))
      }
      return AllocationMap(identity: identity, blockSize: checkpoint.blockSize, bitmap: bitmap)
    }
  }
}

/// Some blocks one after another.
struct APFSExtent {
  let start: UInt64
  let count: UInt64
}

/// The objects of a container: blocks with a header of 32 bytes that begins with a checksum.
struct APFSContainer {
  let volume: Volume
  /// The copy in block 0, which may be older than the newest.
  let superblock: APFSSuperblock

  /// The types of objects, without their flags.
  enum ObjectType: UInt16 {
    case superblock = 1
    case spaceManager = 5
    case chunkAddresses = 6
    case chunkInformation = 7
    case checkpointMap = 12
  }

  static let headerSize = 32
  /// What a checkpoint area of descriptors or a space manager may have: more than any container needs.
  private static let areaLimit: UInt64 = 1 << 16
  private static let objectLimit = 64 << 20

  init(_ volume: Volume) throws {
    self.volume = volume
    let bytes = try volume.read("block 0", at: 0, count: 4096)
    let size = Int(try bytes.littleEndian(UInt32.self, at: 36))
    guard [4096, 8192, 16384, 32768, 65536].contains(size) else { throw volume.damaged("blocks of \(size) bytes") }
    let block = try volume.read("block 0", at: 0, count: size)
    guard try Self.isIntact(block, .superblock) else { throw volume.damaged("the checksum of block 0 is wrong") }
    superblock = try APFSSuperblock(block, volume)
  }

  /// The superblock with the highest transaction number in the checkpoint area.
  func newestCheckpoint() throws -> APFSSuperblock {
    let area = superblock.descriptors
    guard area.count <= Self.areaLimit else {
      throw volume.damaged("a checkpoint area of \(area.count) blocks")
    }
    var newest: APFSSuperblock?
    for index in 0..<area.count {
      let bytes = try descriptor(index)
      // One of a container that was here before has another UUID.
      guard bytes[32..<36].elementsEqual(APFSSuperblock.magic), try Self.isIntact(bytes, .superblock),
        Array(bytes[72..<88]) == superblock.uuid
      else { continue }
      let found = try APFSSuperblock(bytes, volume)
      if newest.map({ $0.transaction < found.transaction }) ?? true { newest = found }
    }
    guard let newest else { throw volume.damaged("its checkpoint area has no superblock") }
    guard newest.blockSize == superblock.blockSize, newest.descriptors.start == area.start,
      newest.descriptors.count == area.count
    else { throw volume.damaged("its superblocks disagree") }
    return newest
  }

  /// A block of the checkpoint area's descriptors, which is a ring.
  func descriptor(_ index: UInt64) throws -> [UInt8] {
    let area = superblock.descriptors
    return try block(area.start &+ index % area.count, "the checkpoint area")
  }

  /// A block that is no object.
  func block(_ number: UInt64, _ what: @autoclosure () -> String) throws -> [UInt8] {
    try bytes(at: number, count: superblock.blockSize, what())
  }

  /// An object, whose checksum and type were found to be right.
  func object(
    at number: UInt64, count: Int? = nil, _ type: ObjectType, _ what: @autoclosure () -> String
  ) throws -> [UInt8] {
    let count = count ?? superblock.blockSize
    guard count >= superblock.blockSize, count <= Self.objectLimit, count.isMultiple(of: superblock.blockSize) else {
      throw volume.damaged("\(what()) has \(count) bytes")
    }
    let bytes = try bytes(at: number, count: count, what())
    guard try Self.isIntact(bytes, type) else {
      throw volume.damaged("\(what()) in block \(number) is not intact")
    }
    return bytes
  }

  static func isIntact(_ bytes: [UInt8], _ type: ObjectType) throws(OutOfBounds) -> Bool {
    guard try bytes.littleEndian(UInt16.self, at: 24) == type.rawValue else { return false }
    return try bytes.littleEndian(UInt64.self, at: 0) == checksum(bytes)
  }

  private func bytes(at number: UInt64, count: Int, _ what: @autoclosure () -> String) throws -> [UInt8] {
    let (offset, overflow) = number.multipliedReportingOverflow(by: UInt64(superblock.blockSize))
    guard !overflow else { throw volume.damaged("\(what()) in block \(number)") }
    return try volume.read(what(), at: offset, count: count)
  }

  /// Fletcher's checksum over 32-bit words, with 64 bits of result, of all but the checksum itself.
  private static func checksum(_ bytes: [UInt8]) throws(OutOfBounds) -> UInt64 {
    let modulus: UInt64 = 0xFFFF_FFFF
    var (sum, sumOfSums): (UInt64, UInt64) = (0, 0)
    for offset in stride(from: 8, to: bytes.count, by: 4) {
      sum = (sum + UInt64(try bytes.littleEndian(UInt32.self, at: offset))) % modulus
      sumOfSums = (sumOfSums + sum) % modulus
    }
    let low = modulus - (sum + sumOfSums) % modulus
    let high = modulus - (sum + low) % modulus
    return high << 32 | low
  }
}

/// The superblock of a container (`nx_superblock_t`): little-endian.
struct APFSSuperblock {
  static let magic = Array("NXSB".utf8)

  let transaction: UInt64
  /// Bytes.
  let blockSize: Int
  let blockCount: UInt64
  let uuid: [UInt8]
  /// The checkpoint area's two rings: of superblocks and maps, and of what these refer to.
  let descriptors: APFSExtent
  let data: APFSExtent
  /// Of this checkpoint in the ring of descriptors.
  let descriptorIndex: UInt64
  let descriptorCount: UInt64
  let spaceManager: UInt64
  /// The keys of the container's keys.
  let keyLocker: APFSExtent
  private let incompatibleFeatures: UInt64

  var byteCount: UInt64 { blockCount * UInt64(blockSize) }
  var areas: [APFSExtent] { [descriptors, data, keyLocker] }

  /// - Throws: ``FileSystemError`` when the fields contradict themselves or the size of the volume.
  init(_ bytes: [UInt8], _ volume: Volume) throws {
    transaction = try bytes.littleEndian(UInt64.self, at: 16)
    blockSize = Int(try bytes.littleEndian(UInt32.self, at: 36))
    blockCount = try bytes.littleEndian(UInt64.self, at: 40)
    guard blockCount > 0, blockSize > 0, blockCount <= volume.device.byteCount / UInt64(blockSize) else {
      throw volume.damaged(
        "\(blockCount) blocks of \(blockSize) bytes do not fit the volume's \(volume.device.byteCount) bytes")
    }
    incompatibleFeatures = try bytes.littleEndian(UInt64.self, at: 64)
    uuid = Array(bytes[72..<88])
    let treeFlag: UInt32 = 1 << 31
    let counts = try [104, 108].map { try bytes.littleEndian(UInt32.self, at: $0) }
    guard counts.allSatisfy({ $0 & treeFlag == 0 }) else {
      throw volume.unsupported("a checkpoint area in pieces")
    }
    descriptors = APFSExtent(start: try bytes.littleEndian(UInt64.self, at: 112), count: UInt64(counts[0]))
    data = APFSExtent(start: try bytes.littleEndian(UInt64.self, at: 120), count: UInt64(counts[1]))
    descriptorIndex = UInt64(try bytes.littleEndian(UInt32.self, at: 136))
    descriptorCount = UInt64(try bytes.littleEndian(UInt32.self, at: 140))
    guard descriptors.count > 0, descriptorIndex < descriptors.count, descriptorCount <= descriptors.count else {
      throw volume.damaged(
        "\(descriptorCount) checkpoint blocks from number \(descriptorIndex) of \(descriptors.count) on")
    }
    spaceManager = try bytes.littleEndian(UInt64.self, at: 152)
    keyLocker = APFSExtent(
      start: try bytes.littleEndian(UInt64.self, at: 1296), count: try bytes.littleEndian(UInt64.self, at: 1304))
  }

  func refuseUnknownFeatures(_ volume: Volume) throws {
    let (version1, version2, fusion): (UInt64, UInt64, UInt64) = (1, 2, 0x100)
    guard incompatibleFeatures & fusion == 0 else { throw volume.unsupported("a Fusion drive of two devices") }
    guard incompatibleFeatures & version1 == 0 else { throw volume.unsupported("the layout before its release") }
    let unknown = incompatibleFeatures & ~version2
    guard unknown == 0 else {
      throw volume.unsupported("incompatible features 0x\(String(unknown, radix: 16))")
    }
  }
}
