// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of JFS volumes that Linux has filled, fragmented and emptied. (Debian's partclone does not know JFS.)
@Suite struct JFSMapTests {
  @Test func fragmentedVolumesSurviveTheLossOfTheirFreeBlocks() async throws {
    try await withTemporaryDirectory { folder in
      let images = [65_539, 150_001, 40_000].map { (folder.appending("jfs\($0)"), $0) }
      for (image, kibibytes) in images { try await shell("truncate -s \(kibibytes)K \(image); mkfs.jfs -q \(image)") }
      let guest = GuestVolumes(type: "jfs", modules: ["jfs"], images: images.map(\.0))
      let sums = try await guest.fragment()
      for (image, _) in images {
        let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
        #expect(map.warnings == [])
        let text = try await tool("jfs_debugfs", image.string, input: "dm\nx\nq\n")
        let free = try #require(text.firstMatch(of: /dn_nfree:\s*0x([0-9a-f]+)/)?.1)
        #expect(map.bitmap.count - map.bitmap.usedCount == Int(free, radix: 16))
        try poisonFreeBlocks(of: image, map)
        #expect(try await tool("fsck.jfs", "-n", "-f", image.string).contains("is clean"))
      }
      #expect(try await guest.contentSums() == sums)
    }
  }

  @Test func aVolumeThatWasPulledOutNeedsRecovery() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("jfs")
      try await shell("truncate -s 65539K \(image); mkfs.jfs -q \(image)")
      try await runInGuest(
        modules: ["jfs"], disks: [image],
        script: "mount -t jfs /dev/vda /mnt; dd if=/dev/urandom of=/mnt/file bs=100k count=9 conv=fsync; crash")
      #expect(
        throws: FileSystemError.needsRecovery(
          volume: image.string, kind: .jfs, detail: "its state is 1, so its log has to be replayed")
      ) { try FileSystems.allocationMap(of: FileDevice(path: image)) }
    }
  }
}
