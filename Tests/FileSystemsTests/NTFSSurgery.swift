// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Testing

/// Records of `$MFT` taken apart, for tests that need what no tool makes on a small volume.
/// The records have 1024 bytes.
enum NTFSSurgery {
  /// `$MFT` in two pieces: its first record keeps the first four clusters of 4096 bytes, record 15 has the rest.
  /// - Returns: records 0 and 15 as they are on disk.
  static func splitTable(_ device: any BlockDevice) throws -> (first: [UInt8], second: [UInt8]) {
    let table = try tableStart(device)
    var first = try unfixed(device, at: table)
    let data = try attribute(0x80, in: first)
    let pairs = data.lowerBound + Int(try first.littleEndian(UInt16.self, at: data.lowerBound + 32))
    let clusters = Int(first[pairs + 1])
    #expect(first[pairs] & 0x0F == 1 && clusters > 5)
    let cluster = UInt16(table / 4096)

    func dataAttribute(from lowest: Int, count: Int) -> [UInt8] {
      var bytes = Array(first[data.lowerBound..<(data.lowerBound + 64)])
      bytes.store(UInt32(72), at: 4)
      bytes.store(UInt64(lowest), at: 16)
      bytes.store(UInt64(lowest + count - 1), at: 24)
      bytes.store(UInt16(64), at: 32)
      bytes += [0x21, UInt8(count)]
      bytes.append(littleEndian: cluster + UInt16(lowest))
      return bytes + [0, 0, 0, 0]
    }
    func listEntry(_ lowest: UInt64, _ record: UInt64) -> [UInt8] {
      var entry = [UInt8](repeating: 0, count: 32)
      entry.store(UInt32(0x80), at: 0)
      entry.store(UInt16(32), at: 4)
      entry[7] = 26
      entry.store(lowest, at: 8)
      entry.store(record, at: 16)
      return entry
    }
    let list = listEntry(0, 0) + listEntry(4, 15)
    var listAttribute = [UInt8](repeating: 0, count: 24)
    listAttribute.store(UInt32(0x20), at: 0)
    listAttribute.store(UInt32(24 + list.count), at: 4)
    listAttribute.store(UInt32(list.count), at: 16)
    listAttribute.store(UInt16(24), at: 20)
    let bitmap = try attribute(0xB0, in: first)
    let start = Int(try first.littleEndian(UInt16.self, at: 20))
    let standard = try attribute(0x10, in: first)
    let rest = first[standard.upperBound..<data.lowerBound]
    let endMark = [UInt8](repeating: 0xFF, count: 4) + [0, 0, 0, 0]
    let body = Array(first[standard]) + listAttribute + list + Array(rest)
    let tail = dataAttribute(from: 0, count: 4) + Array(first[bitmap]) + endMark
    var second = try unfixed(device, at: table + 15 * 1024)
    second.store(UInt16(1), at: 22)
    second.store(UInt64(0), at: 32)
    let secondStart = Int(try second.littleEndian(UInt16.self, at: 20))
    second.store(bytes: dataAttribute(from: 4, count: clusters - 4) + endMark, at: secondStart)
    first.store(bytes: body + tail, at: start)
    return (try refixed(first), try refixed(second))
  }

  static func tableStart(_ device: any BlockDevice) throws -> UInt64 {
    try device.read(at: 0x30, count: 8).littleEndian(UInt64.self, at: 0) * 4096
      * UInt64(device.read(at: 0x0D, count: 1)[0]) / 8
  }

  static func unfixed(_ device: any BlockDevice, at offset: UInt64) throws -> [UInt8] {
    var record = try device.read(at: offset, count: 1024)
    let array = Int(try record.littleEndian(UInt16.self, at: 4))
    for index in 1...2 {
      record.store(bytes: record[(array + 2 * index)..<(array + 2 * index + 2)], at: index * 512 - 2)
    }
    return record
  }

  static func refixed(_ record: [UInt8]) throws -> [UInt8] {
    var record = record
    let array = Int(try record.littleEndian(UInt16.self, at: 4))
    for index in 1...2 {
      record.store(bytes: record[(index * 512 - 2)..<(index * 512)], at: array + 2 * index)
      record.store(bytes: record[array..<(array + 2)], at: index * 512 - 2)
    }
    return record
  }

  static func attribute(_ type: UInt32, in record: [UInt8]) throws -> Range<Int> {
    var offset = Int(try record.littleEndian(UInt16.self, at: 20))
    while try record.littleEndian(UInt32.self, at: offset) != type {
      offset += Int(try record.littleEndian(UInt32.self, at: offset + 4))
    }
    return offset..<(offset + Int(try record.littleEndian(UInt32.self, at: offset + 4)))
  }

  /// First cluster of a record's $DATA, whose runs begin with one of at most eight bytes.
  static func firstExtent(_ device: any BlockDevice, record offset: UInt64) throws -> UInt64 {
    let record = try unfixed(device, at: offset)
    let data = try attribute(0x80, in: record).lowerBound
    let pairs = data + Int(try record.littleEndian(UInt16.self, at: data + 32))
    let countSize = Int(record[pairs] & 15)
    return (0..<Int(record[pairs] >> 4)).reduce(0) { $0 | UInt64(record[pairs + 1 + countSize + $1]) << UInt64(8 * $1) }
  }

  static func flagsOffset(_ device: any BlockDevice, table: UInt64) throws -> UInt64 {
    let record = try unfixed(device, at: table + 3 * 1024)
    let information = try attribute(0x70, in: record).lowerBound
    return table + 3 * 1024
      + UInt64(information + Int(try record.littleEndian(UInt16.self, at: information + 20)) + 10)
  }
}
