// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// ext2, ext3 and ext4 as the kernel writes them, and as the real partclone maps them. Needs root and loop devices.
@Suite struct ExtMapTests {
  struct Variant: CustomTestStringConvertible {
    let options: String
    let size: String
    /// partclone 0.3.23 writes past its bitmap with bigalloc.
    var isForPartclone = true

    var testDescription: String { "\(options) \(size)" }
  }

  static let variants = [
    Variant(options: "-t ext4 -b 1024", size: "60M"),
    Variant(options: "-t ext4 -b 2048", size: "100M"),
    Variant(options: "-t ext4 -b 4096", size: "300M"),
    Variant(options: "-t ext4 -b 4096", size: "150003K"),
    Variant(options: "-t ext4 -b 1024 -O ^64bit,^flex_bg,^metadata_csum,uninit_bg", size: "60M"),
    Variant(options: "-t ext4 -b 1024 -O meta_bg,^resize_inode", size: "200M"),
    Variant(options: "-t ext4 -b 1024 -O sparse_super2", size: "100M"),
    Variant(options: "-t ext4 -b 1024 -O bigalloc -C 16384", size: "200M", isForPartclone: false),
    Variant(options: "-t ext4 -b 4096 -O bigalloc -C 65536", size: "300M", isForPartclone: false),
    Variant(options: "-t ext4 -O ^has_journal", size: "100M"),
    Variant(options: "-t ext3 -b 1024", size: "60M"),
    Variant(options: "-t ext2 -b 4096", size: "150M"),
  ]

  /// Files written and deleted by the kernel: while mounted the map has what is used once the journal is replayed, and is
  /// refused without a journal; unmounted it is partclone's, and with all free blocks overwritten the kernel still reads
  /// every file.
  @Test(.serialized, arguments: variants) func kernelWritten(variant: Variant) async throws {
    try await withTemporaryDirectory { folder in
      let volume = folder.appending("volume")
      try await shell(
        """
        cd '\(folder)'; mkdir mnt; truncate -s \(variant.size) volume
        mke2fs -q -F \(variant.options) volume
        mount -o loop volume mnt; trap 'umount mnt || true' EXIT
        for i in $(seq 400); do head -c $((i * 97 % 30000)) /dev/urandom > mnt/f$i; done; sync
        for i in $(seq 1 3 400); do rm mnt/f$i; done
        truncate -s 5M mnt/sparse; head -c 3000000 /dev/urandom > mnt/large
        sync; cp volume mounted
        (cd mnt; find . -type f -print0 | sort -z | xargs -0 sha256sum) > before
        umount mnt; trap - EXIT
        """)
      let mounted = folder.appending("mounted")
      if variant.options.contains("ext2") || variant.options.contains("^has_journal") {
        #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: FileDevice(path: mounted)) }
      } else {
        let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: mounted)))
        #expect(map.warnings.count == 1)
        try await shell("e2fsck -fy '\(mounted)' || [ $? = 1 ]")
        let recovered = try await dumpe2fsMap(mounted).bitmap
        var either = map.bitmap
        either.formUnion(recovered)
        #expect(either == map.bitmap, "\(either.usedCount - map.bitmap.usedCount) blocks are missing")
      }
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: volume)))
      if variant.isForPartclone {
        let theirs = try await partcloneMap("partclone.extfs", of: volume, in: folder)
        #expect(map.identity.kind.partcloneName == theirs.fileSystem)
        #expect(map.blockSize == theirs.blockSize)
        #expect(map.bitmap == theirs.bitmap)
      }
      try await shell("cp '\(volume)' '\(folder)/poisoned'")
      try poisonFreeBlocks(of: folder.appending("poisoned"), map)
      try await shell(
        """
        cd '\(folder)'; e2fsck -fn poisoned
        mount -o loop,ro poisoned mnt; trap 'umount mnt' EXIT
        (cd mnt; find . -type f -print0 | sort -z | xargs -0 sha256sum) > after
        cmp before after
        """)
    }
  }

  /// On a loop device, where the kernel and not a file decides on size and sectors.
  @Test(arguments: [512, 4096]) func loopDevice(sectorSize: Int) async throws {
    try await withTemporaryDirectory { folder in
      let volume = folder.appending("volume")
      try await shell("truncate -s 100M '\(volume)'; mke2fs -q -F -t ext4 -b 4096 '\(volume)'")
      let loop = try await tool("losetup", "-f", "--show", "-b", "\(sectorSize)", volume.string).filter { $0 != "\n" }
      let maps = Result {
        try [FilePath(loop), volume].map { try FileSystems.allocationMap(of: FileDevice(path: $0))?.bitmap }
      }
      try await tool("losetup", "-d", loop)
      let bitmaps = try maps.get()
      #expect(bitmaps[0] != nil)
      #expect(bitmaps[0] == bitmaps[1])
    }
  }
}
