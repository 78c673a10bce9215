// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Journals that `debugfs` has written and `e2fsck` replays.
@Suite struct ExtJournalTests {
  struct Variant: CustomTestStringConvertible {
    let options: String
    /// Of the command `journal_open` of `debugfs`.
    let checksums: String
    var size = "20M"

    var testDescription: String { "\(options) \(checksums)" }
  }

  static let variants = [
    Variant(options: "-t ext4 -b 1024", checksums: "-c -v 3"),
    Variant(options: "-t ext4 -b 1024", checksums: "-c -v 2"),
    Variant(options: "-t ext4 -b 1024", checksums: ""),
    // The first kind of checksums, in commit blocks only: debugfs takes it where the file system has none.
    Variant(options: "-t ext4 -b 1024 -O ^metadata_csum", checksums: "-c"),
    Variant(options: "-t ext4 -b 1024 -O ^64bit", checksums: "-c -v 3"),
    Variant(options: "-t ext4 -b 1024 -O ^64bit", checksums: "-c -v 2"),
    Variant(options: "-t ext4 -b 4096", checksums: "-c -v 3", size: "60M"),
    Variant(options: "-t ext4 -b 1024 -O bigalloc -C 4096", checksums: "-c -v 3", size: "40M"),
    Variant(options: "-t ext4 -b 1024 -O meta_bg,^resize_inode,^metadata_csum,uninit_bg", checksums: ""),
    // The journal's blocks by indirect blocks, of one and of two levels.
    Variant(options: "-t ext3 -b 1024", checksums: ""),
    Variant(options: "-t ext3 -b 4096", checksums: "", size: "60M"),
  ]

  /// A volume `before`, the same `after` files were written and deleted, and the script for `debugfs` that journals what
  /// is different: after that `before` needs recovery to become `after`.
  private func makeVolumes(_ options: String, size: String, in folder: FilePath) async throws -> String {
    try await makeTree(folder.appending("tree"), files: 60, seed: 3)
    try await shell(
      """
      cd '\(folder)'; truncate -s \(size) before
      mke2fs -q -F -d tree \(options) before; cp before after
      (for i in $(seq 1 59); do
         f=$(find tree -name file$i.bin); echo "write $f new$i"
       done
       for i in $(seq 3 3 57); do echo "rm file$i.bin"; done) | debugfs -w -f - after
      """)
    let blockSize = try await dumpe2fsMap(folder.appending("before")).blockSize
    let before = try folder.appending("before").contents()
    let after = try folder.appending("after").contents()
    var numbers: [String] = []
    var blocks: [UInt8] = []
    for offset in stride(from: 0, to: before.count - blockSize + 1, by: blockSize)
    where before[offset..<(offset + blockSize)] != after[offset..<(offset + blockSize)] {
      numbers.append("\(offset / blockSize)")
      blocks += after[offset..<(offset + blockSize)]
    }
    try folder.appending("blocks").write(blocks)
    return "jw -b \(numbers.joined(separator: ",")) \(folder)/blocks\n"
  }

  private func debugfs(_ script: String, _ image: FilePath) async throws {
    try await tool("debugfs", "-w", "-f", "-", image.string, input: script)
  }

