// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of Btrfs volumes that the kernel has filled, fragmented and emptied.
@Suite(.serialized) struct BtrfsMapTests {
  static let layouts: [[String]] = [
    ["-n", "16k"],
    ["-n", "4k", "-m", "single"],
    ["-n", "64k", "-d", "dup"],
    ["--mixed", "-n", "4k"],
    ["--csum", "sha256"],
    ["-R", "^free-space-tree"],
  ]

  @Test(arguments: layouts)
  func aFragmentedVolumeSurvivesTheLossOfItsFreeBlocks(_ layout: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("btrfs")
      try await tool("truncate", "-s", "600M", image.string)
      try await tool("mkfs.btrfs", ["-q", "-f"] + layout + [image.string])
      let sums = try await withMount(image, in: folder) { mount in
        try await fragment(mount)
        try await shell(
          "cd \(mount); btrfs subvolume create old >/dev/null; cp a/f2 old/; btrfs subvolume snapshot . snap >/dev/null"
        )
        return try await contentSums(mount)
      }
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.warnings == [])

      // The first MiB, the superblock at 64 MiB, and what btrfs-progs counts.
      let fixed = 1 << 20 + map.blockSize
      #expect(map.bitmap.usedCount * map.blockSize == (try await btrfsExtentCopies(image)) + fixed)

      try poisonFreeBlocks(of: image, map)
      try await tool("btrfs", "check", "--readonly", "--check-data-csum", image.string)
      let after = try await withMount(image, in: folder) { mount in
        try await scrub(mount)
        return try await contentSums(mount)
      }
      #expect(after == sums)
    }
  }

  /// On a volume that is no multiple of a tree block's size.
  @Test func aFullVolumeKeepsAll() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("btrfs")
      try await shell("truncate -s 323123712 \(image); mkfs.btrfs -q -f \(image)")
      let empty = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(empty.bitmap.usedCount * empty.blockSize < 2 << 20)
      let sums = try await withMount(image, in: folder) { mount in
        try await shell("dd if=/dev/urandom of=\(mount)/all bs=1M status=none || true; : > \(mount)/last || true")
        return try await contentSums(mount)
      }
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.bitmap.usedCount > map.bitmap.count / 2)
      try poisonFreeBlocks(of: image, map)
      try await tool("btrfs", "check", "--readonly", "--check-data-csum", image.string)
      #expect(try await withMount(image, in: folder) { try await contentSums($0) } == sums)
    }
  }

  /// partclone takes the logical addresses of file extents for places on the device, so its map is only right, if
  /// too large, where they are the same: on a volume fresh from mkfs with one copy of everything.
  @Test func partcloneSavesWhatIsUsedHere() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("btrfs")
      try await shell(
        "truncate -s 400M \(image); mkfs.btrfs -q -f -n 4k -m single -d single --rootdir /usr/include \(image)")
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      var (_, blockSize, partclone) = try await partcloneMap("partclone.btrfs", of: image, in: folder)
      #expect(blockSize == map.blockSize)
      #expect(partclone.count == map.bitmap.count)
      partclone.set(0..<(1 << 20 / blockSize))
      partclone[(64 << 20) / blockSize] = true
      var either = partclone
      either.formUnion(map.bitmap)
      #expect(either == partclone)
    }
  }

  @Test func aCrashedVolumeKeepsWhatItsLogTreeHolds() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("btrfs")
      let crashed = folder.appending("crashed")
      try await shell("truncate -s 400M \(image); mkfs.btrfs -q -f \(image)")
      let sums = try await withMount(image, in: folder) { mount in
        try await fragment(mount)
        try await shell("sync -f \(mount)")
        for index in 1...20 {
          try await shell(
            "head -c \(index * 40_000) /dev/urandom > \(mount)/s\(index); xfs_io -c fsync \(mount)/s\(index)")
        }
        try await shell("cp --sparse=always \(image) \(crashed)")
        return try await contentSums(mount)
      }
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: crashed)))
      #expect(map.warnings.contains { $0.contains("log tree") })
      try poisonFreeBlocks(of: crashed, map)
      let after = try await withMount(crashed, in: folder) { mount in
        try await scrub(mount)
        return try await contentSums(mount)
      }
      #expect(after == sums)
    }
  }

  /// Each device gets the map of its own share, and the file system lives when all have lost their free blocks.
  @Test(arguments: [("raid1", "raid1", 2), ("raid1", "raid0", 2), ("raid10", "raid10", 4), ("raid1c3", "raid5", 3)])
  func severalDevicesHaveAMapEach(metadata: String, data: String, count: Int) async throws {
    try await withTemporaryDirectory { folder in
      let images = (0..<count).map { folder.appending("device\($0)") }
      let mount = folder.appending("mounted")
      try await shell("mkdir \(mount)")
      for image in images { try await shell("truncate -s 500M \(image)") }
      try await shell(
        "mkfs.btrfs -q -f -m \(metadata) -d \(data) " + images.map(\.string).joined(separator: " "))
      let loops = try await attach(images)
      let sums: String
      do {
        try await shell("btrfs device scan \(loops.joined(separator: " ")) >/dev/null; mount \(loops[0]) \(mount)")
        try await fragment(mount)
        sums = try await contentSums(mount)
        try await shell("umount \(mount)")
      } catch {
        try await detach(loops, mount)
        throw error
      }
      try await detach(loops, mount)
      for image in images {
        do {
          let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
          #expect(map.bitmap.usedCount < map.bitmap.count / 2)
          try poisonFreeBlocks(of: image, map)
        } catch FileSystemError.unsupported(_, _, let feature) where metadata == "raid10" {
          // A device has a copy of only half of the metadata.
          #expect(feature.hasPrefix("4 devices, of which another one holds the tree block"))
        }
      }
      let again = try await attach(images)
      do {
        try await shell("btrfs device scan \(again.joined(separator: " ")) >/dev/null; mount \(again[0]) \(mount)")
        try await scrub(mount)
        #expect(try await contentSums(mount) == sums)
        try await shell("umount \(mount)")
      } catch {
        try await detach(again, mount)
        throw error
      }
      try await detach(again, mount)
    }
  }

  /// Reads every copy of every extent.
  private func scrub(_ mount: FilePath) async throws {
    let text = try await shell("btrfs scrub start -B \(mount)")
    #expect(text.contains("no errors found"), "\(text)")
  }

  private func attach(_ images: [FilePath]) async throws -> [String] {
    var loops: [String] = []
    for image in images {
      loops.append(String(try await shell("losetup -f --show \(image)").filter { !$0.isNewline }))
    }
    return loops
  }

  private func detach(_ loops: [String], _ mount: FilePath) async throws {
    try await shell("! mountpoint -q \(mount) || umount \(mount)")
    for loop in loops { try await shell("losetup -d \(loop)") }
    // The kernel remembers devices of a file system that is not mounted; they are gone now.
    try await shell("btrfs device scan --forget")
  }
}
