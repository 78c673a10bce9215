// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Compression
import Foundation
import ImageStore
import Imaging
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

@Suite(.serialized) struct SaveRestoreTests {
  private static let gpt = """
    label: gpt
    first-lba: 34
    size=1MiB,type=21686148-6449-6E6F-744E-656564454649
    size=34MiB,type=U,name="EFI System"
    size=40MiB,name="root"
    size=10MiB,type=S

    """

  private func gptDisk(_ path: FilePath) async throws {
    try await makeDisk(
      path, mebibytes: 100, script: Self.gpt,
      contents: [
        1: "head -c 1048576 /dev/urandom > {}", 2: "mkfs.vfat -F 32 -n EFI {}",
        3: "mke2fs -q -t ext4 -d /usr/share/doc/bash {}", 4: "mkswap -U 11111111-2222-4333-8444-555555555555 -L SW {}",
      ])
  }

  @Test func savedDiskIsRestoredWithItsFiles() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await gptDisk(disk)
      let report = try await save(disk, directory, "image")
      #expect(report.volumes.map(\.device) == ["sda1", "sda2", "sda3"])
      #expect(report.volumes.map(\.content) == ["dd", "vfat", "ext4"])
      #expect(report.volumes[2].deviceBytes < 40 << 20)
      let image = try StoredImage(opening: directory.appending("image"))
      #expect(image.swaps.map(\.uuid) == ["11111111-2222-4333-8444-555555555555"])
      #expect(image.swaps.map(\.label) == ["SW"])
      let copy = directory.appending("copy.raw")
      try await restore(image, copy) { $0.isVerified = true }
      #expect(
        try await tool("sfdisk", "-d", copy.string)
          == (try await tool("sfdisk", "-d", disk.string)).replacing(disk.string, with: copy.string))
      #expect(try await sha256(copy, count: 2 << 20) == (try await sha256(disk, count: 2 << 20)))
      let table = try #require(try PartitionTable.read(from: FileDevice(path: copy)))
      let root = try #require(table.partition(3))
      let part = directory.appending("part")
      try await shell(
        "PATH=$PATH:/usr/sbin:/sbin; dd if='\(copy)' of='\(part)' bs=1M skip=\(root.start / 2048) count=40 status=none; "
          + "e2fsck -fn '\(part)'; mkdir '\(directory)/files'; debugfs -R 'rdump / \(directory)/files' '\(part)'; "
          + "rmdir '\(directory)/files/lost+found'; diff -r /usr/share/doc/bash '\(directory)/files'")
    }
  }

  /// The stock tools restore what we saved: decompressor, partclone, sfdisk.
  @Test(arguments: [("zstd", "zst", "zstd -dcq"), ("gzip", "gz", "gzip -dc"), ("none", "uncomp", "cat")])
  func theRealToolsRestoreIt(_ name: String, _ suffix: String, _ decompressor: String) async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await gptDisk(disk)
      let codec = try #require(Codec(rawValue: name))
      _ = try await save(disk, directory, "image") {
        $0.compression = CompressionOptions(codec: codec)
        $0.splitByteCount = 1_000_000
      }
      let image = directory.appending("image")
      let copy = directory.appending("copy.raw")
      try await zeroFile(copy, byteCount: 100 << 20)
      try await shell(
        """
        PATH=$PATH:/usr/sbin:/sbin; cd '\(image)'
        sed '/^last-lba:/d' sda-pt.sf | sfdisk -q '\(copy)'
        test "$(cat disk)" = sda; test "$(cat parts)" = "sda1 sda2 sda3"
        for n in 2 3; do
          set -- sda$n.*-ptcl-img.\(suffix).aa; stem=${1%.aa}
          cat $stem.* | \(decompressor) | partclone.restore -s - -W -C -L /dev/null -o '\(directory)/part' >/dev/null 2>&1
          start=$(sfdisk -d '\(copy)' | sed -n "s/.*raw$n : start= *\\([0-9]*\\),.*/\\1/p")
          dd if='\(directory)/part' of='\(copy)' bs=512 seek=$start conv=notrunc,sparse status=none; rm '\(directory)/part'
        done
        """)
      let ours = directory.appending("ours.raw")
      try await restore(try StoredImage(opening: image), ours)
      for number in [2, 3] {
        let table = try #require(try PartitionTable.read(from: FileDevice(path: ours)))
        let partition = try #require(table.partition(number))
        let (start, count) = (table.byteOffset(of: partition), table.byteCount(of: partition))
        #expect(
          try await sha256(ours, from: start, count: count) == (try await sha256(copy, from: start, count: count)))
      }
      #expect(try StoredImage(opening: image).volumes.allSatisfy { $0.files.first?.string.hasSuffix(".aa") ?? false })
    }
  }

  @Test func anMBRDiskKeepsItsBootCodeGapAndLogicalPartitions() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await makeDisk(
        disk, mebibytes: 96,
        script: "label: dos\nlabel-id: 0xabcdef01\nstart=2048,size=20MiB,type=83,bootable\nstart=43008,type=5\n"
          + "start=45056,size=20MiB,type=83\nstart=96256,size=20MiB,type=7\n",
        contents: [1: "mke2fs -q -t ext2 {}", 5: "mke2fs -q -t ext3 {}", 6: "mkfs.ntfs -F -q -p 96256 {}"])
      // Boot code, what lies behind it, and code in the extended boot record.
      try await shell(
        "head -c 440 /dev/urandom | dd of='\(disk)' conv=notrunc status=none; head -c 1048064 /dev/urandom | "
          + "dd of='\(disk)' bs=512 seek=1 conv=notrunc status=none; head -c 400 /dev/urandom | "
          + "dd of='\(disk)' bs=512 seek=43008 conv=notrunc status=none")
      _ = try await save(disk, directory, "image")
      let copy = directory.appending("copy.raw")
      try await restore(try StoredImage(opening: directory.appending("image")), copy)
      #expect(try await sha256(copy, count: 1 << 20) == (try await sha256(disk, count: 1 << 20)))
      #expect(
        try await sha256(copy, from: 43008 * 512, count: 446) == (try await sha256(disk, from: 43008 * 512, count: 446))
      )
      #expect(
        try await tool("sfdisk", "-d", copy.string)
          == (try await tool("sfdisk", "-d", disk.string)).replacing(disk.string, with: copy.string))
      // To a larger disk, with the last, a logical partition and its NTFS grown into it.
      let larger = directory.appending("larger.raw")
      try await zeroFile(larger, byteCount: 160 << 20)
      let image = try StoredImage(opening: directory.appending("image"))
      let plan = try await RestorePlan(
        image, to: [.file(larger)],
        options: {
          var options = RestoreOptions()
          options.overwritesFiles = true
          options.growth = .last
          return options
        }(), context: fileContext())
      let grown = try #require(plan.disks.first?.newTable)
      #expect(grown.partition(6)?.end == 160 * 2048)
      #expect(grown.partition(2)?.end == 160 * 2048)
      #expect(RestorePlanSummary(plan).disks[0].volumes.map(\.grows) == [false, false, true])
    }
  }

  @Test func aDiskWithoutATableIsOneVolume() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await zeroFile(disk, byteCount: 40 << 20)
      try await tool("mke2fs", "-q", "-t", "ext4", disk.string)
      let report = try await save(disk, directory, "image")
      #expect(report.volumes.map(\.content) == ["ext4"])
      let image = try StoredImage(opening: directory.appending("image"))
      #expect(image.disks[0].table == nil)
      let copy = directory.appending("copy.raw")
      try await restore(image, copy)
      #expect(try await sha256(copy, count: 40 << 20) == (try await sha256(disk, count: 40 << 20)))
    }
  }

  @Test func whatIsDirtyIsCopiedWholeAndTheLogSaysWhy() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await makeDisk(
        disk, mebibytes: 40, script: "label: gpt\nsize=36MiB\n",
        contents: [
          1: "mke2fs -q -t ext4 {}; debugfs -w -R 'ssv free_blocks_count 1' {}; debugfs -w -R 'clri <2>' {}; "
            + "printf '\\377\\377' | dd of={} bs=1 seek=1048 conv=notrunc status=none"
        ])
      let report = try await save(disk, directory, "image")
      #expect(report.volumes.map(\.content) == ["dd"])
      #expect(report.volumes[0].deviceBytes == 36 << 20)
      let log = String(decoding: try directory.appending("image/clonezilla-img").contents(), as: UTF8.self)
      #expect(log.contains("every byte, because"))
      let copy = directory.appending("copy.raw")
      try await restore(try StoredImage(opening: directory.appending("image")), copy)
      #expect(
        try await sha256(copy, from: 1 << 20, count: 36 << 20)
          == (try await sha256(disk, from: 1 << 20, count: 36 << 20)))
    }
  }

  @Test func partitionsOfADiskMakeAnImageOfPartitions() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await gptDisk(disk)
      _ = try await save(disk, directory, "image", partitions: [3])
      let image = try StoredImage(opening: directory.appending("image"))
      #expect(!image.isOfDisks)
      #expect(image.volumes.map(\.device) == ["sda3"])
      await #expect(throws: ImagingError.imageOfPartitions(image: image.path.string, numbers: [3])) {
        try await restore(image, disk) { $0.overwritesFiles = true }
      }
      let before = try await sha256(disk, count: 100 << 20)
      try await tool(
        "dd", "if=/dev/urandom", "of=\(disk)", "bs=1M", "seek=36", "count=1", "conv=notrunc", "status=none")
      try await restore(image, disk) { $0.partitions = [3] }
      // What was free held zeros before, and the ends of the partition are zeroed: the disk is as it was.
      #expect(try await sha256(disk, count: 100 << 20) == before)
    }
  }

  @Test func aFailedSaveLeavesNothing() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await gptDisk(disk)
      let task = Task { try await save(disk, directory, "image") }
      task.cancel()
      await #expect(throws: (any Error).self) { try await task.value }
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory.string) == ["disk.raw"])
    }
  }

  @Test func missingPartitionsAreNamed() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await gptDisk(disk)
      await #expect(throws: ImagingError.noSuchPartition(of: disk.string, number: 8, present: [1, 2, 3, 4])) {
        try await save(disk, directory, "image", partitions: [8])
      }
    }
  }

  @Test func aRawCopyHoldsEveryByte() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await gptDisk(disk)
      let report = try await save(disk, directory, "image") { $0.isMapped = false }
      #expect(report.volumes.map(\.content) == ["dd", "dd", "dd"])
      let copy = directory.appending("copy.raw")
      try await restore(try StoredImage(opening: directory.appending("image")), copy)
      #expect(try await sha256(copy, count: 76 << 20) == (try await sha256(disk, count: 76 << 20)))
    }
  }
}
