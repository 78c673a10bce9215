// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

/// A machine in a folder: what its kernel would show in /sys, /proc and /dev.
struct FakeMachine {
  let root: FilePath
  private(set) var minor = 0

  init(_ root: FilePath) throws {
    self.root = root
    try write("proc/self/mountinfo", "20 1 0:20 / /proc rw - proc proc rw\n")
    try write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
  }

  func write(_ path: String, _ text: String) throws {
    let file = root.appending(path)
    try FileManager.default.createDirectory(
      atPath: file.removingLastComponent().string, withIntermediateDirectories: true)
    try file.write(text.utf8)
  }

  func link(_ path: String, to target: String) throws {
    let file = root.appending(path)
    try FileManager.default.createDirectory(
      atPath: file.removingLastComponent().string, withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(atPath: file.string, withDestinationPath: target)
  }

  /// Adds a disk with a partition for each size, in GB.
  mutating func add(
    _ name: String, gigabytes: UInt64, serial: String? = nil, model: String = "TESTDISK", partitions: [UInt64] = []
  ) throws {
    let base = "sys/block/\(name)"
    try write("\(base)/size", "\(gigabytes * 1_000_000_000 / 512)\n")
    try write("\(base)/dev", "8:\(minor)\n")
    minor += 1
    try write("\(base)/ro", "0\n")
    try write("\(base)/removable", "0\n")
    try write("\(base)/queue/logical_block_size", "512\n")
    try write("\(base)/queue/physical_block_size", "4096\n")
    try write("\(base)/device/model", "\(model)   \n")
    if let serial { try write("\(base)/device/serial", "\(serial)\n") }
    var start: UInt64 = 2048
    for (index, size) in partitions.enumerated() {
      let partition = PartitionNaming.name(disk: name, partition: index + 1)
      let sectors = size * 1_000_000_000 / 512
      try write("\(base)/\(partition)/partition", "\(index + 1)\n")
      try write("\(base)/\(partition)/start", "\(start)\n")
      try write("\(base)/\(partition)/size", "\(sectors)\n")
      try write("\(base)/\(partition)/dev", "8:\(minor)\n")
      minor += 1
      start += sectors
    }
  }

  func mount(_ lines: String...) throws {
    try write("proc/self/mountinfo", lines.joined(separator: "\n") + "\n")
  }
}

@Suite struct DiskInventoryTests {
  @Test func thisMachineShowsWhatLsblkShows() async throws {
    let inventory = DiskInventory()
    let lines = try await tool("lsblk", "-bdnro", "NAME,SIZE,LOG-SEC,RO,TYPE").split(separator: "\n")
    var compared = 0
    for line in lines {
      let fields = line.split(separator: " ").map(String.init)
      guard fields.count == 5, fields[4] == "disk", !fields[0].hasPrefix("zram"), fields[1] != "0" else { continue }
      let disk = try #require(inventory.disk(named: fields[0]))
      #expect("\(disk.byteCount)" == fields[1])
      #expect("\(disk.sectorSize)" == fields[2])
      #expect(disk.isReadOnly == (fields[3] == "1"))
      compared += 1
    }
    #expect(compared > 0)
  }

  @Test func identityOfADisk() async throws {
    try await withTemporaryDirectory { root in
      var machine = try FakeMachine(root)
      try machine.add("nvme0n1", gigabytes: 500, serial: "S5Y1NX0", model: "Samsung SSD 980", partitions: [1, 99])
      try machine.write("sys/block/nvme0n1/wwid", "eui.002538\n")
      try machine.add("ram0", gigabytes: 1)
      try machine.add("sr0", gigabytes: 1)
      try machine.add("loop3", gigabytes: 0)
      let inventory = DiskInventory(root: root)
      #expect(inventory.disks.map(\.name) == ["nvme0n1"])
      let disk = try #require(inventory.disks.first)
      #expect(disk.model == "Samsung SSD 980")
      #expect(disk.serial == "S5Y1NX0")
      #expect(disk.wwn == "eui.002538")
      #expect(disk.byteCount == 500_000_000_000)
      #expect(disk.physicalSectorSize == 4096)
      #expect(disk.partitions.map(\.name) == ["nvme0n1p1", "nvme0n1p2"])
      #expect(disk.partitions[1].start == 2048 * 512 + 1_000_000_000 / 512 * 512)
      #expect(disk.uses.isEmpty)
    }
  }

