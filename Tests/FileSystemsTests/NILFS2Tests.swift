// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct NILFS2Tests {
  static let layouts: [(byteCount: Int, options: [String])] = [
    (256 << 20, []), (128 << 20, ["-b", "1024", "-B", "512"]), (300 << 20 + 3 * 512, ["-B", "16"]),
    (272_105_472, ["-b", "2048", "-B", "128"]), (1 << 32 + 4096, ["-B", "8192"]), (4 << 40 + 512, []),
  ]

  @Test(arguments: layouts)
  func mapHasTheFreeBlocksTheSuperblockCounts(byteCount: Int, options: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, options, byteCount: byteCount)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.warnings == [])
      let superblock = try device.read(at: 1024, count: 1024)
      // The segment to be written next counts as free there.
      let free = Int(try superblock.littleEndian(UInt64.self, at: 80))
      let segment = Int(try superblock.littleEndian(UInt32.self, at: 48))
      #expect(map.bitmap.count - map.bitmap.usedCount == free - segment)
      let names = try await blkid(image)
      #expect(map.identity.kind == .nilfs2)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == names["LABEL"])
      // The second superblock is saved: it is behind the last segment.
      let second = (byteCount / 4096 - 1) * 4096
      #expect(map.bitmap.count * map.blockSize <= second)
      let covering = map.covering(UInt64(byteCount))
      #expect(covering.bitmap[second / covering.blockSize])

      // What mkfs wrote is all that there is.
      for run in map.bitmap.freeRuns.prefix(4) {
        let start = UInt64(run.lowerBound * map.blockSize)
        #expect(try device.read(at: start, count: map.blockSize).allSatisfy { $0 == 0 })
      }
    }
  }

  @Test func theSecondSuperblockStandsInForTheFirst() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-B", "256"], byteCount: 64 << 20)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      var damaged = PatchedDevice(device)
      damaged.patch([0xFF], at: 1024 + 64)
      #expect(try FileSystems.allocationMap(of: damaged)?.bitmap == map.bitmap)
      // One that is intact, but leads nowhere.
      try repairChecksum(&damaged, superblock: 1024)
      #expect(try FileSystems.allocationMap(of: damaged)?.bitmap == map.bitmap)
      let second = UInt64((64 << 20) - 4096)
      damaged.patch([0xFF], at: second + 64)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: damaged) }
      damaged.patch([0xFF], at: 1024 + 65)
      #expect(throws: FileSystemError.self) { try FileSystems.identify(damaged) }
    }
  }

  @Test func unknownFeaturesAreNamed() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-B", "256"], byteCount: 64 << 20)
      var changed = PatchedDevice(try FileDevice(path: image))
      changed.patch([4], at: 1024 + 272)
      try repairChecksum(&changed, superblock: 1024)
      #expect(unsupportedFeature(changed) == "incompatible features 0x4")
    }
  }

  @Test func aLogThatIsDamagedDoesNotCount() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-B", "256"], byteCount: 64 << 20)
      let device = try FileDevice(path: image)
      let log = try NILFS2Log(device)
      var damaged = PatchedDevice(device)
      damaged.patch([0xA5], at: log.bytes.upperBound - 100)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: damaged) }
    }
  }

  /// Logs that go round in a circle, or from segment to segment, end.
  @Test func logsBehindTheSuperRootKeepTheirSegments() async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, ["-B", "16"], byteCount: 8 << 20)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      let log = try NILFS2Log(device)
      var crashed = PatchedDevice(device)
      // From the segment that is to be written next, by way of segments 20 and 30, to segment 40, which stays empty.
      var sequence = log.sequence + 1
      for (segment, next) in [(log.next, 20), (20, 30), (30, 40)] as [(Int, Int)] {
        crashed.patch(try log.data(sequence: sequence, next: next * 16), at: UInt64(segment * 16 * 4096))
        sequence += 1
      }
      var expected = map.bitmap
      for segment in [20, 30, 40] { expected.set((segment * 16)..<(segment * 16 + 16)) }
      let after = try #require(try FileSystems.allocationMap(of: crashed))
      #expect(after.bitmap == expected)
      // Back to where it came from.
      crashed.patch(try log.data(sequence: sequence - 1, next: 20 * 16), at: UInt64(30 * 16 * 4096))
      expected.set((40 * 16)..<(40 * 16 + 16), used: false)
      #expect(try FileSystems.allocationMap(of: crashed)?.bitmap == expected)
    }
  }

  @Test(arguments: [["-b", "4096", "-B", "64"], ["-b", "1024", "-B", "256"]])
  func damageGivesAnErrorOrAMap(_ options: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let image = try await makeImage(in: folder, options, byteCount: 64 << 20)
      let device = try FileDevice(path: image)
      let log = try NILFS2Log(device)
      let second = UInt64((64 << 20) - 4096)
      var structures: [Range<UInt64>] = [1024..<(1024 + 300), second..<(second + 300)]
      for block in stride(from: log.bytes.lowerBound, to: log.bytes.upperBound, by: UInt64.Stride(log.blockSize)) {
        structures.append(block..<(block + min(500, UInt64(log.blockSize))))
      }
      try readDamaged(device, structures: structures, rounds: 5000, seed: 8) { device, structure in
        if log.bytes.contains(structure.lowerBound) {
          try log.repairChecksums(&device)
        } else {
          try repairChecksum(&device, superblock: structure.lowerBound)
        }
      }
    }
  }

  private func makeImage(in folder: FilePath, _ options: [String], byteCount: Int) async throws -> FilePath {
    let image = folder.appending("nilfs2")
    try await tool("truncate", "-s", "\(byteCount)", image.string)
    try await tool("mkfs.nilfs2", ["-q", "-L", "a label"] + options + [image.string])
    return image
  }
}

