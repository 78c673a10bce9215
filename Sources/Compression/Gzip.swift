// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import CDeflate
import CZlib

/// gzip members (RFC 1952) as we write them: their header's extra field tells how long the member is, so that a reader
/// can hand whole members to several cores. Other readers take them for ordinary members.
///
/// Extra field (RFC 1952, section 2.3.1.1), little-endian: `u16` 12; subfield `SW`, `u16` 8, then `u32` bytes of the
/// member from its first to its last, `u32` bytes it decompresses to.
enum GzipMember {
  static let magic: [UInt8] = [0x1F, 0x8B, 0x08]
  static let headerByteCount = 24
  private static let fixedHeader: [UInt8] =
    [0x1F, 0x8B, 0x08, 0x04, 0, 0, 0, 0, 0, 0xFF, 12, 0] + Array("SW".utf8) + [8, 0]

  /// A member's own account of its size.
  struct Size: Equatable {
    let member: Int
    let content: Int
  }

  static func header(_ size: Size) -> [UInt8] {
    var bytes = fixedHeader
    bytes.append(littleEndian: UInt32(size.member))
    bytes.append(littleEndian: UInt32(size.content))
    return bytes
  }

  /// What the header of one of our members says; nil for any other bytes.
  static func size(_ header: [UInt8]) -> Size? {
    guard header.count >= headerByteCount, header.starts(with: fixedHeader),
      let member = try? header.littleEndian(UInt32.self, at: 16),
      let content = try? header.littleEndian(UInt32.self, at: 20), member > headerByteCount + 8
    else { return nil }
    return Size(member: Int(member), content: Int(content))
  }

  /// The most bytes a member of `count` bytes can have.
  static func bound(_ count: Int) -> Int { libdeflate_deflate_compress_bound(nil, count) + headerByteCount + 8 }
}

/// Compresses whole members. One at a time.
final class GzipCompressor: @unchecked Sendable {
  private let compressor: OpaquePointer

  init(level: Int) throws(CompressionError) {
    guard let compressor = libdeflate_alloc_compressor(Int32(level)) else {
      throw .library(detail: "no memory for a deflate compressor")
    }
    self.compressor = compressor
  }

  deinit { libdeflate_free_compressor(compressor) }

  /// Makes one member of `input` in `output`, which has room for ``GzipMember/bound(_:)``.
  func compress(_ input: RawSpan, into output: Buffer) throws(CompressionError) {
    let filled = output.fill { target in
      var body = target.part(GzipMember.headerByteCount..<(target.byteCount - 8))
      let size = input.withUnsafeBytes { source in
        body.withUnsafeMutableBytes {
          libdeflate_deflate_compress(compressor, source.baseAddress, source.count, $0.baseAddress, $0.count)
        }
      }
      guard size > 0 else { return 0 }
      let total = GzipMember.headerByteCount + size + 8
      let header = GzipMember.header(.init(member: total, content: input.byteCount))
      var trailer: [UInt8] = []
      trailer.append(littleEndian: CRC32.checksum(input))
      trailer.append(littleEndian: UInt32(truncatingIfNeeded: input.byteCount))
      target.withUnsafeMutableBytes {
        $0.copyBytes(from: header)
        $0[(total - 8)..<total].copyBytes(from: trailer)
      }
      return total
    }
    guard filled > 0 else { throw .library(detail: "deflate could not compress \(input.byteCount) bytes") }
  }
}

/// Decompresses whole members. One at a time.
final class GzipDecompressor: @unchecked Sendable {
  private let decompressor: OpaquePointer

  init() throws(CompressionError) {
    guard let decompressor = libdeflate_alloc_decompressor() else {
      throw .library(detail: "no memory for a deflate decompressor")
    }
    self.decompressor = decompressor
  }

  deinit { libdeflate_free_decompressor(decompressor) }

  /// Decompresses the one member in `input`, which must give exactly `count` bytes.
  /// - Returns: what is wrong with it, or nil.
  func decompress(_ input: RawSpan, into output: Buffer, count: Int) -> String? {
    var taken = 0
    var given = 0
    var result = LIBDEFLATE_SUCCESS
    output.fill(limit: count) { target in
      result = input.withUnsafeBytes { source in
        target.withUnsafeMutableBytes {
          libdeflate_gzip_decompress_ex(
            decompressor, source.baseAddress, source.count, $0.baseAddress, $0.count, &taken, &given)
        }
      }
      return result == LIBDEFLATE_SUCCESS ? given : 0
    }
    guard result == LIBDEFLATE_SUCCESS else { return "its deflate data or checksum is wrong" }
    guard taken == input.byteCount, given == count else { return "the member's header tells the wrong size" }
    return nil
  }
}

/// Decompresses a stream of members bit by bit. One at a time.
final class GzipStreamDecompressor: StreamDecoder, @unchecked Sendable {
  // zlib keeps a pointer to the structure, so it must not move.
  private let stream: UnsafeMutablePointer<z_stream>

  init() throws(CompressionError) {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    // 15 bits of window, and 16 for a gzip header and trailer.
    guard inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
      stream.deallocate()
      throw .library(detail: "no memory for an inflate stream")
    }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  func startsUnit(_ bytes: [UInt8]) -> Bool { bytes.starts(with: GzipMember.magic) }

  func step(_ input: RawSpan, into output: inout MutableRawSpan) throws(StreamFault) -> StreamStep {
    let offered = min(input.byteCount, Int(UInt32.max))
    let room = min(output.byteCount, Int(UInt32.max))
    let result = input.withUnsafeBytes { source in
      output.withUnsafeMutableBytes { target in
        // zlib does not write to its input; the field merely lacks a const.
        stream.pointee.next_in = UnsafeMutablePointer(mutating: source.bindMemory(to: UInt8.self).baseAddress)
        stream.pointee.avail_in = UInt32(offered)
        stream.pointee.next_out = target.bindMemory(to: UInt8.self).baseAddress
        stream.pointee.avail_out = UInt32(room)
        return inflate(stream, Z_NO_FLUSH)
      }
    }
    guard [Z_OK, Z_BUF_ERROR, Z_STREAM_END].contains(result) else {
      throw .damaged(stream.pointee.msg.map { String(cString: $0) } ?? "zlib error \(result)")
    }
    let step = StreamStep(
      taken: offered - Int(stream.pointee.avail_in), given: room - Int(stream.pointee.avail_out),
      endsUnit: result == Z_STREAM_END)
    if step.endsUnit { inflateReset(stream) }
    return step
  }
}
