// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import FoundationEssentials
import SystemPackage
import TestSupport
import Testing

/// ReiserFS as mkreiserfs makes it and as reiserfsck and debugreiserfs understand it. (ReiserFSMapTests has volumes
/// that the kernel has filled.)
@Suite struct ReiserFSTests {
  struct Layout: Sendable, CustomTestStringConvertible {
    let options: String
    let byteCount: Int
    var testDescription: String { "\(options) \(byteCount)" }
  }

  @Test(arguments: [
    Layout(options: "-l 'a label'", byteCount: 40 << 20),
    Layout(options: "-l sixteen-letters.", byteCount: 300_000_512),
    Layout(options: "--format 3.5", byteCount: 150_001_664),
    Layout(options: "-b 1024", byteCount: 70_000_128),
    Layout(options: "-b 2048 -l x", byteCount: 100_000_256),
    Layout(options: "-b 8192", byteCount: 640 << 20),
    Layout(options: "-s 600", byteCount: 20 << 20),
    // Bitmaps that describe exactly as many blocks as there are, and one more.
    Layout(options: "", byteCount: 128 << 20), Layout(options: "", byteCount: 128 << 20 + 4096),
  ])
  func aFreshVolume(_ layout: Layout) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeReiserFS(in: folder, layout.options, layout.byteCount)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(try await differences(map.bitmap, reiserFSBlocks(image)) == 0)
      #expect(map.warnings == [])

      let names = try await blkid(image)
      #expect(map.identity.kind == .reiserfs)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == names["LABEL"])
      #expect(map.blockSize == Int(names["BLOCK_SIZE"] ?? ""))
      #expect(map.identity.byteCount == UInt64(map.bitmap.count * map.blockSize))

