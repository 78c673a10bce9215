// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

@Suite struct GUIDPartitionTableTests {
  @Test func writtenTableIsWhatTheToolsRead() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      let table = try telltaleGPT(sectorCount: device.byteCount / 512)
      try table.write(to: device)
      #expect(try await tool("sgdisk", "-v", path.string).contains("No problems found"))
      #expect(try await tool("sfdisk", "-d", path.string) == SfdiskDump(table, device: path.string).text)
      #expect(try await tool("sfdisk", "--verify", path.string).contains("No errors detected"))
      var read = try #require(try PartitionTable.read(from: device))
      #expect(read.bootSector != table.bootSector)
      read.bootSector = table.bootSector
      #expect(read == table)
    }
  }

  @Test func tableOfTheToolsIsReadAndWrittenByteForByte() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      try await tool("sgdisk", "-o", "-n", "1:2048:+10M", "-t", "1:ef00", "-c", "1:EFI", "-n", "4:0:0", path.string)
      let before = try path.contents()
      let table = try #require(try PartitionTable.read(from: device))
      #expect(table.warnings.isEmpty)
      #expect(try await tool("sfdisk", "-d", path.string) == SfdiskDump(table, device: path.string).text)
      try device.zero(at: 0, count: 1 << 20)
      try device.zero(at: device.byteCount - (1 << 20), count: 1 << 20)
      try table.write(to: device)
      #expect(try path.contents() == before)
    }
  }

  @Test(arguments: [1, 64, 200, 256, 1000, 4096]) func anyEntryCount(_ count: Int) async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      var table = try telltaleGPT(sectorCount: device.byteCount / 512, entryCount: count)
      table.partitions.removeAll { $0.number > count }
      try table.write(to: device)
      let read = try #require(try PartitionTable.read(from: device))
      #expect(read.partitions == table.partitions)
      #expect(read.scheme == table.scheme)
      #expect(try await tool("sgdisk", "-v", path.string).contains("No problems found"))
    }
  }

  @Test func entriesOfOtherSizes() throws {
    var table = try telltaleGPT(sectorCount: 131072)
    guard case .gpt(var parameters) = table.scheme else {
      Issue.record("not a GPT")
      return
    }
    parameters.entrySize = 256
    parameters.firstUsable = 66
    parameters.lastUsable = 131072 - 66
    table.scheme = .gpt(parameters)
    let device = MemoryDevice(try image(of: table))
    let read = try #require(try PartitionTable.read(from: device))
    #expect(read.partitions == table.partitions)
    #expect(read.warnings.isEmpty)
  }

  @Test func sectorsOf4096BytesInAFile() async throws {
    let table = try telltaleGPT(sectorSize: 4096, sectorCount: 16384)
    // The file doesn't tell its sector size; the place of the header does.
    let read = try #require(try PartitionTable.read(from: MemoryDevice(try image(of: table))))
    #expect(read.sectorSize == 4096)
    #expect(read.partitions == table.partitions)
    #expect(read.scheme == table.scheme)
  }

  @Test func backupServesWhenThePrimaryIsDamaged() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      let table = try telltaleGPT(sectorCount: device.byteCount / 512)
      try table.write(to: device)
      for (offset, copy) in [(UInt64(512), "primary"), (device.byteCount - 512, "backup")] {
        let sector = try device.read(at: offset, count: 512)
        try device.write([UInt8](repeating: 0xA5, count: 512).span.bytes, at: offset)
        let read = try #require(try PartitionTable.read(from: device))
        #expect(read.partitions == table.partitions)
        #expect(read.scheme == table.scheme)
        #expect(read.warnings.count == 1)
        #expect(read.warnings.first?.contains(copy) == true)
        try device.write(sector.span.bytes, at: offset)
      }
      // An entry changed behind the checksum's back, in both copies: no table at all is better than a wrong one.
      for offset in [UInt64(1024), device.byteCount - 33 * 512] {
        try device.write([UInt8](repeating: 7, count: 8).span.bytes, at: offset + 32)
      }
      #expect(throws: PartitionTableError.self) { try PartitionTable.read(from: device) }
    }
  }

  @Test(arguments: [48, 64, 96, 4000]) func adaptsToADiskOfAnotherSize(_ mebibytes: Int) async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: mebibytes)
      let original = try telltaleGPT(sectorCount: 131072)
      let table = try original.adapted(toByteCount: device.byteCount, sectorSize: 512)
      try table.write(to: device)
      #expect(try await tool("sgdisk", "-v", path.string).contains("No problems found"))
      #expect(table.partitions == original.partitions)
      // The same as what sgdisk makes of the original table moved to this disk.
      let other = directory.appending("other.raw")
      _ = try diskFile(other, mebibytes: mebibytes)
      try await tool("sfdisk", "-q", other.string, input: SfdiskDump(original, device: "x").text.withoutLastLBA)
      let theirs = try await tool("sfdisk", "-d", other.string)
      #expect(theirs == SfdiskDump(table, device: other.string).text)
    }
  }

  @Test func aSmallerDiskThanThePartitionsIsRefused() throws {
    let table = try telltaleGPT(sectorCount: 131072)
    #expect(throws: PartitionTableError.doesNotFit(needed: (32 * 2048 + 33) * 512, available: 32 << 20)) {
      try table.adapted(toByteCount: 32 << 20, sectorSize: 512)
    }
    #expect(try table.adapted(toByteCount: (32 << 20) + 33 * 512, sectorSize: 512).partitions == table.partitions)
    #expect(throws: PartitionTableError.sectorSizeDiffers(table: 512, device: 4096)) {
      try table.adapted(toByteCount: 64 << 20, sectorSize: 4096)
    }
  }

  @Test func lastPartitionGrowsToTheEnd() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 200)
      let table = try telltaleGPT(sectorCount: 131072)
      let grown = try table.adapted(toByteCount: device.byteCount, sectorSize: 512).growingLast()
      let last = try #require(grown.partition(128))
      // The backup GPT needs less than a MiB; the partition ends on one.
      #expect(last.end == 199 * 2048)
      #expect(last.start == 20 * 2048)
      try grown.write(to: device)
      #expect(try await tool("sgdisk", "-v", path.string).contains("No problems found"))
    }
  }

  @Test func hybridMBRStaysAsItIs() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      try await tool("sgdisk", "-o", "-n", "1:2048:+10M", "-n", "2:0:+10M", "-n", "3:0:0", "-h", "1:2", path.string)
      let table = try #require(try PartitionTable.read(from: device))
      #expect(table.isHybrid)
      let sector = try device.read(at: 0, count: 512)
      try device.zero(at: 0, count: 1 << 20)
      try table.write(to: device)
      #expect(try device.read(at: 0, count: 512) == sector)
      let larger = try table.adapted(toByteCount: 96 << 20, sectorSize: 512)
      #expect(larger.bootSector[446..<478] == table.bootSector[446..<478])
    }
  }

  @Test func bootCodeIsKept() async throws {
    try await withTemporaryDirectory { directory in
      let device = try diskFile(directory.appending("disk.raw"), mebibytes: 64)
      var table = try telltaleGPT(sectorCount: device.byteCount / 512)
      for index in 0..<440 { table.bootSector[index] = UInt8(index & 0xFF) }
      try table.write(to: device)
      #expect(try device.read(at: 0, count: 440) == Array(table.bootSector.prefix(440)))
    }
  }

  @Test func anOverlapIsRefused() throws {
    var table = try telltaleGPT(sectorCount: 131072)
    table.partitions[1].start -= 1
    #expect(throws: PartitionTableError.inconsistent(detail: "partitions 1 and 3 overlap")) { try table.encoded() }
  }

  @Test func brokenTablesNeverTrap() throws {
    let size = 4 << 20
    var small = try telltaleGPT(sectorCount: UInt64(size / 512))
    small.partitions = [Partition(number: 1, start: 2048, count: 2048, type: .linux, uuid: .random(), name: "x")]
    let whole = try image(of: small)
    var mutations = Mutations(seed: 20240615)
    var outcomes = (read: 0, refused: 0)
    for round in 0..<4000 {
      var bytes = mutations.mutate(
        whole,
        in: [446..<512, 512..<604, 1024..<1280, (size - 512)..<(size - 420), (size - 33 * 512)..<(size - 32 * 512)])
      if round.isMultiple(of: 3) { resign(&bytes, at: 512) }
      if round.isMultiple(of: 5) { bytes = Array(bytes.prefix(Int(mutations.next() % UInt64(size)))) }
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
    #expect(outcomes.refused > 50)
  }

  /// Gives a tampered header a right checksum, so that its contents get looked at.
  private func resign(_ bytes: inout [UInt8], at offset: Int) {
    guard bytes.count >= offset + 92 else { return }
    bytes.store(UInt32(0), at: offset + 16)
    bytes.store(CRC32.checksum(Array(bytes[offset..<(offset + 92)])), at: offset + 16)
  }

  private func image(of table: PartitionTable) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(table.byteCount))
    for region in try table.encoded() { bytes.store(bytes: region.bytes, at: Int(region.offset)) }
    return bytes
  }
}

extension String {
  fileprivate var withoutLastLBA: String {
    split(separator: "\n", omittingEmptySubsequences: false).filter { !$0.hasPrefix("last-lba:") }
      .joined(separator: "\n")
  }
}
