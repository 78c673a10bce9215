// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import SystemPackage
import TestSupport
import Testing
import Volumes

/// Tables made by sfdisk, scaled by us, and read again by sfdisk.
@Suite struct ProportionalTableTests {
  /// - Returns: what sfdisk says of the table scaled from a disk of one size to another, in MiB.
  private func scaled(
    _ script: String, from: Int, to target: Int
  ) async throws -> (before: PartitionTable, after: PartitionTable, dump: SfdiskDump) {
    try await withTemporaryDirectory { folder in
      let (source, disk) = (folder.appending("a"), folder.appending("b"))
      try await tool("truncate", "-s", "\(from)M", source.string)
      try await tool("truncate", "-s", "\(target)M", disk.string)
      try await tool("sfdisk", "-q", source.string, input: script)
      let before = try #require(try PartitionTable.read(from: FileDevice(path: source)))
      let after = try before.proportional(toByteCount: UInt64(target) << 20, sectorSize: 512)
      try after.write(to: FileDevice(path: disk, access: .readWrite))
      // Overlaps and what leaves the disk are errors here.
      let report = try await tool("sfdisk", "--verify", disk.string)
      #expect(report.contains("No errors detected"), "\(report)")
      return (before, after, try SfdiskDump(parsing: await tool("sfdisk", "-d", disk.string), file: "sfdisk"))
    }
  }

  private func mebibytes(_ table: SfdiskDump, _ number: Int) throws -> UInt64 {
    try #require(table.partitions.first { $0.number == number }).count / 2048
  }

  @Test func whatCanUseItGrows() async throws {
    let script = """
      label: gpt
      size=1M, type=21686148-6449-6E6F-744E-656564454649
      size=100M, type=U, name="EFI"
      size=300M, type=L
      size=64M, type=S
      size=500M, type=L
      size=30M, type=DE94BBA4-06D1-4D40-A16A-BFD50179D6AC
      """
    let (before, after, dump) = try await scaled(script, from: 1024, to: 4096)
    for (number, size) in [(1, 1), (2, 100), (4, 64), (6, 30)] { #expect(try mebibytes(dump, number) == size) }
    let (small, large) = try (mebibytes(dump, 3), mebibytes(dump, 5))
    #expect((1440...1470).contains(small), "\(small)")
    #expect((2420...2440).contains(large), "\(large)")
    for number in 1...3 { #expect(after.partition(number)?.start == before.partition(number)?.start) }
    for number in 1...6 {
      let (old, new) = try (#require(before.partition(number)), #require(after.partition(number)))
      #expect(new.start % 2048 == 0)
      #expect(new.uuid == old.uuid && new.name == old.name && new.type == old.type)
      #expect(new.count >= old.count)
    }
    // Nothing but alignment is left over.
    #expect(after.partition(6).map { 4096 - ($0.end / 2048) }.map { $0 < 8 } == true)
  }

  @Test func theLastFillsTheDisk() async throws {
    let (_, after, _) = try await scaled("label: gpt\nsize=100M, type=U\nsize=200M, type=L\n", from: 400, to: 1000)
    #expect(after.partition(2)?.end == 999 * 2048)
    let (_, mbr, _) = try await scaled("label: dos\nsize=100M, type=83\nsize=200M, type=7\n", from: 400, to: 1000)
    #expect(mbr.partition(2)?.end == 1000 * 2048)
  }

  @Test func logicalPartitionsMoveWithTheirRecords() async throws {
    let script = """
      label: dos
      x1 : start=2048, size=204800, type=83, bootable
      x2 : start=206848, size=1126400, type=5
      x3 : start=1333248, size=65536, type=82
      x5 : start=208896, size=102400, type=83
      x6 : start=313344, size=202753, type=83
      x7 : start=520192, size=131072, type=82
      x8 : start=653312, size=614400, type=83
      """
    let (before, after, dump) = try await scaled(script, from: 700, to: 3000)
    #expect(before.partitions.map(\.number) == [1, 2, 3, 5, 6, 7, 8])
    #expect(dump.partitions.count == before.partitions.count)
    for old in before.partitions where !old.type.isExtended {
      let new = try #require(after.partition(old.number))
      #expect(new.count >= old.count)
      if old.type == .mbr(0x82) { #expect(new.count == old.count) } else { #expect(new.count > 3 * old.count) }
    }
  }

  /// Windows: the small active partition stays.
  @Test func theSystemReservedPartitionStays() async throws {
    let script = "label: dos\nsize=100M, type=7, bootable\nsize=800M, type=7\nsize=50M, type=27\n"
    let (before, after, dump) = try await scaled(script, from: 1000, to: 2000)
    #expect(try mebibytes(dump, 1) == 100)
    #expect(try mebibytes(dump, 3) == 50)
    #expect(try mebibytes(dump, 2) > 1780)
    #expect(after.partition(1) == before.partition(1))
  }

  @Test func thereMayBeNothingToShare() async throws {
    let script = "label: gpt\nsize=100M, type=U\nsize=200M, type=L\n"
    let (before, same, _) = try await scaled(script, from: 302, to: 302)
    #expect(same.partitions == before.partitions)
    let (swap, kept, _) = try await scaled("label: gpt\nsize=100M, type=S\n", from: 200, to: 900)
    #expect(kept.partitions == swap.partitions)
    #expect(throws: PartitionTableError.self) { try before.proportional(toByteCount: 200 << 20, sectorSize: 512) }
    #expect(throws: PartitionTableError.self) { try before.proportional(toByteCount: 900 << 20, sectorSize: 4096) }
  }

  /// Tables as no disk has them: a table comes back that keeps to the disk, or an error.
  @Test func absurdTables() throws {
    var random = SeededGenerator(state: 7)
    var moved = 0
    for _ in 0..<3000 {
      let isGPT = Bool.random(using: &random)
      let size = UInt64.random(in: 4096...1 << 30, using: &random)
      let count = Int.random(in: 1...8, using: &random)
      // Half of them in order, the others anywhere.
      var edges = (0..<2 * count).map { _ in UInt64.random(in: 34...size - 34, using: &random) }
      if Bool.random(using: &random) { edges.sort() }
      let partitions = (1...count).map { number in
        let (one, other) = (edges[2 * number - 2], edges[2 * number - 1])
        return Partition(
          number: number, start: min(one, other), count: max(one, other) - min(one, other),
          type: isGPT ? .linux : .mbr([0x83, 0x05, 0x82, 0x07].randomElement(using: &random) ?? 0x83),
          bootRecordSector: isGPT || number < 5 ? nil : one - min(one, 63))
      }
      let scheme: PartitionTable.Scheme =
        isGPT
        ? .gpt(PartitionTable.GPTParameters(diskGUID: .zero, firstUsable: 34, lastUsable: size - 34))
        : .mbr(diskSignature: 1)
      let table = PartitionTable(scheme: scheme, sectorSize: 512, sectorCount: size, partitions: partitions)
      let target = UInt64.random(in: 0...(size * 3), using: &random) * 512
      do {
        let scaled = try table.proportional(toByteCount: target, sectorSize: 512)
        #expect(scaled.partitions.allSatisfy { $0.end <= target / 512 })
        for (old, new) in zip(partitions, scaled.partitions) where !old.type.isExtended {
          #expect(new.count >= old.count && new.start >= old.start)
          #expect(new.start == old.start || new.start % 2048 == 0)
        }
        if scaled.partitions != partitions { moved += 1 }
      } catch {
        #expect(target < (size + 100) * 512)
      }
    }
    #expect(moved > 300)
  }
}

/// Knuth's multiplier: the same numbers each time.
private struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}
