// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of NILFS2 volumes that Linux has filled, emptied, and left without unmounting, in a guest: this machine's kernel
/// need not know NILFS2.
@Suite(.serialized) struct NILFS2MapTests {
  @Test(arguments: [["-b", "4096", "-B", "128"], ["-b", "1024", "-B", "2048"]])
  func aFragmentedVolumeSurvivesTheLossOfItsFreeSegments(_ layout: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeVolume(folder, size: "323123712", layout)
      let sums = try await useInGuest(image, as: "nilfs2", guestFragmentation)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.warnings == [])
      #expect(map.bitmap.usedCount < map.bitmap.count * 3 / 4)
      try expectSizeOfFreeSpace(image, map)
      try poisonFreeBlocks(of: image, map)
      #expect(try await useInGuest(image, as: "nilfs2") == sums)
    }
  }

  @Test func aFullVolumeKeepsAll() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeVolume(folder, size: "100M", ["-B", "256"])
      let sums = try await useInGuest(
        image, as: "nilfs2", "dd if=/dev/urandom of=all bs=64k 2>/dev/null || true; touch last || true")
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      // The superblock's count of free blocks is an old one when no checkpoint could follow.
      #expect(map.bitmap.usedCount > map.bitmap.count * 4 / 5)
      try poisonFreeBlocks(of: image, map)
      #expect(try await useInGuest(image, as: "nilfs2") == sums)
    }
  }

  /// What fdatasync wrote is in logs behind the last checkpoint, some of them in segments that are not yet known as
  /// used.
  @Test(arguments: [4096, 1024])
  func aCrashedVolumeKeepsWhatFsyncWrote(blockSize: Int) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeVolume(folder, size: "300M", ["-b", "\(blockSize)", "-B", "128"])
      // Seconds between the checkpoints the kernel makes on its own; on a busy machine the guest is slow.
      try await shell(
        "loop=$(losetup -f --show \(image)); nilfs-tune -i 3600 $loop || code=$?; losetup -d $loop; exit ${code:-0}")
      try await useInGuest(image, as: "nilfs2", guestFragmentation)
      try await crashInGuest(
        image, as: "nilfs2",
        """
        for i in $(seq 2 2 60); do head -c $((i * 10000)) /dev/urandom > a/s$i; done; sync
        for i in $(seq 2 2 60); do
          dd if=/dev/urandom of=a/s$i bs=10000 count=$i conv=notrunc 2>/dev/null; sync -d a/s$i
        done
        """)
      // What the kernel makes of it when nothing is lost.
      let copy = folder.appending("copy")
      try await tool("cp", "--sparse=always", image.string, copy.string)
      let sums = try await useInGuest(copy, as: "nilfs2")
      // mkfs makes the one file that is empty.
      #expect(sums.split(separator: "\n").filter { $0.hasPrefix(emptyFileSum) } == ["\(emptyFileSum)  ./.nilfs"])
      #expect(sums.contains("./a/s20"))
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      let warning = try #require(map.warnings.first)
      #expect(!warning.contains(" 0 logs"), "\(warning)")
      try poisonFreeBlocks(of: image, map)
      #expect(try await useInGuest(image, as: "nilfs2") == sums)
      let after = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(after.warnings == [])
    }
  }

  /// After an unmount the superblock counts the blocks in clean segments. The map counts one segment less when the next
  /// to be written is still clean.
  private func expectSizeOfFreeSpace(_ image: FilePath, _ map: AllocationMap) throws {
    let superblock = try FileDevice(path: image).read(at: 1024, count: 1024)
    let expected = Int(try superblock.littleEndian(UInt64.self, at: 80))
    let segment = Int(try superblock.littleEndian(UInt32.self, at: 48))
    let free = map.bitmap.count - map.bitmap.usedCount
    #expect(free == expected || free == expected - segment, "\(free) of \(expected), \(segment) in a segment")
  }

  private func makeVolume(_ folder: FilePath, size: String, _ layout: [String]) async throws -> FilePath {
    let image = folder.appending("nilfs2")
    try await shell("truncate -s \(size) \(image)")
    try await tool("mkfs.nilfs2", ["-q"] + layout + [image.string])
    return image
  }
}
