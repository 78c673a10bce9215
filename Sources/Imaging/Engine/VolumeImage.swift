// SPDX-License-Identifier: GPL-3.0-or-later

public import Compression
public import PartcloneStream

/// The form of a volume's stream, which its file name tells.
public enum VolumeFormat: Sendable {
  /// A partclone image, or one of ntfsclone: which of them, the stream itself tells.
  case partclone
  /// The bytes of the volume without a header: `dd-ptcl-img` and `dd-img`.
  case raw
}

/// The stream of one volume, to be looked at, verified or restored.
public struct VolumeImage: Sendable {
  public let source: any ByteSource
  /// Nil when the magic number is to tell.
  public let codec: Codec?
  public let format: VolumeFormat

  public init(_ source: any ByteSource, codec: Codec?, format: VolumeFormat) {
    self.source = source
    self.codec = codec
    self.format = format
  }

  /// The header of a partclone or ntfsclone stream, reading no more than its start; nil for a raw one. The source must be seekable,
  /// or it is used up.
  /// - Throws: `PartcloneError`, `CompressionError`, what the source throws.
  public func header() async throws -> PartcloneHeader? {
    guard format == .partclone else { return nil }
    struct Found: Error { let header: PartcloneHeader }
    let parser = VolumeStreamParser(image: source.name)
    do {
      try await Decompressor(source, codec: codec).decompress { piece in
        try parser.parse(piece.bytes) { event in
          if case .header(let header) = event { throw Found(header: header) }
        }
      }
      _ = try parser.finish()
    } catch let found as Found {
      return found.header
    }
    throw PartcloneError.notPartclone(image: source.name)
  }

  /// Bytes of the volume that was saved, where that can be told without decompressing all of it: always for partclone
  /// and ntfsclone,
  /// for raw streams that are stored as they are or have a seek table. The source must be seekable, or it is used up.
  /// - Throws: as ``header()``.
  public func volumeByteCount() async throws -> UInt64? {
    switch format {
    case .partclone: try await header()?.deviceSize
    case .raw: try Decompressor(source, codec: codec).decompressedByteCount()
    }
  }
}
