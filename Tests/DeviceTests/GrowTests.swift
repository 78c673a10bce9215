// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import FileSystems
import Imaging
import Logging
import SystemPackage
import TestSupport
import Testing

/// Real file systems, made smaller than their partition on a disk in a file, are grown by their real programs and judged
/// by their real checkers.
@Suite(.serialized) struct GrowTests {
  private static let content = "/etc/services"
  private let grower = FileSystemGrower(commands: CommandRunner(logger: Logger(label: "test")))

  /// A disk in a file with one partition of `newSize` MiB from 1 MiB on, and in it a file system of `oldSize` MiB made
  /// by a shell script, which finds the file to make it in as `$V` and a scratch folder as `$D`.
  ///
  /// - Parameter check: a script that is given the grown volume as `$V`.
  /// - Returns: what the check printed.
  private func grown(
    _ kind: FileSystemKind, from oldSize: Int, to newSize: Int, make: String, check: String
  ) async throws -> String {
    try #require(isRoot, "these tests attach loop devices and mount: run them as root")
    return try await withTemporaryDirectory { folder in
      let disk = folder.appending("disk.raw")
      let volume = folder.appending("volume")
      let setup = "D=\(folder) V=\(volume) DISK=\(disk)\nexport PATH=/usr/sbin:/sbin:$PATH MTOOLS_SKIP_CHECK=1\n"
      try await shell(
        setup + "truncate -s \(oldSize)M $V; \(make)\n"
          + "truncate -s \(newSize + 2)M $DISK; sgdisk -n 1:2048:+\(newSize)M -t 1:ef00 -c 1:name $DISK >/dev/null\n"
          + "dd if=$V of=$DISK bs=1M seek=1 conv=notrunc,sparse status=none; rm $V; sgdisk -p $DISK > $D/table; head -c 17408 $DISK > $D/head"
      )
      let place = VolumePlace(
        disk: disk, number: 1, start: 1 << 20, byteCount: UInt64(newSize) << 20, node: nil)
      #expect(try await grower.grow(kind, on: place) == .grown)
      #expect(try await tool("losetup", "-j", disk.string).isEmpty)
      #expect(try await shell("grep -c slipway-grow /proc/mounts || true") == "0\n")
      return try await shell(
        setup
          + "sgdisk -p $DISK | cmp - $D/table; head -c 17408 $DISK | cmp - $D/head\nsgdisk -v $DISK | grep -q 'No problems found'\n"
          + "dd if=$DISK of=$V bs=1M skip=1 count=\(newSize) conv=sparse status=none; truncate -s \(newSize)M $V\n\(check)"
      )
    }
  }

  /// Compares the file in a mounted volume.
  private static let compareMounted =
    "mkdir $D/m; mount -o loop,ro$O $V $D/m; cmp $D/m/services \(content); umount $D/m\n"

  @Test func ext4() async throws {
    let size = try await grown(
      .ext4, from: 64, to: 200, make: "mkdir $D/t; cp \(Self.content) $D/t; mkfs.ext4 -q -d $D/t $V",
      check: """
        e2fsck -fn $V >/dev/null 2>&1
        debugfs -R "dump /services $D/out" $V 2>/dev/null; cmp $D/out \(Self.content)
        dumpe2fs -h $V 2>/dev/null | awk '/^Block count/ {n=$3} /^Block size/ {print n*$3}'
        """)
    #expect(size == "\(200 << 20)\n")
  }

  @Test func xfs() async throws {
    let size = try await grown(
      .xfs, from: 320, to: 640,
      make: """
        printf '/x\\n0 0\\nd--755 0 0\\nservices ---644 0 0 \(Self.content)\\n$\\n$\\n' > $D/proto
        mkfs.xfs -q -p $D/proto $V
        """,
      check: "xfs_repair -n $V >/dev/null 2>&1; O=,norecovery; \(Self.compareMounted)"
        + "xfs_db -r -c 'sb 0' -c 'p dblocks blocksize' $V | awk '/dblocks/ {n=$3} /blocksize/ {print n*$3}'")
    #expect(size == "\(640 << 20)\n")
  }

  @Test func btrfs() async throws {
    let size = try await grown(
      .btrfs, from: 160, to: 320,
      make: "mkdir $D/t; cp \(Self.content) $D/t; mkfs.btrfs -q --rootdir $D/t $V; truncate -s 160M $V",
      check: "btrfs check $V >/dev/null 2>&1; O=; \(Self.compareMounted)"
        + "btrfs inspect-internal dump-super $V | awk '$1 == \"dev_item.total_bytes\" {print $2}'")
    #expect(size == "\(320 << 20)\n")
  }

  @Test func ntfs() async throws {
    let size = try await grown(
      .ntfs, from: 64, to: 200, make: "mkntfs -Q -q -F -p 2048 -H 255 -S 63 $V; ntfscp $V \(Self.content) services",
      check: """
        ntfscat $V services | cmp - \(Self.content)
        ntfsresize --info $V | awk '/^Current volume size/ {print $4}'
        """)
    // One sector is the backup boot sector, and it is in whole clusters. That --info works means it is not dirty.
    #expect(try #require(UInt64(size.filter { !$0.isWhitespace })) > 200 << 20 - 8192)
  }

  @Test func fat32() async throws {
    let size = try await grown(
      .fat32, from: 512, to: 1024, make: "mkfs.fat -F 32 -h 2048 $V >/dev/null; mcopy -i $V \(Self.content) ::services",
      check: """
        fsck.fat -n $V >/dev/null
        mtype -i $V ::services | cmp - \(Self.content)
        minfo -i $V | awk '/^big size/ {print $3*512}'
        """)
    #expect(size == "\(1024 << 20)\n")
  }

  @Test func aDamagedFileSystemIsAWarning() async throws {
    try #require(isRoot, "these tests attach loop devices: run them as root")
    try await withTemporaryDirectory { folder in
      let disk = folder.appending("disk.raw")
      try await tool("truncate", "-s", "64M", disk.string)
      let place = VolumePlace(disk: disk, number: 1, start: 1 << 20, byteCount: 32 << 20, node: nil)
      for kind in [FileSystemKind.ext4, .xfs, .btrfs, .ntfs, .fat32] {
        let outcome = try await grower.grow(kind, on: place)
        guard case .failed(.notGrown(_, kind, _)) = outcome else {
          Issue.record("\(kind): \(outcome)")
          continue
        }
        #expect(try await tool("losetup", "-j", disk.string).isEmpty)
      }
      #expect(try await shell("find /run -maxdepth 1 -name 'slipway-grow-*' | wc -l") == "0\n")
    }
  }
}
