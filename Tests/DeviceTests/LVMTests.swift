// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Commands
import FileSystems
import Foundation
import ImageStore
import Imaging
import Logging
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

/// Groups made by the real LVM without device-mapper, saved, restored and looked at by LVM again.
@Suite(.serialized) struct LVMDeviceTests {
  /// Where the two physical volumes lie on the disk, in bytes.
  private static let starts: [UInt64] = [43008 * 512, (43008 + 245_760) * 512]
  private static let size: UInt64 = 120 << 20

  private let context = ImagingContext(
    reporter: Reporter(style: .quiet) { _ in }, commands: CommandRunner(logger: Logger(label: "test")),
    inventory: DiskInventory(disks: []), isBootedByEFI: false)

  /// Runs a script with `$L1` and `$L2`, the physical volumes of a disk in a file as block devices; `lvm_` runs a program
  /// of LVM on these alone, and `neutral` prints its input without their names.
  private func lvm(_ disk: FilePath, _ script: String) async throws -> String {
    try #require(isRoot, "these tests attach loop devices: run them as root")
    let attach = Self.starts.map { "$(losetup -f --show -o \($0) --sizelimit \(Self.size) '\(disk)')" }
    return try await shell(
      """
      L1=\(attach[0])
      L2=\(attach[1])
      trap 'losetup -d $L1 $L2' EXIT
      config="global{activation=0} devices{filter=[\\"a|^$L1\\$|\\",\\"a|^$L2\\$|\\",\\"r|.*|\\"]} backup{backup=0 archive=0}"
      lvm_() { "$@" --config "$config" 2>/dev/null; }
      neutral() { sed "s#$L1#ONE#g; s#$L2#TWO#g"; }
      \(script)
      """)
  }

  /// What LVM itself says about the groups of a disk.
  private func report(_ disk: FilePath) async throws -> String {
    try await lvm(
      disk,
      """
      lvm_ vgck
      lvm_ pvck $L1 | neutral
      lvm_ pvck $L2 | neutral
      lvm_ pvs -o pv_name,pv_uuid,pe_start,pv_pe_count,pv_used,vg_uuid,vg_seqno | neutral
      lvm_ lvs --segments -o lv_name,lv_uuid,lv_tags,seg_type,seg_start_pe,seg_size_pe,stripe_size,devices | neutral
      """)
  }

  private func makeDisk(_ disk: FilePath, volumes: String) async throws {
    try await tool("truncate", "-s", "300M", disk.string)
    let type = "type=E6D6D379-F507-44C2-A23C-238F2A3DF928"
    try await tool("sfdisk", "-q", disk.string, input: "label: gpt\nsize=20M\nsize=120M,\(type)\nsize=120M,\(type)\n")
    _ = try await lvm(disk, "lvm_ pvcreate -q $L1 $L2; lvm_ vgcreate -q -s 1M vt-x $L1 $L2; \(volumes)")
  }

  private static let lvcreate = "lvm_ lvcreate -q -an -Zn -Wn"

