// SPDX-License-Identifier: GPL-3.0-or-later

import CLzma

/// Compresses whole blocks of an xz stream, each with its sizes in its header and a CRC-64. One at a time.
final class XzBlockCompressor: @unchecked Sendable {
  // The filter points to its options, so neither must move.
  private let options: UnsafeMutablePointer<lzma_options_lzma>
  private let filters: UnsafeMutablePointer<lzma_filter>

  static let check = LZMA_CHECK_CRC64
  /// The .xz file format, section 5.3.1.
  private static let lzma2: lzma_vli = 0x21

  init(level: Int) throws(CompressionError) {
    options = .allocate(capacity: 1)
    options.initialize(to: lzma_options_lzma())
    filters = .allocate(capacity: 2)
    guard lzma_lzma_preset(options, UInt32(level)) == 0 else { throw .library(detail: "xz knows no level \(level)") }
    // What is larger than a block takes memory and is never used.
    options.pointee.dict_size = min(options.pointee.dict_size, UInt32(Compressor.frameByteCount))
    filters.initialize(to: lzma_filter(id: Self.lzma2, options: options))
    (filters + 1).initialize(to: lzma_filter(id: .max, options: nil))
  }

  deinit {
    options.deallocate()
    filters.deallocate()
  }

  /// The most bytes a block of `count` bytes can be compressed to.
  static func bound(_ count: Int) -> Int { lzma_block_buffer_bound(count) }

  /// Makes one block of `input` in `output`, which has room for ``bound(_:)``.
  /// - Returns: bytes of the block without its padding, as the index wants to know.
  func compress(_ input: RawSpan, into output: Buffer) throws(CompressionError) -> UInt64 {
    var block = lzma_block()
    block.check = Self.check
    block.filters = filters
    var result = LZMA_OK
    output.fill { target in
      var end = 0
      result = input.withUnsafeBytes { source in
        target.withUnsafeMutableBytes {
          lzma_block_buffer_encode(
            &block, nil, source.bindMemory(to: UInt8.self).baseAddress, source.count,
            $0.bindMemory(to: UInt8.self).baseAddress, &end, $0.count)
        }
      }
      return end
    }
    guard result == LZMA_OK else {
      throw .library(detail: "xz could not compress \(input.byteCount) bytes (error \(result.rawValue))")
    }
    return lzma_block_unpadded_size(&block)
  }
}

/// What an xz stream has around its blocks: a header, and the index and footer at its end.
final class XzIndex {
  private let index: OpaquePointer

  init() throws(CompressionError) {
    guard let index = lzma_index_init(nil) else { throw .library(detail: "no memory for an xz index") }
    self.index = index
  }

  deinit { lzma_index_end(index, nil) }

  func append(unpadded: UInt64, uncompressed: Int) throws(CompressionError) {
    guard lzma_index_append(index, nil, unpadded, lzma_vli(uncompressed)) == LZMA_OK else {
      throw .library(detail: "the xz index is full")
    }
  }

  func streamHeader() throws(CompressionError) -> [UInt8] {
    var flags = lzma_stream_flags()
    flags.check = XzBlockCompressor.check
    var bytes = [UInt8](repeating: 0, count: Int(LZMA_STREAM_HEADER_SIZE))
    guard lzma_stream_header_encode(&flags, &bytes) == LZMA_OK else { throw .library(detail: "xz made no header") }
    return bytes
  }

  /// The index and the stream's footer.
  func encoded() throws(CompressionError) -> [UInt8] {
    let size = lzma_index_size(index)
    var bytes = [UInt8](repeating: 0, count: Int(size))
    var end = 0
    var flags = lzma_stream_flags()
    flags.check = XzBlockCompressor.check
    flags.backward_size = size
    var footer = [UInt8](repeating: 0, count: Int(LZMA_STREAM_HEADER_SIZE))
    guard lzma_index_buffer_encode(index, &bytes, &end, bytes.count) == LZMA_OK,
      lzma_stream_footer_encode(&flags, &footer) == LZMA_OK
    else { throw .library(detail: "xz made no index") }
    return bytes + footer
  }
}
