// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import CZstd

/// What is fixed about Zstandard frames: RFC 8878, sections 3.1.1 and 3.1.2.
enum ZstdFrame {
  static let magic: UInt32 = 0xFD2F_B528
  /// The low four bits are free.
  static let skippableMagic: UInt32 = 0x184D_2A50

  /// Whether bytes begin a data frame or a skippable one.
  static func startsFrame(_ bytes: [UInt8]) -> Bool {
    guard let value = try? bytes.littleEndian(UInt32.self, at: 0) else { return false }
    return value == magic || value & ~0xF == skippableMagic
  }

  /// The most bytes a frame of `count` bytes can be compressed to.
  static func bound(_ count: Int) -> Int { ZSTD_compressBound(count) }

  /// The largest window a decoder will allocate: 2^27 bytes, as the `zstd` program allows without being told more.
  static let windowLogLimit: Int32 = 27
}

/// Compresses whole frames, each with its content's size and checksum. One at a time.
final class ZstdCompressor: @unchecked Sendable {
  private let context: OpaquePointer

  init(level: Int) throws(CompressionError) {
    guard let context = ZSTD_createCCtx() else { throw .library(detail: "no memory for a zstd context") }
    self.context = context
    for (parameter, value) in [(ZSTD_c_compressionLevel, Int32(level)), (ZSTD_c_checksumFlag, 1)] {
      try Self.check(ZSTD_CCtx_setParameter(context, parameter, value))
    }
  }

  deinit { ZSTD_freeCCtx(context) }

  /// Makes one frame of `input` in `output`, which has room for ``ZstdFrame/bound(_:)``.
  func compress(_ input: RawSpan, into output: Buffer) throws(CompressionError) {
    let result = output.fill { target in
      let size = input.withUnsafeBytes { source in
        target.withUnsafeMutableBytes {
          ZSTD_compress2(context, $0.baseAddress, $0.count, source.baseAddress, source.count)
        }
      }
      return ZSTD_isError(size) == 0 ? size : 0
    }
    guard result > 0 else { throw .library(detail: "zstd could not compress a frame of \(input.byteCount) bytes") }
  }

  private static func check(_ code: Int) throws(CompressionError) {
    guard ZSTD_isError(code) == 0 else { throw .library(detail: String(cString: ZSTD_getErrorName(code))) }
  }
}

/// Decompresses zstd frames: whole ones at once, or a stream bit by bit. One at a time.
final class ZstdDecompressor: @unchecked Sendable {
  private let context: OpaquePointer

  init() throws(CompressionError) {
    guard let context = ZSTD_createDCtx() else { throw .library(detail: "no memory for a zstd context") }
    self.context = context
    _ = ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, ZstdFrame.windowLogLimit)
  }

  deinit { ZSTD_freeDCtx(context) }

  /// Decompresses the frames in `input`, which must give exactly `count` bytes.
  /// - Returns: what is wrong with them, or nil.
  func decompress(_ input: RawSpan, into output: Buffer, count: Int) -> String? {
    var failure: String?
    output.fill(limit: count) { target in
      let size = input.withUnsafeBytes { source in
        target.withUnsafeMutableBytes {
          ZSTD_decompressDCtx(context, $0.baseAddress, $0.count, source.baseAddress, source.count)
        }
      }
      if ZSTD_isError(size) != 0 {
        failure = String(cString: ZSTD_getErrorName(size))
        return 0
      }
      if size != count { failure = "the seek table promised \(count) bytes, the frames hold \(size)" }
      return size
    }
    return failure
  }

}

extension ZstdDecompressor: StreamDecoder {
  func startsUnit(_ bytes: [UInt8]) -> Bool { ZstdFrame.startsFrame(bytes) }

  func step(_ input: RawSpan, into output: inout MutableRawSpan) throws(StreamFault) -> StreamStep {
    var from = ZSTD_inBuffer()
    var to = ZSTD_outBuffer()
    let result = input.withUnsafeBytes { source in
      output.withUnsafeMutableBytes { target in
        from = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
        to = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
        return ZSTD_decompressStream(context, &to, &from)
      }
    }
    guard ZSTD_isError(result) == 0 else {
      let name = String(cString: ZSTD_getErrorName(result))
      switch ZSTD_getErrorCode(result) {
      case ZSTD_error_frameParameter_windowTooLarge: throw .windowTooLarge
      case ZSTD_error_memory_allocation: throw .library(name)
      default: throw .damaged(name)
      }
    }
    return StreamStep(taken: from.pos, given: to.pos, endsUnit: result == 0)
  }
}
