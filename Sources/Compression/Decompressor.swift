// SPDX-License-Identifier: GPL-3.0-or-later

import Pipelines

/// Part of a decompressed stream. Its memory is used again once the last reference is gone.
public final class Piece: Sendable {
  private let lease: Lease<DecodeSlot>

  fileprivate init(_ lease: Lease<DecodeSlot>) { self.lease = lease }

  public var bytes: RawSpan {
    @_lifetime(borrow self)
    get {
      let output = lease.slot.output
      return _overrideLifetime(output.bytes, borrowing: self)
    }
  }
}

/// What a whole stream came to.
public struct DecompressionTotals: Sendable, Equatable {
  public let streamBytes: UInt64
  /// Worth telling a person; the data is right all the same.
  public let warnings: [String]
}

/// Decompresses any concatenation of a codec's frames, members or streams, or a stream that is stored as it is.
///
/// zstd frames that a seek table lists, gzip members that tell their length, xz blocks that do, and lzop's blocks are
/// decompressed on all cores; anything else by one thread beside the one that reads and the one that consumes.
/// Checksums in the stream are checked. Memory is bounded: by a pool of pieces and by a window of 128 MiB.
public struct Decompressor: Sendable {
  private let source: any ByteSource
  private let codec: Codec?
  private let holding: Int

  /// No piece is larger.
  public static let pieceByteCount = Compressor.frameByteCount

  /// - Parameters:
  ///   - codec: what the file's name says; nil to go by the magic number.
  ///   - holding: how many pieces the consumer may keep hold of at once.
  public init(_ source: any ByteSource, codec: Codec?, holding: Int = 0) {
    self.source = source
    self.codec = codec
    self.holding = holding
  }

  /// How many bytes the stream decompresses to, where that is known without doing so. May block.
  /// - Throws: ``CompressionError``, what the source throws.
  public func decompressedByteCount() throws -> UInt64? {
    guard source.isSeekable else { return nil }
    switch try resolvedCodec(SourceCursor(source)) {
    case .none: return source.byteCount
    case .zstd:
      guard case .table(let table) = try ZstdSeekTable.find(in: source) else { return nil }
      return table.decompressedByteCount
    default: return nil
    }
  }

  /// Decompresses the whole stream.
  ///
  /// - Parameter consume: takes the pieces in order, on a thread that may block.
  /// - Throws: ``CompressionError``, what the source or `consume` throws, `CancellationError`.
  @discardableResult
  public func decompress(
    _ consume: (Piece) async throws -> Void
  ) async throws -> DecompressionTotals {
    try await withTaskExecutorPreference(BlockingThread("consumer")) {
      let cursor = SourceCursor(source)
      var warnings: [String] = []
      let reader: any PieceReader
      switch try resolvedCodec(cursor) {
      case .none: reader = StoredReader(cursor)
      case .gzip: reader = try GzipReader(cursor)
      case .lz4: reader = StreamReader(cursor, try LZ4Decoder())
      case .xz: reader = StreamReader(cursor, LZMADecoder(.xz))
      case .bzip2: reader = StreamReader(cursor, Bzip2Decoder())
      case .lzma: reader = StreamReader(cursor, LZMADecoder(.alone))
      case .lzip: reader = StreamReader(cursor, LZMADecoder(.lzip))
      case .lzop: reader = try LzopReader(cursor)
      case .zstd:
        switch try ZstdSeekTable.find(in: source) {
        case .table(let table) where ZstdFrameReader.canRead(table): reader = ZstdFrameReader(cursor, table: table)
        case .damaged:
          warnings.append("the seek table of \(source.name) is damaged; it was read frame after frame without it")
          fallthrough
        case .none, .table: reader = StreamReader(cursor, try ZstdDecompressor())
        }
      }
      let depth = Parallelism.workers + 2
      let pool = Pool(count: depth + 2 + holding) { DecodeSlot() }
      var streamBytes: UInt64 = 0
      try await stagedPipeline(
        pool: pool, depth: depth,
        fill: { try reader.fill($0) },
        transform: { try $0.decompress(source) },
        consume: { lease in
          streamBytes += UInt64(lease.slot.output.count)
          try await consume(Piece(lease))
        })
      return DecompressionTotals(streamBytes: streamBytes, warnings: warnings)
    }
  }

  private func resolvedCodec(_ cursor: SourceCursor) throws -> Codec {
    if codec == Codec.none { return .none }
    let start = try cursor.peek(Codec.detectionByteCount)
    let found = try? Codec.detect(start.span.bytes)
    guard let codec else { return try Codec.detect(start.span.bytes) }
    if start.count < 4 { throw CompressionError.truncated(place: cursor.place(of: UInt64(start.count))) }
    guard found == codec else { throw CompressionError.notCompressed(place: source.name, expected: codec) }
    return codec
  }
}

/// A piece on its way, with what it takes to decompress it.
final class DecodeSlot: @unchecked Sendable {
  let output = Buffer(capacity: Decompressor.pieceByteCount)
  /// Whole frames as they are stored, where they are decompressed in parallel.
  private(set) lazy var input = Buffer(
    capacity: max(ZstdFrame.bound(Decompressor.pieceByteCount), GzipMember.bound(Decompressor.pieceByteCount)))
  private var zstd: ZstdDecompressor?
  private var gzip: GzipDecompressor?

  /// What is to be done with ``input``; `offset` tells where it stands in the source, `count` what it must give.
  enum Work {
    /// Nothing: ``output`` is filled.
    case none
    case zstd(offset: UInt64, count: Int)
    case gzip(offset: UInt64, count: Int)
    case lzop(offset: UInt64, blocks: [LzopBlock])
  }
  var work = Work.none

  func decompress(_ source: any ByteSource) throws {
    let failure: (offset: UInt64, detail: String?)
    switch work {
    case .none: return
    case .zstd(let offset, let count):
      let decompressor = try zstd ?? ZstdDecompressor()
      zstd = decompressor
      failure = (offset, decompressor.decompress(input.bytes, into: output, count: count))
    case .gzip(let offset, let count):
      let decompressor = try gzip ?? GzipDecompressor()
      gzip = decompressor
      failure = (offset, decompressor.decompress(input.bytes, into: output, count: count))
    case .lzop(let offset, let blocks): failure = (offset, LzopBlock.decompress(blocks, from: input, into: output))
    }
    if let detail = failure.detail {
      throw CompressionError.damaged(place: source.place(of: failure.offset), detail: detail)
    }
  }
}
