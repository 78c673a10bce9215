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
      for (blockSize, pieces, caseSensitive) in [
        (512, 1, false), (4096, 1, true), (512, 18, false), (512, 7, false),
      ] {
        var volume = HFSPlusVolume(byteCount: 40_000_512)
        (volume.blockSize, volume.allocationPieces) = (blockSize, pieces)
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
        if volume.allocationPieces <= 8 {
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
      #expect {
        try FileSystems.allocationMap(of: FileDevice(path: image))
      } throws: { error in
        // Linux clears one mark or sets another, depending on how far it got.
        guard case .needsRecovery(_, .hfsplus, _)? = error as? FileSystemError else { return false }
        return true
      }
    }
  }
}
