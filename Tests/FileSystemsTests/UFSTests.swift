// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// UFS as makefs makes it, in both versions and both byte orders; the sleuthkit reads the files back.
@Suite struct UFSTests {
  struct Layout: Sendable, CustomTestStringConvertible {
    let order: String
    let options: String
    let size: String
    var testDescription: String { "\(order) \(options) \(size)" }
    var isBigEndian: Bool { order == "be" }
  }

  static let layouts =
    ["le", "be"].flatMap { order in
      [
        // Several cylinder groups, the last one shorter than the others.
        Layout(order: order, options: "version=1,bsize=4096,fsize=512", size: "40m"),
        Layout(order: order, options: "version=1,bsize=8192,fsize=1024,maxbpcg=900", size: "60m"),
        Layout(order: order, options: "version=2,bsize=16384,fsize=2048,density=2048", size: "60m"),
        Layout(order: order, options: "version=2,bsize=32768,fsize=4096,density=2048", size: "300m"),
        Layout(order: order, options: "version=2,bsize=4096,fsize=4096,density=2048", size: "30m"),
        Layout(order: order, options: "version=1,bsize=65536,fsize=8192", size: "90m"),
      ]
    }

  @Test(arguments: layouts)
  func theFilesSurviveTheLossOfTheFreeBlocks(_ layout: Layout) async throws {
    try await withTemporaryDirectory { folder in
      let tree = folder.appending("tree")
      try await makeTree(tree, files: 110, seed: 7)
      let image = try await makeUFS(in: folder, layout, tree)
      try copySuperblock(of: image)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.warnings == [])

      // What fsstat of the sleuthkit makes of it.
      let facts = try await shell("fsstat \(image)")
      #expect(number(after: "Fragment Size: ", in: facts) == map.blockSize)
      let whole = try #require(number(after: "Num of Avail Full Blocks: ", in: facts))
      let parts = try #require(number(after: "Num of Avail Fragments: ", in: facts))
      let perBlock = try #require(number(after: "Block Size: ", in: facts)) / map.blockSize
      #expect(map.bitmap.count - map.bitmap.usedCount == whole * perBlock + parts)

      let names = try await blkid(image)
      #expect(map.identity.kind.rawValue == names["TYPE"])
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == names["LABEL"])
      #expect(map.identity.byteCount == UInt64(map.bitmap.count * map.blockSize))
      #expect(try map.identity.byteCount <= FileDevice(path: image).byteCount)

