// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct F2FSTests {
  static let layouts: [(megabytes: Int, options: [String])] = [
    (64, []), (201, ["-i"]), (200, ["-g", "android", "-O", "ro"]), (600, ["-s", "4", "-z", "2"]), (110, ["-a", "1"]),
    (
      300,
      ["-O", "extra_attr,inode_checksum,sb_checksum,compression,quota,project_quota,verity,casefold", "-C", "utf8"]
    ),
  ]

  @Test(arguments: layouts)
  func mapHoldsWhatFsckCounts(megabytes: Int, options: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, options, byteCount: megabytes << 20 + 512 * 3)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.warnings == [])
      #expect(map.blockSize == 4096)
      // All outside the main area, what fsck counts in it, and the place for the next node fsync writes.
      let places = try F2FSPlaces(FileDevice(path: image))
      let outside = map.bitmap.count - places.mainBlockCount
      let nextNode = options.contains("ro") ? 0 : 1
      #expect(map.bitmap.usedCount == outside + (try await fsckCount(image)) + nextNode)
      #expect(map.bitmap.usedCount(in: 0..<places.mainStart) == places.mainStart)

      let names = try await blkid(image)
      #expect(map.identity.kind == .f2fs)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == names["LABEL"])

      try poison(image, outside: map)
      #expect(try await fsckCount(image) > 0)
    }
  }

  /// Two tebibytes, in a sparse file.
  @Test func aLargeVolumeIsMappedAtOnce() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("f2fs")
      try await shell("truncate -s 2T \(image); mkfs.f2fs -q -t 0 \(image) >/dev/null")
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.bitmap.count == 1 << 29)
      let places = try F2FSPlaces(device)
      #expect(map.bitmap.usedCount(in: 0..<places.mainStart) == places.mainStart)
      #expect(map.bitmap.usedCount(in: places.mainStart..<map.bitmap.count) < 1000)
    }
  }

  @Test func theSecondSuperblockStandsInForTheFirst() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-O", "extra_attr,sb_checksum"], byteCount: 64 << 20)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      var damaged = PatchedDevice(device)
      damaged.patch([0xFF], at: 1024 + 600)
      #expect(try FileSystems.allocationMap(of: damaged)?.bitmap == map.bitmap)
      damaged.patch([0, 0, 0, 0], at: 1024)
      #expect(try FileSystems.allocationMap(of: damaged)?.bitmap == map.bitmap)
      damaged.patch([0xFF], at: 4096 + 1024 + 600)
      #expect(throws: FileSystemError.self) { try FileSystems.identify(damaged) }
    }
  }

  @Test func unknownFeaturesAreNamed() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, [], byteCount: 64 << 20)
      let device = try FileDevice(path: image)
      func feature(_ bits: UInt32) -> String? {
        var changed = PatchedDevice(device)
        var field = [UInt8](repeating: 0, count: 4)
        field.store(bits, at: 0)
        changed.patch(field, at: 1024 + 2180)
        return unsupportedFeature(changed)
      }
      #expect(feature(1 << 1) == "zones (blkzoned)")
      #expect(feature(1 << 16) == "features 0x10000")
      #expect(feature(1 << 13) == nil)
      let other = folder.appending("other")
      try await shell("truncate -s 64M \(other); mkfs.f2fs -q -f -c \(other) \(image) >/dev/null")
      #expect(unsupportedFeature(try FileDevice(path: image)) == "several devices")
    }
  }

  /// Both packs have the same number after the tools have written: the first counts, and when it is torn the second.
  @Test func aTornCheckpointDoesNotCount() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, [], byteCount: 64 << 20)
      let device = try FileDevice(path: image)
      let places = try F2FSPlaces(device)
      let last = places.checkpointStart + places.checkpointBlockCount - 1
      // A newer pack, of which the last block was not written.
      var torn = PatchedDevice(device)
      var newer = try device.read(at: UInt64(places.checkpointStart) * 4096, count: places.checkpointBlockCount * 4096)
      newer.store(try newer.littleEndian(UInt64.self, at: 0) + 1, at: 0)
      newer.store(0 as UInt64, at: 16)
      let second = UInt64(places.checkpointStart + 512) * 4096
      torn.patch(newer, at: second)
      try repairChecksum(&torn, second)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(try FileSystems.allocationMap(of: torn)?.bitmap == map.bitmap)
      torn.patch([0xA5], at: UInt64(last) * 4096)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: torn) }
    }
  }

  /// Nodes as fsync writes them behind the last checkpoint: the chain is followed, whatever its shape.
  @Test func theChainOfNodesSinceTheCheckpointIsFollowed() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, [], byteCount: 64 << 20)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let places = try F2FSPlaces(device)
      let free = (places.nextNode..<map.bitmap.count).filter { !map.bitmap[$0] }
      var crashed = PatchedDevice(device)
      // An inode with data in two places, a node with data in one; then a place that no node was written to.
      crashed.patch(
        node(places, inode: 9, number: 9, data: [free[100], free[200]], next: free[10]), atBlock: places.nextNode)
      crashed.patch(node(places, inode: 9, number: 12, data: [free[300]], next: free[11]), atBlock: free[10])
      let after = try #require(try FileSystems.allocationMap(of: crashed))
      var expected = map.bitmap
      for block in [100, 200, 10, 300, 11] { expected[free[block]] = true }
      #expect(after.bitmap == expected)
      #expect(after.warnings.first?.contains("; 2 nodes") == true)

      // A circle ends; a node of another checkpoint ends the chain.
      crashed.patch(node(places, inode: 9, number: 12, data: [free[300]], next: places.nextNode), atBlock: free[10])
      expected[free[11]] = false
      #expect(try FileSystems.allocationMap(of: crashed)?.bitmap == expected)
      crashed.patch([1], at: UInt64(free[10]) * 4096 + 4072 + 12)
      expected[free[300]] = false
      #expect(try FileSystems.allocationMap(of: crashed)?.bitmap == expected)
    }
  }

  @Test func damageGivesAnErrorOrAMap() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-O", "extra_attr,sb_checksum"], byteCount: 64 << 20)
      let device = try FileDevice(path: image)
      let places = try F2FSPlaces(device)
      var crashed = PatchedDevice(device)
      crashed.patch(node(places, inode: 9, number: 9, data: [places.nextNode + 7], next: 0), atBlock: places.nextNode)
      let checkpoint = UInt64(places.checkpointStart) * 4096
      let structures: [Range<UInt64>] = [
        1024..<(1024 + 112), (1024 + 1664)..<(1024 + 1668), (1024 + 2180)..<(1024 + 2300),
        checkpoint..<(checkpoint + 300),
        (checkpoint + 4096 + 500)..<(checkpoint + 4096 + 800),
        (UInt64(places.segmentTable) * 4096)..<(UInt64(places.segmentTable) * 4096 + 2000),
        (UInt64(places.nextNode) * 4096)..<(UInt64(places.nextNode) * 4096 + 4096),
      ]
      try readDamaged(crashed, structures: structures, rounds: 5000, seed: 7) { device, structure in
        if structure.lowerBound < 4096 {
          try repairSuperblock(&device)
        } else if structure.lowerBound == checkpoint {
          try repairChecksum(&device, checkpoint)
        }
      }
    }
  }

  /// Blocks of 16 KiB, which no tool of Debian 12 makes: see ``F2FSImage``.
  @Test(arguments: [12, 14])
  func blocksOfOtherSizesAreRead(exponent: Int) throws {
    let (bytes, used) = F2FSImage(blockSizeExponent: exponent).make()
    let map = try #require(try FileSystems.allocationMap(of: MemoryDevice(bytes)))
    #expect(map.blockSize == 1 << exponent)
    #expect(map.bitmap == used)
  }

  private func makeImage(in folder: FilePath, _ options: [String], byteCount: Int) async throws -> FilePath {
    let image = folder.appending("f2fs")
    let tree = folder.appending("tree")
    try await makeTree(tree, files: 200, seed: 1)
    try await tool("truncate", "-s", "\(byteCount)", image.string)
    try await tool("mkfs.f2fs", ["-q", "-l", "a label"] + options + [image.string])
    try await tool("sload.f2fs", "-f", tree.string, image.string)
    return image
  }

  /// Valid blocks of the main area; fsck.f2fs fails when the checkpoint counts otherwise.
  private func fsckCount(_ image: FilePath) async throws -> Int {
    let text = try await tool("fsck.f2fs", "--dry-run", image.string)
    let line = try #require(text.split(separator: "\n").first { $0.contains("valid_block_count matching with CP") })
    #expect(line.contains("[Ok..]"))
    let number = try #require(line.split(separator: "[").last).dropFirst(2).prefix { $0.isHexDigit }
    return try #require(Int(number, radix: 16))
  }
}

