// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import Foundation
import ImageStore
import Imaging
import PartcloneStream
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

/// A disk with LVM that the real Clonezilla saved, restored, saved again, and broken.
@Suite(.serialized) struct LVMImageTests {
  private static let name = "d-lvm-z9p"

  /// Everything on the disk that is told by the truth: table, partition, label, metadata, logical volumes.
  private func expectTruth(_ disk: FilePath) async throws {
    let truth = try Truth.of(Self.name)
    #expect(try FileDevice(path: disk).byteCount == truth.disk.size_bytes)
    #expect(try await sha256(disk, count: 1 << 20) == truth.disk.first_mib_sha256)
    #expect(
      try await sha256(disk, from: truth.disk.size_bytes - 33 * 512, count: 33 * 512)
        == truth.disk.last_33_sectors_sha256)
    let boot = truth.partitions[0]
    #expect(
      try await sha256(disk, from: boot.offset_bytes, count: boot.size_bytes) == boot.restored_by_partclone?.sha256)
    let volumes = try #require(truth.lvs)
    #expect(volumes.count == 2)
    for volume in volumes {
      let found = try await sha256(disk, from: volume.offset_in_disk_bytes, count: volume.size_bytes)
      #expect(found == volume.restored_by_partclone.sha256, "\(volume.lv)")
    }
    let place = truth.partitions[1]
    let slice = try DeviceSlice(
      try FileDevice(path: disk), start: place.offset_bytes, byteCount: place.size_bytes, name: "sda2")
    let physical = try #require(try LVMPhysicalVolume(slice))
    #expect(physical.id.description == place.blkid?["UUID"])
    let group = try #require(physical.group)
    #expect(group.sequenceNumber == 3)
    #expect(Set(group.logicalVolumes.map(\.id.description)) == Set(volumes.map(\.lv_uuid)))
    for volume in volumes {
      let logical = try #require(group.logicalVolumes.first { $0.name == volume.lv })
      guard case .striped(_, let areas) = logical.segments[0].layout else { continue }
      #expect(place.offset_bytes + areas[0].start == volume.offset_in_disk_bytes)
    }
  }

  @Test func restoredToANewFileAndSavedAgain() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      let image = try goldenImage(Self.name)
      #expect(image.groups.map(\.group.name) == ["ubuntu-vg"])
      #expect(image.groups[0].volumes.map(\.device) == ["ubuntu-vg/ubuntu-lv", "ubuntu-vg/data"])
      let report = try await restore(image, disk) { $0.isVerified = true }
      #expect(report.volumes.map(\.device) == ["sda1", "ubuntu-vg/ubuntu-lv", "ubuntu-vg/data"])
      try await expectTruth(disk)

      let saved = try await save(disk, directory, "again")
      #expect(saved.volumes.map(\.device) == ["sda1", "ubuntu-vg/ubuntu-lv", "ubuntu-vg/data"])
      #expect(saved.volumes.allSatisfy { $0.wholeBecause == nil })
      // The same files, and those that Clonezilla reads with the same words.
      let again = directory.appending("again")
      let golden = goldenFolder.appending("images").appending(Self.name)
      for name in ["parts", "disk", "lvm_vg_dev.list", "dev-fs.list"] {
        #expect(
          try again.appending(name).contents() == golden.appending(name).contents(), "\(name)")
      }
      func words(_ folder: FilePath) throws -> [String] {
        String(decoding: try folder.appending("lvm_logv.list").contents(), as: UTF8.self)
          .split(separator: "\n").map { $0.split(separator: " ").prefix(1).joined() }
      }
      #expect(try words(again) == words(golden))
      func mapper(_ folder: FilePath) throws -> [String] {
        String(decoding: try folder.appending("blkid.list").contents(), as: UTF8.self).split(separator: "\n")
          .filter { !$0.hasPrefix("/dev/sr0") }
          .map { String($0).replacing(#/ BLOCK_SIZE="\d+"/#, with: "") }
      }
      #expect(try Set(mapper(again)) == Set(mapper(golden)))
      let tree = String(decoding: try again.appending("blkdev.list").contents(), as: UTF8.self)
      #expect(tree.contains("  |-ubuntu--vg-ubuntu--lv") && tree.contains("  `-ubuntu--vg-data"))
      for file in ["ubuntu-vg-data.xfs-ptcl-img.zst", "ubuntu-vg-ubuntu-lv.ext4-ptcl-img.zst", "lvm_ubuntu-vg.conf"] {
        #expect(FileManager.default.fileExists(atPath: again.appending(file).string), "\(file)")
      }
      let group = try #require(try StoredImage(opening: again).groups.first).group
      #expect(group.metadata["ubuntu-vg"] == image.groups[0].group.metadata["ubuntu-vg"])

      // Onto a file that is full of other things.
      let other = directory.appending("other.raw")
      try await shell("head -c \(704_643_072) /dev/zero | tr '\\0' '\\245' > '\(other)'")
      try await restore(try StoredImage(opening: again), other) { $0.overwritesFiles = true }
      for volume in try #require(try Truth.of(Self.name).lvs) {
        func device(_ path: FilePath) throws -> DeviceSlice<FileDevice> {
          try DeviceSlice(
            try FileDevice(path: path), start: volume.offset_in_disk_bytes, byteCount: volume.size_bytes,
            name: volume.lv)
        }
        // The first restore was compared with what the real partclone makes of the image.
        let (source, found) = (try device(disk), try device(other))
        let map = try #require(try FileSystems.allocationMap(of: source)).covering(volume.size_bytes)
        var differing = 0
        for block in 0..<map.bitmap.count where map.bitmap[block] {
          let place = UInt64(block) * UInt64(map.blockSize)
          let same = try source.read(at: place, count: map.blockSize) == found.read(at: place, count: map.blockSize)
          if !same { differing += 1 }
        }
        #expect(differing == 0, "\(volume.lv)")
      }
    }
  }

  @Test func plansTellOfTheGroup() async throws {
    try await withTemporaryDirectory { directory in
      let image = try goldenImage(Self.name)
      let summary = await ImageSummary(image)
      #expect(summary.text.contains("sda2: 600 MiB at 65.0 MiB, physical volume of the volume group ubuntu-vg"))
      #expect(summary.text.contains("ubuntu-vg/data: 304 MiB, xfs"))
      #expect(summary.volumes.map(\.device) == ["sda1", "sda2", "ubuntu-vg/ubuntu-lv", "ubuntu-vg/data"])
      let context = fileContext()
      let disk = directory.appending("disk.raw")
      let plan = try await RestorePlan(image, to: [.file(disk)], options: RestoreOptions(), context: context)
      let text = RestorePlanSummary(plan).text
      #expect(text.contains("volume group ubuntu-vg, made anew on \(disk)2"))
      #expect(text.contains("ubuntu-vg/ubuntu-lv (ext4), 160 MiB"))
      try await restore(image, disk)
      let save = try SavePlan(
        [SaveSource(.file(disk))], repository: directory, name: "x", options: SaveOptions(), isMeasured: true,
        context: context)
      let saving = SavePlanSummary(save).text
      #expect(saving.contains("sda2: LVM2_member, 0 B of 600 MiB: physical volume (of the volume group ubuntu-vg)"))
      #expect(saving.contains("ubuntu-vg/data: xfs, 68.7 MiB of 304 MiB: used blocks"))
      // Only the partition beside the group; then only the group's.
      try await restore(image, disk) { $0.partitions = [1] }
      try FileManager.default.removeItem(atPath: disk.string)
      try await restore(image, disk)
      try FileDevice(path: disk, access: .readWrite).zero(at: 68_157_440, count: 629_145_600)
      try await restore(image, disk) { $0.partitions = [2] }
      try await expectTruth(disk)
    }
  }

  @Test(arguments: [
    ("rm lvm_ubuntu-vg.conf", "lacks the file lvm_ubuntu-vg.conf, the metadata of the LVM volume group ubuntu-vg"),
    ("rm lvm_logv.list", "lacks the file lvm_logv.list, the logical volumes that were saved"),
    ("rm ubuntu-vg-data.*", "lacks the file ubuntu-vg-data.<file system>-ptcl-img"),
    ("rm lvm_vg_dev.list", "lacks the file sda2.<file system>-ptcl-img"),
    ("truncate -s 900 lvm_ubuntu-vg.conf", "lvm_ubuntu-vg.conf: line "),
    ("sed -i 's/extent_count = 76/extent_count = 760/' lvm_ubuntu-vg.conf", "segment1 of data lies outside of pv0"),
    ("sed -i 's/LOdjKM/LOdjKX/' lvm_vg_dev.list", "the identifier of /dev/sda2 is none of a physical volume"),
    ("sed -i 's/data  /date  /' lvm_logv.list", "ubuntu-vg/date is no logical volume of lvm_ubuntu-vg.conf"),
    ("sed -i 's/ubuntu-vg {/other {/' lvm_ubuntu-vg.conf", "expected the volume group ubuntu-vg, found other"),
    ("sed -i 's#^ubuntu-vg#../ubuntu-vg#' lvm_vg_dev.list", "lacks the file lvm_../ubuntu-vg.conf"),
  ])
  func aBrokenImageIsRefused(_ script: String, _ expected: String) async throws {
    try await withTemporaryDirectory { directory in
      let image = try await broken(script, in: directory)
      #expect {
        _ = try StoredImage(opening: image)
      } throws: { error in
        (error as? any Failure)?.reason.contains(expected) ?? false
      }
    }
  }

  @Test(arguments: [
    (
      "sed -i '0,/\"striped\"/s//\"thin\"/' lvm_ubuntu-vg.conf",
      "sda2 belongs to the LVM volume group ubuntu-vg (its logical volume ubuntu-lv is of the type thin)"
    ),
    ("sed -i 's/pe_start = 2048/pe_start = 9/' lvm_ubuntu-vg.conf", "before its first extent there is room for 4608"),
    ("sed -i 's/pe_count = 149/pe_count = 150/' lvm_ubuntu-vg.conf", "but the image needs 601 MiB"),
    ("sed -i 's/extent_count = 76/extent_count = 75/' lvm_ubuntu-vg.conf", "ubuntu-vg/data has 300 MiB"),
    (
      "sed -i 's/pv0 {/pv1 {\\nid=\"EyrIzm-nbxy-raJ6-cnzE-0lc8-HGpu-iFrHUU\"\\npe_start=2048\\npe_count=4\\n}\\npv0 {/' "
        + "lvm_ubuntu-vg.conf",
      "also lies on the physical volume EyrIzm-nbxy-raJ6-cnzE-0lc8-HGpu-iFrHUU, which is not to be restored"
    ),
  ])
  func whatCannotBeRestoredIsRefusedBeforeAnythingIsWritten(_ script: String, _ expected: String) async throws {
    try await withTemporaryDirectory { directory in
      let image = try StoredImage(opening: try await broken(script, in: directory))
      let disk = directory.appending("disk.raw")
      await #expect {
        try await restore(image, disk)
      } throws: { error in
        (error as? any Failure)?.reason.contains(expected) ?? false
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory.string) == [Self.name])
    }
  }

  @Test func aLogicalVolumeThatWasNotSavedIsToldOf() async throws {
    try await withTemporaryDirectory { directory in
      let image = try StoredImage(
        opening: try await broken("sed -i '/data/{/XFS/d}' lvm_logv.list; rm ubuntu-vg-data.*", in: directory))
      let plan = try await RestorePlan(
        image, to: [.file(directory.appending("disk.raw"))], options: RestoreOptions(), context: fileContext())
      #expect(plan.warnings == ["ubuntu-vg/data was not saved: it is made anew without content"])
    }
  }

  /// A damaged stream of a logical volume is found like any other.
  @Test func aDamagedLogicalVolumeIsFound() async throws {
    try await withTemporaryDirectory { directory in
      let path = try await broken("truncate -s 1000000 ubuntu-vg-data.xfs-ptcl-img.zst.aa", in: directory)
      await #expect {
        try await ImageVerifier(try StoredImage(opening: path), context: fileContext()).verify()
      } throws: { error in
        guard case ImagingError.verificationFailed(_, let volumes) = error else { return false }
        return volumes.count == 1 && volumes[0].hasPrefix("ubuntu-vg/data: ")
      }
    }
  }

  private func broken(_ script: String, in directory: FilePath) async throws -> FilePath {
    let path = directory.appending(Self.name)
    try await shell(
      "cp -r '\(goldenFolder)/images/\(Self.name)' '\(path)'; chmod -R u+w '\(path)'; cd '\(path)'; \(script)")
    return path
  }
}