      try poison(image, outside: map)
      try await expectFiles(of: tree, in: image, folder)
    }
  }

  @Test func emptyAndFullVolumes() async throws {
    try await withTemporaryDirectory { folder in
      let tree = folder.appending("tree")
      try await shell("mkdir \(tree)")
      let layout = Layout(order: "be", options: "version=2", size: "20m")
      let image = try await makeUFS(in: folder, layout, tree)
      let empty = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(empty.bitmap.usedCount < empty.bitmap.count / 8)

      try await makeTree(tree, files: 200, seed: 9)
      try await shell("rm \(image); makefs -t ffs -B be -b 4% -o version=1 \(image) \(tree)")
      let full = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(full.bitmap.usedCount > full.bitmap.count * 4 / 5)
      try poison(image, outside: full)
      try await expectFiles(of: tree, in: image, folder)
    }
  }

  /// Classic UFS1 moved each group's metadata on by some fragments, and the bitmap is counted from the group's start all
  /// the same. No tool makes that any more: here the second group's metadata moves by a block.
  @Test(arguments: ["le", "be"])
  func turnedCylinderGroups(order: String) async throws {
    try await withTemporaryDirectory { folder in
      let tree = folder.appending("tree")
      try await makeTree(tree, files: 20, seed: 3)
      let layout = Layout(order: order, options: "version=1,bsize=8192,fsize=1024,maxbpcg=900", size: "60m")
      let image = try await makeUFS(in: folder, layout, tree)
      let before = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      var turned = UFSPatch(try FileDevice(path: image), layout.isBigEndian)
      try turned.turnGroup(1, by: 8)
      let after = try #require(try FileSystems.allocationMap(of: turned.device))
      let start = try Int(turned.field(188))
      let copy = try Int(turned.field(8))
      let data = try Int(turned.field(20))
      var expected = before.bitmap
      expected.set((start + copy)..<(start + copy + 8), used: false)
      expected.set((start + data)..<(start + data + 8))
      #expect(differences(after.bitmap, expected) == 0)
      // The sleuthkit finds the header of the group where it is now.
      try turned.write(to: FileDevice(path: image, access: .readWrite))
      let facts = try await shell("fsstat \(image) | sed -n '/^Group 1:/,/^Group 2:/p'")
      #expect(facts.contains("Super Block: \(start + copy + 8)"))
    }
  }

  @Test(arguments: layouts.filter { $0.options.contains("fsize=2048") || $0.options.contains("maxbpcg") })
  func whatIsNotCleanNeedsRecovery(_ layout: Layout) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeUFS(in: folder, layout, nil)
      let isVersion2 = layout.options.contains("version=2")
      func outcome(clean: UInt8, flags: UInt32) throws -> String? {
        var changed = UFSPatch(try FileDevice(path: image), layout.isBigEndian)
        changed.device.patch([clean], at: changed.offset + 209)
        if !isVersion2 { changed.device.patch([0x80], at: changed.offset + 211) }
        changed.setField(1312, flags)
        do {
          _ = try FileSystems.allocationMap(of: changed.device)
          return nil
        } catch FileSystemError.needsRecovery(_, _, let detail) {
          return detail
        }
      }
      #expect(try outcome(clean: 1, flags: 0) == nil)
      // Soft updates with a journal, unmounted: the journal is done with.
      #expect(try outcome(clean: 1, flags: 0x0A) == nil)
      #expect(try outcome(clean: 0, flags: 0) == "its superblock is not marked as clean")
      #expect(try outcome(clean: 0, flags: 0x0A) == "its soft updates journal holds changes")
      #expect(try outcome(clean: 0, flags: 0x40) == "its journal (gjournal) holds changes")
      #expect(try outcome(clean: 1, flags: 0x01) == "its superblock is not marked as clean")
      #expect(try outcome(clean: 1, flags: 0x04) == "its superblock is not marked as clean")
    }
  }

  @Test func countersThatDisagreeAreNoticed() async throws {
    try await withTemporaryDirectory { folder in
      let layout = Layout(order: "le", options: "version=1", size: "40m")
      let image = try await makeUFS(in: folder, layout, nil)
      var superblock = UFSPatch(try FileDevice(path: image), false)
      superblock.setField(196, 7)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: superblock.device) }
      var group = UFSPatch(try FileDevice(path: image), false)
      group.device.patch([0, 0, 0, 0], at: try group.headerOffset(ofGroup: 0) + 28)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: group.device) }
      var old = UFSPatch(try FileDevice(path: image), false)
      old.setField(1356, .max)
      #expect(unsupportedFeature(old.device) == "cylinder groups as 4.2BSD had them")
    }
  }

  @Test(arguments: layouts.filter { $0.options.contains("fsize=2048") || $0.options.contains("maxbpcg") })
  func damageGivesAnErrorOrAMap(_ layout: Layout) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeUFS(in: folder, layout, nil)
      let device = try FileDevice(path: image)
      let ufs = UFSPatch(device, layout.isBigEndian)
      let superblock = ufs.offset..<(ufs.offset + 1376)
      let groups = try (0..<2).map { group in
        let start = try ufs.headerOffset(ofGroup: group)
        return start..<(start + 200)
      }
      try readDamaged(
        device,
        structures: [superblock, superblock.lowerBound..<(superblock.lowerBound + 212), superblock] + groups,
        rounds: 3000, seed: 51)
    }
  }

  /// A volume that is a little larger than its file system.
  /// - Parameter tree: what it holds; nothing when nil.
  private func makeUFS(in folder: FilePath, _ layout: Layout, _ tree: FilePath?) async throws -> FilePath {
    let image = folder.appending("ufs")
    try await shell(
      "mkdir -p \(folder)/empty; makefs -t ffs -B \(layout.order) -o \(layout.options) -s \(layout.size) \(image) "
        + "\(tree ?? folder.appending("empty")); truncate -s +1536 \(image)")
    return image
  }

  /// The sleuthkit leaves empty files out.
  private func expectFiles(of tree: FilePath, in image: FilePath, _ folder: FilePath) async throws {
    let sums = "find . -type f -size +0 -print0 | sort -z | xargs -0 sha256sum"
    let expected = try await shell("cd \(tree); \(sums)")
    let found = try await shell(
      "mkdir \(folder)/found; tsk_recover -a \(image) \(folder)/found >/dev/null; cd \(folder)/found; \(sums)")
    #expect(found == expected)
  }

  private func number(after words: String, in text: String) -> Int? {
    for line in text.split(separator: "\n") where line.hasPrefix(words) {
      return Int(line.dropFirst(words.count).prefix { $0.isNumber })
    }
    return nil
  }
}