  @Test func usesAreFound() async throws {
    try await withTemporaryDirectory { root in
      var machine = try FakeMachine(root)
      try machine.add("sda", gigabytes: 500, partitions: [1, 2, 3, 4])
      // A logical volume in a LUKS container.
      try machine.write("sys/block/sda/sda3/holders/dm-0", "")
      try machine.write("sys/block/dm-0/dev", "253:0\n")
      try machine.write("sys/block/dm-0/holders/dm-1", "")
      try machine.write("sys/block/dm-1/dev", "253:1\n")
      try machine.mount(
        "30 1 0:40 / /srv/with\\040blank rw - btrfs /dev/sda1 rw", "31 1 0:41 / /tmp rw shared:3 - tmpfs tmpfs rw",
        "32 1 253:1 / /srv/volume rw - ext4 /dev/mapper/vg-lv rw")
      try machine.write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n")
      let disk = try #require(DiskInventory(root: root).disks.first)
      #expect(
        disk.uses == [
          .mounted(device: "sda1", at: "/srv/with blank"), .swap(device: "sda2"), .held(device: "sda3", by: "dm-0"),
          .held(device: "dm-0", by: "dm-1"), .mounted(device: "dm-1", at: "/srv/volume"),
        ])
      #expect(disk.partitions[3].uses.isEmpty)
    }
  }

  @Test func theLiveMediumIsFollowedThroughAFileOnALoopDevice() async throws {
    try await withTemporaryDirectory { root in
      var machine = try FakeMachine(root)
      try machine.add("sda", gigabytes: 500)
      try machine.add("sdb", gigabytes: 16, partitions: [15])
      try machine.add("loop0", gigabytes: 1)
      try machine.write("sys/block/loop0/loop/backing_file", "/run/live/findiso/live.iso\n")
      try machine.mount(
        "30 1 8:2 / /run/live/findiso rw - vfat /dev/sdb1 rw", "31 1 8:3 / /run/live/medium ro - iso9660 /dev/loop0 ro")
      let inventory = DiskInventory(root: root)
      #expect(inventory.disk(named: "sdb")?.carriesLiveMedium == true)
      #expect(inventory.disk(named: "sda")?.carriesLiveMedium == false)
      #expect(DiskInventory.disks(holding: "/run/live/medium/images/x", root: root) == ["loop0", "sdb"])
    }
  }
}

@Suite struct TargetSelectorTests {
  @Test(arguments: [
    ("sda", TargetSelector.device("/dev/sda")), ("/dev/sda", .device("/dev/sda")), ("only", .only),
    ("largest", .largest), ("serial:A B", .serial("A B")), ("size>=10GB", .atLeast(10_000_000_000)),
    ("size<=2TiB", .atMost(2 << 40)), ("size >= 10 MiB", .atLeast(10 << 20)),
    ("path:pci-0000:00:1f.2-ata-1", .connection("pci-0000:00:1f.2-ata-1")), ("disk.raw", .file("disk.raw")),
    ("./disk", .file("./disk")), ("/srv/x/disk.raw", .file("/srv/x/disk.raw")),
  ])
  func isParsed(_ text: String, _ selector: TargetSelector) throws {
    #expect(try TargetSelector(text) == selector)
  }

  @Test(arguments: ["", "size>10", "size>=x", "size>=99999999999TB", "serial:", "a b", "sd*"])
  func nonsenseIsRefused(_ text: String) {
    #expect(throws: TargetError.notASelector(text)) { try TargetSelector(text) }
  }

