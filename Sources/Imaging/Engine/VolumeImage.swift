// SPDX-License-Identifier: GPL-3.0-or-later

public import Compression
public import PartcloneStream

/// The form of a volume's stream, which its file name tells.
public enum VolumeFormat: Sendable {
  /// A partclone image.
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

  /// The header of a partclone stream, reading no more than its start; nil for a raw one. The source must be seekable,
  /// or it is used up.
  /// - Throws: `PartcloneError`, `CompressionError`, what the source throws.
  public func header() async throws -> PartcloneHeader? {
    guard format == .partclone else { return nil }
    struct EnoughRead: Error {}
    var result: Result<PartcloneHeader, PartcloneError> = .failure(.notPartclone(image: source.name))
    do {
      try await Decompressor(source, codec: codec).decompress { piece in
        let start = piece.bytes.extracting(first: PartcloneHeader.byteCount)
        result = Result { () throws(PartcloneError) in try PartcloneHeader(start, image: source.name) }
        throw EnoughRead()
      }
    } catch is EnoughRead {}
    return try result.get()
  }

  /// Bytes of the volume that was saved, where that can be told without decompressing all of it: always for partclone,
  /// for raw streams that are stored as they are or have a seek table. The source must be seekable, or it is used up.
  /// - Throws: as ``header()``.
  public func volumeByteCount() async throws -> UInt64? {
    switch format {
    case .partclone: try await header()?.deviceSize
    case .raw: try Decompressor(source, codec: codec).decompressedByteCount()
    }
  }
}