/// The log that the first superblock points at.
private struct NILFS2Log {
  let bytes: Range<UInt64>
  let blockSize: Int
  let sequence: UInt64
  /// Number of the segment that follows.
  let next: Int
  private let seed: UInt32
  private let header: [UInt8]

  init(_ device: any BlockDevice) throws {
    let superblock = try device.read(at: 1024, count: 1024)
    seed = try superblock.littleEndian(UInt32.self, at: 12)
    blockSize = 1024 << Int(try superblock.littleEndian(UInt32.self, at: 20))
    let start = try superblock.littleEndian(UInt64.self, at: 64) * UInt64(blockSize)
    header = try device.read(at: start, count: blockSize)
    sequence = try header.littleEndian(UInt64.self, at: 16)
    next = Int(
      try header.littleEndian(UInt64.self, at: 32) / UInt64(superblock.littleEndian(UInt32.self, at: 48)))
    bytes = start..<(start + UInt64(try header.littleEndian(UInt32.self, at: 40)) * UInt64(blockSize))
  }

  /// A log of two blocks without a super root, as fsync writes it.
  func data(sequence: UInt64, next: Int) throws -> [UInt8] {
    var log = header + [UInt8](repeating: 7, count: blockSize)
    log.store(0x8 as UInt16, at: 14)
    log.store(sequence, at: 16)
    log.store(UInt64(next), at: 32)
    log.store(2 as UInt32, at: 40)
    log.store(CRC32.shiftRegister(seed: seed, try log.span.bytes.slice(4, log.count - 4)), at: 0)
    return log
  }

  /// Makes the checksums of the super root and of the whole log right again.
  func repairChecksums(_ device: inout PatchedDevice) throws {
    let root = bytes.upperBound - UInt64(blockSize)
    let block = try device.read(at: root, count: blockSize)
    let count = Int(try block.littleEndian(UInt16.self, at: 4))
    if count > 4, count <= blockSize {
      patch(&device, CRC32.shiftRegister(seed: seed, try block.span.bytes.slice(4, count - 4)), at: root)
    }
    let log = try device.read(at: bytes.lowerBound, count: bytes.count)
    patch(&device, CRC32.shiftRegister(seed: seed, try log.span.bytes.slice(4, log.count - 4)), at: bytes.lowerBound)
  }
}

private func patch(_ device: inout PatchedDevice, _ checksum: UInt32, at offset: UInt64) {
  var field = [UInt8](repeating: 0, count: 4)
  field.store(checksum, at: 0)
  device.patch(field, at: offset)
}

private func repairChecksum(_ device: inout PatchedDevice, superblock offset: UInt64) throws {
  var bytes = try device.read(at: offset, count: 1024)
  let count = Int(try bytes.littleEndian(UInt16.self, at: 8))
  guard 20...1024 ~= count else { return }
  bytes.store(0 as UInt32, at: 16)
  let seed = try bytes.littleEndian(UInt32.self, at: 12)
  patch(&device, CRC32.shiftRegister(seed: seed, try bytes.span.bytes.slice(0, count)), at: offset + 16)
}
