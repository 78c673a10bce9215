// SPDX-License-Identifier: GPL-3.0-or-later

import ImageStore
import Imaging
import SystemPackage
import TestSupport
import Testing
import Volumes

/// `-k1` from end to end, on disks in files.
@Suite struct ProportionalRestoreTests {
  /// Without root the file systems keep their size, which is only warned of.
  @Test func partitionsGrowAndFileSystemsStayWhole() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await makeDisk(
        disk, mebibytes: 100,
        script: "label: dos\nstart=2048,size=20MiB,type=83,bootable\nstart=43008,type=5\n"
          + "start=45056,size=20MiB,type=83\nstart=88064,size=16MiB,type=82\nstart=122880,size=30MiB,type=83\n",
        contents: [
          1: "mke2fs -q -t ext2 -L one {}", 5: "mke2fs -q -t ext3 -L five {}", 6: "mkswap {}",
          7: "mke2fs -q -t ext4 -L seven {}",
        ])
      let plan = try SavePlan(
        [SaveSource(.file(disk))], repository: directory, name: "image", options: SaveOptions(), isMeasured: false,
        context: fileContext())
      _ = try await DiskSaver(plan, context: fileContext()).save()
      let larger = directory.appending("larger.raw")
      try await zeroFile(larger, byteCount: 300 << 20)
      var options = RestoreOptions()
      options.overwritesFiles = true
      options.growth = .proportional
      let restore = try await RestorePlan(
        StoredImage(opening: directory.appending("image")), to: [.file(larger)], options: options,
        context: fileContext())
      let report = try await DiskRestorer(restore, context: fileContext()).restore()
      #expect(report.volumes.map(\.grown) == [isRoot, isRoot, isRoot])
      let table = try SfdiskDump(parsing: await tool("sfdisk", "-d", larger.string), file: "sfdisk")
      for (number, label) in [(1, "one"), (5, "five"), (7, "seven")] {
        let partition = try #require(table.partitions.first { $0.number == number })
        #expect(partition.count > 40 * 2048)
        let part = directory.appending("part")
        try await tool(
          "dd", "if=\(larger)", "of=\(part)", "bs=512", "skip=\(partition.start)", "count=\(partition.count)",
          "status=none")
        try await shell("/sbin/e2fsck -fn '\(part)' >/dev/null 2>&1")
        let header = try await shell("/sbin/dumpe2fs -h '\(part)' 2>/dev/null")
        func field(_ name: String) -> String? {
          header.split(separator: "\n").first { $0.hasPrefix(name) }?.split(separator: " ").last.map(String.init)
        }
        #expect(field("Filesystem volume name:") == label)
        let blocks = try #require(field("Block count:").flatMap(UInt64.init))
        let size = try #require(field("Block size:").flatMap(UInt64.init))
        if isRoot { #expect(partition.count * 512 - blocks * size < 1 << 20) }
      }
      #expect(table.partitions.first { $0.number == 6 }?.count == 16 * 2048)
    }
  }
}