      try poison(image, outside: map)
      try await tool("reiserfsck", "-y", "-q", "--check", image.string)
    }
  }

  /// Up to 3.5.9 the superblock stood at 8 KiB and the bitmaps behind it; debugreiserfs still knows that.
  @Test func anOldVolumeHasItsBitmapsInOnePlace() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("old")
      try await shell("truncate -s 600M \(image)")
      let used = [0..<8300, 40_000..<40_001, 98_304..<98_500, 131_000..<140_000, 153_599..<153_600]
      let bitmap = try writeOldReiserFS(to: image, used: used)
      #expect(try await differences(bitmap, reiserFSBlocks(image)) == 0)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(differences(bitmap, map.bitmap) == 0)
      #expect(try await blkid(image)["TYPE"] == "reiserfs")

      // What looks like a superblock at 64 KiB is in the journal.
      let device = try FileDevice(path: image, access: .readWrite)
      let fresh = folder.appending("fresh")
      try await shell("truncate -s 100M \(fresh); mkfs.reiserfs -ffq \(fresh)")
      let copy = try FileDevice(path: fresh).read(at: 65536, count: 4096)
      try device.write(copy.span.bytes, at: 65536)
      let again = try #require(try FileSystems.allocationMap(of: device))
      #expect(differences(bitmap, again.bitmap) == 0)
    }
  }

  /// The replay of reiserfsck is the judge of which transactions count.
  @Test(arguments: ReiserFSLog.Story.allCases)
  func aJournalIsReplayedInMemory(_ story: ReiserFSLog.Story) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeReiserFS(in: folder, "", 140 << 20)
      let fresh = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      var log = try ReiserFSLog(image)
      let replayed = try log.write(story)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.warnings.isEmpty == !replayed)

      // It finds the blocks that belong to no file, and still has replayed the journal.
      try await shell("reiserfsck -y -q --check \(image) > \(folder)/check 2>&1 || true")
      var expected = try await reiserFSBlocks(image)
      #expect((differences(expected, fresh.bitmap) > 0) == replayed)
      expected.formUnion(fresh.bitmap)
      #expect(differences(map.bitmap, expected) == 0)
    }
  }

  @Test func whatLinuxWouldNotReplayIsDamaged() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeReiserFS(in: folder, "", 140 << 20)
      let device = try FileDevice(path: image, access: .readWrite)
      for target in [18, 18 + 8192, 140 << 8, 1 << 31] {
        var log = try ReiserFSLog(image)
        try log.append([(target, [UInt8](repeating: 1, count: 4096))])
        do {
          _ = try FileSystems.allocationMap(of: device)
          Issue.record("block \(target) was overwritten")
        } catch FileSystemError.damaged(_, _, let detail) {
          #expect(detail == "its journal would overwrite block \(target)")
        }
      }
    }
  }

  @Test func whatCannotBeReadIsNamed() async throws {
    try await withTemporaryDirectory { folder in
      try await shell("truncate -s 40M \(folder)/journal")
      let image = try await makeReiserFS(in: folder, "-j \(folder)/journal", 100 << 20)
      #expect(unsupportedFeature(try FileDevice(path: image)) == "a journal on another device")

      _ = try await makeReiserFS(in: folder, "", 100 << 20)
      let plain = try FileDevice(path: image)
      func detail(_ bytes: [UInt8], at offset: UInt64) -> String? {
        var changed = PatchedDevice(plain)
        changed.patch(bytes, at: 65536 + offset)
        do {
          _ = try FileSystems.allocationMap(of: changed)
          return nil
        } catch FileSystemError.damaged(_, _, let detail) {
          return detail
        } catch {
          return "\(error)"
        }
      }
      #expect(detail([0xFF, 0xFF, 0xFF, 0xFF], at: 8) == "reiserfsck --rebuild-tree has not finished")
      #expect(detail([1, 0], at: 62) == "reiserfsck has found errors that are still there")
      let used = try await reiserFSBlocks(image)
      #expect(
        detail([1, 0, 0, 0], at: 4)
          == "its bitmaps have \(used.count - used.usedCount) free blocks, its superblock 1")
      #expect(detail([0xFF, 0xFF, 0xFF, 0x7F], at: 0)?.hasPrefix("the superblock counts 2147483647 blocks") == true)

      _ = try await makeReiserFS(in: folder, "-s 600", 100 << 20)
      var strange = PatchedDevice(try FileDevice(path: image))
      strange.patch([1, 2, 3, 4], at: 65536 + 28)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: strange) }
    }
  }

  @Test(arguments: [false, true])
  func damageGivesAnErrorOrAMap(withTransactions: Bool) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeReiserFS(in: folder, "-s 520", 160 << 20)
      var log = try ReiserFSLog(image)
      if withTransactions { _ = try log.write(.severalTransactions) }
      let block = { (number: UInt64) in number * 4096..<(number + 1) * 4096 }
      try readDamaged(
        try FileDevice(path: image),
        structures: [
          65536..<(65536 + 204), 65536..<(65536 + 64), block(UInt64(log.headerBlock)), block(18), block(17), block(19),
          block(18 + 4), block(32768),
        ],
        rounds: 3000, seed: withTransactions ? 31 : 32)
    }
  }

  private func makeReiserFS(in folder: FilePath, _ options: String, _ byteCount: Int) async throws -> FilePath {
    let image = folder.appending("reiserfs")
    try await shell("rm -f \(image); truncate -s \(byteCount) \(image); mkfs.reiserfs -f -f -q \(options) \(image)")
    return image
  }
}

/// The blocks that debugreiserfs lists as busy.
func reiserFSBlocks(_ image: FilePath) async throws -> BlockBitmap {
  let text = try await tool("debugreiserfs", "-m", image.string)
  let head = try #require(text.split(separator: "\n").first { $0.hasPrefix("Count of blocks on the device") })
  var bitmap = BlockBitmap(count: try #require(Int(head.split(separator: " ").last ?? "")), used: true)
  for part in text.components(separatedBy: "#0:").last?.components(separatedBy: "Free").dropFirst() ?? [] {
    let bounds = part.prefix { $0 != ")" }.drop { " (".contains($0) }.split(separator: "-").compactMap { Int($0) }
    try #require(bounds.count == 2)
    bitmap.set(bounds[0]..<(bounds[1] + 1), used: false)
  }
  return bitmap
}

/// In how many blocks two maps differ; all of them when their sizes do.
func differences(_ one: BlockBitmap, _ other: BlockBitmap) -> Int {
  guard one.count == other.count else { return max(one.count, other.count) }
  var both = one
  both.formUnion(other)
  return 2 * both.usedCount - one.usedCount - other.usedCount
}
