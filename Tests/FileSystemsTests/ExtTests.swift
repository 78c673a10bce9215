// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct ExtTests {
  struct Variant: CustomTestStringConvertible {
    let options: String
    let size: String
    let kind: FileSystemKind

    init(_ options: String, _ size: String, _ kind: FileSystemKind = .ext4) {
      self.options = options
      self.size = size
      self.kind = kind
    }

    var testDescription: String { "\(options) \(size)" }
  }

  static let variants = [
    Variant("-t ext4 -b 1024", "40M"),
    Variant("-t ext4 -b 2048", "80M"),
    Variant("-t ext4 -b 4096", "300M"),
    Variant("-t ext4 -b 4096 -g 2048", "100M"),
    Variant("-t ext4 -b 16384 -J size=16", "200M"),
    Variant("-t ext4 -b 65536 -J size=64", "300M"),
    Variant("-t ext4 -b 1024", "12345K"),
    // The last group is short, and the volume is no multiple of the block.
    Variant("-t ext4 -b 4096", "150003K"),
    Variant("-t ext4 -b 1024 -O ^flex_bg", "40M"),
    Variant("-t ext4 -O ^64bit", "60M"),
    Variant("-t ext4 -b 1024 -O ^64bit,^flex_bg,^metadata_csum,uninit_bg", "40M"),
    Variant("-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", "40M"),
    Variant("-t ext4 -b 1024 -O ^has_journal", "40M"),
    Variant("-t ext4 -b 1024 -O meta_bg,^resize_inode", "200M"),
    Variant("-t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg,^64bit", "300M"),
    Variant("-t ext4 -b 1024 -O meta_bg,^resize_inode,^sparse_super,^flex_bg", "200M"),
    Variant("-t ext4 -b 1024 -O sparse_super2", "100M"),
    Variant("-t ext4 -b 1024 -O sparse_super2 -E num_backup_sb=1", "100M"),
    Variant("-t ext4 -b 1024 -O ^sparse_super,^resize_inode", "100M"),
    Variant("-t ext4 -O bigalloc -b 4096 -C 65536", "300M"),
    Variant("-t ext4 -O bigalloc -b 1024 -C 16384", "200M"),
    Variant("-t ext4 -O bigalloc,meta_bg,^resize_inode -b 1024 -C 4096", "300M"),
    Variant("-t ext4 -O bigalloc,^flex_bg -b 1024 -C 2048", "150M"),
    Variant("-t ext4 -O bigalloc -b 4096 -C 65536", "150003K"),
    Variant("-t ext4 -O encrypt,casefold,ea_inode,large_dir,verity,mmp", "60M"),
    Variant("-t ext4 -O metadata_csum_seed,orphan_file,fast_commit -I 512 -N 5000", "60M"),
    Variant("-t ext4 -b 1024 -E resize=4000000", "60M"),
    Variant("-t ext4 -b 8192", "120M"),
    Variant("-t ext4 -b 32768 -J size=32 -O orphan_file,stable_inodes", "300M"),
    Variant("-t ext4 -b 1024 -G 64 -N 40000", "300M"),
    Variant("-t ext4 -b 1024 -O sparse_super2,^resize_inode -E num_backup_sb=0", "100M"),
    Variant("-t ext4 -O bigalloc -b 65536 -C 262144 -J size=64", "500M"),
    Variant("-t ext3 -b 1024", "40M", .ext3),
    Variant("-t ext3 -b 4096", "150M", .ext3),
    Variant("-t ext2 -b 1024", "40M", .ext2),
    Variant("-t ext2 -b 4096", "150M", .ext2),
    Variant("-t ext2 -b 1024 -r 0", "20M", .ext2),
    Variant("-t ext2 -b 1024 -O none", "60M", .ext2),
  ]

  /// Empty and with fragmented free space: the map is what `dumpe2fs` calls free, the identity what `blkid` finds; and
  /// with everything overwritten that counts as free, `e2fsck` finds nothing and all files are as before.
  @Test(.serialized, arguments: variants) func mapIsThatOfTheTools(variant: Variant) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("volume")
      try await tool("truncate", "-s", variant.size, image.string)
      try await shell("mke2fs -q -F -L 'my volume' \(variant.options) '\(image)'")
      try await compareWithTools(image, variant)

      try await tool("truncate", "-s", "0", image.string)
      try await tool("truncate", "-s", variant.size, image.string)
      try await makeTree(folder.appending("tree"), files: 120, seed: 1)
      try await shell("mke2fs -q -F -d '\(folder)/tree' \(variant.options) '\(image)'")
      let removed = stride(from: 0, to: 120, by: 4).map { "\(["", "sub/", "sub/deeper/"][$0 % 3])file\($0).bin" }
      let script = removed.map { "rm \($0)\n" }.joined()
      try await tool("debugfs", "-w", "-f", "-", image.string, input: script)
      let map = try await compareWithTools(image, variant)
      #expect(map.bitmap.freeRuns.count > 5)

      try poison(image, outside: map)
      try await tool("e2fsck", "-f", "-n", image.string)
      try await shell(
        """
        cd '\(folder)'; mkdir saved; debugfs -R 'rdump / saved' volume; rmdir saved/lost+found
        cd tree; rm \(removed.joined(separator: " ")); cd ..
        diff -r tree saved
        """)
    }
  }

  @discardableResult
  private func compareWithTools(_ image: FilePath, _ variant: Variant) async throws -> AllocationMap {
    let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
    let theirs = try await dumpe2fsMap(image)
    #expect(map.bitmap == theirs.bitmap)
    #expect(map.blockSize == theirs.blockSize)
    #expect(map.warnings.isEmpty)

    let found = try await blkid(image)
    #expect(map.identity.kind == variant.kind)
    #expect(map.identity.kind.rawValue == found["TYPE"])
    #expect(map.identity.uuid == found["UUID"])
    #expect(map.identity.label == found["LABEL"])
    #expect(map.identity.byteCount == UInt64(map.bitmap.count * map.blockSize))
    return map
  }

  /// A map of a terabyte takes a moment, whether its bitmaps lie together, apart, or were never written.
  @Test(.serialized, arguments: ["", "-O ^metadata_csum,^uninit_bg", "-O ^metadata_csum,^uninit_bg,^flex_bg"])
  func terabyte(options: String) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("volume")
      try await tool("truncate", "-s", "1T", image.string)
      try await shell("mke2fs -q -F -t ext4 -N 131072 -J size=4 -E nodiscard \(options) '\(image)'")
      let device = try FileDevice(path: image)
      let clock = ContinuousClock()
      var map: AllocationMap?
      let elapsed = try clock.measure { map = try FileSystems.allocationMap(of: device) }
      // Measured: 0.06 to 0.26 s; the rest is for a busy machine.
      #expect(elapsed < .seconds(5))
      let bitmap = try #require(map).bitmap
      #expect(bitmap.count == 1 << 28)
      #expect(
        bitmap.count - bitmap.usedCount
          == (try dumpe2fsNumber("Free blocks", of: try await tool("dumpe2fs", "-h", image.string))))
    }
  }

  /// A small volume without checksums, so that a changed byte is seen by nothing else.
  private func plainImage(_ options: String = "", size: String = "2M") async throws -> [UInt8] {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("volume")
      try await shell(
        """
        truncate -s \(size) '\(image)'
        mke2fs -q -F -t ext4 -b 1024 -g 512 -N 64 -O ^metadata_csum,^has_journal,^resize_inode\(options) '\(image)'
        """)
      return try image.contents()
    }
  }

  private func error(_ bytes: [UInt8]) throws -> FileSystemError {
    try #require(throws: FileSystemError.self) { try FileSystems.allocationMap(of: MemoryDevice(bytes)) }
  }

  @Test func whatIsNotUnmountedIsRefusedButIdentified() async throws {
    let good = try await plainImage()
    var bytes = good
    // The flag that says so, without a journal of its own.
    bytes[1024 + 0x60] |= 4
    guard case .needsRecovery(let volume, .ext4, _) = try error(bytes) else { throw Unexpected() }
    #expect(volume == "memory")
    #expect(try FileSystems.identify(MemoryDevice(bytes)) == FileSystems.identify(MemoryDevice(good)))
    bytes = good
    bytes[1024 + 0x3A] = 0
    guard case .needsRecovery = try error(bytes) else { throw Unexpected() }
    bytes[1024 + 0x3A] = 3
    guard case .damaged(_, _, let detail) = try error(bytes) else { throw Unexpected() }
    #expect(detail.contains("errors"))
  }

  @Test func unknownFeaturesAreNamed() async throws {
    let good = try await plainImage()
    for (offset, bit, name) in [
      (0x60, UInt32(1), "compression"), (0x60, 0x800, "FEATURE_I11"), (0x60, 0x8000_0000, "FEATURE_I31"),
      (0x64, 0x80, "snapshot"), (0x64, 0x20000, "FEATURE_R17"), (0x4C, 2, "revision"),
    ] {
      var bytes = good
      bytes.store(try bytes.littleEndian(UInt32.self, at: 1024 + offset) | bit, at: 1024 + offset)
      guard case .unsupported(_, .ext4, let feature) = try error(bytes) else { throw Unexpected() }
      #expect(feature.contains(name))
    }
  }

  /// The device of an external journal is no file system of its own; its owner is mapped like any other.
  @Test func externalJournal() async throws {
    try await withTemporaryDirectory { folder in
      try await shell(
        """
        cd '\(folder)'; truncate -s 8M journal; mke2fs -q -F -b 4096 -O journal_dev journal
        truncate -s 20M volume; mke2fs -q -F -t ext4 -b 4096 -O ^has_journal volume
        """)
      #expect(try FileSystems.identify(FileDevice(path: folder.appending("journal"))) == nil)
      // Only a block device can be given to mke2fs as journal: has_journal without a journal inode stands for it.
      var bytes = try folder.appending("volume").contents()
      bytes[1024 + 0x5C] |= 4
      var crc = CRC32C()
      crc.update(try bytes.span.bytes.slice(1024, 0x3FC))
      bytes.store(~crc.value, at: 1024 + 0x3FC)
      let map = try #require(try FileSystems.allocationMap(of: MemoryDevice(bytes)))
      let plain = try FileSystems.allocationMap(of: FileDevice(path: folder.appending("volume")))
      #expect(map.bitmap == plain?.bitmap)

      // With changes in the journal the map cannot be known.
      bytes[1024 + 0x60] |= 4
      crc = CRC32C()
      crc.update(try bytes.span.bytes.slice(1024, 0x3FC))
      bytes.store(~crc.value, at: 1024 + 0x3FC)
      guard case .needsRecovery(_, _, let detail) = try error(bytes) else { throw Unexpected() }
      #expect(detail.contains("another device"))
    }
  }

  @Test func countersThatDisagreeAreDamage() async throws {
    let good = try await plainImage()
    let descriptors = 2048
    let bitmap = Int(try good.littleEndian(UInt32.self, at: descriptors)) * 1024
    // A free count, a bit of a bitmap, and a bitmap's place.
    for (offset, mask) in [(descriptors + 0xC, UInt8(1)), (bitmap + 60, 1), (descriptors, 1), (descriptors + 3, 0x40)] {
      var bytes = good
      bytes[offset] ^= mask
      guard case .damaged = try error(bytes) else { throw Unexpected() }
    }
    // A bitmap that calls the superblock free does no harm: it is used, whatever the bitmap says.
    var bytes = good
    bytes[bitmap] ^= 1
    let map = try FileSystems.allocationMap(of: MemoryDevice(bytes))
    #expect(try map?.bitmap == FileSystems.allocationMap(of: MemoryDevice(good))?.bitmap)
    // Cut short by one block.
    guard case .damaged(_, _, let detail) = try error(Array(good.dropLast(1024))) else { throw Unexpected() }
    #expect(detail.contains("2048 blocks of 1024 bytes"))
  }

  /// The superblock's count of free blocks is only brought up to date on unmounting: others tell more.
  @Test func aSuperblockThatCountsOtherwiseIsNoticed() async throws {
    var bytes = try await plainImage()
    #expect(try FileSystems.allocationMap(of: MemoryDevice(bytes))?.warnings == [])
    bytes[1024 + 0xC] ^= 1
    let warnings = try FileSystems.allocationMap(of: MemoryDevice(bytes))?.warnings
    #expect(warnings?.count == 1)
    #expect(warnings?.first?.contains("superblock counts") == true)
  }

  @Test func aWrongChecksumOfTheSuperblockIsDamage() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("volume")
      try await shell("truncate -s 4M '\(image)'; mke2fs -q -F -t ext4 '\(image)'")
      var bytes = try image.contents()
      #expect(try FileSystems.allocationMap(of: MemoryDevice(bytes)) != nil)
      bytes[1024 + 0x2C0] ^= 1
      guard case .damaged(_, _, let detail) = try error(bytes) else { throw Unexpected() }
      #expect(detail.contains("checksum"))
    }
  }

  @Test(.timeLimit(.minutes(1)), arguments: ["", ",meta_bg,^flex_bg", ",bigalloc -C 2048", ",64bit,uninit_bg"])
  func damagedInputEndsInAnErrorOrAMap(options: String) async throws {
    let image = try await plainImage(options)
    let outcomes = try readDamagedCopies(
      of: image, structures: [1024..<1320, 1024..<1128, 2048..<2304, 5120..<10240], rounds: 4000, seed: 5)
    #expect(outcomes.errors > 1000)
    #expect(outcomes.maps > 100)
    #expect(outcomes.unknown > 50)
  }
}

/// Another outcome than the one asked for.
struct Unexpected: Error {}