  private func machine(_ root: FilePath) throws -> FakeMachine {
    var machine = try FakeMachine(root)
    try machine.add("sda", gigabytes: 500, serial: "AAA", partitions: [100, 100])
    try machine.add("sdb", gigabytes: 1000, serial: "BBB")
    try machine.add("sdc", gigabytes: 16, serial: "STICK", partitions: [15])
    try machine.add("loop0", gigabytes: 3000)
    try machine.mount("30 1 8:5 / /run/live/medium ro - iso9660 /dev/sdc1 ro")
    try machine.link("dev/disk/by-id/ata-TEST_AAA-part2", to: "../../sda2")
    return machine
  }

  @Test func rulesChooseAmongPhysicalDisks() async throws {
    try await withTemporaryDirectory { root in
      _ = try machine(root)
      let inventory = DiskInventory(root: root)
      func name(_ text: String, excluding: Set<String> = []) throws -> String {
        try TargetSelector(text).resolve(in: inventory, excluding: excluding, root: root).path.string
      }
      #expect(try name("serial:BBB") == "/dev/sdb")
      #expect(try name("largest") == "/dev/sdb")
      #expect(try name("size>=600GB") == "/dev/sdb")
      #expect(try name("size<=600GB") == "/dev/sda")
      #expect(try name("only", excluding: ["sdb"]) == "/dev/sda")
      #expect(try name("loop0") == "/dev/loop0")
      #expect(try name("/dev/disk/by-id/ata-TEST_AAA-part2") == "/dev/sda2")
    }
  }

  @Test func whatIsRefusedListsWhatWasSeen() async throws {
    try await withTemporaryDirectory { root in
      _ = try machine(root)
      let inventory = DiskInventory(root: root)
      for text in ["only", "size>=100GB", "serial:STICK", "sdz", "size>=2TB"] {
        #expect {
          try TargetSelector(text).resolve(in: inventory, root: root)
        } throws: { error in
          let text = "\(error)"
          return ["sda (", "sdb (", "sdc (", "serial AAA", "TESTDISK", "carries the live medium"].allSatisfy(
            text.contains)
        }
      }
      let medium = try TargetSelector("sdc").resolve(in: inventory, root: root)
      #expect {
        try medium.checkWritable(in: inventory)
      } throws: { error in
        "\(error)".contains("it carries the live medium; sdc1 is mounted on /run/live/medium")
          && (error as? any Failure)?.exitCode == .refused
      }
      let repository = try TargetSelector("sda").resolve(in: inventory, root: root)
      #expect {
        try repository.checkWritable(in: inventory, excluding: ["sda"])
      } throws: {
        "\($0)".contains("it holds the image")
      }
      try TargetSelector("sdb").resolve(in: inventory, root: root).checkWritable(in: inventory)
    }
  }

  @Test func aMountedDiskStillMakesTheOnlyOneAmbiguous() async throws {
    try await withTemporaryDirectory { root in
      let machine = try machine(root)
      try machine.mount(
        "30 1 8:5 / /run/live/medium ro - iso9660 /dev/sdc1 ro", "31 1 8:1 / /mnt rw - ext4 /dev/sda1 rw")
      let inventory = DiskInventory(root: root)
      #expect(throws: TargetError.self) { try TargetSelector("only").resolve(in: inventory, root: root) }
      let partition = try TargetSelector("sda2").resolve(in: inventory, root: root)
      try partition.checkWritable(in: inventory)
      #expect(throws: TargetError.self) {
        try TargetSelector("sda1").resolve(in: inventory, root: root).checkWritable(in: inventory)
      }
      #expect(throws: TargetError.self) {
        try TargetSelector("sda").resolve(in: inventory, root: root).checkWritable(in: inventory)
      }
    }
  }
}