  @Test(.serialized, arguments: variants) func theMapIsThatAfterTheReplay(variant: Variant) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("before")
      let script = try await makeVolumes(variant.options, size: variant.size, in: folder)
      let before = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      try await debugfs("jo \(variant.checksums)\n\(script)jc\n", image)

      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.warnings.count == 1)
      #expect(map.warnings.first?.contains("journal (1 transactions) was replayed") == true)
      try await shell("cp '\(image)' '\(folder)/replayed'; e2fsck -y -E journal_only '\(folder)/replayed'")
      var expected = try await dumpe2fsMap(folder.appending("replayed")).bitmap
      let missing = expected.usedCount - intersection(expected, before.bitmap).usedCount
      #expect(missing > 50, "the map before the replay would have done")
      #expect(intersection(expected, before.bitmap).usedCount < before.bitmap.usedCount, "nothing was freed")
      expected.formUnion(before.bitmap)
      #expect(map.bitmap == expected)
    }
  }

  private func intersection(_ one: BlockBitmap, _ other: BlockBitmap) -> BlockBitmap {
    var result = one
    for run in other.freeRuns { result.set(run, used: false) }
    return result
  }

  /// Later transactions win, revoked blocks stay as they are until they are written again, and what was not committed did
  /// not happen.
  @Test(arguments: [
    Variant(options: "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", checksums: ""),
    Variant(options: "-t ext4 -b 1024 -O ^64bit", checksums: ""),
    // With the second kind, debugfs 1.47.0 may write a transaction over the last one's commit block.
    Variant(options: "-t ext4 -b 1024", checksums: "-c -v 3"),
  ])
  func onlyWhatIsCommittedAndNotRevokedCounts(variant: Variant) async throws {
    try await withTemporaryDirectory { folder in
      let script = try await makeVolumes(variant.options, size: variant.size, in: folder)
      var before = try await dumpe2fsMap(folder.appending("before")).bitmap
      // Group descriptors of zeros, which cannot be understood.
      try folder.appending("zeros").write([UInt8](repeating: 0, count: 1024))
      func map(_ transactions: String) async throws -> BlockBitmap {
        let image = folder.appending("journaled")
        try await shell("cp '\(folder)/before' '\(image)'")
        try await debugfs("jo \(variant.checksums)\n\(transactions)jc\n", image)
        return try #require(try FileSystems.allocationMap(of: FileDevice(path: image))).bitmap
      }
      let zeros = "-b 2 \(folder)/zeros\n"
      #expect(try await map("jw \(zeros)jw -r 2\n") == before)
      let after = try await dumpe2fsMap(folder.appending("after")).bitmap
      before.formUnion(after)
      #expect(try await map("jw \(zeros)jw -r 2\n\(script)") == before)
      #expect(try await map("jw \(zeros)\(script)") == before)
      #expect(try await map("\(script)jw -c \(zeros)") == before)
      await #expect(throws: FileSystemError.self) { try await map("\(script)jw \(zeros)") }
    }
  }

  /// Grown while mounted: the new size and the new descriptors are in the journal only, the new groups in place.
  @Test func theMapHasTheSizeAfterTheReplay() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("before")
      try await shell(
        """
        cd '\(folder)'; truncate -s 100M before; mke2fs -q -F -t ext4 -b 1024 before 60M
        cp --sparse=always before after; resize2fs after 100M
        """)
      let before = try await dumpe2fsMap(image).bitmap
      let after = try FileDevice(path: folder.appending("after"))
      let device = try FileDevice(path: image, access: .readWrite)
      var numbers: [String] = []
      var blocks: [UInt8] = []
      for block in 0..<(100 << 10) {
        let old = try device.read(at: UInt64(block) << 10, count: 1024)
        let new = try after.read(at: UInt64(block) << 10, count: 1024)
        guard old != new else { continue }
        if block < before.count {
          numbers.append("\(block)")
          blocks += new
        } else {
          try device.write(new.span.bytes, at: UInt64(block) << 10)
        }
      }
      try folder.appending("blocks").write(blocks)
      try await debugfs("jo -c -v 3\njw -b \(numbers.joined(separator: ",")) \(folder)/blocks\njc\n", image)

      let map = try #require(try FileSystems.allocationMap(of: device))
      var expected = try await dumpe2fsMap(folder.appending("after")).bitmap
      #expect(expected.count > before.count)
      expected.formUnion(before.extended(to: expected.count, used: false))
      #expect(map.bitmap == expected)
      #expect(map.identity.byteCount == 100 << 20)
    }
  }

  /// debugfs 1.47.0 sums up revoke blocks with the first kind of checksums, which neither e2fsck nor the kernel do.
  @Test func aTransactionThatE2fsckCallsCorruptIsDamage() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("before")
      let script = try await makeVolumes("-t ext4 -b 1024 -O ^metadata_csum", size: "20M", in: folder)
      try await debugfs("jo -c\n\(script)jw -r 9000\njc\n", image)
      let error = #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: FileDevice(path: image)) }
      guard case .damaged(_, _, let detail) = error else { throw Unexpected() }
      #expect(detail.contains("transaction 2"))
      let verdict = try await shell("e2fsck -y -E journal_only '\(image)' 2>&1")
      #expect(verdict.contains("transaction 2 was corrupt"))
    }
  }

  /// A block that begins like one of the journal's own is written to it with zeros there.
  @Test func anEscapedBlockGetsItsFirstBytesBack() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("volume")
      try await shell(
        "truncate -s 60M '\(image)'; mke2fs -q -F -t ext4 -b 1024 -O ^metadata_csum,^uninit_bg '\(image)'")
      let device = try FileDevice(path: image)
      let before = try #require(try FileSystems.allocationMap(of: device)).bitmap
      let descriptors = try device.read(at: 2048, count: 1024)
      func bitmap(of group: Int) throws -> (block: UInt32, bytes: [UInt8]) {
        let block = try descriptors.littleEndian(UInt32.self, at: group * 64)
        return (block, try device.read(at: UInt64(block) * 1024, count: 1024))
      }
      let group = try #require(try (0..<7).first { try bitmap(of: $0).bytes[0..<4] == [0, 0, 0, 0] })
      let bitmapBlock = try bitmap(of: group).block
      var bytes = try bitmap(of: group).bytes
      bytes.storeBigEndian(UInt32(0xC03B_3998), at: 0)
      var changed = descriptors
      let free = try descriptors.littleEndian(UInt16.self, at: group * 64 + 12)
      changed.store(free - UInt16(UInt32(0xC03B_3998).nonzeroBitCount), at: group * 64 + 12)
      try folder.appending("blocks").write(changed + bytes)
      try await debugfs("jo\njw -b 2,\(bitmapBlock) \(folder)/blocks\njc\n", image)

      let map = try #require(try FileSystems.allocationMap(of: device)).bitmap
      var expected = before
      let first = 1 + group * 8192
      for bit in 0..<32 where bytes[bit / 8] >> (bit % 8) & 1 == 1 { expected[first + bit] = true }
      #expect(map == expected)
    }
  }

  @Test func aJournalThatDoesNotMatchItsChecksumsIsDamage() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("before")
      let script = try await makeVolumes("-t ext4 -b 1024", size: "20M", in: folder)
      try await debugfs("jo -c -v 3\n\(script)jc\n", image)
      let device = try FileDevice(path: image)
      let blocks = try journalBlocks(try image.contents(), blockSize: 1024)
      // Superblock, descriptor, a block behind it, commit.
      let commit = try #require(blocks.last)
      for (offset, detail) in [
        (blocks[0] + 0x40, "superblock"), (blocks[1] + 500, "descriptor block"), (blocks[1] + 1024 + 77, "checksum"),
        (commit + 600, "commit block"),
      ] {
        var damaged = PatchedDevice(device)
        damaged.patch([try device.read(at: UInt64(offset), count: 1)[0] ^ 0x10], at: UInt64(offset))
        let error = #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: damaged) }
        guard case .damaged(_, _, let found) = error else { throw Unexpected() }
        #expect(found.contains(detail))
      }
      // Without its commit block the transaction never happened: that is the map from before.
      var uncommitted = PatchedDevice(device)
      uncommitted.patch([0, 0, 0, 0], at: UInt64(commit))
      let map = try #require(try FileSystems.allocationMap(of: uncommitted))
      #expect(map.warnings.first?.contains("(0 transactions)") == true)
    }
  }

  /// Where the journal's own blocks are: its superblock, descriptors and commit blocks, in bytes.
  private func journalBlocks(_ bytes: [UInt8], blockSize: Int) throws -> [Int] {
    try stride(from: 0, to: bytes.count - blockSize, by: blockSize).filter {
      try bytes.bigEndian(UInt32.self, at: $0) == 0xC03B_3998
    }
  }

  @Test(.serialized, .timeLimit(.minutes(2)), arguments: ["-t ext4 -b 1024 -O ^metadata_csum", "-t ext3 -b 1024"])
  func damageGivesAnErrorOrAMap(options: String) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("before")
      let script = try await makeVolumes(options + " -N 256", size: "12M", in: folder)
      try await debugfs("jo\n\(script)jc\n", image)
      let bytes = try image.contents()
      let blocks = try journalBlocks(bytes, blockSize: 1024)
      // Superblock, journal superblock, descriptor, commit; the journal's inode and the block that maps it.
      let table = try bytes.littleEndian(UInt32.self, at: 2048 + 8)
      let inodeSize = Int(try bytes.littleEndian(UInt16.self, at: 1024 + 0x58))
      let inode = UInt64(Int(table) * 1024 + 7 * inodeSize)
      var structures: [Range<UInt64>] = [1024..<1320, inode..<(inode + 128), inode + 40..<(inode + 100)]
      structures += blocks.map { UInt64($0)..<UInt64($0 + 256) }
      let indirect = UInt64(try bytes.littleEndian(UInt32.self, at: Int(inode) + 40 + 48)) * 1024
      if options.contains("ext3") { structures.append(indirect..<(indirect + 1024)) }
      try readDamaged(MemoryDevice(bytes), structures: structures, rounds: 6000, seed: 11)
    }
  }
}
