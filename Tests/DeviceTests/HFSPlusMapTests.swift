// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of HFS Plus volumes that Linux has filled, fragmented and emptied.
@Suite struct HFSPlusMapTests {
  @Test func fragmentedVolumesSurviveTheLossOfTheirFreeBlocks() async throws {
    try await withTemporaryDirectory { folder in
      var volumes: [HFSPlusVolume] = []
      for (blockSize, pieces, wrapper, caseSensitive) in [
        (512, 1, 0, false), (4096, 1, 0, true), (512, 18, 0, false), (4096, 1, 512 * 45, false), (512, 7, 0, false),
      ] {
        var volume = HFSPlusVolume(byteCount: 40_000_512)
        (volume.blockSize, volume.allocationPieces, volume.wrapper) = (blockSize, pieces, wrapper)
        volume.isCaseSensitive = caseSensitive
        volumes.append(volume)
      }
      let images = volumes.indices.map { folder.appending("hfsplus\($0)") }
      for (volume, image) in zip(volumes, images) { try await volume.write(image) }
      let guest = GuestVolumes(type: "hfsplus", modules: ["hfsplus", "nls_utf8"], images: images)
      let sums = try await guest.fragment()
      for (volume, image) in zip(volumes, images) {
        let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
        #expect(map.warnings == [])
        if volume.allocationPieces <= 8, volume.wrapper == 0 {
          let theirs = try await partcloneMap("partclone.hfsp", of: image, in: folder)
          #expect(theirs.bitmap == map.bitmap)
        }
        try poisonFreeBlocks(of: image, map)
      }
      #expect(try await guest.contentSums() == sums)
    }
  }

  @Test func aVolumeThatWasPulledOutNeedsRecovery() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("hfsplus")
      try await HFSPlusVolume(byteCount: 20_000_768).write(image)
      try await runInGuest(
        modules: ["hfsplus", "nls_utf8"], disks: [image],
        script:
          "mount -t hfsplus /dev/vda /mnt; dd if=/dev/urandom of=/mnt/file bs=100k count=9 conv=fsync; sync; crash")
      #expect(
        throws: FileSystemError.needsRecovery(
          volume: image.string, kind: .hfsplus, detail: "it is not marked as unmounted")
      ) { try FileSystems.allocationMap(of: FileDevice(path: image)) }
    }
  }
}