  private func group(_ disk: FilePath) throws -> (VolumeGroup, [DeviceSlice<FileDevice>]) {
    let device = try FileDevice(path: disk, access: .readWrite)
    let slices = try Self.starts.map { try DeviceSlice(device, start: $0, byteCount: Self.size, name: "\(disk)") }
    return (try #require(try LVMPhysicalVolume(slices[0])?.group), slices)
  }

  /// A logical volume as a file, there and back.
  private func volume(_ name: String, _ disk: FilePath) throws -> LogicalVolumeDevice<DeviceSlice<FileDevice>> {
    let (group, slices) = try group(disk)
    let volume = try #require(group.logicalVolumes.first { $0.name == name })
    return try #require(try LogicalVolumeDevice(volume, of: group, on: slices, name: name))
  }

  private func fill(_ name: String, of disk: FilePath, _ make: String) async throws {
    let target = try volume(name, disk)
    let file = FilePath("\(disk).\(name)")
    try await shell("truncate -s \(target.byteCount) '\(file)'; \(make.replacing("{}", with: file.string)) >/dev/null")
    let source = try FileDevice(path: file)
    for offset in stride(from: 0, to: target.byteCount, by: 1 << 20) {
      let part = try source.read(at: offset, count: 1 << 20)
      try target.write(part.span.bytes, at: offset)
    }
  }

  private func saved(_ disk: FilePath, in folder: FilePath, _ name: String) async throws -> (SaveReport, [String]) {
    let plan = try SavePlan(
      [SaveSource(.file(disk))], repository: folder, name: name, options: SaveOptions(), isMeasured: true,
      context: context)
    return (try await DiskSaver(plan, context: context).save(), plan.disks.flatMap(\.warnings))
  }

  private func restored(_ image: StoredImage, _ target: FilePath) async throws {
    var options = RestoreOptions()
    options.overwritesFiles = true
    let plan = try await RestorePlan(image, to: [.file(target)], options: options, context: context)
    _ = try await DiskRestorer(plan, context: context).restore()
  }

  @Test func savedAndMadeAnewAsLVMHasIt() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      let create = Self.lvcreate
      try await makeDisk(
        disk,
        volumes: """
          \(create) -n root -l 40 vt-x
          \(create) -n str -i2 -I64 -l 48 vt-x
          lvm_ lvextend -q -l +60 vt-x/root
          \(create) -n swap -l 16 vt-x
          \(create) -n raw.x -l 8 --addtag tag1 vt-x
          """)
      // Where LVM says the segments are.
      let (group, _) = try group(disk)
      let segments = try await lvm(
        disk, "lvm_ lvs --noheadings --segments -o lv_name,seg_start_pe,seg_size_pe,devices | neutral")
      var expected: Set<String> = []
      for volume in group.logicalVolumes {
        for segment in volume.segments {
          guard case .striped(_, let areas) = segment.layout else { continue }
          let places = areas.map { area in
            let physical = group.physicalVolumes[area.physicalVolume]
            let extent = (area.start - physical.extentStart) / group.extentByteCount
            return "\(area.physicalVolume == 0 ? "ONE" : "TWO")(\(extent))"
          }
          let start = segment.start / group.extentByteCount
          expected.insert(
            "\(volume.name) \(start) \(segment.byteCount / group.extentByteCount) \(places.joined(separator: ","))")
        }
      }
      let found = segments.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
      #expect(Set(found) == expected)
      #expect(found.count == 6)

      try await fill("root", of: disk, "mkfs.ext4 -q -L root -d /usr/share/doc/bash {}")
      try await fill("str", of: disk, "mkfs.ext3 -q -L str -d /usr/share/doc/bash {}")
      try await fill(
        "swap", of: disk, "mkswap -L sw -U dddddddd-0000-4000-8000-0000000000b7 {}; chmod 600 {}")
      try await fill("raw.x", of: disk, "dd if=/dev/urandom of={} bs=1M count=8 conv=notrunc status=none")
      let before = try await report(disk)

      let (report, warnings) = try await saved(disk, in: directory, "image")
      #expect(warnings.isEmpty)
      #expect(report.volumes.map(\.content) == ["dd", "ext4", "ext3", "dd"])
      let path = directory.appending("image")
      let image = try StoredImage(opening: path)
      #expect(image.volumes.map(\.device) == ["sda1", "sda2", "sda3"])
      #expect(image.groups[0].swaps.map(\.device) == ["vt-x/swap"])
      #expect(image.swaps.isEmpty)
      let logical = String(decoding: try path.appending("lvm_logv.list").contents(), as: UTF8.self)
      #expect(logical.contains("/dev/vt-x/swap  Linux swap file"))
      #expect(logical.contains("/dev/vt-x/raw.x  data\n"))

      // Onto a file that is larger and full of other things.
      let other = directory.appending("other.raw")
      try await shell("head -c 320M /dev/zero | tr '\\0' '\\245' > '\(other)'")
      try await restored(image, other)
      #expect(try await self.report(other) == before)
      for name in ["root", "str", "raw.x"] {
        let (source, target) = (try volume(name, disk), try volume(name, other))
        let map = try FileSystems.allocationMap(of: source)?.covering(source.byteCount)
        let blockSize = UInt64(map?.blockSize ?? 4096)
        var compared = 0
        for block in 0..<Int(source.byteCount / blockSize) where map?.bitmap[block] ?? true {
          let place = UInt64(block) * blockSize
          compared += 1
          guard try source.read(at: place, count: Int(blockSize)) != target.read(at: place, count: Int(blockSize))
          else { continue }
          Issue.record("\(name): block \(block) differs")
          break
        }
        #expect(compared > 100)
      }
      let swap = try #require(try SwapHeader(try volume("swap", other)))
      #expect(swap.label == "sw")
      #expect(swap.uuid == "dddddddd-0000-4000-8000-0000000000b7")
      #expect(swap.pageCount == 4096)

      // As the stock Clonezilla makes the group from our files.
      let stock = directory.appending("stock.raw")
      try await tool("truncate", "-s", "300M", stock.string)
      _ = try await lvm(
        stock,
        """
        cd '\(path)'
        while read group device id; do
          case $device in /dev/sda2) place=$L1;; /dev/sda3) place=$L2;; esac
          lvm_ pvcreate -ff --yes --uuid $id --zero y --restorefile lvm_$group.conf $place
        done < lvm_vg_dev.list
        lvm_ vgcfgrestore --test --force -f lvm_vt-x.conf vt-x
        lvm_ vgcfgrestore --force -f lvm_vt-x.conf vt-x
        """)
      func volumes(_ disk: FilePath) async throws -> String {
        try await lvm(
          disk, "lvm_ vgck; lvm_ lvs --segments -o lv_name,lv_uuid,lv_tags,seg_start_pe,seg_size_pe,devices | neutral")
      }
      #expect(try await volumes(stock) == volumes(disk))
    }
  }

  /// LVM writes its metadata round and round in the area; what is read is always the last.
  @Test func metadataAfterManyChanges() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await makeDisk(
        disk,
        volumes: """
          for index in $(seq 1 60); do \(Self.lvcreate) -n a-rather-long-name-$index -l 1 vt-x; done
          for round in $(seq 1 120); do lvm_ vgchange -q --addtag tag$round vt-x; done
          """)
      let (group, slices) = try group(disk)
      let text = try await lvm(disk, "lvm_ vgs --noheadings -o vg_seqno,lv_count")
      #expect(text.split(separator: " ").map { $0.trimmingCharacters(in: .whitespacesAndNewlines) } == ["181", "60"])
      #expect(group.sequenceNumber == 181)
      #expect(group.logicalVolumes.count == 60)
      #expect(try LVMPhysicalVolume(slices[1])?.group == group)
    }
  }

  /// The kernel's part of LVM makes the other types, but a group may say of itself what it likes.
  @Test(arguments: ["error", "thin-pool", "raid1", "snapshot"])
  func otherTypesAreCopiedWholeAndTold(_ type: String) async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await makeDisk(disk, volumes: "\(Self.lvcreate) -n x \(type == "error" ? "--type error" : "") -l 20 vt-x")
      if type != "error" {
        let (group, slices) = try group(disk)
        let text = String(decoding: group.diskText, as: UTF8.self).replacing("\"striped\"", with: "\"\(type)\"")
        let other = try VolumeGroup(parsing: Array(text.utf8), source: "test")
        for (slice, physical) in zip(slices, other.physicalVolumes) {
          try LVMPhysicalVolume.write(physical, of: other, to: slice)
        }
      }
      let (report, warnings) = try await saved(disk, in: directory, "image")
      #expect(warnings.count == 2)
      let expected = "its logical volume x is of the type \(type)"
      #expect(warnings.allSatisfy { $0.contains("volume group vt-x") && $0.contains(expected) })
      #expect(report.volumes.map(\.content) == ["dd", "dd", "dd"])
      #expect(report.volumes[1].wholeBecause?.contains(expected) ?? false)
      let image = try StoredImage(opening: directory.appending("image"))
      #expect(image.groups.isEmpty)
      let other = directory.appending("other.raw")
      try await restored(image, other)
      try await shell("cmp <(tail -c +1048577 '\(disk)' | head -c 260M) <(tail -c +1048577 '\(other)' | head -c 260M)")
    }
  }

  /// One of two physical volumes is not among the partitions to be saved.
  @Test func anIncompleteGroupIsCopiedWholeAndTold() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await makeDisk(disk, volumes: "\(Self.lvcreate) -n a -l 5 vt-x")
      let plan = try SavePlan(
        [SaveSource(.file(disk), partitions: [2])], repository: directory, name: "x", options: SaveOptions(),
        isMeasured: true, context: context)
      #expect(plan.groups.isEmpty)
      #expect(plan.disks[0].warnings.count == 1)
      #expect(plan.disks[0].warnings[0].contains("is not on what is to be saved"))
    }
  }

  /// A group on two whole disks without partition tables, with a volume that lies on both.
  @Test func aGroupOnTwoWholeDisks() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await makeDisk(disk, volumes: "\(Self.lvcreate) -n both -i2 -I64 -l 100 vt-x")
      try await fill("both", of: disk, "mkfs.ext4 -q -d /usr/share/doc/bash {}")
      var sources: [SaveSource] = []
      for (index, start) in Self.starts.enumerated() {
        let whole = directory.appending("whole\(index).raw")
        try await shell(
          "dd if='\(disk)' of='\(whole)' bs=1M iflag=skip_bytes,count_bytes skip=\(start) count=\(Self.size) status=none"
        )
        sources.append(SaveSource(.file(whole)))
      }
      let plan = try SavePlan(
        sources, repository: directory, name: "image", options: SaveOptions(), isMeasured: false, context: context)
      #expect(plan.groups.map(\.physicalVolumes) == [["sda", "sdb"]])
      _ = try await DiskSaver(plan, context: context).save()
      let image = try StoredImage(opening: directory.appending("image"))
      let targets = (0..<2).map { directory.appending("target\($0).raw") }
      let restore = try await RestorePlan(
        image, to: targets.map { .file($0) }, options: RestoreOptions(), context: context)
      _ = try await DiskRestorer(restore, context: context).restore()
      let devices = try targets.map { try FileDevice(path: $0) }
      let group = try #require(try LVMPhysicalVolume(devices[0])?.group)
      let target = try #require(try LogicalVolumeDevice(group.logicalVolumes[0], of: group, on: devices, name: "both"))
      let source = try volume("both", disk)
      let map = try #require(try FileSystems.allocationMap(of: source)).covering(source.byteCount)
      for block in 0..<map.bitmap.count where map.bitmap[block] {
        let place = UInt64(block) * UInt64(map.blockSize)
        guard try source.read(at: place, count: map.blockSize) != target.read(at: place, count: map.blockSize)
        else { continue }
        Issue.record("block \(block) differs")
        break
      }
      // Without the second disk the first is no group.
      await #expect(throws: ImagingError.self) {
        _ = try await RestorePlan(
          image, to: [.file(targets[0])], options: RestoreOptions(), context: context)
      }
    }
  }
}
