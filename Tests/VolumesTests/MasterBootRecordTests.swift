// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

@Suite struct MasterBootRecordTests {
  /// Primary, extended and logical partitions with gaps between them.
  private static let script = """
    label: dos
    label-id: 0x12345678
    start=2048,size=20480,type=83,bootable
    start=22528,size=100000,type=f
    start=24576,size=4096,type=7
    start=30720,size=4096,type=82
    start=40000,size=2048,type=8e

    """

  @Test func tableOfTheToolsIsReadAndWrittenByteForByte() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      try await tool("sfdisk", "-q", path.string, input: Self.script)
      let before = try path.contents()
      let table = try #require(try PartitionTable.read(from: device))
      #expect(table.partitions.map(\.number) == [1, 2, 5, 6, 7])
      #expect(try await tool("sfdisk", "-d", path.string) == SfdiskDump(table, device: path.string).text)
      try device.zero(at: 0, count: device.byteCount)
      try table.write(to: device)
      // Only the CHS fields, which nobody reads, may differ: sfdisk's count in EBRs is its own.
      let after = try path.contents()
      let differing = before.indices.filter { before[$0] != after[$0] }
      #expect(differing.allSatisfy { [1, 2, 3, 5, 6, 7].contains(($0 % 512 - 446) % 16) })
      #expect(Array(before.prefix(512)) == Array(after.prefix(512)))
      #expect(try await tool("sfdisk", "--verify", path.string).contains("No errors detected"))
    }
  }

  @Test func aDumpAloneMakesTheSameTable() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      try await tool("sfdisk", "-q", path.string, input: Self.script)
      let text = try await tool("sfdisk", "-d", path.string)
      let sector = try device.read(at: 0, count: 512)
      try device.zero(at: 0, count: device.byteCount)
      let dump = try SfdiskDump(parsing: text, file: "disk-pt.sf")
      try dump.table(sectorCount: device.byteCount / 512, bootSector: sector).write(to: device)
      #expect(try await tool("sfdisk", "-d", path.string) == text)
      #expect(try device.read(at: 0, count: 512) == sector)
    }
  }

  @Test func theLastLogicalPartitionGrowsWithTheExtendedOne() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let small = try diskFile(path, mebibytes: 64)
      try await tool("sfdisk", "-q", path.string, input: Self.script)
      let table = try #require(try PartitionTable.read(from: small))
      let larger = try diskFile(path, mebibytes: 300)
      let grown = try table.adapted(toByteCount: larger.byteCount, sectorSize: 512).growingLast()
      try grown.write(to: larger)
      let dump = try SfdiskDump(parsing: await tool("sfdisk", "-d", path.string), file: "x")
      let last = try #require(dump.partitions.first { $0.number == 7 })
      let extended = try #require(dump.partitions.first { $0.number == 2 })
      #expect(last.start == 40000)
      #expect(last.start + last.count == 300 * 2048)
      #expect(extended.start + extended.count == 300 * 2048)
    }
  }

  @Test func aPrimaryPartitionBeforeTheExtendedOneDoesNotSwallowIt() {
    let table = PartitionTable(
      scheme: .mbr(diskSignature: 1), sectorSize: 512, sectorCount: 1 << 20,
      partitions: [
        Partition(number: 1, start: 2048, count: 2048, type: .mbr(0x83)),
        Partition(number: 2, start: 4096, count: 4096, type: .mbr(5)),
      ])
    #expect(table.growingLast() == table)
  }

  @Test func aChainInACircleEnds() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      try await tool("sfdisk", "-q", path.string, input: Self.script)
      // The second record links back to the first.
      var record = try device.read(at: 28672 * 512, count: 512)
      record.store(UInt32(0), at: 446 + 16 + 8)
      try device.write(record.span.bytes, at: 28672 * 512)
      #expect {
        try PartitionTable.read(from: device)
      } throws: { error in
        "\(error)".contains("circle")
      }
    }
  }

  @Test func aFileSystemWithoutPartitionsIsNoTable() async throws {
    try await withTemporaryDirectory { directory in
      for make in ["mkfs.vfat", "mkfs.ntfs -F -q", "mkfs.ext4 -q"] {
        let path = directory.appending("disk.raw")
        let device = try diskFile(path, mebibytes: 16)
        try await shell("PATH=$PATH:/usr/sbin:/sbin; \(make) \(path)")
        #expect(try PartitionTable.read(from: device) == nil, "\(make)")
      }
    }
  }

  @Test func brokenTablesNeverTrap() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      _ = try diskFile(path, mebibytes: 24)
      try await tool(
        "sfdisk", "-q", path.string,
        input: "label: dos\nstart=2048,size=2048,type=83\nstart=4096,size=40000,type=5\nstart=6144,size=2048,type=83\n"
          + "start=10240,size=2048,type=83\nstart=14336,size=2048,type=83\n")
      let whole = try path.contents()
      var mutations = Mutations(seed: 77)
      var outcomes = (read: 0, refused: 0)
      for _ in 0..<4000 {
        let bytes = mutations.mutate(
          whole, in: [446..<510, (4096 * 512 + 446)..<(4096 * 512 + 510), (8192 * 512 + 446)..<(8192 * 512 + 510)])
        do {
          if let table = try PartitionTable.read(from: MemoryDevice(bytes)) {
            outcomes.read += 1
            _ = SfdiskDump(table, device: "/dev/sda").text
            _ = table.growingLast()
            _ = try? table.encoded()
          }
        } catch is any Failure {
          outcomes.refused += 1
        }
      }
      #expect(outcomes.read > 500)
      #expect(outcomes.refused > 500)
    }
  }
}
