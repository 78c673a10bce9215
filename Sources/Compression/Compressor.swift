// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import Pipelines

/// Compresses a stream in independent frames, as many at once as there are cores, and writes them in order.
///
/// zstd: frames with size and checksum, then a seek table (``ZstdSeekTable``) when there is more than one frame.
/// gzip: members that tell their length (``GzipMember``). Memory is bounded by a pool of buffers.
public struct Compressor: Sendable {
  public let options: CompressionOptions

  /// Bytes of the stream in one frame.
  public static let frameByteCount = 4 << 20

  public init(_ options: CompressionOptions = CompressionOptions()) { self.options = options }

  /// Compresses all that `source` gives into `sink` and finishes it.
  ///
  /// The source is read, and the sink written, on threads of their own.
  /// - Throws: what the source or the sink throws, `CancellationError`, ``CompressionError/library(detail:)``.
  public func compress(
    _ source: some FrameSource, into sink: inout some ByteSink
  ) async throws -> CompressionTotals {
    let workers = Parallelism.workers
    let pool = try Pool(count: workers + 4) { try EncodeSlot(options) }
    let frames = FrameReader(source)
    var table = ZstdSeekTable()
    var streamBytes: UInt64 = 0
    var storedBytes: UInt64 = 0
    try await withTaskExecutorPreference(BlockingThread("writer")) {
      try await stagedPipeline(
        pool: pool, depth: workers + 2,
        fill: { try frames.next(into: $0.input) },
        transform: { try $0.compress() },
        consume: { lease in
          let output = lease.slot.output
          try sink.write(output.bytes)
          streamBytes += UInt64(lease.slot.input.count)
          storedBytes += UInt64(output.count)
          table.append(compressed: output.count, decompressed: lease.slot.input.count)
        })
      if options.codec == .zstd, table.entries.count <= ZstdSeekTable.maximumEntries {
        let bytes = table.encoded()
        try sink.write(bytes.span.bytes)
        storedBytes += UInt64(bytes.count)
      }
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

/// A frame on its way, with what it takes to compress it.
private final class EncodeSlot: Sendable {
  let input = Buffer(capacity: Compressor.frameByteCount)
  /// The input itself when it is not to be compressed.
  let output: Buffer
  private let compression: Compression

  private enum Compression: Sendable {
    case zstd(ZstdCompressor)
    case gzip(GzipCompressor)
    case none
  }

  init(_ options: CompressionOptions) throws {
    switch options.codec {
    case .zstd:
      compression = .zstd(try ZstdCompressor(level: options.level))
      output = Buffer(capacity: ZstdFrame.bound(Compressor.frameByteCount))
    case .gzip:
      compression = .gzip(try GzipCompressor(level: options.level))
      output = Buffer(capacity: GzipMember.bound(Compressor.frameByteCount))
    case .none:
      compression = .none
      output = input
    }
  }

  func compress() throws {
    let input = self.input
    switch compression {
    case .zstd(let compressor): try compressor.compress(input.bytes, into: output)
    case .gzip(let compressor): try compressor.compress(input.bytes, into: output)
    case .none: break
    }
  }
}
