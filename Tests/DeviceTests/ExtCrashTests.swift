// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// ext3 and ext4 as a crash leaves them: their journal is replayed in memory. Needs root and loop devices.
@Suite struct ExtCrashTests {
  struct Variant: CustomTestStringConvertible {
    let options: String
    var size = "200M"
    var mount = ""
    var changes = defaultChanges

    var testDescription: String { "\(options) \(mount)" }
  }

  /// Journals that go around their ring a few times.
  static let manyChanges =
    "for r in {1..12}; do for i in {1..400}; do echo $r > t$r-$i; done; sync; rm t*; done\n" + defaultChanges

  static let variants = [
    Variant(options: "-t ext4 -b 4096"),
    Variant(options: "-t ext4 -b 4096", mount: "nodelalloc"),
    Variant(options: "-t ext4 -b 1024 -J size=2", changes: manyChanges),
    Variant(options: "-t ext4 -b 1024 -O ^64bit,^flex_bg"),
    // The first kind of checksums, in commit blocks.
    Variant(options: "-t ext4 -b 1024 -O ^metadata_csum", mount: "journal_checksum"),
    Variant(options: "-t ext4 -b 4096 -O ^metadata_csum", mount: "data=writeback,journal_async_commit"),
    Variant(options: "-t ext4 -b 1024 -O bigalloc -C 16384"),
    Variant(options: "-t ext4 -b 1024 -O meta_bg,^resize_inode"),
    Variant(options: "-t ext4 -O orphan_file"),
    Variant(options: "-t ext3 -b 1024"),
    Variant(options: "-t ext3 -b 4096 -J size=32", size: "300M", mount: "data=journal"),
    Variant(options: "-t ext3 -b 1024 -J size=2", changes: manyChanges),
  ]

  @Test(.serialized, arguments: variants) func theFilesSurviveTheLossOfFreeBlocks(variant: Variant) async throws {
    try await withTemporaryDirectory { folder in
      let (volume, recovered, sums) = try await makeCrashedVolume(
        in: folder, "truncate -s \(variant.size) $volume; mke2fs -q -F \(variant.options) $volume",
        options: variant.mount, changes: variant.changes)
      let onDisk = try await dumpe2fsMap(volume).bitmap
      try await shell("cp --sparse=always \(volume) \(folder)/second")
      try await expectSurvival(
        of: volume, in: folder, sums: sums, onDisk: onDisk, recovered: try await dumpe2fsMap(recovered).bitmap,
        check: "e2fsck -fn")

      // e2fsck recovers it as well.
      let second = folder.appending("second")
      try poisonFreeBlocks(of: second, try #require(try FileSystems.allocationMap(of: FileDevice(path: second))))
      try await shell("e2fsck -fy \(second) || [ $? = 1 ]; e2fsck -fn \(second)")
      #expect(try await withMount(second, in: folder) { try await contentSums($0) } == sums)
    }
  }

  /// Fast commits are not replayed here; the kernel writes them on fsync when nothing else forbids it.
  @Test func fastCommitsAreRefused() async throws {
    try await withTemporaryDirectory { folder in
      let (volume, recovered, _) = try await makeCrashedVolume(
        in: folder, "truncate -s 200M $volume; mke2fs -q -F -t ext4 -O fast_commit $volume",
        changes: "for i in {1..50}; do head -c 9000 /dev/urandom > g$i; sync g$i; done", stop: "shutdown")
      let error = #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: FileDevice(path: volume)) }
      guard case .needsRecovery(_, _, let detail) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(detail.contains("fast_commit"))
      #expect(try FileSystems.allocationMap(of: FileDevice(path: recovered)) != nil)

      // Those of transactions that are complete by now do not matter.
      let (plain, _, _) = try await makeCrashedVolume(
        in: folder, "truncate -s 200M $volume; mke2fs -q -F -t ext4 -O fast_commit $volume",
        changes: "for i in {1..50}; do head -c 9000 /dev/urandom > g$i; sync g$i; done; mkdir d; sync; sync")
      #expect(try FileSystems.allocationMap(of: FileDevice(path: plain)) != nil)
    }
  }

  /// A journal on a device of its own cannot be read here.
  @Test func changesInAnExternalJournalAreRefused() async throws {
    try await withTemporaryDirectory { folder in
      let volume = folder.appending("crashed")
      let journal = try await shell(
        "truncate -s 16M \(folder)/journal; mke2fs -q -F -b 4096 -O journal_dev \(folder)/journal; "
          + "losetup -f --show \(folder)/journal"
      ).filter { $0 != "\n" }
      do {
        try await shell("truncate -s 100M \(volume); mke2fs -q -F -t ext4 -b 4096 -J device=\(journal) \(volume)")
        #expect(try FileSystems.allocationMap(of: FileDevice(path: volume)) != nil)
        try await withMount(volume, in: folder) {
          try await shell("echo 1 > \($0)/f; sync; xfs_io -x -c 'shutdown -f' \($0)")
        }
        let error = #expect(throws: FileSystemError.self) {
          try FileSystems.allocationMap(of: FileDevice(path: volume))
        }
        guard case .needsRecovery(_, _, let detail) = error else { throw try #require(error) }
        #expect(detail.contains("another device"))
      } catch {
        Issue.record(error)
      }
      try await shell("losetup -d \(journal)")
    }
  }
}
