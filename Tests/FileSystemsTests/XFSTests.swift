// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct XFSTests {
  /// Every kind of layout that decides where the free-space trees stand and how they look.
  static let layouts: [[String]] = [
    ["-m", "crc=0", "-b", "size=512"],
    ["-m", "crc=0", "-b", "size=4096", "-d", "agcount=3"],
    ["-m", "crc=0", "-b", "size=65536"],
    ["-b", "size=1024"],
    ["-b", "size=1024", "-d", "agcount=3", "-s", "size=1024"],
    ["-b", "size=4096"],
    ["-b", "size=4096", "-s", "size=4096", "-m", "rmapbt=1,reflink=1"],
    ["-b", "size=4096", "-l", "su=256k"],
    ["-b", "size=4096", "-l", "su=4k"],
    ["-b", "size=65536"],
  ]

  @Test(arguments: layouts)
  func mapEqualsTheDebuggersListOfFreeExtents(_ layout: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, layout, sectors: 2 * 320 * 1024 + 5)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      let oracle = try await xfsFreeBlocks(image)
      #expect(map.blockSize == oracle.blockSize)
      #expect(map.warnings == [])
      var either = map.bitmap
      either.formUnion(oracle.free)
      #expect(either.usedCount == map.bitmap.count, "a block is neither used nor free")

      // The blocks on the free lists are the only ones that both call theirs.
      #expect(either.usedCount + oracle.freeList == map.bitmap.usedCount + oracle.free.usedCount)

      let names = try await blkid(image)
      #expect(map.identity.kind == .xfs)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == names["LABEL"])
      #expect(map.identity.byteCount == UInt64(map.bitmap.count * map.blockSize))

      try poison(image, outside: map)
      try await tool("xfs_repair", "-n", image.string)
    }
  }

  @Test func theLogIsCleanWhenItsLastRecordSaysSo() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-b", "size=4096"], sectors: 2 * 320 * 1024)
      let device = try FileDevice(path: image)
      let start = try await logStart(of: image)
      // mkfs writes one record: the flags of its only operation are in the second block.
      var dirty = PatchedDevice(device)
      dirty.patch([0], at: start + 512 + 9)
      let map = try #require(try FileSystems.allocationMap(of: dirty))
      #expect(map.warnings.count == 1)
      #expect(map.warnings.first?.contains("(0 transactions) was replayed") == true)
      #expect(try map.bitmap == FileSystems.allocationMap(of: device)?.bitmap)

      // Not with features that its log may hold, but are not known here.
      dirty.patch([0x80], at: 220)
      try repairChecksum(&dirty, 0..<512)
      let error = #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: dirty) }
      guard case .needsRecovery(_, .xfs, let detail) = error else { throw Unexpected() }
      #expect(detail.contains("0x80000000"))

      // A header whose data never reached the disk.
      var torn = PatchedDevice(device)
      torn.patch([0, 0, 0, 0], at: start + 512)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: torn) }

      // A log of zeros was never written to.
      var empty = PatchedDevice(device)
      empty.patch([UInt8](repeating: 0, count: 1024), at: start)
      #expect(try FileSystems.allocationMap(of: empty)?.bitmap == FileSystems.allocationMap(of: device)?.bitmap)
    }
  }

  @Test func otherDevicesAndUnknownFeaturesAreNamed() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("xfs")
      let other = folder.appending("other")
      func feature(_ arguments: String...) async throws -> String? {
        try await shell("rm -f \(image) \(other); truncate -s 320M \(image); truncate -s 320M \(other)")
        try await tool("mkfs.xfs", ["-q", "-f"] + arguments + [image.string])
        return unsupportedFeature(try FileDevice(path: image))
      }
      #expect(try await feature("-l", "logdev=\(other),size=64m") == "a log on another device")
      #expect(try await feature("-r", "rtdev=\(other)") == "a realtime device")

      _ = try await makeImage(in: folder, ["-b", "size=4096"], sectors: 2 * 320 * 1024)
      var strange = PatchedDevice(try FileDevice(path: image))
      strange.patch([0x80], at: 216)
      try repairChecksum(&strange, 0..<512)
      #expect(unsupportedFeature(strange) == "incompatible features 0x80000000")
      strange.patch([0, 0, 2], at: 216)
      try repairChecksum(&strange, 0..<512)
      #expect(unsupportedFeature(strange) == "zones (zoned)")
    }
  }

  @Test func countersThatDisagreeAreNoticed() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(
        in: folder, ["-m", "crc=0", "-b", "size=4096"], sectors: 2 * 320 * 1024)
      let device = try FileDevice(path: image)
      var superblock = PatchedDevice(device)
      superblock.patch([0, 0, 0, 0, 0, 0, 0, 1], at: 144)
      let map = try #require(try FileSystems.allocationMap(of: superblock))
      #expect(map.warnings.count == 1)

      var group = PatchedDevice(device)
      group.patch([0, 0, 0, 1], at: 512 + 52)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: group) }
    }
  }

  @Test func aSuperblockLargerThanTheVolumeIsRefusedBeforeAnythingIsAllocated() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(
        in: folder, ["-m", "crc=0", "-b", "size=4096"], sectors: 2 * 320 * 1024)
      var huge = PatchedDevice(try FileDevice(path: image))
      huge.patch([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], at: 8)
      huge.patch([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], at: 84)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: huge) }
      var short = PatchedDevice(try FileDevice(path: image))
      short.byteCount -= 4096
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: short) }
    }
  }

  @Test(arguments: [["-m", "crc=0", "-b", "size=1024"], ["-b", "size=1024"]])
  func damageGivesAnErrorOrAMap(_ layout: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, layout, sectors: 2 * 320 * 1024)
      let device = try FileDevice(path: image)
      let log = try await logStart(of: image)
      var structures: [Range<UInt64>] = [0..<512, 512..<1024, log..<(log + 2048)]
      let root = UInt64(try device.read(at: 512 + 16, count: 4).bigEndian(UInt32.self, at: 0)) * 1024
      structures.append(root..<(root + 1024))
      structures.append(structures[3])
      try readDamaged(device, structures: structures, rounds: 3000, seed: 2, repair: repairChecksum)
    }
  }

  /// A file system with a few files, of a size that ends inside a block.
  func makeImage(in folder: FilePath, _ layout: [String], sectors: Int) async throws -> FilePath {
    let image = folder.appending("xfs")
    let tree = folder.appending("tree")
    try await makeTree(tree, files: 30, seed: 1)
    var prototype = "/dev/null\n0 0\nd--755 0 0\n"
    for index in 0..<30 {
      let place = ["", "sub/", "sub/deeper/"][index % 3]
      prototype += "f\(index) ---644 0 0 \(tree)/\(place)file\(index).bin\n"
    }
    try folder.appending("prototype").write((prototype + "$\n").utf8)
    try await shell("rm -f \(image); truncate -s \(sectors * 512) \(image)")
    try await tool(
      "mkfs.xfs", ["-q", "-f", "-L", "a label"] + layout + ["-p", folder.appending("prototype").string, image.string])
    return image
  }

  /// The first byte of the internal log.
  func logStart(of image: FilePath) async throws -> UInt64 {
    let block = try await xfsField("logstart", image)
    let text = try await tool("xfs_db", "-r", "-c", "sb 0", "-c", "convert fsblock \(block) daddr", image.string)
    let sector = try #require(UInt64(text.split(separator: "(").last?.prefix { $0.isNumber } ?? ""))
    return sector * 512
  }
}

/// The feature an unsupported volume is refused for.
func unsupportedFeature(_ volume: any BlockDevice) -> String? {
  do {
    _ = try FileSystems.allocationMap(of: volume)
    return nil
  } catch FileSystemError.unsupported(_, _, let feature) {
    return feature
  } catch {
    return "\(error)"
  }
}

/// Corrects the checksum of a superblock, group header or tree block of XFS, by its magic number.
func repairChecksum(_ device: inout PatchedDevice, _ structure: Range<UInt64>) throws {
  var bytes = try device.read(at: structure.lowerBound, count: structure.count)
  let fields: [[UInt8]: Int] = [Array("XFSB".utf8): 224, Array("XAGF".utf8): 216, Array("AB3B".utf8): 52]
  guard let field = fields[Array(bytes.prefix(4))] else { return }
  bytes.store(UInt32(0), at: field)
  bytes.store(CRC32C.checksum(bytes), at: field)
  device.patch(Array(bytes[field..<(field + 4)]), at: structure.lowerBound + UInt64(field))
}