/// Where things stand, in blocks of 4096 bytes, by the first superblock and the first checkpoint pack.
private struct F2FSPlaces {
  let checkpointStart: Int
  let checkpointBlockCount: Int
  let segmentTable: Int
  let mainStart: Int
  let mainBlockCount: Int
  /// Where the next fsync writes.
  let nextNode: Int
  /// As it is in nodes.
  let version: UInt64

  init(_ device: any BlockDevice) throws {
    let superblock = try device.read(at: 1024, count: 3072)
    checkpointStart = Int(try superblock.littleEndian(UInt32.self, at: 76))
    segmentTable = Int(try superblock.littleEndian(UInt32.self, at: 80))
    mainStart = Int(try superblock.littleEndian(UInt32.self, at: 92))
    mainBlockCount = Int(try superblock.littleEndian(UInt32.self, at: 68)) * 512
    let pack = try device.read(at: UInt64(checkpointStart) * 4096, count: 4096)
    checkpointBlockCount = Int(try pack.littleEndian(UInt32.self, at: 136))
    nextNode =
      mainStart + Int(try pack.littleEndian(UInt32.self, at: 40)) * 512
      + Int(try pack.littleEndian(UInt16.self, at: 70))
    let hasCRC = try pack.littleEndian(UInt32.self, at: 132) & 0x40 != 0
    let checksum = try pack.littleEndian(UInt32.self, at: Int(pack.littleEndian(UInt32.self, at: 164)))
    version = try pack.littleEndian(UInt64.self, at: 0) | (hasCRC ? UInt64(checksum) << 32 : 0)
  }
}

