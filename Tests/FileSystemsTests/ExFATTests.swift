// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct ExFATTests {
  /// Options of mkfs.exfat, and the size of the volume in KiB.
  static let variants = [
    ("-c 512", 9_001), ("-c 4K", 65_536), ("-c 32K -b 4K", 70_001), ("-c 128K", 300_000), ("-c 1M -b 64K", 500_001),
    ("-c 32M", 3_000_000), ("", 2_000_000), ("-c 4K", 600_000_000), ("", 8_000_000_000),
  ]

  /// As many free clusters as `dump.exfat` counts, and the identity that `blkid` finds.
  @Test(arguments: variants) func anEmptyVolume(options: String, kibibytes: Int) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make(options, kibibytes: kibibytes, in: folder)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let names = try await blkid(image)
      #expect(map.identity.kind == .exfat)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == "Lärm 3")
      #expect(map.identity.byteCount == device.byteCount & ~511)
      #expect(map.warnings == [])
      let dump = try await dumpExFAT(image)
      let clusterSize = try #require(dump["Cluster size"])
      let free = map.bitmap.count - map.bitmap.usedCount
      #expect(free * map.blockSize == (try #require(dump["Free Clusters"])) * clusterSize)
      #expect(clusterSize.isMultiple(of: map.blockSize))
      // The clusters begin where the tool says.
      let heap = try #require(dump["Cluster Heap Offset (sector offset)"]) * 512
      #expect(try #require(map.bitmap.freeRuns.first).lowerBound * map.blockSize >= heap)
      if kibibytes < 1_000_000 {
        try poison(image, outside: map)
        let report = try await tool("fsck.exfat", "-n", image.string)
        #expect(report.contains("clean. directories 1, files 0"))
      }
    }
  }

  /// The bitmap's clusters are chained like those of any file: here they lie in two pieces, back to front.
  @Test func aBitmapInPiecesIsFollowed() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make("-c 512", kibibytes: 16_000, in: folder)
      let device = try FileDevice(path: image, access: .readWrite)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let place = try Geometry(device)
      // It has seven clusters or more, from cluster 2 on. The second moves to cluster 20000, marked as used.
      var bitmap = try device.read(at: place.offset(of: 2), count: 512 * 7)
      bitmap[(20_000 - 2) / 8] |= 1 << UInt8((20_000 - 2) % 8)
      try device.write(bitmap.span.bytes, at: place.offset(of: 2))
      let second = Array(bitmap[512..<1024])
      try device.write(second.span.bytes, at: place.offset(of: 20_000))
      try device.write([UInt8](repeating: 0xEE, count: 512).span.bytes, at: place.offset(of: 3))
      try place.chain(2, to: 20_000)
      try place.chain(20_000, to: 4)
      var expected = map.bitmap
      let moved = Int(place.offset(of: 20_000)) / map.blockSize
      expected.set(moved..<(moved + 512 / map.blockSize))
      #expect(try FileSystems.allocationMap(of: device)?.bitmap == expected)

      // A chain that leaves the heap, one that ends too soon, and a ring.
      for target in [UInt32(40_000), 0, 1, 0xFFFF_FFFF, 0xFFFF_FFF7] {
        try place.chain(20_000, to: target)
        #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: device) }
      }
      try place.chain(20_000, to: 4)
      let root = try device.read(at: 96, count: 4).littleEndian(UInt32.self, at: 0)
      try place.chain(root, to: root)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: device) }
    }
  }

  /// What the bitmap marks in the second of two copies counts when the flags say so (TexFAT).
  @Test func theActiveBitmapOfTwoCounts() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make("-c 4K", kibibytes: 65_536, in: folder)
      let device = try FileDevice(path: image, access: .readWrite)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let place = try Geometry(device)
      let sectors = try device.read(at: 0, count: 512).littleEndian(UInt32.self, at: 84)
      let table = try device.read(at: place.tableOffset, count: Int(sectors) * 512)
      let secondTable = place.tableOffset + UInt64(sectors) * 512
      try device.write(table.span.bytes, at: secondTable)
      try place.patchBoot(UInt8(2), at: 110)
      #expect(try FileSystems.allocationMap(of: device)?.bitmap == map.bitmap)

      let cluster: UInt32 = 9000
      var marked = try device.read(at: place.offset(of: 2), count: 4096)
      marked[Int(cluster - 2) / 8] |= 1 << UInt8((cluster - 2) % 8)
      try device.write(marked.span.bytes, at: place.offset(of: cluster))
      let end = [UInt8](repeating: 0xFF, count: 4)
      try device.write(end.span.bytes, at: secondTable + UInt64(cluster) * 4)
      var entry = [UInt8](repeating: 0, count: 32)
      entry[0] = 0x81
      entry[1] = 1
      entry.store(cluster, at: 20)
      entry.store(UInt64(15_872 / 8), at: 24)
      let root = try device.read(at: 96, count: 4).littleEndian(UInt32.self, at: 0)
      try device.write(entry.span.bytes, at: place.offset(of: root) + 96)
      #expect(try FileSystems.allocationMap(of: device)?.bitmap == map.bitmap)

      try place.patchBoot(UInt16(1), at: 106)
      var expected = map.bitmap
      let block = Int(place.offset(of: cluster)) / map.blockSize
      expected.set(block..<(block + 4096 / map.blockSize))
      #expect(try FileSystems.allocationMap(of: device)?.bitmap == expected)
    }
  }

  @Test func anotherChecksumOrVersionIsRefused() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make("-c 4K", kibibytes: 65_536, in: folder)
      let device = try FileDevice(path: image, access: .readWrite)
      var patched = PatchedDevice(device)
      patched.patch([0x77], at: 300)
      #expect(
        throws: FileSystemError.damaged(
          volume: image.string, kind: .exfat, detail: "the checksum of its boot region is wrong")
      ) { try FileSystems.identify(patched) }
      try Geometry(device).patchBoot(UInt16(0x0200), at: 104)
      #expect(
        throws: FileSystemError.unsupported(volume: image.string, kind: .exfat, feature: "version 2.0")
      ) { try FileSystems.identify(device) }
    }
  }

  @Test func aBitmapThatForgetsItselfIsRefused() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make("-c 4K", kibibytes: 65_536, in: folder)
      let device = try FileDevice(path: image)
      var forgetful = PatchedDevice(device)
      forgetful.patch([0xFE], at: try Geometry(FileDevice(path: image, access: .readWrite)).offset(of: 2))
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: forgetful) }
    }
  }

  @Test(.timeLimit(.minutes(2)), arguments: [UInt16(0), 2]) func damageGivesAnErrorOrAMap(flags: UInt16) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make("-c 512", kibibytes: 9_000, in: folder)
      let device = try FileDevice(path: image, access: .readWrite)
      let place = try Geometry(device)
      try place.addFiles()
      try place.patchBoot(flags, at: 106)
      let root = place.offset(of: try device.read(at: 96, count: 4).littleEndian(UInt32.self, at: 0))
      // More than once for the directory: most of the boot region's fields end it at once.
      try readDamaged(
        device,
        structures: [
          64..<120, root..<(root + 512), root..<(root + 256), place.tableOffset..<(place.tableOffset + 512),
        ],
        rounds: 6000, seed: 11
      ) { damaged, structure in
        guard structure.lowerBound < 512, damaged.byteCount > 12 * 512 else { return }
        let region = try damaged.read(at: 0, count: 11 * 512)
        damaged.patch(Geometry.checksumSector(region), at: 11 * 512)
      }
    }
  }

  private func make(_ options: String, kibibytes: Int, in folder: FilePath) async throws -> FilePath {
    let image = folder.appending("exfat")
    try await shell("truncate -s \(kibibytes)K \(image); LC_ALL=C.UTF-8 mkfs.exfat \(options) -L 'Lärm 3' \(image)")
    return image
  }

  /// The numbers `dump.exfat` prints, by name.
  private func dumpExFAT(_ image: FilePath) async throws -> [String: Int] {
    var values: [String: Int] = [:]
    for line in try await tool("dump.exfat", image.string).split(separator: "\n") {
      guard let colon = line.lastIndex(of: ":") else { continue }
      values[String(line[..<colon])] = Int(line[line.index(after: colon)...].filter { $0 != "\t" && $0 != " " })
    }
    return values
  }

  /// Where things stand on a volume of sectors of 512 bytes, and changes to them.
  private struct Geometry {
    let device: FileDevice
    let tableOffset: UInt64
    private let heapOffset: UInt64
    private let clusterSize: UInt64

    init(_ device: FileDevice) throws {
      self.device = device
      let boot = try device.read(at: 0, count: 512)
      tableOffset = UInt64(try boot.littleEndian(UInt32.self, at: 80)) * 512
      heapOffset = UInt64(try boot.littleEndian(UInt32.self, at: 88)) * 512
      clusterSize = 512 << UInt64(boot[109])
    }

    func offset(of cluster: UInt32) -> UInt64 { heapOffset + UInt64(cluster - 2) * clusterSize }

    func chain(_ cluster: UInt32, to next: UInt32) throws {
      var bytes: [UInt8] = []
      bytes.append(littleEndian: next)
      try device.write(bytes.span.bytes, at: tableOffset + UInt64(cluster) * 4)
    }

    func patchBoot<Value: FixedWidthInteger>(_ value: Value, at offset: Int) throws {
      var region = try device.read(at: 0, count: 11 * 512)
      region.store(value, at: offset)
      try device.write((region + Self.checksumSector(region)).span.bytes, at: 0)
    }

    /// Three files and a directory in the root directory; the bitmap does not know of them.
    func addFiles() throws {
      let root = try device.read(at: 96, count: 4).littleEndian(UInt32.self, at: 0)
      for (index, first) in [UInt32(1000), 1100, 1200, 1300].enumerated() {
        var set = [UInt8](repeating: 0, count: 64)
        set[0] = 0x85
        set[1] = 2
        set[4] = index == 0 ? 0x10 : 0
        set[32] = 0xC0
        set[33] = index == 1 ? 1 : 3
        set.store(first, at: 32 + 20)
        set.store(UInt64(1024), at: 32 + 24)
        try device.write(set.span.bytes, at: offset(of: root) + 96 + UInt64(index) * 64)
        try chain(first, to: first + 1)
        try chain(first + 1, to: .max)
        try device.write([UInt8](repeating: 0, count: 1024).span.bytes, at: offset(of: first))
      }
    }

    static func checksumSector(_ region: [UInt8]) -> [UInt8] {
      var sum: UInt32 = 0
      for (offset, byte) in region.enumerated() where ![106, 107, 112].contains(offset) {
        sum = (sum << 31 | sum >> 1) &+ UInt32(byte)
      }
      var sector: [UInt8] = []
      for _ in 0..<128 { sector.append(littleEndian: sum) }
      return sector
    }
  }
}
