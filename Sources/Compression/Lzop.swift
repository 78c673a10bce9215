// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import CDeflate
import CLzo

/// The header of a member of an lzop file, as lzop 1.04 writes and reads it; all numbers are big-endian.
///
/// Magic number [9]; `u16` version, `u16` library's version, `u16` version needed (from version 0940 on), `u8` method,
/// `u8` level (from 0940 on), `u32` flags, `u32` filter (flag 800), `u32` mode, `u32` time, `u32` its high half (from
/// 0940 on), `u8` length of the name, the name, `u32` checksum of what follows the magic number (Adler-32, or CRC-32
/// with flag 1000). With flag 40 `u32` length, an extra field and its checksum.
struct LzopHeader {
  static let magic: [UInt8] = [0x89, 0x4C, 0x5A, 0x4F, 0x00, 0x0D, 0x0A, 0x1A, 0x0A]
  static let endsInExtraField: UInt32 = 0x40
  private static let hasFilter: UInt32 = 0x800
  private static let isSplit: UInt32 = 0x400
  private static let usesCRC: UInt32 = 0x1000

  let flags: UInt32

  /// Reads a header, from its magic number to its checksum.
  init(_ cursor: SourceCursor) throws {
    let start = cursor.offset
    func fault(_ detail: String) -> CompressionError { .damaged(place: cursor.place(of: start), detail: detail) }
    let magic = try cursor.peek(Self.magic.count)
    guard magic == Self.magic else {
      throw magic.count < Self.magic.count && Self.magic.starts(with: magic)
        ? CompressionError.truncated(place: cursor.place(of: start))
        : CompressionError.trailingGarbage(place: cursor.place(of: start))
    }
    _ = try cursor.take(magic.count)
    var bytes: [UInt8] = []
    func take<Number: FixedWidthInteger & BitwiseCopyable>(_ type: Number.Type) throws -> Number {
      let field = try cursor.taking(MemoryLayout<Number>.size)
      bytes += field
      return try field.bigEndian(type, at: 0)
    }
    let version = try take(UInt16.self)
    let isModern = version >= 0x940
    _ = try take(UInt16.self)
    if isModern { _ = try take(UInt16.self) }
    let method = try take(UInt8.self)
    if isModern { _ = try take(UInt8.self) }
    flags = try take(UInt32.self)
    if flags & Self.hasFilter != 0 { _ = try take(UInt32.self) }
    _ = try take(UInt32.self)
    _ = try take(UInt32.self)
    if isModern { _ = try take(UInt32.self) }
    bytes += try cursor.taking(Int(try take(UInt8.self)))
    let checksum = flags & Self.usesCRC == 0 ? adler32(bytes.span.bytes) : CRC32.checksum(bytes)
    guard try cursor.taking(4).bigEndian(UInt32.self, at: 0) == checksum else {
      throw fault("the checksum of its header is wrong")
    }
    guard (1...3).contains(method), flags & (Self.hasFilter | Self.isSplit) == 0 else {
      throw CompressionError.unsupported(format: "lzop with method \(method), flags \(String(flags, radix: 16))")
    }
    if flags & Self.endsInExtraField != 0 {
      let count = try cursor.taking(4).bigEndian(UInt32.self, at: 0)
      guard count <= 1 << 16 else { throw fault("an extra field of \(count) bytes") }
      _ = try cursor.taking(Int(count) + 4)
    }
  }
}

/// A block of an lzop file: `u32` decompressed size (0: the member's end), `u32` stored size, then, as the flags tell,
/// Adler-32 (1) and CRC-32 (100) of the decompressed bytes and, when those are not stored as they are, Adler-32 (2) and
/// CRC-32 (200) of the stored ones; then the bytes, LZO1X.
struct LzopBlock: Sendable {
  let decompressedByteCount: Int
  let storedByteCount: Int
  let adler: UInt32?
  let crc: UInt32?
  let storedAdler: UInt32?
  let storedCRC: UInt32?

  /// Reads what stands before a block's bytes.
  /// - Returns: nil at the end of a member.
  init?(_ cursor: SourceCursor, _ header: LzopHeader) throws {
    let start = cursor.offset
    func take() throws -> UInt32 { try cursor.taking(4).bigEndian(UInt32.self, at: 0) }
    func checksum(_ flag: UInt32, _ condition: Bool = true) throws -> UInt32? {
      condition && header.flags & flag != 0 ? try take() : nil
    }
    let size = try take()
    if size == 0 { return nil }
    let stored = try take()
    guard size <= UInt32(Decompressor.pieceByteCount), stored > 0, stored <= size else {
      throw CompressionError.damaged(
        place: cursor.place(of: start), detail: "a block of \(size) bytes stored as \(stored)")
    }
    decompressedByteCount = Int(size)
    storedByteCount = Int(stored)
    adler = try checksum(0x1)
    crc = try checksum(0x100)
    storedAdler = try checksum(0x2, stored < size)
    storedCRC = try checksum(0x200, stored < size)
  }