/// makefs puts the superblock of UFS2 at 8 KiB, where neither Linux nor the sleuthkit looks. This makes a copy where they
/// do, over inodes that are not in use; FreeBSD and our reader know by a field that it is a copy.
func copySuperblock(of image: FilePath) throws {
  let device = try FileDevice(path: image, access: .readWrite)
  let superblock = try device.read(at: 8192, count: 1376)
  let version2: UInt32 = 0x1954_0119
  guard
    try [superblock.littleEndian(UInt32.self, at: 1372), superblock.bigEndian(UInt32.self, at: 1372)].contains(version2)
  else { return }
  for offset: UInt64 in [65536, 262_144] where try device.read(at: offset, count: 1376).allSatisfy({ $0 == 0 }) {
    try device.write(superblock.span.bytes, at: offset)
    return
  }
  throw Errno.noSpace
}

/// The superblock and the cylinder groups of a UFS volume, to be changed in memory.
struct UFSPatch {
  var device: PatchedDevice
  let isBigEndian: Bool
  /// makefs has its superblocks at 8 KiB.
  let offset: UInt64 = 8192

  init(_ device: FileDevice, _ isBigEndian: Bool) {
    self.device = PatchedDevice(device)
    self.isBigEndian = isBigEndian
  }

  func field(_ field: UInt64) throws -> UInt32 {
    let bytes = try device.read(at: offset + field, count: 4)
    return try isBigEndian ? bytes.bigEndian(UInt32.self, at: 0) : bytes.littleEndian(UInt32.self, at: 0)
  }

  mutating func setField(_ field: UInt64, _ value: UInt32) {
    var bytes = [UInt8](repeating: 0, count: 4)
    bytes.store(isBigEndian ? value.byteSwapped : value, at: 0)
    device.patch(bytes, at: offset + field)
  }

  func headerOffset(ofGroup number: Int) throws -> UInt64 {
    UInt64(number) * UInt64(try field(188)) * UInt64(try field(52)) + UInt64(try field(12)) * UInt64(try field(52))
  }

  /// Moves the metadata of a group that has no files on by some fragments, which must be whole bytes of the bitmap.
  mutating func turnGroup(_ number: UInt64, by fragments: Int) throws {
    let size = UInt64(try field(52))
    let start = number * UInt64(try field(188)) * size
    let copy = UInt64(try field(8))
    let data = UInt64(try field(20))
    let header = try headerOffset(ofGroup: Int(number))
    let metadata = try device.read(at: start + copy * size, count: Int((data - copy) * size))
    device.patch(metadata, at: start + (copy + UInt64(fragments)) * size)
    // The bits follow: the fragments that begin the metadata become free, as many behind it used.
    let bitmap = header + UInt64(fragments) * size + UInt64(try headerField(96, at: header + UInt64(fragments) * size))
    device.patch([UInt8](repeating: 0xFF, count: fragments / 8), at: bitmap + copy / 8)
    device.patch([UInt8](repeating: 0, count: fragments / 8), at: bitmap + data / 8)
    setField(24, UInt32(fragments))
    setField(28, ~UInt32(number))
  }

  /// Writes what was changed.
  func write(to target: FileDevice) throws {
    for (position, byte) in device.patches { try target.write([byte].span.bytes, at: position) }
  }

  private func headerField(_ field: UInt64, at header: UInt64) throws -> UInt32 {
    let bytes = try device.read(at: header + field, count: 4)
    return try isBigEndian ? bytes.bigEndian(UInt32.self, at: 0) : bytes.littleEndian(UInt32.self, at: 0)
  }
}
