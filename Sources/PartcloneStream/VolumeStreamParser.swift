// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// Takes the stream of a volume apart as its bytes come in, whichever ``StreamFormat`` it has, and checks all that can
/// be checked. Blocks are told as ranges of the bytes given, without copying them.
public final class VolumeStreamParser {
  public enum Event {
    /// The header is valid. Throw here when the volume does not fit; nothing was allocated for it yet.
    case header(PartcloneHeader)
    /// The bitmap is valid; data follows.
    case bitmap(usedBlocks: UInt64)
    /// Bytes of used blocks: where they stand in the bytes given, and where they belong on the volume.
    case data(Range<Int>, deviceOffset: UInt64)
    /// A used block that had to be kept back, since it could not be told at once where it began.
    case keptData([UInt8], deviceOffset: UInt64)
    /// All data told so far is as good as it can be known to be.
    case verified
  }

  private let image: String
  private var parser: (any FormatParser)?

  /// - Parameter image: what errors call the stream.
  public init(image: String) { self.image = image }

  /// Takes the next bytes of the stream.
  /// - Throws: ``PartcloneError``, what `handle` throws.
  public func parse(_ bytes: RawSpan, _ handle: (Event) throws -> Void) throws {
    guard !bytes.isEmpty else { return }
    // ntfsclone's magic number begins with a zero, partclone's with a letter.
    let parser: any FormatParser =
      self.parser
      ?? (bytes.unsafeLoad(as: UInt8.self) == 0 ? NTFSCloneParser(image: image) : PartcloneParser(image: image))
    self.parser = parser
    try parser.parse(bytes, handle)
  }

  /// Says that the stream is at its end.
  /// - Returns: a warning when the last checksum is missing, which some old writers left out.
  /// - Throws: ``PartcloneError``.
  public func finish() throws(PartcloneError) -> String? {
    guard let parser else { throw .notPartclone(image: image) }
    return try parser.finish()
  }
}

/// What takes the streams of one format apart; see ``VolumeStreamParser``.
protocol FormatParser: AnyObject {
  func parse(_ bytes: RawSpan, _ handle: (VolumeStreamParser.Event) throws -> Void) throws
  func finish() throws(PartcloneError) -> String?
}
