// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The index at the end of a stream of independent zstd frames, itself a skippable frame that other readers pass over.
///
/// Layout, all little-endian (Zstandard Seekable Format 0.1.0, contrib/seekable_format of the zstd sources):
/// `u32` 184D2A5E, `u32` size of the rest; per frame `u32` compressed size, `u32` decompressed size and, when the
/// descriptor's bit 7 is set, `u32` checksum; then the footer: `u32` number of frames, `u8` descriptor, `u32` 8F92EAB1.
struct ZstdSeekTable: Sendable, Equatable {
  struct Entry: Sendable, Equatable {
    let compressed: UInt32
    let decompressed: UInt32
  }

  private(set) var entries: [Entry] = []
  /// Bytes of all frames together.
  private(set) var compressedByteCount: UInt64 = 0
  private(set) var decompressedByteCount: UInt64 = 0

  static let magic: UInt32 = 0x184D_2A5E
  static let footerMagic: UInt32 = 0x8F92_EAB1
  static let footerByteCount = 9
  /// The most frames the format allows.
  static let maximumEntries = 0x800_0000

  mutating func append(compressed: Int, decompressed: Int) {
    append(Entry(compressed: UInt32(compressed), decompressed: UInt32(decompressed)))
  }

  /// The skippable frame.
  func encoded() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(8 + entries.count * 8 + Self.footerByteCount)
    bytes.append(littleEndian: Self.magic)
    bytes.append(littleEndian: UInt32(entries.count * 8 + Self.footerByteCount))
    for entry in entries {
      bytes.append(littleEndian: entry.compressed)
      bytes.append(littleEndian: entry.decompressed)
    }
    bytes.append(littleEndian: UInt32(entries.count))
    bytes.append(0)
    bytes.append(littleEndian: Self.footerMagic)
    return bytes
  }

  /// What the end of a source says about a table.
  enum Finding: Equatable {
    case none
    case table(ZstdSeekTable)
    /// There is one, but it contradicts itself or the size of the source.
    case damaged
  }

  init() {}

  /// Reads the table from the end of a seekable source.
  static func find(in source: any ByteSource) throws -> Finding {
    guard source.isSeekable, let end = source.byteCount, end >= UInt64(8 + footerByteCount) else { return .none }
    let footer = try read(source, at: end - UInt64(footerByteCount), count: footerByteCount)
    guard footer.count == footerByteCount, try footer.littleEndian(UInt32.self, at: 5) == footerMagic else {
      return .none
    }
    let count = Int(try footer.littleEndian(UInt32.self, at: 0))
    let descriptor = footer[4]
    let entrySize = descriptor & 0x80 == 0 ? 8 : 12
    let size = UInt64(8 + count * entrySize + footerByteCount)
    guard count <= maximumEntries, descriptor & 0x7C == 0, size <= end else { return .damaged }
    let header = try read(source, at: end - size, count: 8)
    guard header.count == 8, try header.littleEndian(UInt32.self, at: 0) == magic,
      UInt64(try header.littleEndian(UInt32.self, at: 4)) == size - 8
    else { return .damaged }

    var table = ZstdSeekTable()
    table.entries.reserveCapacity(count)
    // In portions: the table of a large image has megabytes.
    var index = 0
    while index < count {
      let portion = min(count - index, 1 << 16)
      let bytes = try read(source, at: end - size + 8 + UInt64(index * entrySize), count: portion * entrySize)
      guard bytes.count == portion * entrySize else { return .damaged }
      for offset in stride(from: 0, to: bytes.count, by: entrySize) {
        table.append(
          Entry(
            compressed: try bytes.littleEndian(UInt32.self, at: offset),
            decompressed: try bytes.littleEndian(UInt32.self, at: offset + 4)))
      }
      index += portion
    }
    return table.compressedByteCount == end - size ? .table(table) : .damaged
  }

  private mutating func append(_ entry: Entry) {
    entries.append(entry)
    // At most 2^27 entries of at most 2^32 bytes: no overflow.
    compressedByteCount += UInt64(entry.compressed)
    decompressedByteCount += UInt64(entry.decompressed)
  }

  private static func read(_ source: any ByteSource, at offset: UInt64, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    let got = try source.readFully(at: offset, into: &raw)
    return got == count ? bytes : []
  }
}
