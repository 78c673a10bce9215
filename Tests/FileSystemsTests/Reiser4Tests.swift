// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Reiser4 as mkfs.reiser4 makes it. No kernel of Debian's can fill one: blocks come into use here by their bits alone,
/// and partclone and debugfs.reiser4 say what they make of that.
@Suite struct Reiser4Tests {
  @Test(arguments: [
    (4096, 40_000_512), (4096, 700 << 20), (4096, 32736 * 4096), (4096, 32737 * 4096), (512, 30 << 20),
    (1024, 70 << 20),
    (2048, 100_001_792), (8192, 600 << 20),
  ])
  func aFreshVolume(blockSize: Int, byteCount: Int) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeReiser4(in: folder, "-b \(blockSize) -L 'a label'", byteCount)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.blockSize == blockSize)
      #expect(try await map.bitmap.count == field("blocks", image))
      #expect(try await map.bitmap.count - map.bitmap.usedCount == field("free blocks", image))

      let names = try await blkid(image)
      #expect(map.identity.kind.rawValue == names["TYPE"])
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == names["LABEL"])
      #expect(map.identity.byteCount == UInt64(map.bitmap.count * blockSize))

      // partclone knows blocks of 4 KiB only.
      if blockSize == 4096 {
        let theirs = try await partcloneMap("partclone.reiser4", of: image, in: folder)
        #expect(theirs.blockSize == blockSize)
        #expect(map.identity.kind.partcloneName == theirs.fileSystem)
        #expect(differences(theirs.bitmap, map.bitmap) == 0)
      }
      try poison(image, outside: map)
      try await tool("fsck.reiser4", "-y", "--check", image.string)
    }
  }

  @Test func fragmentedAndFullVolumes() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeReiser4(in: folder, "", 300 << 20)
      let device = try FileDevice(path: image, access: .readWrite)
      let fresh = try #require(try FileSystems.allocationMap(of: device))
      var generator = SeededGenerator(seed: 4)
      var wanted = fresh.bitmap
      for _ in 0..<700 {
        let start = Int.random(in: 0..<wanted.count, using: &generator)
        wanted.set(start..<(start + Int.random(in: 1...90, using: &generator)))
      }
      for bitmap in [wanted, BlockBitmap(count: wanted.count, used: true)] {
        try writeReiser4(bitmap, to: device)
        let map = try #require(try FileSystems.allocationMap(of: device))
        #expect(differences(map.bitmap, bitmap) == 0)
        let theirs = try await partcloneMap("partclone.reiser4", of: image, in: folder)
        #expect(differences(theirs.bitmap, bitmap) == 0)
      }
    }
  }

  @Test func whatCannotBeTrustedIsNamed() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeReiser4(in: folder, "", 200 << 20)
      let device = try FileDevice(path: image)
      func outcome(_ bytes: [UInt8], at offset: UInt64) -> String {
        var changed = PatchedDevice(device)
        changed.patch(bytes, at: offset)
        do {
          _ = try FileSystems.allocationMap(of: changed)
          return "a map"
        } catch FileSystemError.damaged(_, _, let detail) {
          return "damaged: \(detail)"
        } catch FileSystemError.needsRecovery(_, _, let detail) {
          return "needs recovery: \(detail)"
        } catch FileSystemError.unsupported(_, _, let feature) {
          return "unsupported: \(feature)"
        } catch {
          return "\(error)"
        }
      }
      #expect(
        outcome([0x40], at: 19 * 4096) == "needs recovery: its journal holds transactions that are not yet in place")
      #expect(outcome([1], at: 65536 + 16) == "unsupported: disk format 1")
      #expect(outcome([1], at: 65536 + 52) == "unsupported: a disk map (structures in other places)")
      #expect(outcome([1], at: 21 * 4096 + 16) == "damaged: its status block says that it has errors")
      #expect(outcome([1], at: 32736 * 4096 + 4000) == "damaged: the checksum of the bitmap at block 32736 is wrong")
      let free = try await field("free blocks", image)
      #expect(
        outcome([1, 0, 0, 0], at: 17 * 4096 + 8) == "damaged: its bitmaps have \(free) free blocks, its count is 1")

      // After a transaction the journal's footer has the counts.
      var settled = PatchedDevice(device)
      settled.patch([0x40], at: 19 * 4096)
      settled.patch([0x40], at: 20 * 4096)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: settled) }
      settled.patch([UInt8(free & 0xFF), UInt8(free >> 8)], at: 20 * 4096 + 8)
      #expect(try FileSystems.allocationMap(of: settled)?.bitmap.count == 51200)
    }
  }

  @Test func damageGivesAnErrorOrAMap() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeReiser4(in: folder, "", 150 << 20)
      let block = { (number: UInt64) in number * 4096..<(number + 1) * 4096 }
      try readDamaged(
        try FileDevice(path: image),
        structures: [
          65536..<(65536 + 64), block(17).lowerBound..<(block(17).lowerBound + 96), block(18), block(19), block(20),
          block(21), block(32736),
        ],
        rounds: 3000, seed: 41
      ) { device, structure in
        guard structure == block(18) || structure == block(32736) else { return }
        let bytes = try device.read(at: structure.lowerBound, count: 4096)
        var checksum = [UInt8](repeating: 0, count: 4)
        checksum.store(Adler32.checksum(bytes.span.bytes.extracting(4..<4096)), at: 0)
        device.patch(checksum, at: structure.lowerBound)
      }
    }
  }

  private func makeReiser4(in folder: FilePath, _ options: String, _ byteCount: Int) async throws -> FilePath {
    let image = folder.appending("reiser4")
    try await shell("truncate -s \(byteCount) \(image); mkfs.reiser4 -f -y \(options) \(image)")
    return image
  }

  /// A number of the superblock as debugfs.reiser4 prints it.
  private func field(_ name: String, _ image: FilePath) async throws -> Int {
    let text = try await tool("debugfs.reiser4", "-s", image.string)
    let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("\(name):") })
    return try #require(Int(line.drop { !$0.isNumber }))
  }

  /// Makes blocks of 4 KiB used or free: bits, checksums, count.
  private func writeReiser4(_ bitmap: BlockBitmap, to device: FileDevice) throws {
    let blocksPerBitmap = 4092 * 8
    let bytes = bitmap.leastSignificantBitFirstBytes()
    for first in stride(from: 0, to: bitmap.count, by: blocksPerBitmap) {
      let place = UInt64(first == 0 ? 18 : first) * 4096
      var block = try device.read(at: place, count: 4096)
      block.store(bytes: bytes[(first / 8)..<min(bytes.count, (first + blocksPerBitmap) / 8)], at: 4)
      block.store(Adler32.checksum(block.span.bytes.extracting(4..<4096)), at: 0)
      try device.write(block.span.bytes, at: place)
    }
    var superblock = try device.read(at: 17 * 4096, count: 512)
    superblock.store(UInt64(bitmap.count - bitmap.usedCount), at: 8)
    try device.write(superblock.span.bytes, at: 17 * 4096)
  }
}
