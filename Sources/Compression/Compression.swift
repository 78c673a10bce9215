// Compression: streams compressed and decompressed in parallel frames, in a form the stock tools read and write.
// SPDX-License-Identifier: GPL-3.0-or-later

/// How a stream is compressed.
public enum Codec: String, Sendable, CaseIterable {
  /// Zstandard frames (RFC 8878).
  case zstd
  /// gzip members (RFC 1952).
  case gzip
  /// Stored as it is.
  case none

  /// The suffix of Clonezilla's file names.
  public var suffix: String {
    switch self {
    case .zstd: "zst"
    case .gzip: "gz"
    case .none: "uncomp"
    }
  }

  /// - Parameter suffix: of a Clonezilla file name, without the dot.
  /// - Throws: ``CompressionError/unsupported(format:)`` for the formats Clonezilla knows and we don't, and for any other.
  public init(suffix: String) throws(CompressionError) {
    guard let codec = Self.allCases.first(where: { $0.suffix == suffix }) else { throw .unsupported(format: suffix) }
    self = codec
  }

  /// The codec whose magic number a stream starts with; ``none`` when it starts with no magic number known.
  ///
  /// For old images whose file names don't tell. Four bytes suffice.
  /// - Throws: ``CompressionError/unsupported(format:)`` for the other formats Clonezilla compresses with.
  public static func detect(_ start: RawSpan) throws(CompressionError) -> Codec {
    let magic = (0..<min(6, start.byteCount)).map { start.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
    if ZstdFrame.startsFrame(magic) { return .zstd }
    if magic.starts(with: GzipMember.magic) { return .gzip }
    let others: [([UInt8], String)] = [
      (Array("BZh".utf8), "bzip2"), ([0xFD, 0x37, 0x7A, 0x58, 0x5A], "xz"), ([0x89, 0x4C, 0x5A, 0x4F], "lzop"),
      (Array("LZIP".utf8), "lzip"), (Array("LRZI".utf8), "lrzip"), ([0x04, 0x22, 0x4D, 0x18], "lz4"),
    ]
    if let other = others.first(where: { magic.starts(with: $0.0) }) { throw .unsupported(format: other.1) }
    return .none
  }
}

/// How a stream is to be written.
public struct CompressionOptions: Sendable {
  public let codec: Codec
  /// As the codec counts them: zstd 1…19, gzip 1…12.
  public let level: Int

  /// - Parameter level: zstd 3 and gzip 1 unless told; clamped to what the codec has.
  public init(codec: Codec = .zstd, level: Int? = nil) {
    self.codec = codec
    switch codec {
    case .zstd: self.level = min(max(level ?? 3, 1), 19)
    case .gzip: self.level = min(max(level ?? 1, 1), 12)
    case .none: self.level = 0
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
