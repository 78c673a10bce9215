// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Foundation
import ImageStore
import Imaging
import PartcloneStream
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

/// Whole disks that the real Clonezilla saved, restored to files and compared with the truth about their sources.
@Suite(.serialized) struct GoldenDiskTests {
  @Test(arguments: ["a-gpt-z9p", "b-mbr-z1p", "e-raw-z0"])
  func restoredToANewFile(_ name: String) async throws {
    try await withTemporaryDirectory { directory in
      let truth = try Truth.of(name)
      let disk = directory.appending("disk.raw")
      try await restore(try goldenImage(name), disk) { $0.isVerified = true }
      #expect(try FileDevice(path: disk).byteCount == truth.disk.size_bytes)
      // The table, byte for byte: MBR with boot code, GPT or what GRUB keeps behind the MBR, backup GPT.
      #expect(try await sha256(disk, count: 1 << 20) == truth.disk.first_mib_sha256)
      #expect(
        try await sha256(disk, from: truth.disk.size_bytes - 33 * 512, count: 33 * 512)
          == truth.disk.last_33_sectors_sha256)
      #expect(
        try await tool("sfdisk", "-d", disk.string)
          == truth.sfdisk_dump.replacing("/dev/sda", with: disk.string))
      var compared = 0
      for partition in truth.partitions {
        guard let expected = partition.restored_by_partclone?.sha256 else { continue }
        compared += 1
        if partition.fs == "ntfs" {
          // Images of partclone lack the backup boot sector behind the file system; it is made anew.
          let start = partition.offset_bytes
          let boot = try FileDevice(path: disk).read(at: start, count: 512)
          let backup = start + partition.size_bytes - 512
          #expect(try FileDevice(path: disk).read(at: backup, count: 512) == boot)
          try FileDevice(path: disk, access: .readWrite).zero(at: backup, count: 512)
        }
        let found = try await sha256(disk, from: partition.offset_bytes, count: partition.size_bytes)
        #expect(found == expected, "\(partition.device) (\(partition.fs))")
      }
      #expect(compared == (try goldenImage(name)).volumes.count)
      for swap in truth.partitions where swap.fs == "swap" {
        let values = try await tool(
          "blkid", "-p", "-O", "\(swap.offset_bytes)", "-S", "\(swap.size_bytes)", "-o", "export", disk.string)
        #expect(values.contains("UUID=\(swap.blkid?["UUID"] ?? "?")\n"))
        #expect(values.contains("LABEL=\(swap.blkid?["LABEL"] ?? "?")\n"))
      }
    }
  }

  @Test func aTargetTooSmallIsRefusedBeforeAnythingIsWritten() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await shell("head -c 16777216 /dev/zero | tr '\\0' x > '\(disk)'")
      let before = try await sha256(disk, count: 16 << 20)
      let image = try goldenImage("e-raw-z0")
      await #expect {
        try await restore(image, disk) { $0.overwritesFiles = true }
      } throws: { error in
        "\(error)".contains("\(disk) is too small") && (error as? any Failure)?.exitCode == .refused
      }
      #expect(try await sha256(disk, count: 16 << 20) == before)
    }
  }

  @Test func anExistingFileIsOverwrittenOnlyWhenThatIsSaid() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await shell("head -c 33554432 /dev/urandom > '\(disk)'")
      let image = try goldenImage("e-raw-z0")
      await #expect(throws: ImagingError.existingFile(disk.string)) { try await restore(image, disk) }
      try await restore(image, disk) { $0.overwritesFiles = true }
      #expect(try await tool("sgdisk", "-v", disk.string).contains("No problems found"))
      let truth = try Truth.of("e-raw-z0")
      for partition in truth.partitions {
        let found = try await sha256(disk, from: partition.offset_bytes, count: partition.size_bytes)
        #expect(found == partition.restored_by_partclone?.sha256)
      }
    }
  }

  @Test func aFlippedByteIsFoundBeforeAnythingIsWritten() async throws {
    try await withTemporaryDirectory { directory in
      try await shell(
        "cp -r '\(goldenFolder)/images/a-gpt-z9p' '\(directory)/a' && chmod -R u+w '\(directory)/a'")
      let file = directory.appending("a/sda3.xfs-ptcl-img.zst.aa")
      var bytes = try file.contents()
      bytes[bytes.count / 2] ^= 0x10
      try file.write(bytes)
      let image = try StoredImage(opening: directory.appending("a"))
      let disk = directory.appending("disk.raw")
      await #expect {
        try await restore(image, disk) { $0.isVerified = true }
      } throws: { error in
        guard case ImagingError.verificationFailed(_, let volumes) = error else { return false }
        return volumes.count == 1 && volumes[0].hasPrefix("sda3: ")
      }
      #expect(access(disk.string, F_OK) != 0)
      // Without the check the error comes later, and no half disk stays under the name.
      await #expect(throws: (any Error).self) { try await restore(image, disk) }
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory.string) == ["a"])
    }
  }

  @Test func aTruncatedStreamIsFound() async throws {
    try await withTemporaryDirectory { directory in
      try await shell(
        "cp -r '\(goldenFolder)/images/b-mbr-z1p' '\(directory)/b' && chmod -R u+w '\(directory)/b'")
      try await tool("truncate", "-s", "1000000", directory.appending("b/sda5.ntfs-ptcl-img.gz.aa").string)
      let image = try StoredImage(opening: directory.appending("b"))
      await #expect {
        try await ImageVerifier(image, context: fileContext()).verify()
      } throws: { error in
        guard case ImagingError.verificationFailed(_, let volumes) = error else { return false }
        return volumes.count == 1 && volumes[0].hasPrefix("sda5: ")
      }
    }
  }

  @Test func anAbsurdHeaderIsRefusedBeforeAnythingIsWritten() async throws {
    try await withTemporaryDirectory { directory in
      try await shell(
        "cp -r '\(goldenFolder)/images/b-mbr-z1p' '\(directory)/b' && chmod -R u+w '\(directory)/b'; "
          + "cd '\(directory)/b'; zcat sda6.ext3-ptcl-img.gz.aa > x; printf '\\377\\377\\377\\377\\377\\377' | "
          + "dd of=x bs=1 seek=60 conv=notrunc status=none; gzip -1 < x > sda6.ext3-ptcl-img.gz.aa; rm x")
      let image = try StoredImage(opening: directory.appending("b"))
      let disk = directory.appending("disk.raw")
      await #expect(throws: PartcloneError.self) { try await restore(image, disk) }
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory.string) == ["b"])
    }
  }

  @Test func singlePartitionsLeaveTheRestAsItIs() async throws {
    try await withTemporaryDirectory { directory in
      let truth = try Truth.of("a-gpt-z9p")
      let image = try goldenImage("a-gpt-z9p")
      let disk = directory.appending("disk.raw")
      try await restore(image, disk)
      let whole = try await sha256(disk, count: truth.disk.size_bytes)
      let ext4 = truth.partitions[1]
      try await tool(
        "dd", "if=/dev/urandom", "of=\(disk)", "bs=1M", "seek=\(ext4.offset_bytes >> 20)", "count=2", "conv=notrunc",
        "status=none")
      let table = try await tool("sfdisk", "-d", disk.string)
      try await restore(image, disk) { $0.partitions = [2] }
      #expect(try await tool("sfdisk", "-d", disk.string) == table)
      #expect(try await sha256(disk, count: truth.disk.size_bytes) == whole)
      await #expect(throws: ImagingError.noSuchPartition(of: image.path.string, number: 9, present: [1, 2, 3, 4])) {
        try await restore(image, disk) { $0.partitions = [9] }
      }
      // A partition that is too small for what is to go there.
      await #expect {
        try await restore(image, disk) {
          $0.partitions = [3]
          $0.renumbering = [3: 2]
        }
      } throws: { error in
        guard case ImagingError.partitionTooSmall(_, 2, _, _) = error else { return false }
        return true
      }
    }
  }
}
