// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct JFSTests {
  /// In KiB: of odd sizes, and large enough for summaries of summaries in the block map.
  @Test(arguments: [16_384, 65_539, 1_000_001, 70_000_000, 6_000_000_000]) func anEmptyVolume(kibibytes: Int)
    async throws
  {
    try await withTemporaryDirectory { folder in
      let image = try await make(kibibytes: kibibytes, in: folder)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let names = try await blkid(image)
      #expect(names["TYPE"] == "jfs")
      #expect(map.identity.kind == .jfs)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == "My volume")
      #expect(map.identity.label == names["LABEL"])
      #expect(map.identity.byteCount == device.byteCount & ~4095)
      #expect(map.warnings == [])
      #expect(map.blockSize == 4096)
      let counts = try await blockMapCounts(image)
      #expect(map.bitmap.count == counts.size)
      #expect(map.bitmap.count - map.bitmap.usedCount == counts.free)
      // The log and the working space of fsck are behind the map.
      #expect(map.bitmap.count * 4096 < device.byteCount)
      #expect(map.covering(device.byteCount).bitmap.count > map.bitmap.count)
      if kibibytes <= 1_000_001 {
        try poison(image, outside: map)
        #expect(try await tool("fsck.jfs", "-n", "-f", image.string).contains("is clean"))
      }
    }
  }

  @Test(arguments: [UInt8(1), 2, 4]) func whatWasNotUnmountedNeedsRecovery(state: UInt8) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make(kibibytes: 16_384, in: folder)
      var device = PatchedDevice(try FileDevice(path: image))
      device.patch([state], at: 0x8000 + 40)
      #expect(
        throws: FileSystemError.needsRecovery(
          volume: image.string, kind: .jfs, detail: "its state is \(state), so its log has to be replayed")
      ) { try FileSystems.allocationMap(of: device) }
    }
  }

  /// A log on another device is named, for it has to be saved too.
  @Test func anExternalLog() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make(kibibytes: 16_384, in: folder)
      var device = PatchedDevice(try FileDevice(path: image))
      let flags = try device.read(at: 0x8000 + 36, count: 4)
      device.patch([flags[1] & ~8], at: 0x8000 + 37)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.warnings == ["its log is on another device; save that along"])
    }
  }

  @Test func whatContradictsItselfIsRefused() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make(kibibytes: 65_536, in: folder)
      let device = try FileDevice(path: image)
      let page = try blockMapPage(device, 4)
      // A used block that looks free; another count; a page of another place; the count of all.
      for (offset, byte) in [(UInt64(2048), UInt8(0x7F)), (4, 1), (8, 1)] {
        var patched = PatchedDevice(device)
        patched.patch([byte], at: page + offset)
        #expect(throws: FileSystemError.self, "byte \(offset)") { try FileSystems.allocationMap(of: patched) }
      }
      var other = PatchedDevice(device)
      other.patch([1], at: try blockMapPage(device, 0) + 8)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: other) }
      var small = PatchedDevice(device)
      small.byteCount /= 2
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: small) }
      var blocks = PatchedDevice(device)
      blocks.patch([0, 2], at: 0x8000 + 16)
      #expect(
        throws: FileSystemError.unsupported(volume: image.string, kind: .jfs, feature: "blocks of 512 bytes")
      ) { try FileSystems.allocationMap(of: blocks) }
    }
  }

  /// A block that is free in the working map and used in the persistent one belongs to a file that is not gone yet.
  @Test func bothMapsCount() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make(kibibytes: 65_536, in: folder)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let block = try #require(map.bitmap.freeRuns.last).lowerBound + 40
      let page = try blockMapPage(device, UInt64(4 + block / 8192))
      // Words are little-endian, and begin with their most significant bit.
      let byte = page + 3072 + UInt64(block % 8192 / 32 * 4 + 3 - block % 32 / 8)
      var patched = PatchedDevice(device)
      patched.patch([0x80 >> UInt8(block % 8)], at: byte)
      var expected = map.bitmap
      expected[block] = true
      #expect(try FileSystems.allocationMap(of: patched)?.bitmap == expected)
    }
  }

  /// A root of the extents' tree with pages below it, as a map in many pieces has.
  @Test func aTreeOfExtentsIsFollowed() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make(kibibytes: 65_536, in: folder)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let root: UInt64 = 0xB000 + 2 * 512 + 224
      let inline = try device.read(at: root, count: 288)
      let page = try #require(map.bitmap.freeRuns.last).lowerBound + 5
      var deeper = PatchedDevice(device)
      deeper.patch(inline + [UInt8](repeating: 0, count: 4096 - 288), at: UInt64(page) * 4096)
      // One entry, for the page: length 1.
      deeper.patch([4], at: root + 16)
      deeper.patch([3, 0], at: root + 18)
      var entry = [UInt8](repeating: 0, count: 16)
      entry.store(UInt32(1), at: 8)
      entry.store(UInt32(page), at: 12)
      deeper.patch(entry, at: root + 32)
      var expected = map.bitmap
      expected[page] = true
      #expect(try FileSystems.allocationMap(of: deeper)?.bitmap == expected)
      // A page that leads to itself.
      deeper.patch([4], at: UInt64(page) * 4096 + 16)
      deeper.patch(entry, at: UInt64(page) * 4096 + 32)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: deeper) }
    }
  }

  @Test(.timeLimit(.minutes(2))) func damageGivesAnErrorOrAMap() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await make(kibibytes: 16_384, in: folder)
      let device = try FileDevice(path: image)
      let head = try blockMapPage(device, 0)
      let page = try blockMapPage(device, 4)
      let inode: UInt64 = 0xB000 + 2 * 512
      try readDamaged(
        device, structures: [0x8000..<0x80B8, (inode + 224)..<(inode + 300), head..<(head + 32), page..<(page + 4096)],
        rounds: 6000, seed: 13)
    }
  }

  private func make(kibibytes: Int, in folder: FilePath) async throws -> FilePath {
    let image = folder.appending("jfs")
    try await shell("truncate -s \(kibibytes)K \(image); mkfs.jfs -q -L 'My volume' \(image)")
    return image
  }

  /// What `jfs_debugfs` says of the block map: how many blocks it describes, and how many are free.
  private func blockMapCounts(_ image: FilePath) async throws -> (size: Int, free: Int) {
    let text = try await tool("jfs_debugfs", image.string, input: "dm\nx\nq\n")
    func number(_ name: String) throws -> Int {
      for line in text.split(separator: "\n") {
        guard let range = line.firstRange(of: "\(name):") else { continue }
        let digits = line[range.upperBound...].drop { $0 == " " || $0 == "\t" }.prefix { $0.isHexDigit || $0 == "x" }
        if let value = Int(digits.replacing("0x", with: ""), radix: 16) { return value }
      }
      throw Errno.invalidArgument
    }
    return (try number("mapsize"), try number("nfree"))
  }

  /// Where a page of the block map is, which a fresh volume has in one piece.
  private func blockMapPage(_ device: FileDevice, _ number: UInt64) throws -> UInt64 {
    let inode = try device.read(at: 0xB000 + 2 * 512, count: 512)
    return (UInt64(try inode.littleEndian(UInt32.self, at: 224 + 32 + 12)) + number) * 4096
  }
}