  /// Decompresses blocks that stand one after another in `input`; `output` has room for them.
  /// - Returns: what is wrong with them, or nil.
  static func decompress(_ blocks: [LzopBlock], from input: Buffer, into output: Buffer) -> String? {
    var failure: String?
    output.fill { target in
      var from = 0
      var to = 0
      for block in blocks {
        let stored = input.bytes.extracting(from..<(from + block.storedByteCount))
        var part = target.part(to..<(to + block.decompressedByteCount))
        failure = block.decompress(stored, into: &part)
        if failure != nil { return 0 }
        from += block.storedByteCount
        to += block.decompressedByteCount
      }
      return to
    }
    return failure
  }

  private func decompress(_ stored: RawSpan, into target: inout MutableRawSpan) -> String? {
    let isRight = Self.matches(stored, adler: storedAdler, crc: storedCRC)
    guard isRight else { return "the checksum of a stored block is wrong" }
    let succeeded = stored.withUnsafeBytes { source in
      target.withUnsafeMutableBytes { target in
        if storedByteCount == decompressedByteCount {
          target.copyMemory(from: source)
          return true
        }
        var count = lzo_uint(target.count)
        let result = lzo1x_decompress_safe(
          source.bindMemory(to: UInt8.self).baseAddress, lzo_uint(source.count),
          target.bindMemory(to: UInt8.self).baseAddress, &count, nil)
        return result == LZO_E_OK && Int(count) == target.count
      }
    }
    guard succeeded else { return "a block's data is wrong" }
    return Self.matches(target.bytes, adler: adler, crc: crc) ? nil : "the checksum of a block is wrong"
  }

  private static func matches(_ bytes: RawSpan, adler: UInt32?, crc: UInt32?) -> Bool {
    if let adler, adler != adler32(bytes) { return false }
    if let crc, crc != CRC32.checksum(bytes) { return false }
    return true
  }
}

/// The members of an lzop file: as many whole blocks as make one piece.
final class LzopReader: PieceReader, @unchecked Sendable {
  private let cursor: SourceCursor
  private var header: LzopHeader?
  /// Read, but without room in the piece before.
  private var waiting: LzopBlock?

  init(_ cursor: SourceCursor) throws(CompressionError) {
    guard slipway_lzo_init() == LZO_E_OK else { throw .library(detail: "liblzo2 does not fit this program") }
    self.cursor = cursor
  }

  func fill(_ slot: DecodeSlot) throws -> Bool {
    let offset = cursor.offset
    var blocks: [LzopBlock] = []
    var decompressed = 0
    try slot.input.fill { span throws in
      var filled = 0
      while let block = try waiting ?? nextBlock() {
        waiting = block
        if decompressed + block.decompressedByteCount > Decompressor.pieceByteCount { break }
        var part = span.part(filled..<(filled + block.storedByteCount))
        guard try cursor.read(into: &part) == block.storedByteCount else {
          throw CompressionError.truncated(place: cursor.place(of: cursor.offset))
        }
        waiting = nil
        filled += block.storedByteCount
        decompressed += block.decompressedByteCount
        blocks.append(block)
      }
      return filled
    }
    slot.work = .lzop(offset: offset, blocks: blocks)
    return !blocks.isEmpty
  }

  /// - Returns: nil at the end of the last member.
  private func nextBlock() throws -> LzopBlock? {
    while true {
      if let header {
        if let block = try LzopBlock(cursor, header) { return block }
        self.header = nil
      }
      if try cursor.peek(1).isEmpty { return nil }
      header = try LzopHeader(cursor)
    }
  }
}

extension SourceCursor {
  /// The next bytes, which must all be there.
  fileprivate func taking(_ count: Int) throws -> [UInt8] {
    let bytes = try take(count)
    guard bytes.count == count else { throw CompressionError.truncated(place: place(of: offset)) }
    return bytes
  }
}

private func adler32(_ bytes: RawSpan) -> UInt32 {
  bytes.withUnsafeBytes { libdeflate_adler32(1, $0.baseAddress, $0.count) }
}
