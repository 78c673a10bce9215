// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct BtrfsTests {
  static let layouts: [[String]] = [
    ["-n", "4k", "-m", "single"],
    ["-n", "16k"],
    ["-n", "64k", "-d", "dup"],
    ["-n", "16k", "-m", "single", "-d", "single", "-O", "^no-holes,^skinny-metadata"],
    ["-n", "16k", "-s", "16k"],
    ["-n", "64k", "-s", "64k"],
    ["--mixed", "-n", "4k"],
    ["--csum", "xxhash"],
    ["--csum", "blake2"],
    ["-R", "^free-space-tree"],
  ]

  @Test(arguments: layouts)
  func mapHoldsEveryCopyOfEveryExtent(_ layout: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, layout, megabytes: 301)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.warnings == [])

      // The first MiB, the superblock at 64 MiB, and what btrfs-progs counts.
      let fixed = 1 << 20 + map.blockSize
      #expect(map.bitmap.usedCount * map.blockSize == (try await btrfsExtentCopies(image)) + fixed)

      let names = try await blkid(image)
      #expect(map.identity.kind == .btrfs)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == names["LABEL"])
      #expect(map.identity.byteCount == 301 << 20)

      try poison(image, outside: map)
      try await tool("btrfs", "check", "--readonly", "--check-data-csum", image.string)
    }
  }

  /// All three superblocks exist, the last of them behind 256 GiB.
  @Test func aLargeSparseVolumeKeepsAllItsSuperblocks() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-n", "16k"], megabytes: 300 << 10)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      let fixed = 1 << 20 + 2 * map.blockSize
      #expect(map.bitmap.usedCount * map.blockSize == (try await btrfsExtentCopies(image)) + fixed)
      #expect(map.bitmap[(64 << 20) / map.blockSize] && map.bitmap[(256 << 30) / map.blockSize])
    }
  }

  /// The sum over all is right, but not each of its parts.
  @Test func blockGroupsThatCountOtherwiseAreRefused() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-n", "4k", "-m", "single"], megabytes: 150)
      let device = try FileDevice(path: image)
      var damaged = PatchedDevice(device)
      let text = try await tool("btrfs", "inspect-internal", "dump-tree", "-t", "extent", image.string)
      var leaf: UInt64 = 0
      for line in text.split(separator: "\n") {
        let words = line.split { " ()\t".contains($0) }
        if words.first == "leaf" { leaf = UInt64(words[1]) ?? 0 }
        guard words.first == "item", words[4] == "BLOCK_GROUP_ITEM", let offset = UInt64(words[7]) else { continue }
        let place = try await copies(of: leaf, image)[0]
        damaged.patch([0xA5, 0xA5], at: place + 101 + offset)
        try repairBtrfsChecksum(&damaged, place..<(place + 4096))
        break
      }
      #expect(!damaged.patches.isEmpty)
      #expect {
        try FileSystems.allocationMap(of: damaged)
      } throws: {
        "\($0)".contains("the block group at logical address")
      }
    }
  }

  @Test func aMetadataCopyThatIsDamagedIsReadFromTheOther() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-n", "16k", "-m", "dup"], megabytes: 301)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let root = try await logicalRoot(image)
      let copies = try await copies(of: root, image)
      #expect(copies.count == 2)
      var damaged = PatchedDevice(device)
      damaged.patch([0xA5], at: copies[0] + 5000)
      #expect(try FileSystems.allocationMap(of: damaged)?.bitmap == map.bitmap)
      damaged.patch([0xA5], at: copies[1] + 5000)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: damaged) }
    }
  }

  @Test func anotherDeviceThatIsNeededIsNamed() async throws {
    try await withTemporaryDirectory { folder in
      let images = [folder.appending("one"), folder.appending("two")]
      for image in images { try await tool("truncate", "-s", "300M", image.string) }
      try await tool("mkfs.btrfs", "-q", "-f", "-m", "raid1", "-d", "raid0", images[0].string, images[1].string)
      for image in images {
        let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
        #expect(map.identity.byteCount == 300 << 20)
        #expect(map.warnings.count == 1)
      }
      try await tool("mkfs.btrfs", "-q", "-f", "-m", "raid0", "-d", "raid0", images[0].string, images[1].string)
      let features = try images.map { unsupportedFeature(try FileDevice(path: $0)) ?? "" }
      #expect(features.contains { $0.hasPrefix("2 devices, of which another one holds the tree block") })
    }
  }

  @Test func unknownFeaturesAreNamed() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, [], megabytes: 150)
      let device = try FileDevice(path: image)
      func feature(_ bits: UInt64) throws -> String? {
        var changed = PatchedDevice(device)
        var field = [UInt8](repeating: 0, count: 8)
        field.store(try device.read(at: 65536 + 0xBC, count: 8).littleEndian(UInt64.self, at: 0) | bits, at: 0)
        changed.patch(field, at: 65536 + 0xBC)
        try repairBtrfsChecksum(&changed, 65536..<(65536 + 4096))
        return unsupportedFeature(changed)
      }
      #expect(try feature(1 << 12) == "zones (zoned)")
      #expect(try feature(1 << 13) == "extent tree version 2 (extent-tree-v2)")
      #expect(try feature(1 << 14) == "a RAID stripe tree (raid-stripe-tree)")
      #expect(try feature(1 << 40) == "incompatible features 0x10000000000")
      #expect(try feature(0) == nil)
    }
  }

  @Test func superblocksThatContradictAreRefused() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, [], megabytes: 150)
      let device = try FileDevice(path: image)
      var flipped = PatchedDevice(device)
      flipped.patch([0xFF], at: 65536 + 0x78)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: flipped) }
      try repairBtrfsChecksum(&flipped, 65536..<(65536 + 4096))
      #expect(throws: FileSystemError.self, "the superblock's count of used bytes") {
        try FileSystems.allocationMap(of: flipped)
      }
      var newer = PatchedDevice(device)
      let mirror: UInt64 = 64 << 20
      newer.patch([0xFF, 0xFF], at: mirror + 0x48)
      #expect(try FileSystems.allocationMap(of: newer) != nil, "the mirror's checksum is wrong")
      try repairBtrfsChecksum(&newer, mirror..<(mirror + 4096))
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: newer) }
      var huge = PatchedDevice(device)
      huge.patch([UInt8](repeating: 0xFF, count: 8), at: 65536 + 0xD1)
      try repairBtrfsChecksum(&huge, 65536..<(65536 + 4096))
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: huge) }
      var short = PatchedDevice(device)
      short.byteCount -= 4096
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: short) }
    }
  }

  @Test(arguments: [["-n", "4k", "-m", "single"], ["-n", "4k", "-m", "single", "--csum", "xxhash"]])
  func damageGivesAnErrorOrAMap(_ layout: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, layout, megabytes: 150)
      let device = try FileDevice(path: image)
      var structures: [Range<UInt64>] = [65536..<(65536 + 0x12B), (65536 + 0x32B)..<(65536 + 0x400)]
      for kind in ["root", "chunk", "extent"] {
        let text = try await tool("btrfs", "inspect-internal", "dump-tree", "-t", kind, image.string)
        for line in text.split(separator: "\n") where line.hasPrefix("leaf") || line.hasPrefix("node") {
          guard let address = UInt64(line.split(separator: " ")[1]) else { continue }
          guard line.contains("items") else { continue }
          let place = try await copies(of: address, image)[0]
          structures.append(place..<(place + 1200))
        }
      }
      #expect(structures.count > 4)
      try readDamaged(device, structures: structures, rounds: 4000, seed: 4) { device, structure in
        let isSuperblock = structure.lowerBound < 1 << 17
        let start = isSuperblock ? 65536 : structure.lowerBound
        try repairBtrfsChecksum(&device, start..<(start + 4096))
      }
    }
  }

  private func makeImage(in folder: FilePath, _ layout: [String], megabytes: Int) async throws -> FilePath {
    let image = folder.appending("btrfs")
    let tree = folder.appending("tree")
    try await makeTree(tree, files: 200, seed: 1)
    try await tool("truncate", "-s", "\(megabytes)M", image.string)
    try await tool("mkfs.btrfs", ["-q", "-f", "-L", "a label", "--rootdir", tree.string] + layout + [image.string])
    return image
  }

  private func logicalRoot(_ image: FilePath) async throws -> UInt64 {
    UInt64(try await btrfsSuperblockField("root", image))
  }

  /// Where the copies of a logical address stand, by the tools' listing of the chunks; none is striped.
  private func copies(of address: UInt64, _ image: FilePath) async throws -> [UInt64] {
    var places: [UInt64] = []
    var chunk: UInt64 = 0
    var length: UInt64 = 0
    let text = try await tool("btrfs", "inspect-internal", "dump-tree", "-t", "chunk", image.string)
    for line in text.split(separator: "\n") {
      let words = line.split { " ()\t".contains($0) }
      if words.count > 5, words[4] == "CHUNK_ITEM" {
        chunk = UInt64(words[5]) ?? 0
      } else if words.first == "length", words.count > 1 {
        length = UInt64(words[1]) ?? 0
      } else if words.first == "stripe", words.count > 5, address >= chunk, address - chunk < length {
        places.append((UInt64(words[5]) ?? 0) + address - chunk)
      }
    }
    return places
  }
}

/// Corrects the CRC-32C of a superblock or tree block of Btrfs.
private func repairBtrfsChecksum(_ device: inout PatchedDevice, _ structure: Range<UInt64>) throws {
  let bytes = try device.read(at: structure.lowerBound + 32, count: structure.count - 32)
  var checksum = [UInt8](repeating: 0, count: 4)
  checksum.store(CRC32C.checksum(bytes), at: 0)
  device.patch(checksum, at: structure.lowerBound)
}
