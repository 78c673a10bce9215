// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Logs written here, record by record; the kernel's own need root and are in `DeviceTests`.
@Suite struct XFSLogTests {
  /// A volume whose log says that the last `taken` blocks of the largest free extent of group 0 were allocated.
  private struct DirtyVolume {
    var device: PatchedDevice
    let log: UInt64
    /// What the log was given, in bytes.
    let logged: Range<UInt64>
    let clean: BlockBitmap
    let taken: Range<Int>
  }

  private func makeDirty(_ layout: [String], split: Int, in folder: FilePath) async throws -> DirtyVolume {
    let image = try await XFSTests().makeImage(in: folder, layout, sectors: 2 * 320 * 1024)
    let device = try FileDevice(path: image)
    let clean = try #require(try FileSystems.allocationMap(of: device)).bitmap
    let log = try await XFSTests().logStart(of: image)
    let isFifth = !layout.contains("crc=0")

    // Header of group 0, and the root of its free-space tree, which is a leaf.
    var header = try device.read(at: 512, count: 512)
    let blockSize = 1024
    let root = UInt64(try header.bigEndian(UInt32.self, at: 16)) * UInt64(blockSize)
    var leaf = try device.read(at: root, count: blockSize)
    let recordStart = isFifth ? 56 : 16
    let recordCount = Int(try leaf.bigEndian(UInt16.self, at: 6))
    #expect(try leaf.bigEndian(UInt16.self, at: 4) == 0)
    let record = recordStart + 8 * (recordCount - 1)
    let first = try leaf.bigEndian(UInt32.self, at: record)
    let length = try leaf.bigEndian(UInt32.self, at: record + 4)
    let taken: UInt32 = 100
    leaf.storeBigEndian(length - taken, at: record + 4)
    header.storeBigEndian(try header.bigEndian(UInt32.self, at: 52) - taken, at: 52)

    let items = [bufferItem(type: 5, at: 512, header), bufferItem(type: 4, at: root, leaf)].joined()
    let head = [littleEndian([0x5452_414E, 0, 0, UInt32(items.count)])]
    let records = try logRecords(
      operations([[]] + head + items + [[]], split: split), uuid: Array(device.read(at: 32, count: 16)),
      hasChecksums: isFifth)
    var dirty = PatchedDevice(device)
    // Behind the two blocks of the record that mkfs wrote.
    dirty.patch(records, at: log + 1024)
    let last = Int(first + length)
    return DirtyVolume(
      device: dirty, log: log, logged: log..<(log + 1024 + UInt64(records.count)), clean: clean,
      taken: (last - Int(taken))..<last)
  }

  /// Every 128 bytes of a buffer, as a format region and one with the bytes.
  private func bufferItem(type: UInt16, at offset: UInt64, _ bytes: [UInt8]) -> [[UInt8]] {
    var format = littleEndian([0x2_123C, UInt32(type) << 11 | UInt32(bytes.count / 512) << 16])
    format.append(littleEndian: offset / 512)
    return [format + littleEndian([1, UInt32((UInt64(1) << (bytes.count / 128)) - 1)]), bytes]
  }

  private func littleEndian(_ words: [UInt32]) -> [UInt8] {
    var bytes: [UInt8] = []
    for word in words { bytes.append(littleEndian: word) }
    return bytes
  }

  /// The regions as operations: the first starts a transaction, the last commits it. Those longer than `split` bytes are
  /// cut in two, as at the end of a record.
  private func operations(_ regions: [[UInt8]], split: Int) -> [[UInt8]] {
    func operation(_ bytes: [UInt8], flags: UInt8) -> [UInt8] {
      var header = [UInt8](repeating: 0, count: 12)
      header.storeBigEndian(UInt32(0xABCD), at: 0)
      header.storeBigEndian(UInt32(bytes.count), at: 4)
      header[8] = 0x69
      header[9] = flags
      return header + bytes
    }
    var result: [[UInt8]] = []
    for (index, region) in regions.enumerated() {
      let flags: UInt8 = index == 0 ? 1 : index == regions.count - 1 ? 2 : 0
      if region.count > split {
        result.append(operation(Array(region[..<split]), flags: 4))
        result.append(operation(Array(region[split...]), flags: 8 | 0x10))
      } else {
        result.append(operation(region, flags: flags))
      }
    }
    return result
  }

