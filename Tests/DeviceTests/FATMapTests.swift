// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// FAT as the real partclone maps it.
///
/// Not FAT12: partclone 0.3.23 reads its entries as if they had 16 bits. `fsck.fat` is the judge there (FATTests).
@Suite struct FATMapTests {
  @Test(
    .serialized,
    arguments: [
      ("-F 16", 20_000), ("-F 16 -f 1 -s 2 -a", 33_333), ("-F 16 -s 64", 200_001), ("-F 16 -s 128 -R 33", 300_000),
      ("-F 32", 300_000), ("-F 32 -s 1", 40_000), ("-F 32 -s 8 -a", 300_017), ("-F 32 -S 2048", 200_003),
    ])
  func mapIsPartclones(options: String, kibibytes: Int) async throws {
    try await withTemporaryDirectory { folder in
      let volume = folder.appending("volume")
      try await shell(
        """
        cd '\(folder)'; export MTOOLS_SKIP_CHECK=1
        mkfs.fat -C \(options) volume \(kibibytes)
        for i in $(seq 60); do head -c $((i * 971 % 50000)) /dev/urandom > f$i; done
        mcopy -i volume f* ::
        for i in $(seq 1 3 60); do mdel -i volume ::f$i; done
        """)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: volume)))
      let theirs = try await partcloneMap("partclone.fat", of: volume, in: folder)
      #expect(map.identity.kind.partcloneName == theirs.fileSystem)
      #expect(map.blockSize == theirs.blockSize)
      #expect(map.bitmap == theirs.bitmap)
    }
  }
}
