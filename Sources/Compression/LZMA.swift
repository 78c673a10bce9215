// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import CLzma

/// What begins the formats that liblzma reads.
enum LZMA {
  /// The .xz file format, section 2.1.1.1.
  static let xzMagic: [UInt8] = [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]
  /// The lzip manual, chapter "File format".
  static let lzipMagic = Array("LZIP".utf8)

  /// `u8` properties, `u32` dictionary size, `u64` uncompressed size, little-endian ("The .lzma File Format", 1.1).
  static let aloneHeaderByteCount = 13

  /// Whether bytes begin a `.lzma` file. It has no magic number; these are the values that its writers use.
  static func startsAlone(_ bytes: [UInt8]) -> Bool {
    guard bytes.count >= aloneHeaderByteCount, bytes[0] == 0x5D,
      let dictionary = try? bytes.littleEndian(UInt32.self, at: 1),
      let size = try? bytes.littleEndian(UInt64.self, at: 5)
    else { return false }
    // 2^n or 2^n + 2^(n-1), from 4 KiB on.
    let rest = dictionary & (dictionary &- 1)
    let isUsual = dictionary >= 4096 && (rest == 0 || dictionary == rest | rest >> 1 && rest & (rest &- 1) == 0)
    return isUsual && (size == .max || size < 1 << 48)
  }

  /// What a decoder may allocate: a dictionary of 2^27 bytes, and something for the rest.
  static let memoryLimit: UInt64 = 1 << 27 + 1 << 24
}

/// xz streams, `.lzma` files or lzip members, bit by bit. Of an xz stream, blocks that tell their sizes are
/// decompressed on all cores.
final class LZMADecoder: StreamDecoder, @unchecked Sendable {
  enum Format { case xz, alone, lzip }

  private let format: Format
  // Structures that liblzma keeps pointers to must not move.
  private let stream: UnsafeMutablePointer<lzma_stream>
  private var isOpen = false

  init(_ format: Format) {
    self.format = format
    stream = .allocate(capacity: 1)
    stream.initialize(to: lzma_stream())
  }

  deinit {
    lzma_end(stream)
    stream.deallocate()
  }

  func startsUnit(_ bytes: [UInt8]) -> Bool {
    switch format {
    case .xz: bytes.starts(with: LZMA.xzMagic) || Self.startsPadding(bytes)
    case .alone: LZMA.startsAlone(bytes)
    case .lzip: bytes.starts(with: LZMA.lzipMagic)
    }
  }

  /// Between and after xz streams there may be zeros, four at a time (the .xz file format, section 2.2).
  private static func startsPadding(_ bytes: [UInt8]) -> Bool { bytes.starts(with: [0, 0, 0, 0]) }

  func step(_ input: RawSpan, into output: inout MutableRawSpan) throws(StreamFault) -> StreamStep {
    if !isOpen {
      if format == .xz, input.byteCount >= 4, input.unsafeLoadUnaligned(as: UInt32.self) == 0 {
        return StreamStep(taken: 4, given: 0, endsUnit: true)
      }
      try open()
    }
    let room = output.byteCount
    let result = input.withUnsafeBytes { source in
      output.withUnsafeMutableBytes { target in
        stream.pointee.next_in = source.bindMemory(to: UInt8.self).baseAddress
        stream.pointee.avail_in = source.count
        stream.pointee.next_out = target.bindMemory(to: UInt8.self).baseAddress
        stream.pointee.avail_out = target.count
        return lzma_code(stream, source.isEmpty ? LZMA_FINISH : LZMA_RUN)
      }
    }
    switch result {
    case LZMA_OK, LZMA_BUF_ERROR, LZMA_STREAM_END: break
    case LZMA_MEMLIMIT_ERROR: throw .windowTooLarge
    case LZMA_MEM_ERROR: throw .library("no memory for an lzma decoder")
    case LZMA_FORMAT_ERROR: throw .damaged("its header is wrong")
    case LZMA_OPTIONS_ERROR: throw .damaged("it has options that are not known")
    case LZMA_DATA_ERROR: throw .damaged("its data or checksum is wrong")
    default: throw .library("lzma error \(result.rawValue)")
    }
    isOpen = result != LZMA_STREAM_END
    return StreamStep(
      taken: input.byteCount - stream.pointee.avail_in, given: room - stream.pointee.avail_out, endsUnit: !isOpen)
  }

  private func open() throws(StreamFault) {
    let result: lzma_ret
    switch format {
    case .xz:
      var options = lzma_mt()
      options.threads = UInt32(Parallelism.workers)
      options.memlimit_threading = LZMA.memoryLimit
      options.memlimit_stop = LZMA.memoryLimit
      result = lzma_stream_decoder_mt(stream, &options)
    case .alone: result = lzma_alone_decoder(stream, LZMA.memoryLimit)
    case .lzip: result = lzma_lzip_decoder(stream, LZMA.memoryLimit, 0)
    }
    guard result == LZMA_OK else { throw .library("no memory for an lzma decoder") }
    isOpen = true
  }
}
