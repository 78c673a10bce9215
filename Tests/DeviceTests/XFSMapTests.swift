// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of XFS volumes that the kernel has filled, fragmented and emptied.
@Suite struct XFSMapTests {
  @Test(arguments: [1024, 4096, 16384, 65536])
  func aFragmentedVolumeSurvivesTheLossOfItsFreeBlocks(blockSize: Int) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("xfs")
      try await shell("truncate -s 700M \(image); mkfs.xfs -q -f -b size=\(blockSize) \(image)")
      let sums = try await withMount(image, in: folder) { mount in
        try await fragment(mount)
        return try await contentSums(mount)
      }
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      let oracle = try await xfsFreeBlocks(image)
      var either = map.bitmap
      either.formUnion(oracle.free)
      #expect(either.usedCount == map.bitmap.count)
      #expect(map.bitmap.usedCount + oracle.free.usedCount == map.bitmap.count + oracle.freeList)
      #expect(map.warnings == [])

      // partclone's map lacks the blocks of the free lists, and nothing else.
      let (_, size, partclone) = try await partcloneMap("partclone.xfs", of: image, in: folder)
      #expect(size == blockSize)
      #expect(partclone.count == map.bitmap.count)
      either = map.bitmap
      either.formUnion(partclone)
      #expect(either == map.bitmap)
      #expect(map.bitmap.usedCount - partclone.usedCount == oracle.freeList)

      try poisonFreeBlocks(of: image, map)
      try await tool("xfs_repair", "-n", image.string)
      #expect(try await withMount(image, in: folder) { try await contentSums($0) } == sums)
    }
  }

  @Test func aFullVolumeHasTheFreeBlocksTheDebuggerLists() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("xfs")
      try await shell("truncate -s 320M \(image); mkfs.xfs -q -f \(image)")
      try await withMount(image, in: folder) { mount in
        try await shell("dd if=/dev/urandom of=\(mount)/all bs=1M status=none || true; : > \(mount)/last")
      }
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      let oracle = try await xfsFreeBlocks(image)
      #expect(map.bitmap.usedCount + oracle.free.usedCount == map.bitmap.count + oracle.freeList)
      #expect(oracle.free.usedCount < map.bitmap.count / 10)
    }
  }

  /// After many rounds the head of the log has gone around the ring; each unmount must be found wherever it stands.
  @Test func theEndOfTheLogIsFoundAfterItWentRound() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("xfs")
      try await shell("truncate -s 400M \(image); mkfs.xfs -q -f -l size=64m \(image)")
      for round in 1...8 {
        try await withMount(image, in: folder) { mount in
          try await shell(
            "mkdir -p \(mount)/d; for i in {1..\(round * 700)}; do : > \(mount)/d/a-long-name-to-fill-the-log-$i; done; sync; "
              + "rm -r \(mount)/d")
        }
        #expect(try FileSystems.allocationMap(of: FileDevice(path: image)) != nil)
      }
    }
  }
}
