// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct NTFSTests {
  @Test(arguments: [512, 1024, 2048, 4096, 8192, 32768, 65536, 131_072, 2_097_152])
  func mapAgreesWithNTFSInfo(_ clusterSize: Int) async throws {
    try await withTemporaryDirectory { folder in
      // Not a whole number of clusters.
      let image = try await makeImage(in: folder, clusterSize: clusterSize, sectors: 200_003)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.blockSize == clusterSize)
      #expect(map.bitmap.count == 200_002 * 512 / clusterSize)
      #expect(map.bitmap.count - map.bitmap.usedCount == (try await freeClusters(image)))
      #expect(map.warnings == [])

      let names = try await blkid(image)
      #expect(map.identity.kind == .ntfs)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == "Täst $1")

      // Behind the last cluster stands the backup boot sector.
      let (blockSize, whole) = map.covering(device.byteCount)
      #expect(whole.count * blockSize == 200_003 * 512)
      #expect(whole[whole.count - 1])

      try poison(image, outside: map)
      try await tool("ntfsfix", "-n", image.string)
      for name in ["file0", "file1", "file2"] {
        try await shell("cmp <(ntfscat -f \(image) \(name)) \(folder)/\(name)")
      }
    }
  }

  @Test func aVolumeThatWindowsHasNotClosedIsNamedSo() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, clusterSize: 4096, sectors: 40_000)
      let device = try FileDevice(path: image)
      let table = try NTFSSurgery.tableStart(device)

      var dirty = PatchedDevice(device)
      let flags = try NTFSSurgery.flagsOffset(device, table: table)
      dirty.patch([1], at: flags)
      #expect(recoveryDetail(dirty) == "it is marked as dirty, so Windows means to check it")

      // A log whose restart page has a client and lacks the flag of a clean volume.
      let log = try NTFSSurgery.firstExtent(device, record: table + 2 * 1024) * 4096
      var page = [UInt8](repeating: 0, count: 4096)
      page.store(bytes: Array("RSTR".utf8), at: 0)
      page.store(UInt16(0x1E), at: 4)
      page.store(UInt16(9), at: 6)
      page.store(UInt32(4096), at: 16)
      page.store(UInt16(0x30), at: 24)
      var open = PatchedDevice(device)
      open.patch(page, at: log)
      #expect(recoveryDetail(open) == "its log ($LogFile) has not been closed")
      page.store(UInt16(2), at: 0x30 + 14)
      open.patch(page, at: log)
      #expect(recoveryDetail(open) == nil)
      // The second page is newer, and open again.
      page.store(UInt16(0), at: 0x30 + 14)
      page.store(UInt64(77), at: 0x30)
      open.patch(page, at: log + 4096)
      #expect(recoveryDetail(open) == "its log ($LogFile) has not been closed")
      // Torn: its second half is of another write. The first page counts again.
      open.patch([1, 1], at: log + 8190)
      #expect(recoveryDetail(open) == nil)
      var garbage = PatchedDevice(device)
      garbage.patch([0], at: log)
      #expect(recoveryDetail(garbage) == "its log ($LogFile) has not been closed")

      // A root directory of many entries, so that the name stands in an index block.
      for index in 0..<80 {
        try await tool("ntfscp", "-f", "-q", image.string, folder.appending("file0").string, "a long name \(index).txt")
      }
      try folder.appending("memory").write(Array("HIBR".utf8) + [UInt8](repeating: 7, count: 9000))
      #expect(recoveryDetail(try FileDevice(path: image)) == nil)
      try await tool("ntfscp", "-f", "-q", image.string, folder.appending("memory").string, "HiberFil.sys")
      #expect(
        recoveryDetail(try FileDevice(path: image))
          == "Windows is hibernated or was shut down by fast startup (hiberfil.sys)")
      try folder.appending("memory").write([UInt8](repeating: 0, count: 9004))
      try await tool("ntfscp", "-f", "-q", image.string, folder.appending("memory").string, "HiberFil.sys")
      #expect(recoveryDetail(try FileDevice(path: image)) == nil)
    }
  }

  /// `$MFT` in pieces: its first record keeps the first four clusters, record 15 has the rest, and an attribute list
  /// says so. (No tool makes this on a small volume.)
  @Test func anAttributeListLeadsToTheRestOfTheMasterFileTable() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, clusterSize: 4096, sectors: 40_000)
      try folder.appending("memory").write(Array("hibr".utf8) + [UInt8](repeating: 7, count: 9000))
      let device = try FileDevice(path: image, access: .readWrite)
      let whole = try #require(try FileSystems.allocationMap(of: device))
      let table = try NTFSSurgery.tableStart(device)
      let pieces = try NTFSSurgery.splitTable(device)
      let original = try device.read(at: table, count: 16 * 1024)
      try write(pieces.first, to: device, at: table)
      try write(pieces.second, to: device, at: table + 15 * 1024)
      #expect(try FileSystems.allocationMap(of: device)?.bitmap == whole.bitmap)

      // The record of a new file is in the second piece: it is only seen when that is found.
      try write(original, to: device, at: table)
      try await tool("ntfscp", "-f", "-q", image.string, folder.appending("memory").string, "hiberfil.sys")
      #expect(recoveryDetail(device) != nil)
      try write(pieces.first, to: device, at: table)
      try write(pieces.second, to: device, at: table + 15 * 1024)
      #expect(recoveryDetail(device) != nil)
      // A list that names a record of another file.
      var wrong = PatchedDevice(device)
      wrong.patch([9], at: table + 15 * 1024 + 32)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: wrong) }
    }
  }

  @Test func aBootSectorLargerThanTheVolumeIsRefused() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, clusterSize: 4096, sectors: 40_000)
      var huge = PatchedDevice(try FileDevice(path: image))
      huge.patch([UInt8](repeating: 0xFF, count: 7) + [0x7F], at: 0x28)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: huge) }
      var short = PatchedDevice(try FileDevice(path: image))
      short.byteCount /= 2
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: short) }
    }
  }

  @Test func aBitmapThatForgetsItselfIsRefused() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, clusterSize: 4096, sectors: 40_000)
      let device = try FileDevice(path: image)
      let table = try NTFSSurgery.tableStart(device)
      let bitmap = try NTFSSurgery.firstExtent(device, record: table + 6 * 1024) * 4096
      var forgetful = PatchedDevice(device)
      forgetful.patch([0], at: bitmap + table / 4096 / 8)
      #expect(
        throws: FileSystemError.damaged(
          volume: image.string, kind: .ntfs, detail: "$Bitmap marks clusters of $MFT as free")
      ) { try FileSystems.allocationMap(of: forgetful) }
    }
  }

  @Test func damageGivesAnErrorOrAMap() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, clusterSize: 1024, sectors: 40_000)
      let device = try FileDevice(path: image)
      let table = try NTFSSurgery.tableStart(device)
      let records = [0, 2, 3, 5, 6, 8].map { table + UInt64($0) * 1024..<(table + UInt64($0) * 1024 + 400) }
      try readDamaged(device, structures: [0..<96] + records, rounds: 6000, seed: 3)
    }
  }

  private func makeImage(in folder: FilePath, clusterSize: Int, sectors: Int) async throws -> FilePath {
    let image = folder.appending("ntfs")
    try await shell("rm -f \(image); truncate -s \(sectors * 512) \(image)")
    try await tool("mkntfs", "-F", "-Q", "-q", "-c", "\(clusterSize)", "-L", "Täst $1", image.string)
    var generator = SeededGenerator(seed: 1)
    for (index, size) in [100, 70_000, 3_000_000].enumerated() {
      let file = folder.appending("file\(index)")
      try file.write((0..<size).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
      try await tool("ntfscp", "-f", "-q", image.string, file.string, "file\(index)")
    }
    return image
  }

  private func write(_ bytes: [UInt8], to device: FileDevice, at offset: UInt64) throws {
    try device.write(bytes.span.bytes, at: offset)
  }

  private func freeClusters(_ image: FilePath) async throws -> Int? {
    let text = try await tool("ntfsinfo", "-m", "-f", image.string)
    let line = text.split(separator: "\n").first { $0.contains("Free Clusters:") }
    return line?.split(separator: ":").last.flatMap { Int($0.split(separator: " ")[0]) }
  }

  private func recoveryDetail(_ volume: any BlockDevice) -> String? {
    do {
      _ = try FileSystems.allocationMap(of: volume)
      return nil
    } catch FileSystemError.needsRecovery(_, _, let detail) {
      return detail
    } catch {
      return "\(error)"
    }
  }
}
