// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of NTFS volumes that ntfs-3g has filled, fragmented and emptied.
@Suite struct NTFSMapTests {
  @Test(arguments: [512, 4096, 65536])
  func aFragmentedVolumeSurvivesTheLossOfItsFreeBlocks(clusterSize: Int) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("ntfs")
      try await shell("truncate -s 300001K \(image); mkntfs -F -Q -q -c \(clusterSize) \(image)")
      let sums = try await withMount(image, in: folder, with: "ntfs-3g") { mount in
        try await fragment(mount)
        return try await contentSums(mount)
      }
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      let free = try await shell("ntfsinfo -f -m \(image) | sed -n 's/.*Free Clusters: \\([0-9]*\\).*/\\1/p'")
      #expect(map.bitmap.count - map.bitmap.usedCount == Int(free.filter(\.isNumber)))

      let (_, size, partclone) = try await partcloneMap("partclone.ntfs", of: image, in: folder)
      #expect(size == clusterSize)
      #expect(partclone == map.bitmap)

      try poisonFreeBlocks(of: image, map)
      try await tool("ntfsfix", "-n", image.string)
      #expect(try await withMount(image, in: folder, with: "ntfs-3g -o ro") { try await contentSums($0) } == sums)
    }
  }

  /// Small files and their clusters side by side leave `$MFT` no room to grow in one piece.
  @Test func aFullVolumeWithItsMasterFileTableInPieces() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("ntfs")
      try await shell("truncate -s 24M \(image); mkntfs -F -Q -q -c 1024 \(image)")
      let sums = try await withMount(image, in: folder, with: "ntfs-3g") { mount in
        try await shell(
          """
          cd \(mount)
          dd if=/dev/urandom of=all bs=512k status=none 2>/dev/null || true
          for i in {1..150}; do
            truncate -s -8K all
            for j in 1 2 3 4; do head -c 1500 /dev/urandom > f$i-$j; done 2>/dev/null || true
          done
          """)
        return try await contentSums(mount)
      }
      let table = try await shell("ntfsinfo -i 0 -v -f \(image)")
      #expect(table.contains("Dumping attribute $ATTRIBUTE_LIST (0x20) from mft record 0"))
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      let (_, _, partclone) = try await partcloneMap("partclone.ntfs", of: image, in: folder)
      #expect(partclone == map.bitmap)
      try poisonFreeBlocks(of: image, map)
      #expect(try await withMount(image, in: folder, with: "ntfs-3g -o ro") { try await contentSums($0) } == sums)
    }
  }
}
