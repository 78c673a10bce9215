// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct APFSTests {
  /// In KiB: of odd sizes, and so large that there are several blocks of chunk information.
  @Test(arguments: [131_073, 150_003, 300_001, 10_000_000, 60_000_003]) func anEmptyContainer(kibibytes: Int)
    async throws
  {
    try await withTemporaryDirectory { folder in
      let image = try await make(kibibytes: kibibytes, in: folder)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let names = try await blkid(image)
      #expect(names["TYPE"] == "apfs")
      #expect(map.identity.kind == .apfs)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == names["LABEL"])
      #expect(map.identity.byteCount == device.byteCount & ~4095)
      #expect(map.warnings == [])
      var theirs = try await partcloneMap("partclone.apfs", of: image, in: folder)
      #expect(theirs.fileSystem == map.identity.kind.partcloneName)
      #expect(theirs.blockSize == map.blockSize)
      // Chunks without a bitmap are free, but partclone 0.3.23 takes other bytes for their bitmaps.
      let chunk = 8 * map.blockSize
      for start in stride(from: 0, to: map.bitmap.count, by: chunk)
      where map.bitmap.usedCount(in: start..<(start + chunk)) == 0 {
        theirs.bitmap.set(start..<(start + chunk), used: false)
      }
      #expect(theirs.bitmap == map.bitmap)
      if kibibytes <= 300_001 {
        try poison(image, outside: map)
        try await tool("apfsck", "-c", "-u", "-w", image.string)
      }
    }
  }

  /// Block 0 is a copy that need not be the newest; the checkpoint area has that.
  @Test func theNewestIntactCheckpointCounts() async throws {
    try await withTemporaryDirectory { folder in
      let device = try FileDevice(path: try await make(kibibytes: 300_001, in: folder))
      let map = try #require(try FileSystems.allocationMap(of: device))
      let places = try Places(device)
      let slot = places.descriptors + (places.descriptorIndex + places.descriptorCount + 1) * 4096
      var newest = PatchedDevice(device)
      newest.patch(try device.read(at: places.superblock, count: 1400), at: slot)
      newest.patch([99], at: slot + 16)
      newest.patch([77, 0], at: slot + 152)
      // Without a right checksum it was not written completely.
      #expect(try FileSystems.allocationMap(of: newest)?.bitmap == map.bitmap)
      var older = newest
      older.patch([0], at: slot + 16)
      try Places.seal(&older, at: slot)
      #expect(try FileSystems.allocationMap(of: older)?.bitmap == map.bitmap)
      // Of another container, which was here before.
      var foreign = newest
      foreign.patch([0xAA, 0xBB], at: slot + 72)
      try Places.seal(&foreign, at: slot)
      #expect(try FileSystems.allocationMap(of: foreign)?.bitmap == map.bitmap)
      try Places.seal(&newest, at: slot)
      #expect(
        throws: FileSystemError.damaged(
          volume: device.name, kind: .apfs, detail: "its newest checkpoint has no space manager")
      ) { try FileSystems.allocationMap(of: newest) }
    }
  }

  /// Above some terabytes the blocks of chunk information are listed in blocks of their own. (`mkapfs` makes no
  /// container as large as that.)
  @Test func blocksOfChunkAddressesAreFollowed() async throws {
    try await withTemporaryDirectory { folder in
      let device = try FileDevice(path: try await make(kibibytes: 60_000_003, in: folder))
      let map = try #require(try FileSystems.allocationMap(of: device))
      let places = try Places(device)
      #expect(places.information.count > 2)
      var large = PatchedDevice(device)
      var expected = map.bitmap
      // Two of them: with all but one address, and with that.
      let free = try #require(map.bitmap.freeRuns.last).lowerBound
      for (index, addresses) in [places.information.dropLast(), places.information.suffix(1)].enumerated() {
        let block = free + 10 + index * 7
        var bytes = [UInt8](repeating: 0, count: 4096)
        bytes.store(UInt32(0x4000_0006), at: 24)
        bytes.store(UInt32(index), at: 32)
        bytes.store(UInt32(addresses.count), at: 36)
        for (entry, address) in addresses.enumerated() { bytes.store(address / 4096, at: 40 + 8 * entry) }
        large.patch(bytes, at: UInt64(block) * 4096)
        try Places.seal(&large, at: UInt64(block) * 4096)
        var number: [UInt8] = []
        number.append(littleEndian: UInt64(block))
        large.patch(number, at: places.addresses + UInt64(8 * index))
        expected[block] = true
      }
      large.patch([2], at: places.spaceManager + 48 + 20)
      try Places.seal(&large, at: places.spaceManager, count: places.spaceManagerSize)
      #expect(try FileSystems.allocationMap(of: large)?.bitmap == expected)
    }
  }

  @Test func whatIsNotKnownIsRefusedByName() async throws {
    try await withTemporaryDirectory { folder in
      let device = try FileDevice(path: try await make(kibibytes: 150_003, in: folder))
      let places = try Places(device)
      for (offset, bytes, feature) in [
        (UInt64(65), [UInt8(1)], "a Fusion drive of two devices"), (64, [3], "the layout before its release"),
        (67, [0x40], "incompatible features 0x40000000"), (107, [0x80], "a checkpoint area in pieces"),
      ] {
        var other = PatchedDevice(device)
        other.patch(bytes, at: places.superblock + offset)
        try Places.seal(&other, at: places.superblock)
        #expect(
          throws: FileSystemError.unsupported(volume: device.name, kind: .apfs, feature: feature)
        ) { try FileSystems.allocationMap(of: other) }
      }
      // A second device in the space manager.
      var fusion = PatchedDevice(device)
      fusion.patch([1], at: places.spaceManager + 96)
      try Places.seal(&fusion, at: places.spaceManager, count: places.spaceManagerSize)
      #expect(
        throws: FileSystemError.unsupported(
          volume: device.name, kind: .apfs, feature: "a Fusion drive of two devices")
      ) { try FileSystems.allocationMap(of: fusion) }
    }
  }

  @Test func whatContradictsItselfIsRefused() async throws {
    try await withTemporaryDirectory { folder in
      let device = try FileDevice(path: try await make(kibibytes: 300_001, in: folder))
      let places = try Places(device)
      // One bit of any object, without its checksum; of a bitmap, which has none but the counts.
      let objects: [UInt64] = [0, places.superblock, places.spaceManager, places.information[0]]
      for offset in objects.map({ $0 + 200 }) {
        var broken = PatchedDevice(device)
        broken.patch([try device.read(at: offset, count: 1)[0] ^ 1], at: offset)
        #expect(throws: FileSystemError.self, "byte \(offset)") { try FileSystems.allocationMap(of: broken) }
      }
      let bitmap =
        try device.read(at: places.information[0] + 40 + 24, count: 8).littleEndian(UInt64.self, at: 0) * 4096
      var forgetful = PatchedDevice(device)
      forgetful.patch([0xFE], at: bitmap)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: forgetful) }
      var short = PatchedDevice(device)
      short.byteCount -= 8192
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: short) }
    }
  }

  @Test(.timeLimit(.minutes(2))) func damageGivesAnErrorOrAMap() async throws {
    try await withTemporaryDirectory { folder in
      let device = try FileDevice(path: try await make(kibibytes: 150_003, in: folder))
      let places = try Places(device)
      let map = places.descriptors + places.descriptorIndex * 4096
      let manager = places.spaceManager..<(places.spaceManager + UInt64(places.spaceManagerSize))
      let objects = [places.superblock, map, places.information[0]].map { $0..<($0 + 4096) } + [manager]
      let structures = objects.map { $0.lowerBound..<($0.lowerBound + 360) } + [0..<160]
      try readDamaged(device, structures: structures, rounds: 6000, seed: 15) { damaged, structure in
        let object = objects.first { $0.lowerBound == structure.lowerBound } ?? 0..<4096
        guard object.upperBound <= damaged.byteCount else { return }
        try Places.seal(&damaged, at: object.lowerBound, count: object.count)
      }
    }
  }

  private func make(kibibytes: Int, in folder: FilePath) async throws -> FilePath {
    let image = folder.appending("apfs")
    try await shell("truncate -s \(kibibytes)K \(image); mkapfs -L 'My volume' \(image)")
    return image
  }

  /// Where the objects of a fresh container with blocks of 4096 bytes are, in bytes.
  private struct Places {
    let descriptors: UInt64
    let descriptorIndex: UInt64
    let descriptorCount: UInt64
    /// The one in the checkpoint area.
    let superblock: UInt64
    let spaceManager: UInt64
    let spaceManagerSize: Int
    /// Where the space manager lists the blocks of chunk information.
    let addresses: UInt64
    let information: [UInt64]

    init(_ device: FileDevice) throws {
      let copy = try device.read(at: 0, count: 4096)
      descriptors = try copy.littleEndian(UInt64.self, at: 112) * 4096
      descriptorIndex = UInt64(try copy.littleEndian(UInt32.self, at: 136))
      descriptorCount = UInt64(try copy.littleEndian(UInt32.self, at: 140))
      superblock = descriptors + (descriptorIndex + descriptorCount - 1) * 4096
      let identifier = try copy.littleEndian(UInt64.self, at: 152)
      let map = try device.read(at: descriptors + descriptorIndex * 4096, count: 4096)
      let entry = try #require(
        try stride(from: 40, to: 40 + 40 * Int(map.littleEndian(UInt32.self, at: 36)), by: 40)
          .first { try map.littleEndian(UInt64.self, at: $0 + 24) == identifier })
      spaceManager = try map.littleEndian(UInt64.self, at: entry + 32) * 4096
      spaceManagerSize = Int(try map.littleEndian(UInt32.self, at: entry + 8))
      let manager = try device.read(at: spaceManager, count: spaceManagerSize)
      let start = Int(try manager.littleEndian(UInt32.self, at: 48 + 32))
      addresses = spaceManager + UInt64(start)
      information = try (0..<Int(manager.littleEndian(UInt32.self, at: 48 + 16))).map {
        try manager.littleEndian(UInt64.self, at: start + 8 * $0) * 4096
      }
    }

    /// Gives an object the checksum that goes with its contents.
    static func seal(_ device: inout PatchedDevice, at offset: UInt64, count: Int = 4096) throws {
      let bytes = try device.read(at: offset, count: count)
      var (first, second): (UInt64, UInt64) = (0, 0)
      for position in stride(from: 8, to: count, by: 4) {
        first = (first + UInt64(try bytes.littleEndian(UInt32.self, at: position))) % 0xFFFF_FFFF
        second = (second + first) % 0xFFFF_FFFF
      }
      let low = 0xFFFF_FFFF - (first + second) % 0xFFFF_FFFF
      let high = 0xFFFF_FFFF - (first + low) % 0xFFFF_FFFF
      var sum: [UInt8] = []
      sum.append(littleEndian: high << 32 | low)
      device.patch(sum, at: offset)
    }
  }
}
