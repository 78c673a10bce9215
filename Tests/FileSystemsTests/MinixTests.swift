// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct MinixTests {
  static let variants = [
    ("-1", 60), ("-1 -n 14", 1440), ("-1", 65_535), ("-2", 100), ("-2 -n 14", 70_001), ("-2 -i 60000", 400_000),
    ("-3", 100), ("-3", 30_001), ("-3 -i 100", 200_000), ("-3 -i 1000", 50_000_000),
  ]

  /// Zones that are used: those before the first of data, and the root directory's.
  @Test(arguments: variants) func anEmptyVolume(options: String, kibibytes: Int) async throws {
    try await withTemporaryDirectory { folder in
      let (image, firstDataZone) = try await make(options, kibibytes: kibibytes, in: folder)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.identity == FileSystemIdentity(kind: .minix, uuid: nil, label: nil, byteCount: device.byteCount))
      #expect(try await blkid(image)["TYPE"] == "minix")
      #expect(map.warnings == [])
      #expect(map.blockSize == 1024)
      var expected = BlockBitmap(count: kibibytes)
      expected.set(0..<(firstDataZone + 1))
      #expect(map.bitmap == expected)
      if kibibytes < 1_000_000 {
        try poison(image, outside: map)
        try await tool("fsck.minix", "-f", image.string)
      }
    }
  }

  /// Blocks that are listed as bad are kept in a file.
  @Test func badBlocksAreUsed() async throws {
    try await withTemporaryDirectory { folder in
      try await shell("seq 3000 2 9000 > \(folder)/bad")
      let (image, firstDataZone) = try await make("-3 -l \(folder)/bad", kibibytes: 30_001, in: folder)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      for block in stride(from: 3000, through: 9000, by: 2) where !map.bitmap[block] { Issue.record("block \(block)") }
      #expect(!map.bitmap[3001] && !map.bitmap[9002])
      #expect(map.bitmap.usedCount > firstDataZone + 3001)
    }
  }

  /// Larger blocks and zones, which Minix itself can make.
  @Test func zonesOfSeveralBlocks() async throws {
    try await withTemporaryDirectory { folder in
      let (image, _) = try await make("-3 -i 100", kibibytes: 30_000, in: folder)
      var device = PatchedDevice(try FileDevice(path: image))
      // 14 zones of 1 KiB are before the data: as 4 zones of 4 KiB it is 2 KiB more.
      device.patch([4, 0], at: 1024 + 10)
      device.patch([2, 0], at: 1024 + 12)
      var count: [UInt8] = []
      count.append(littleEndian: UInt32(7500))
      device.patch(count, at: 1024 + 20)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.blockSize == 4096)
      #expect(map.bitmap.count == 7500)
      #expect(map.bitmap.usedCount == 5)
      #expect(map.bitmap.nextUsedRun(from: 0) == 0..<5)
    }
  }

  @Test(arguments: ["-1", "-2"]) func whatWasNotUnmountedNeedsRecovery(options: String) async throws {
    try await withTemporaryDirectory { folder in
      let (image, _) = try await make(options, kibibytes: 1440, in: folder)
      for state in [UInt8(0), 2, 3] {
        var device = PatchedDevice(try FileDevice(path: image))
        device.patch([state], at: 1024 + 18)
        #expect(
          throws: FileSystemError.needsRecovery(
            volume: image.string, kind: .minix, detail: "its state is not that of an unmounted one")
        ) { try FileSystems.allocationMap(of: device) }
      }
    }
  }

  /// The signature has two bytes only.
  @Test func otherContentsAreNotMinix() async throws {
    try await withTemporaryDirectory { folder in
      let (image, _) = try await make("-2", kibibytes: 1440, in: folder)
      let device = try FileDevice(path: image)
      // Version 1 in its place; an unknown state; no inodes; no room for the maps; data where the maps are.
      for (offset, bytes) in [
        (16, [0x7F, 0x13]), (18, [4, 0]), (0, [0, 0]), (4, [0, 0]), (8, [3, 0]), (10, [99, 0]),
      ] {
        var other = PatchedDevice(device)
        other.patch(bytes.map { UInt8($0) }, at: UInt64(1024 + offset))
        #expect(try FileSystems.identify(other) == nil, "offset \(offset)")
      }
      var short = PatchedDevice(device)
      short.byteCount -= 1024
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: short) }
    }
  }

  @Test(.timeLimit(.minutes(1)), arguments: ["-1", "-2", "-3"])
  func damageGivesAnErrorOrAMap(options: String) async throws {
    try await withTemporaryDirectory { folder in
      let (image, _) = try await make(options, kibibytes: 4000, in: folder)
      let outcomes = try readDamagedCopies(
        of: image.contents(), structures: [1024..<1056, 1024..<3072, 2048..<8192], rounds: 3000, seed: 14)
      #expect(outcomes.maps > 100)
      #expect(outcomes.errors > 10)
      #expect(outcomes.unknown > 100)
    }
  }

  /// - Returns: the volume, and what `mkfs.minix` prints as its first zone of data.
  private func make(
    _ options: String, kibibytes: Int, in folder: FilePath
  ) async throws -> (image: FilePath, firstDataZone: Int) {
    let image = folder.appending("minix")
    let text = try await shell("truncate -s \(kibibytes)K \(image); mkfs.minix \(options) \(image)")
    let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("Firstdatazone=") })
    return (image, try #require(Int(line.dropFirst(14).prefix { $0.isNumber })))
  }
}
