// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// What gives the pieces of one kind of stream, or whole frames that another thread makes pieces of.
/// Used by one thread at a time.
protocol PieceReader: AnyObject, Sendable {
  /// Puts the next piece, or the frames it is made from, into `slot`.
  /// - Returns: false at the end of the stream.
  func fill(_ slot: DecodeSlot) throws -> Bool
}

/// A stream that is stored as it is.
final class StoredReader: PieceReader, @unchecked Sendable {
  private let cursor: SourceCursor

  init(_ cursor: SourceCursor) { self.cursor = cursor }

  func fill(_ slot: DecodeSlot) throws -> Bool {
    slot.work = .none
    return try slot.output.fill { span throws in try cursor.read(into: &span) } > 0
  }
}

/// zstd frames that a seek table lists: as many whole ones as make one piece.
final class ZstdFrameReader: PieceReader, @unchecked Sendable {
  private let cursor: SourceCursor
  private let table: ZstdSeekTable
  private var next = 0

  init(_ cursor: SourceCursor, table: ZstdSeekTable) {
    self.cursor = cursor
    self.table = table
  }

  /// Whether each frame fits into a slot.
  static func canRead(_ table: ZstdSeekTable) -> Bool {
    table.entries.allSatisfy {
      $0.decompressed <= Decompressor.pieceByteCount && $0.compressed <= ZstdFrame.bound(Decompressor.pieceByteCount)
    }
  }

  func fill(_ slot: DecodeSlot) throws -> Bool {
    var compressed = 0
    var decompressed = 0
    while next < table.entries.count {
      let entry = table.entries[next]
      guard compressed + Int(entry.compressed) <= ZstdFrame.bound(Decompressor.pieceByteCount),
        decompressed + Int(entry.decompressed) <= Decompressor.pieceByteCount
      else { break }
      compressed += Int(entry.compressed)
      decompressed += Int(entry.decompressed)
      next += 1
    }
    guard compressed > 0 || decompressed > 0 else { return false }
    slot.work = .zstd(offset: cursor.offset, count: decompressed)
    let got = try slot.input.fill(limit: compressed) { span throws in try cursor.read(into: &span) }
    guard got == compressed else { throw CompressionError.truncated(place: cursor.place(of: cursor.offset)) }
    return true
  }
}

/// What a reader that decompresses by itself keeps of its source.
final class StreamInput {
  let cursor: SourceCursor
  let buffer = Buffer(capacity: 1 << 18)
  private var taken = 0

  init(_ cursor: SourceCursor) { self.cursor = cursor }

  /// Where the next byte stands in the source.
  var offset: UInt64 { cursor.offset - UInt64(buffer.count - taken) }

  var place: String { cursor.place(of: offset) }

  /// The part of ``buffer`` not yet taken; read from the source when there is none. Empty at its end.
  func unread() throws -> Range<Int> {
    if taken == buffer.count {
      try buffer.fill { span throws in try cursor.read(into: &span) }
      taken = 0
    }
    return taken..<buffer.count
  }

  /// The next bytes, which stay to be read; fewer than `count` at the end only.
  func peek(_ count: Int) throws -> [UInt8] {
    let buffer = buffer
    if buffer.count - taken < count {
      let kept = buffer.bytes.extracting(taken..<buffer.count).withUnsafeBytes { [UInt8]($0) }
      try buffer.fill { span throws in
        span.withUnsafeMutableBytes { $0.copyBytes(from: kept) }
        var rest = span.part(kept.count..<span.byteCount)
        return kept.count + (try cursor.read(into: &rest))
      }
      taken = 0
    }
    return buffer.bytes.extracting(taken..<min(taken + count, buffer.count)).withUnsafeBytes { [UInt8]($0) }
  }

  func take(_ count: Int) { taken += count }
}