/// A node as fsync writes it.
private func node(_ places: F2FSPlaces, inode: Int, number: Int, data: [Int], next: Int) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: 4096)
  for (index, block) in data.enumerated() { bytes.store(UInt32(block), at: (inode == number ? 360 : 0) + 4 * index) }
  bytes.store(UInt32(number), at: 4072)
  bytes.store(UInt32(inode), at: 4076)
  bytes.store(places.version, at: 4084)
  bytes.store(UInt32(next), at: 4092)
  return bytes
}

extension PatchedDevice {
  fileprivate mutating func patch(_ bytes: [UInt8], atBlock block: Int) { patch(bytes, at: UInt64(block) * 4096) }
}

private func repairChecksum(_ device: inout PatchedDevice, _ offset: UInt64) throws {
  let block = try device.read(at: offset, count: 4096)
  let place = Int(try block.littleEndian(UInt32.self, at: 164))
  guard place <= 4092 else { return }
  var sum = CRC32.shiftRegister(seed: 0xF2F5_2010, try block.span.bytes.slice(0, place))
  sum = CRC32.shiftRegister(seed: sum, try block.span.bytes.slice(place + 4, 4092 - place))
  var field = [UInt8](repeating: 0, count: 4)
  field.store(sum, at: 0)
  device.patch(field, at: offset + UInt64(place))
}

private func repairSuperblock(_ device: inout PatchedDevice) throws {
  let superblock = try device.read(at: 1024, count: 3068)
  var field = [UInt8](repeating: 0, count: 4)
  field.store(CRC32.shiftRegister(seed: 0xF2F5_2010, superblock.span.bytes), at: 0)
  device.patch(field, at: 1024 + 3068)
}
