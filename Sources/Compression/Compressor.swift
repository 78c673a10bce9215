// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import Pipelines

/// Compresses a stream in independent frames, as many at once as there are cores, and writes them in order.
///
/// zstd: frames with size and checksum, then a seek table (``ZstdSeekTable``) when there is more than one frame.
/// gzip: members that tell their length (``GzipMember``). lz4: frames with size and checksum. xz: one stream of blocks
/// that tell their size, as `xz -T` writes. Memory is bounded by a pool of buffers, and for xz by some 40 MiB a core.
public struct Compressor: Sendable {
  public let options: CompressionOptions

  /// Bytes of the stream in one frame.
  public static let frameByteCount = 4 << 20

  public init(_ options: CompressionOptions = CompressionOptions()) { self.options = options }

  /// Compresses all that `source` gives into `sink` and finishes it.
  ///
  /// The source is read, and the sink written, on threads of their own.
  /// - Throws: what the source or the sink throws, `CancellationError`, ``CompressionError/library(detail:)``,
  ///   ``CompressionError/notWritten(codec:)``.
  public func compress(
    _ source: some FrameSource, into sink: inout some ByteSink
  ) async throws -> CompressionTotals {
    let workers = Parallelism.workers
    let pool = try Pool(count: workers + 4) { try EncodeSlot(options) }
    let frames = FrameReader(source)
    var index = try FrameIndex(options.codec)
    var streamBytes: UInt64 = 0
    var storedBytes: UInt64 = 0
    try await withTaskExecutorPreference(BlockingThread("writer")) {
      func write(_ bytes: [UInt8]) throws {
        guard !bytes.isEmpty else { return }
        try sink.write(bytes.span.bytes)
        storedBytes += UInt64(bytes.count)
      }
      try write(try index.header())
      try await stagedPipeline(
        pool: pool, depth: workers + 2,
        fill: { try frames.next(into: $0.input) },
        transform: { try $0.compress() },
        consume: { lease in
          let output = lease.slot.output
          try sink.write(output.bytes)
          streamBytes += UInt64(lease.slot.input.count)
          storedBytes += UInt64(output.count)
          try index.append(lease.slot)
        })
      try write(try index.trailer())
      try sink.finish()
    }
    return CompressionTotals(streamBytes: streamBytes, storedBytes: storedBytes)
  }
}

/// How much is done at once.
enum Parallelism {
  /// As many as there are cores, and no more than the memory bound allows (20 slots of 8 MiB).
  static let workers = min(max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1), 16)
}

/// Holds the source for the one thread that reads it.
private final class FrameReader<Source: FrameSource>: @unchecked Sendable {
  private var source: Source
  private var isFirst = true

  init(_ source: Source) { self.source = source }

  /// The first frame is made even when it is empty: an empty file is no stream of any codec.
  func next(into buffer: Buffer) throws -> Bool {
    defer { isFirst = false }
    return try buffer.fill { span throws in try source.fill(&span) } > 0 || isFirst
  }
}

/// What stands before the frames of a stream, and what is known about them after the last.
private enum FrameIndex {
  case zstd(ZstdSeekTable)
  case xz(XzIndex)
  case none

  init(_ codec: Codec) throws(CompressionError) {
    switch codec {
    case .zstd: self = .zstd(ZstdSeekTable())
    case .xz: self = .xz(try XzIndex())
    default: self = .none
    }
  }

  func header() throws(CompressionError) -> [UInt8] {
    if case .xz(let index) = self { try index.streamHeader() } else { [] }
  }

  mutating func append(_ slot: EncodeSlot) throws(CompressionError) {
    switch self {
    case .zstd(var table):
      // Without a second owner, so that the table is not copied for each frame.
      self = .none
      table.append(compressed: slot.output.count, decompressed: slot.input.count)
      self = .zstd(table)
    case .xz(let index): try index.append(unpadded: slot.unpaddedByteCount, uncompressed: slot.input.count)
    case .none: break
    }
  }

  func trailer() throws(CompressionError) -> [UInt8] {
    switch self {
    case .zstd(let table): table.entries.count <= ZstdSeekTable.maximumEntries ? table.encoded() : []
    case .xz(let index): try index.encoded()
    case .none: []
    }
  }
}

/// A frame on its way, with what it takes to compress it.
private final class EncodeSlot: @unchecked Sendable {
  let input = Buffer(capacity: Compressor.frameByteCount)
  /// The input itself when it is not to be compressed.
  let output: Buffer
  /// Bytes of an xz block without its padding.
  private(set) var unpaddedByteCount: UInt64 = 0
  private let compression: Compression

  private enum Compression {
    case zstd(ZstdCompressor)
    case gzip(GzipCompressor)
    case lz4(LZ4Compressor)
    case xz(XzBlockCompressor)
    case none
  }

  init(_ options: CompressionOptions) throws(CompressionError) {
    let size = Compressor.frameByteCount
    switch options.codec {
    case .zstd:
      compression = .zstd(try ZstdCompressor(level: options.level))
      output = Buffer(capacity: ZstdFrame.bound(size))
    case .gzip:
      compression = .gzip(try GzipCompressor(level: options.level))
      output = Buffer(capacity: GzipMember.bound(size))
    case .lz4:
      compression = .lz4(LZ4Compressor(level: options.level))
      output = Buffer(capacity: LZ4Frame.bound(size))
    case .xz:
      compression = .xz(try XzBlockCompressor(level: options.level))
      output = Buffer(capacity: XzBlockCompressor.bound(size))
    case .none:
      compression = .none
      output = input
    case .bzip2, .lzma, .lzip, .lzop: throw .notWritten(codec: options.codec)
    }
  }

  func compress() throws(CompressionError) {
    let input = self.input
    switch compression {
    case .zstd(let compressor): try compressor.compress(input.bytes, into: output)
    case .gzip(let compressor): try compressor.compress(input.bytes, into: output)
    case .lz4(let compressor): try compressor.compress(input.bytes, into: output)
    case .xz(let compressor): unpaddedByteCount = try compressor.compress(input.bytes, into: output)
    case .none: break
    }
  }
}
