// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import SystemPackage
import TestSupport
import Testing
import Volumes

/// Makes the kernel show the partitions of a disk, also one that was built without the code to find them itself.
func scanPartitions(_ device: FilePath) async throws {
  try await shell("PATH=$PATH:/usr/sbin; partx -d \(device) 2>/dev/null || true; partx -a \(device)")
}

/// Attaches a new sparse file as a block device while `body` runs.
func withLoopDevice<Value>(
  mebibytes: Int, sectorSize: Int = 512, _ body: (_ device: FilePath, _ file: FilePath) async throws -> Value
) async throws -> Value {
  try #require(isRoot, "these tests attach loop devices: run them as root")
  return try await withTemporaryDirectory { directory in
    let file = directory.appending("disk.raw")
    try await tool("truncate", "-s", "\(mebibytes)M", file.string)
    let device = try await tool("losetup", "-f", "--show", "-P", "-b", "\(sectorSize)", file.string)
    let path = FilePath(String(device.filter { !$0.isWhitespace }))
    do {
      let value = try await body(path, file)
      try await tool("losetup", "-d", path.string)
      return value
    } catch {
      try await tool("losetup", "-d", path.string)
      throw error
    }
  }
}

@Suite(.serialized) struct VolumesDeviceTests {
  @Test(arguments: [512, 4096]) func tableOnABlockDevice(_ sectorSize: Int) async throws {
    try await withLoopDevice(mebibytes: 64, sectorSize: sectorSize) { path, _ in
      let unit = UInt64((1 << 20) / sectorSize)
      let length = UInt64(16384 / sectorSize)
      var device: FileDevice? = try FileDevice(path: path, access: .exclusive)
      let open = try #require(device)
      #expect(open.sectorSize == sectorSize)
      let table = PartitionTable(
        scheme: .gpt(
          PartitionTable.GPTParameters(
            diskGUID: .random(), firstUsable: 2 + length, lastUsable: 64 * unit - length - 2)),
        sectorSize: sectorSize, sectorCount: 64 * unit,
        partitions: [
          Partition(number: 1, start: unit, count: 8 * unit, type: .efiSystem, uuid: .random(), name: "EFI"),
          Partition(number: 5, start: 10 * unit, count: 8 * unit, type: .linux, uuid: .random(), name: "root"),
        ])
      try table.write(to: open)
      #expect(open.rereadPartitionTable())
      device = nil
      try await scanPartitions(path)
      #expect(try await tool("sfdisk", "-d", path.string) == SfdiskDump(table, device: path.string).text)
      #expect(try await tool("sgdisk", "-v", path.string).contains("No problems found"))
      let name = try #require(path.lastComponent?.string)
      let disk = try #require(DiskInventory().disk(named: name))
      #expect(disk.sectorSize == sectorSize)
      #expect(disk.partitions.map(\.name) == ["\(name)p1", "\(name)p5"])
      #expect(disk.partitions.map(\.start) == [1 << 20, 10 << 20])
      #expect(disk.partitions.map(\.byteCount) == [8 << 20, 8 << 20])
      #expect(!disk.isPhysical)
      let read = try #require(try PartitionTable.read(from: FileDevice(path: path)))
      #expect(read.partitions == table.partitions)
    }
  }

  @Test func logicalPartitionsOn4096ByteSectors() async throws {
    try await withLoopDevice(mebibytes: 64, sectorSize: 4096) { path, _ in
      try await tool(
        "sfdisk", "-q", path.string,
        input: "label: dos\nstart=256,size=1024,type=83\nstart=2048,size=8192,type=5\nstart=2304,size=1024,type=83\n"
          + "start=4096,size=1024,type=82\n")
      let text = try await tool("sfdisk", "-d", path.string)
      let table = try #require(try PartitionTable.read(from: FileDevice(path: path)))
      #expect(SfdiskDump(table, device: path.string).text == text)
      let device = try FileDevice(path: path, access: .readWrite)
      try device.zero(at: 0, count: device.byteCount)
      try SfdiskDump(parsing: text, file: "x").table(sectorCount: table.sectorCount).write(to: device)
      #expect(try await tool("sfdisk", "-d", path.string) == text)
      #expect(device.rereadPartitionTable())
    }
  }

  @Test func aMountedPartitionIsSeen() async throws {
    try await withLoopDevice(mebibytes: 64) { path, file in
      let name = try #require(path.lastComponent?.string)
      try await tool("sfdisk", "-q", path.string, input: "label: gpt\nsize=20M\nsize=20M\n")
      try await scanPartitions(path)
      try await tool("mkfs.ext4", "-q", "\(path)p1")
      try await tool("mkswap", "\(path)p2")
      let point = file.removingLastComponent().appending("mount point")
      try await tool("mkdir", point.string)
      try await tool("mount", "\(path)p1", point.string)
      let disk = try #require(DiskInventory().disk(named: name))
      let holding = DiskInventory.disks(holding: point.appending("lost+found"))
      try await tool("umount", point.string)
      #expect(disk.uses == [.mounted(device: "\(name)p1", at: point.string)])
      #expect(holding.contains(name))
      let selected = try TargetSelector(path.string).resolve(in: DiskInventory(disks: [disk]))
      #expect(throws: TargetError.self) { try selected.checkWritable(in: DiskInventory(disks: [disk])) }
      let second = try TargetSelector("\(path)p2").resolve(in: DiskInventory(disks: [disk]))
      try second.checkWritable(in: DiskInventory(disks: [disk]))
    }
  }
}
