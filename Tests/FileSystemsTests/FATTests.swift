// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct FATTests {
  struct Variant: CustomTestStringConvertible {
    let options: String
    /// In KiB.
    let size: Int
    let kind: FileSystemKind

    init(_ options: String, _ size: Int, _ kind: FileSystemKind) {
      self.options = options
      self.size = size
      self.kind = kind
    }

    var testDescription: String { "\(options) \(size) KiB" }
  }

  static let variants = [
    Variant("-F 12", 1440, .fat12),
    Variant("-F 12 -f 1 -s 8", 3001, .fat12),
    Variant("-F 12 -S 4096", 12_000, .fat12),
    Variant("-F 12 -s 16 -R 7 -a", 17_777, .fat12),
    Variant("-F 16", 20_000, .fat16),
    Variant("-F 16 -f 1 -s 2 -a", 33_333, .fat16),
    Variant("-F 16 -S 1024 -r 1024", 65_535, .fat16),
    Variant("-F 16 -s 64", 200_001, .fat16),
    Variant("-F 16 -s 128 -R 33", 300_000, .fat16),
    Variant("-F 32", 300_000, .fat32),
    Variant("-F 32 -s 1", 40_000, .fat32),
    Variant("-F 32 -s 8 -a", 300_017, .fat32),
    Variant("-F 32 -S 4096 -s 1 -R 64", 290_000, .fat32),
    Variant("-F 32 -S 2048", 200_003, .fat32),
  ]

  /// Empty and with fragmented free space: as many free clusters as `fsck.fat` counts, the identity that `blkid` finds;
  /// and with everything overwritten that counts as free, `fsck.fat` finds nothing and all files are as before.
  @Test(.serialized, arguments: variants) func mapIsThatOfTheTools(variant: Variant) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("volume")
      try await shell("mkfs.fat -C -n 'MY VOL' \(variant.options) '\(image)' \(variant.size)")
      try await compareWithTools(image, variant)

      try await makeTree(folder.appending("tree"), files: 60, seed: 2)
      try await shell(
        """
        cd '\(folder)'; export MTOOLS_SKIP_CHECK=1
        mcopy -s -Q -i volume tree/* ::
        for file in $(cd tree; find -type f -name '*[147].bin'); do mdel -i volume "::/$file"; rm "tree/$file"; done
        """)
      let map = try await compareWithTools(image, variant)
      #expect(map.bitmap.freeRuns.count > 5)

      try poison(image, outside: map)
      try await shell(
        """
        cd '\(folder)'; export MTOOLS_SKIP_CHECK=1
        fsck.fat -n volume
        mkdir saved; mcopy -s -Q -i volume '::*' saved
        diff -r tree saved
        """)
    }
  }

  @discardableResult
  private func compareWithTools(_ image: FilePath, _ variant: Variant) async throws -> AllocationMap {
    let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
    let bytes = try FileDevice(path: image).read(at: 0, count: 512)
    let sectorsPerCluster = Int(bytes[13])
    let clusters = try await fsckCounts(image)
    #expect(map.bitmap.count - map.bitmap.usedCount == (clusters.total - clusters.used) * sectorsPerCluster)
    #expect(map.blockSize == Int(try bytes.littleEndian(UInt16.self, at: 11)))
    #expect(map.warnings.isEmpty)

    let found = try await blkid(image)
    #expect(found["TYPE"] == "vfat")
    #expect(map.identity.kind == variant.kind)
    #expect(map.identity.kind.rawValue.uppercased() == found["VERSION"])
    #expect(map.identity.uuid == found["UUID"])
    #expect(map.identity.label == found["LABEL"])
    #expect(map.identity.byteCount == UInt64(map.bitmap.count * map.blockSize))
    return map
  }

  /// The last line of `fsck.fat -n`: `IMAGE: 12 files, 34/567 clusters`. Its status is no success when it would correct
  /// FAT32's note of the number of free clusters, in which mkfs.fat forgets the bad ones.
  private func fsckCounts(_ image: FilePath) async throws -> (used: Int, total: Int) {
    let output = try await shell("fsck.fat -n '\(image)' || true")
    let counts = try #require(output.split(separator: " ").first { $0.contains("/") && !$0.contains("volume") })
    let numbers = counts.split(separator: "/").compactMap { Int($0) }
    return (try #require(numbers.first), try #require(numbers.last))
  }

  private func image(_ options: String, kibibytes: Int) async throws -> [UInt8] {
    try await withTemporaryDirectory { folder in
      try await shell("mkfs.fat -C \(options) '\(folder)/volume' \(kibibytes)")
      return try folder.appending("volume").contents()
    }
  }

  private func map(_ bytes: [UInt8]) throws -> AllocationMap {
    try #require(try FileSystems.allocationMap(of: MemoryDevice(bytes)))
  }

  /// partclone calls them free.
  @Test(arguments: [("-F 12", 1440, 900), ("-F 16", 20_000, 900), ("-F 32", 300_000, 9000)])
  func badClustersAreUsed(options: String, kibibytes: Int, block: Int) async throws {
    try await withTemporaryDirectory { folder in
      try folder.appending("bad").write("\(block)\n\(block + 1)\n\(block + 200)\n".utf8)
      let image = folder.appending("volume")
      try await shell("cd '\(folder)'; mkfs.fat -C \(options) -s 1 -l bad volume \(kibibytes)")
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      let clusters = try await fsckCounts(image)
      #expect(map.bitmap.count - map.bitmap.usedCount == clusters.total - clusters.used)
      // Its blocks are of 1 KiB.
      for sector in [0, 1, 2, 3, 400, 401] { #expect(map.bitmap[block * 2 + sector]) }
      for sector in [-1, 4, 399, 402] { #expect(!map.bitmap[block * 2 + sector]) }
    }
  }

  @Test func theActiveFATCounts() async throws {
    var bytes = try await image("-F 32 -s 1", kibibytes: 40_000)
    let good = try map(bytes)
    let reserved = Int(try bytes.littleEndian(UInt16.self, at: 14)) * 512
    let fatSize = Int(try bytes.littleEndian(UInt32.self, at: 36)) * 512
    for offset in reserved..<(reserved + fatSize) { bytes[offset] = 0xFF }
    #expect(try map(bytes).bitmap.usedCount == good.bitmap.count)
    bytes.store(UInt16(0x81), at: 40)
    #expect(try map(bytes).bitmap == good.bitmap)
    bytes.store(UInt16(0x82), at: 40)
    #expect(throws: FileSystemError.self) { try map(bytes) }
  }

  @Test(arguments: [("-F 12", 1440), ("-F 16", 20_000), ("-F 32 -s 1", 40_000)])
  func dirtyIsOnlyWorthAWarning(options: String, kibibytes: Int) async throws {
    let good = try await image(options, kibibytes: kibibytes)
    let kind = try map(good).identity.kind
    let fat = Int(try good.littleEndian(UInt16.self, at: 14)) * 512
    var changes = [(kind == .fat32 ? 65 : 37, UInt8(1))]
    if kind == .fat16 { changes += [(fat + 3, 0x80), (fat + 3, 0x40)] }
    if kind == .fat32 { changes += [(fat + 7, 0x08), (fat + 7, 0x04)] }
    for (offset, bit) in changes {
      var bytes = good
      bytes[offset] ^= bit
      let changed = try map(bytes)
      #expect(changed.warnings.count == 1)
      #expect(changed.bitmap == (try map(good).bitmap))
    }
  }

  /// A label in the root directory wins over the boot sector's; without either there is none.
  @Test(arguments: [("-F 12", 1440), ("-F 32 -s 1", 40_000)])
  func labels(options: String, kibibytes: Int) async throws {
    try await withTemporaryDirectory { folder in
      let volume = folder.appending("volume")
      func label() throws -> String? { try FileSystems.identify(FileDevice(path: volume))?.label }
      try await shell("mkfs.fat -C \(options) '\(volume)' \(kibibytes)")
      #expect(try label() == nil)
      try await shell("MTOOLS_SKIP_CHECK=1 mlabel -i '\(volume)' ::ROOTLABEL")
      #expect(try label() == "ROOTLABEL")
      #expect(try await blkid(volume)["LABEL"] == "ROOTLABEL")
      let device = try FileDevice(path: volume, access: .readWrite)
      let boot = Array("OTHER LABEL".utf8)
      try device.write(boot.span.bytes, at: options.contains("32") ? 71 : 43)
      #expect(try label() == "ROOTLABEL")
      try await shell("MTOOLS_SKIP_CHECK=1 mlabel -c -i '\(volume)' ::")
      try device.write(boot.span.bytes, at: options.contains("32") ? 71 : 43)
      #expect(try label() == "OTHER LABEL")
    }
  }

  /// The root directory's clusters may form a ring.
  @Test func aRingOfDirectoryClustersEnds() async throws {
    var bytes = try await image("-F 32 -s 1", kibibytes: 40_000)
    let reserved = Int(try bytes.littleEndian(UInt16.self, at: 14)) * 512
    let data = reserved + 2 * Int(try bytes.littleEndian(UInt32.self, at: 36)) * 512
    bytes.store(UInt32(2), at: reserved + 8)
    for entry in stride(from: data, to: data + 512, by: 32) { bytes[entry] = 0xE5 }
    #expect(try FileSystems.identify(MemoryDevice(bytes))?.label == nil)
  }

  @Test func otherBootSectorsAreNotFAT() async throws {
    let kinds: Set<FileSystemKind?> = [.fat12, .fat16, .fat32]
    /// What another reader takes for its own, and for damaged, is not FAT either.
    func isFAT(_ bytes: [UInt8]) -> Bool { kinds.contains((try? FileSystems.identify(MemoryDevice(bytes)))?.kind) }
    let fat = try await image("-F 16", kibibytes: 20_000)
    #expect(isFAT(fat))
    #expect(!isFAT([UInt8](repeating: 0, count: 1 << 20)))
    #expect(!isFAT([]))

    try await withTemporaryDirectory { folder in
      let disk = folder.appending("disk")
      try await tool("truncate", "-s", "8M", disk.string)
      for label in ["dos", "gpt"] {
        try await tool("sfdisk", disk.string, input: "label: \(label)\n,4M\n,\n")
        var bytes = try disk.contents()
        #expect(bytes[510] == 0x55)
        #expect(!isFAT(bytes))
        // GRUB's boot code begins with a jump and leaves the place of the parameters free.
        bytes.store(bytes: [0xEB, 0x63, 0x90], at: 0)
        #expect(!isFAT(bytes))
      }
      try await shell("truncate -s 0 '\(disk)'; truncate -s 8M '\(disk)'; mkntfs -q -F -Q '\(disk)'")
      #expect(try !isFAT(disk.contents()))
    }
    // exFAT keeps the place of the parameters zero.
    var exfat = fat
    exfat.store(bytes: Array("EXFAT   ".utf8), at: 3)
    exfat.store(bytes: [UInt8](repeating: 0, count: 53), at: 11)
    #expect(!isFAT(exfat))
    for name in ["JFS     ", "HPFS    "] {
      var lookalike = fat
      lookalike.store(bytes: Array(name.utf8), at: 54)
      #expect(!isFAT(lookalike))
    }
    for (offset, value) in [(11, UInt8(1)), (13, 3), (13, 0), (14, 0), (16, 0), (21, 0xF1), (0, 0x33), (510, 0)] {
      var odd = fat
      odd[offset] = value
      #expect(!isFAT(odd), "byte \(offset)")
    }
  }

  @Test func aVolumeCutShortIsDamaged() async throws {
    let bytes = try await image("-F 16", kibibytes: 20_000)
    let error = try #require(throws: FileSystemError.self) { try map(Array(bytes.dropLast(512))) }
    guard case .damaged(_, .fat16, let detail) = error else { throw Unexpected() }
    #expect(detail.contains("40000 sectors of 512 bytes"))
  }

  @Test(.timeLimit(.minutes(1)), arguments: [("-F 12", 1440), ("-F 16 -s 1", 5_000), ("-F 32 -s 1", 4_000)])
  func damagedInputEndsInAnErrorOrAMap(options: String, kibibytes: Int) async throws {
    let image = try await image(options, kibibytes: kibibytes)
    let outcomes = try readDamagedCopies(of: image, structures: [0..<64, 0..<90, 512..<4096], rounds: 3000, seed: 6)
    #expect(outcomes.maps > 100)
    #expect(outcomes.errors > 10)
    #expect(outcomes.unknown > 100)
  }
}