  /// Two records with half of the operations each.
  private func logRecords(_ operations: [[UInt8]], uuid: [UInt8], hasChecksums: Bool) throws -> [UInt8] {
    var bytes: [UInt8] = []
    let half = operations.count / 2
    for part in [operations[..<half], operations[half...]] {
      var data = Array(part.joined())
      data += [UInt8](repeating: 0, count: (512 - data.count % 512) % 512)
      let position = 2 + bytes.count / 512
      var header = [UInt8](repeating: 0, count: 512)
      for (offset, value) in [
        (0, 0xFEED_BABE), (4, 1), (8, 2), (12, data.count), (16, 1), (20, position), (24, 1), (28, 2),
        (40, part.count), (300, 1), (320, 32768),
      ] { header.storeBigEndian(UInt32(value), at: offset) }
      header.store(bytes: uuid, at: 304)
      for block in 0..<(data.count / 512) {
        header.store(bytes: data[(block * 512)..<(block * 512 + 4)], at: 44 + 4 * block)
        data.storeBigEndian(UInt32(1), at: block * 512)
      }
      if hasChecksums {
        var crc = CRC32C()
        crc.update(try header.span.bytes.slice(0, 328))
        crc.update(data.span.bytes)
        header.store(crc.value, at: 32)
      }
      bytes += header + data
    }
    return bytes
  }

  static let layouts = [["-m", "crc=0", "-b", "size=1024"], ["-b", "size=1024"]]

  @Test(arguments: layouts, [1 << 20, 100]) func committedChangesCount(_ layout: [String], split: Int) async throws {
    try await withTemporaryDirectory { folder in
      let dirty = try await makeDirty(layout, split: split, in: folder)
      let map = try #require(try FileSystems.allocationMap(of: dirty.device))
      var expected = dirty.clean
      #expect(expected.usedCount(in: dirty.taken) == 0)
      expected.set(dirty.taken)
      #expect(map.bitmap == expected)
      #expect(map.warnings.first?.contains("(1 transactions) was replayed") == true)

      // The tool of the trade reads this log as one transaction with two buffers.
      let image = try FileDevice(path: folder.appending("xfs"), access: .readWrite)
      let log = try dirty.device.read(at: dirty.logged.lowerBound, count: dirty.logged.count)
      try image.write(log.span.bytes, at: dirty.logged.lowerBound)
      let printed = try await tool("xfs_logprint", "-t", "-i", folder.appending("xfs").string)
      #expect(printed.contains("DIRTY"))
      #expect(Set(printed.split(separator: "\n").filter { $0.contains("start blkno:") }).count == 2)
    }
  }

  /// Without its last record the transaction is not committed.
  @Test(arguments: layouts) func uncommittedChangesDoNotCount(_ layout: [String]) async throws {
    try await withTemporaryDirectory { folder in
      var dirty = try await makeDirty(layout, split: 1 << 20, in: folder)
      dirty.device.patch([0], at: dirty.logged.upperBound - 512 + 3)
      #expect(try FileSystems.allocationMap(of: dirty.device)?.bitmap == dirty.clean)
    }
  }

  @Test(.timeLimit(.minutes(2)), arguments: layouts) func damageGivesAnErrorOrAMap(_ layout: [String]) async throws {
    try await withTemporaryDirectory { folder in
      let dirty = try await makeDirty(layout, split: 100, in: folder)
      try readDamaged(
        dirty.device, structures: [0..<512, dirty.logged, (dirty.log + 1024)..<(dirty.log + 1536), dirty.logged],
        rounds: 2000, seed: 4
      ) { device, structure in
        if structure.lowerBound == 0 { return try repairChecksum(&device, structure) }
        // Without a checksum the data behind it is reached.
        let header = dirty.log + 1024
        device.patch([0, 0, 0, 0], at: header + 32)
      }
    }
  }
}
