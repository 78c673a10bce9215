// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Imaging
import SystemPackage
import TestSupport
import Testing

@Suite struct FinishingBootSectorTests {
  /// Makes a file of 64 MiB and a file system in it, at sector 2048 as far as it knows.
  private func withVolume(
    _ make: [String], mebibytes: Int = 64, _ body: (FileDevice) async throws -> Void
  ) async throws {
    try await withTemporaryDirectory { folder in
      let file = folder.appending("volume")
      try await tool("truncate", "-s", "\(mebibytes)M", file.string)
      try await tool(make[0], make.dropFirst() + [file.string])
      try await body(FileDevice(path: file, access: .readWrite))
    }
  }

  private func hidden(_ device: FileDevice, at offset: UInt64 = 0) throws -> UInt32 {
    let bytes = try device.read(at: offset + 0x1C, count: 4)
    return bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  private let ntfs = ["mkntfs", "-Q", "-q", "-F", "-p", "2048", "-H", "255", "-S", "63"]

  @Test func ntfsThatMoved() async throws {
    try await withVolume(ntfs) { device in
      let last = device.byteCount - 512
      let before = try device.read(at: 0, count: 512)
      #expect(try device.read(at: last, count: 512) == before)
      #expect(try BootSectorFix.apply(to: device, start: 2048 * 512).isEmpty)
      let changes = try BootSectorFix.apply(to: device, start: 6144 * 512)
      #expect(changes.hiddenSectors)
      #expect(!changes.backup)
      #expect(try hidden(device) == 6144)
      #expect(try hidden(device, at: last) == 6144)
      // Nothing else changed.
      #expect(try BootSectorFix.apply(to: device, start: 2048 * 512).hiddenSectors)
      #expect(try device.read(at: 0, count: 512) == before)
      #expect(try device.read(at: last, count: 512) == before)
      try await tool("ntfsresize", "-i", "-f", device.name)
    }
  }

  @Test func aMissingBackupIsMadeAnew() async throws {
    try await withVolume(ntfs) { device in
      let last = device.byteCount - 512
      let backup = try device.read(at: last, count: 512)
      try device.write([UInt8](repeating: 0xA5, count: 512).span.bytes, at: last)
      let changes = try BootSectorFix.apply(to: device, start: 2048 * 512)
      #expect(changes.backup)
      #expect(!changes.hiddenSectors)
      #expect(try device.read(at: last, count: 512) == backup)
    }
  }

  @Test(arguments: ["12", "16", "32"]) func fatThatMoved(_ bits: String) async throws {
    let make = ["mkfs.fat", "-F", bits, "-h", "2048"]
    try await withVolume(make, mebibytes: bits == "12" ? 8 : 64) { device in
      #expect(try BootSectorFix.apply(to: device, start: 2048 * 512).isEmpty)
      #expect(try BootSectorFix.apply(to: device, start: 1 << 30).hiddenSectors)
      #expect(try hidden(device) == 2_097_152)
      #expect(try bits != "32" || hidden(device, at: 6 * 512) == 2_097_152)
      // It compares FAT32's boot sector with its backup.
      try await tool("fsck.fat", "-n", device.name)
    }
  }

  @Test func whatWasMadeWithoutAPlaceKeepsNone() async throws {
    try await withVolume(["mkfs.fat", "-F", "16", "-h", "0"]) { device in
      let before = try device.read(at: 0, count: 512)
      #expect(try BootSectorFix.apply(to: device, start: 1 << 20).isEmpty)
      #expect(try device.read(at: 0, count: 512) == before)
    }
  }

  @Test func otherFileSystemsAreLeftAlone() async throws {
    try await withVolume(["mkfs.ext4", "-q"]) { device in
      let before = try device.read(at: 0, count: 4096)
      #expect(try BootSectorFix.apply(to: device, start: 1 << 20).isEmpty)
      #expect(try device.read(at: 0, count: 4096) == before)
    }
  }

  /// Boot sectors that lie: a typed error or no change, and nothing beyond the two sectors is touched.
  @Test func brokenBootSectors() async throws {
    try await withVolume(ntfs, mebibytes: 2) { device in
      let good = try device.read(at: 0, count: 512)
      var random = FixedRandom(state: 7)
      for _ in 0..<2000 {
        var sector = good
        for _ in 0..<Int(random.next() % 4 + 1) {
          sector[Int(random.next() % 90)] = UInt8(truncatingIfNeeded: random.next())
        }
        try device.write(sector.span.bytes, at: 0)
        do { _ = try BootSectorFix.apply(to: device, start: 4096 * 512) } catch is DeviceError {}
        #expect(try device.read(at: 0x20, count: 480) == Array(sector[0x20...]))
      }
    }
  }
}

/// A fixed sequence that looks random (xorshift64).
private struct FixedRandom {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}

@Suite struct FinishingStaleSignatureTests {
  private static let sizes: [UInt64] = [
    0, 512, 1 << 20, 2 << 20, 2_097_664, 67_109_376, 66 << 20, 256 << 30, 300 << 30,
  ]

  @Test(arguments: sizes)
  func regionsLieInsideAndApart(_ size: UInt64) {
    let regions = StaleSignatures.regions(byteCount: size)
    for (region, next) in zip(regions, regions.dropFirst()) { #expect(region.upperBound <= next.lowerBound) }
    #expect(regions.allSatisfy { !$0.isEmpty && $0.upperBound <= size })
    #expect(regions.first?.lowerBound ?? 0 == 0)
    #expect(regions.last?.upperBound ?? 0 == size)
  }

  @Test func mirrorsOfBtrfsAreAmongThem() {
    let regions = StaleSignatures.regions(byteCount: 300 << 30)
    #expect(regions.count == 4)
    #expect(regions[1].lowerBound == 64 << 20)
    #expect(regions[2].lowerBound == 256 << 30)
    #expect(regions[1].count == 4096 && regions[2].count == 4096)
  }

  @Test func signaturesAreGone() async throws {
    try await withTemporaryDirectory { folder in
      let file = folder.appending("volume")
      try await tool("truncate", "-s", "200M", file.string)
      try await tool("mkfs.btrfs", "-q", file.string)
      let device = try FileDevice(path: file, access: .readWrite)
      let kept: UInt64 = 100 << 20
      try device.write([UInt8](repeating: 0xA5, count: 4096).span.bytes, at: kept)
      try StaleSignatures.erase(on: device)
      #expect(try await tool("wipefs", "--noheadings", file.string).isEmpty)
      #expect(try device.read(at: 64 << 20, count: 4096).allSatisfy { $0 == 0 })
      #expect(try device.read(at: kept, count: 4096).allSatisfy { $0 == 0xA5 })
    }
  }
}
