// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of Minix volumes that Linux has filled, fragmented and emptied.
@Suite struct MinixMapTests {
  @Test func fragmentedVolumesSurviveTheLossOfTheirFreeZones() async throws {
    try await withTemporaryDirectory { folder in
      let options = ["-1", "-2", "-3", "-1 -n 14", "-3 -i 3000"]
      let images = options.indices.map { folder.appending("minix\($0)") }
      for (options, image) in zip(options, images) {
        try await shell("truncate -s 20001K \(image); mkfs.minix \(options) \(image)")
      }
      let guest = GuestVolumes(type: "minix", modules: ["minix"], images: images)
      let sums = try await guest.fragment()
      for (options, image) in zip(options, images) {
        let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
        #expect(map.warnings == [])
        // It counts what the files and the tables have.
        let text = try await tool("fsck.minix", "-f", "-v", image.string)
        let used = try #require(text.firstMatch(of: /(\d+) zones used/)?.1)
        #expect(map.bitmap.usedCount == Int(used))
        // partclone 0.3.23 gives up at version 3 with blocks of 1 KiB.
        if !options.hasPrefix("-3") {
          let theirs = try await partcloneMap("partclone.minix", of: image, in: folder)
          #expect(theirs.bitmap == map.bitmap)
          #expect(theirs.fileSystem == map.identity.kind.partcloneName)
        }
        try poisonFreeBlocks(of: image, map)
        try await tool("fsck.minix", "-f", image.string)
      }
      #expect(try await guest.contentSums() == sums)
    }
  }

  @Test func aVolumeThatWasPulledOutNeedsRecovery() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("minix")
      try await shell("truncate -s 20001K \(image); mkfs.minix -2 \(image)")
      try await runInGuest(
        modules: ["minix"], disks: [image],
        script: "mount -t minix /dev/vda /mnt; dd if=/dev/urandom of=/mnt/file bs=100k count=9 conv=fsync; sync; crash")
      #expect(
        throws: FileSystemError.needsRecovery(
          volume: image.string, kind: .minix, detail: "its state is not that of an unmounted one")
      ) { try FileSystems.allocationMap(of: FileDevice(path: image)) }
    }
  }
}
