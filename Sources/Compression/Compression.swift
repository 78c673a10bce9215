// Compression: streams compressed and decompressed in parallel frames, in a form the stock tools read and write.
// SPDX-License-Identifier: GPL-3.0-or-later

/// How a stream is compressed.
public enum Codec: String, Sendable, CaseIterable {
  /// Zstandard frames (RFC 8878).
  case zstd
  /// gzip members (RFC 1952).
  case gzip
  /// LZ4 frames, also of the legacy kind.
  case lz4
  /// xz streams.
  case xz
  /// bzip2 streams. Read only, as all below.
  case bzip2
  /// The `.lzma` format that came before xz.
  case lzma
  /// lzip members.
  case lzip
  /// lzop's container of LZO1X blocks.
  case lzop
  /// Stored as it is.
  case none

  /// The suffix of Clonezilla's file names.
  public var suffix: String {
    switch self {
    case .zstd: "zst"
    case .gzip: "gz"
    case .lz4: "lz4"
    case .xz: "xz"
    case .bzip2: "bz2"
    case .lzma: "lzma"
    case .lzip: "lzip"
    case .lzop: "lzo"
    case .none: "uncomp"
    }
  }

  /// Whether streams can be written, not only read.
  public var isWritable: Bool {
    switch self {
    case .zstd, .gzip, .lz4, .xz, .none: true
    case .bzip2, .lzma, .lzip, .lzop: false
    }
  }

  /// - Parameter suffix: of a Clonezilla file name, without the dot.
  /// - Throws: ``CompressionError/unsupported(format:)`` for `lrz`, which Clonezilla knows and we don't, and any other.
  public init(suffix: String) throws(CompressionError) {
    guard let codec = Self.allCases.first(where: { $0.suffix == suffix }) else { throw .unsupported(format: suffix) }
    self = codec
  }

  /// Bytes that ``detect(_:)`` wants to see: the longest header it looks at.
  public static let detectionByteCount = LZMA.aloneHeaderByteCount

  /// The codec whose magic number a stream starts with; ``none`` when it starts with no magic number known.
  ///
  /// For old images whose file names don't tell.
  /// - Parameter start: the first ``detectionByteCount`` bytes; fewer only when the stream has no more.
  /// - Throws: ``CompressionError/unsupported(format:)`` for lrzip.
  public static func detect(_ start: RawSpan) throws(CompressionError) -> Codec {
    let bytes = (0..<min(detectionByteCount, start.byteCount)).map {
      start.unsafeLoad(fromByteOffset: $0, as: UInt8.self)
    }
    if bytes.starts(with: Array("LRZI".utf8)) { throw .unsupported(format: "lrzip") }
    return Self.allCases.first { $0.startsStream(bytes) } ?? .none
  }

  private func startsStream(_ bytes: [UInt8]) -> Bool {
    switch self {
    case .zstd: ZstdFrame.startsFrame(bytes)
    case .gzip: bytes.starts(with: GzipMember.magic)
    case .lz4: LZ4Frame.startsFrame(bytes)
    case .xz: bytes.starts(with: LZMA.xzMagic)
    case .bzip2: Bzip2Decoder.startsStream(bytes)
    case .lzma: LZMA.startsAlone(bytes)
    case .lzip: bytes.starts(with: LZMA.lzipMagic)
    case .lzop: bytes.starts(with: LzopHeader.magic)
    case .none: false
    }
  }
}

/// How a stream is to be written.
public struct CompressionOptions: Sendable {
  public let codec: Codec
  /// As the codec counts them: zstd 1…19, gzip 1…12, lz4 1…12, xz 0…9.
  public let level: Int

  /// - Parameter level: zstd 3, gzip 1, lz4 1 and xz 3 unless told, as Clonezilla has them; clamped to what the codec has.
  public init(codec: Codec = .zstd, level: Int? = nil) {
    self.codec = codec
    switch codec {
    case .zstd: self.level = min(max(level ?? 3, 1), 19)
    case .gzip, .lz4: self.level = min(max(level ?? 1, 1), 12)
    case .xz: self.level = min(max(level ?? 3, 0), 9)
    case .bzip2, .lzma, .lzip, .lzop, .none: self.level = 0
    }
  }
}

/// What went through a compressor.
public struct CompressionTotals: Sendable, Equatable {
  /// Bytes before compression.
  public let streamBytes: UInt64
  /// Bytes given to the sink.
  public let storedBytes: UInt64

  public init(streamBytes: UInt64, storedBytes: UInt64) {
    self.streamBytes = streamBytes
    self.storedBytes = storedBytes
  }
}
