// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of F2FS volumes that Linux has filled, emptied, and left without unmounting, in a guest: this machine's kernel
/// need not know F2FS.
@Suite(.serialized) struct F2FSMapTests {
  @Test func aFragmentedVolumeSurvivesTheLossOfItsFreeBlocks() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeVolume(folder, size: "323123712")
      let sums = try await useInGuest(image, as: "f2fs", guestFragmentation)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.warnings == [])
      #expect(map.bitmap.usedCount < map.bitmap.count * 3 / 4)
      try poisonFreeBlocks(of: image, map)
      try await tool("fsck.f2fs", "--dry-run", image.string)
      #expect(try await useInGuest(image, as: "f2fs") == sums)
    }
  }

  @Test func aFullVolumeKeepsAll() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeVolume(folder, size: "120M")
      let sums = try await useInGuest(
        image, as: "f2fs", "dd if=/dev/urandom of=all bs=64k 2>/dev/null || true; touch last || true")
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.bitmap.usedCount > map.bitmap.count / 2)
      try poisonFreeBlocks(of: image, map)
      try await tool("fsck.f2fs", "--dry-run", image.string)
      #expect(try await useInGuest(image, as: "f2fs") == sums)
    }
  }

  /// What fsync wrote is in no checkpoint: after a checkpoint that sync has made, or the one of the last unmount.
  @Test(arguments: [true, false])
  func aCrashedVolumeKeepsWhatFsyncWrote(sync: Bool) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeVolume(folder, size: "300M")
      try await useInGuest(image, as: "f2fs", guestFragmentation)
      try await crashInGuest(
        image, as: "f2fs",
        """
        \(sync ? "head -c 3000000 /dev/urandom > unsynced; sync" : ":")
        mkdir new; for i in $(seq 40); do head -c $((i * 40000)) /dev/urandom > new/s$i; sync new/s$i; done
        for i in 2 4 6; do dd if=/dev/urandom of=a/f$i bs=1000 count=30 conv=notrunc 2>/dev/null; sync a/f$i; done
        """)
      // What the kernel makes of it when nothing is lost.
      let copy = folder.appending("copy")
      try await tool("cp", "--sparse=always", image.string, copy.string)
      let sums = try await useInGuest(copy, as: "f2fs")
      #expect(!sums.contains(emptyFileSum))
      #expect(sums.contains("./new/s40"))
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.warnings.contains { $0.contains("not cleanly unmounted") })
      try poisonFreeBlocks(of: image, map)
      #expect(try await useInGuest(image, as: "f2fs") == sums)
      let after = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(after.warnings == [])
      try await tool("fsck.f2fs", "--dry-run", image.string)
    }
  }

  private func makeVolume(_ folder: FilePath, size: String) async throws -> FilePath {
    let image = folder.appending("f2fs")
    try await shell("truncate -s \(size) \(image); mkfs.f2fs -q \(image) >/dev/null")
    return image
  }
}
