// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import CZstd

/// Any concatenation of zstd frames, one after another; skippable ones are passed over.
final class ZstdStreamReader: PieceReader, @unchecked Sendable {
  private let input: StreamInput
  private let decompressor: ZstdDecompressor
  private var isInsideFrame = false

  init(_ cursor: SourceCursor) throws {
    input = StreamInput(cursor)
    decompressor = try ZstdDecompressor()
  }

  func fill(_ slot: DecodeSlot) throws -> Bool {
    slot.work = .none
    let buffer = input.buffer
    return try slot.output.fill { span throws in
      var filled = 0
      while filled < span.byteCount {
        let unread = try input.unread()
        let bytes = buffer.bytes.extracting(unread)
        if bytes.isEmpty, !isInsideFrame { break }
        if bytes.isEmpty, filled > 0 { break }
        var room = span.part(filled..<span.byteCount)
        switch decompressor.step(bytes, into: &room) {
        case .progress(let taken, let given, let endsFrame):
          if bytes.isEmpty, given == 0, !endsFrame { throw CompressionError.truncated(place: input.place) }
          input.take(taken)
          filled += given
          isInsideFrame = !endsFrame
        case .failure(let code, let name):
          switch code {
          case ZSTD_error_prefix_unknown where !isInsideFrame:
            throw CompressionError.trailingGarbage(place: input.place)
          case ZSTD_error_frameParameter_windowTooLarge: throw CompressionError.windowTooLarge(place: input.place)
          case ZSTD_error_memory_allocation: throw CompressionError.library(detail: name)
          default: throw CompressionError.damaged(place: input.place, detail: name)
          }
        }
      }
      return filled
    } > 0
  }
}

/// gzip members: whole ones as long as they tell their length, then any others bit by bit.
final class GzipReader: PieceReader, @unchecked Sendable {
  private let cursor: SourceCursor
  private var stream: (input: StreamInput, decompressor: GzipStreamDecompressor)?
  private var isInsideMember = false

  init(_ cursor: SourceCursor) throws { self.cursor = cursor }

  func fill(_ slot: DecodeSlot) throws -> Bool {
    if stream == nil {
      let header = try cursor.peek(GzipMember.headerByteCount)
      if header.isEmpty { return false }
      if let size = GzipMember.size(header), size.content <= Decompressor.pieceByteCount,
        size.member <= GzipMember.bound(Decompressor.pieceByteCount)
      {
        return try fillWithMember(slot, size)
      }
      stream = (StreamInput(cursor), try GzipStreamDecompressor())
    }
    return try fillFromStream(slot)
  }

  private func fillWithMember(_ slot: DecodeSlot, _ size: GzipMember.Size) throws -> Bool {
    slot.work = .gzip(offset: cursor.offset, count: size.content)
    let got = try slot.input.fill(limit: size.member) { span throws in try cursor.read(into: &span) }
    guard got == size.member else { throw CompressionError.truncated(place: cursor.place(of: cursor.offset)) }
    return true
  }

  private func fillFromStream(_ slot: DecodeSlot) throws -> Bool {
    guard let (input, decompressor) = stream else { return false }
    slot.work = .none
    let buffer = input.buffer
    return try slot.output.fill { span throws in
      var filled = 0
      while filled < span.byteCount {
        let unread = try input.unread()
        let bytes = buffer.bytes.extracting(unread)
        if bytes.isEmpty {
          if isInsideMember { throw CompressionError.truncated(place: input.place) }
          break
        }
        if !isInsideMember, bytes.unsafeLoad(fromByteOffset: 0, as: UInt8.self) != GzipMember.magic[0] {
          throw CompressionError.trailingGarbage(place: input.place)
        }
        var room = span.part(filled..<span.byteCount)
        switch decompressor.step(bytes, into: &room) {
        case .progress(let taken, let given, let endsMember):
          input.take(taken)
          filled += given
          isInsideMember = !endsMember
        case .failure(let detail): throw CompressionError.damaged(place: input.place, detail: detail)
        }
      }
      return filled
    } > 0
  }
}
