// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// Decompresses a stream bit by bit. A stream is made of units that stand by themselves: frames, members, whatever the
/// format calls them. Used by one thread at a time.
protocol StreamDecoder: AnyObject, Sendable {
  /// Whether a unit may begin with these bytes: the next ``Codec/detectionByteCount`` of the stream, or all that are
  /// left.
  func startsUnit(_ bytes: [UInt8]) -> Bool
  /// Takes bytes of a stream and gives what they decompress to. After the end of a unit it starts the next.
  /// - Parameter input: where a unit begins, all the bytes that ``startsUnit(_:)`` was shown, and more; empty only at
  ///   the end of the stream.
  func step(_ input: RawSpan, into output: inout MutableRawSpan) throws(StreamFault) -> StreamStep
}

/// What one step came to: how many bytes were taken and given, and whether a unit is complete.
struct StreamStep {
  var taken: Int
  var given: Int
  var endsUnit: Bool
}

/// Why there is no next step.
enum StreamFault: Error {
  case damaged(String)
  case windowTooLarge
  /// The library has no memory, or a complaint that is not about the stream.
  case library(String)
}

/// Units of a stream, one after another.
final class StreamReader: PieceReader, @unchecked Sendable {
  private let input: StreamInput
  private let decoder: any StreamDecoder
  private var isInsideUnit = false
  /// Steps in a row that neither took nor gave anything.
  private var idleSteps = 0

  /// Some decoders need a second look before they say that there is nothing more to come.
  private static let maximumIdleSteps = 3

  init(_ cursor: SourceCursor, _ decoder: any StreamDecoder) {
    input = StreamInput(cursor)
    self.decoder = decoder
  }

  func fill(_ slot: DecodeSlot) throws -> Bool {
    slot.work = .none
    return try slot.output.fill { span throws in
      var filled = 0
      while filled < span.byteCount {
        if !isInsideUnit, try !beginUnit() { break }
        let unread = try input.unread()
        if unread.isEmpty, filled > 0 { break }
        let buffer = input.buffer
        var room = span.part(filled..<span.byteCount)
        do {
          let step = try decoder.step(buffer.bytes.extracting(unread), into: &room)
          idleSteps = step.taken == 0 && step.given == 0 && !step.endsUnit ? idleSteps + 1 : 0
          if idleSteps == Self.maximumIdleSteps {
            if unread.isEmpty { throw CompressionError.truncated(place: input.place) }
            throw StreamFault.damaged("it leads nowhere")
          }
          input.take(step.taken)
          filled += step.given
          isInsideUnit = !step.endsUnit
        } catch StreamFault.damaged(let detail) {
          throw CompressionError.damaged(place: input.place, detail: detail)
        } catch StreamFault.windowTooLarge {
          throw CompressionError.windowTooLarge(place: input.place)
        } catch StreamFault.library(let detail) {
          throw CompressionError.library(detail: detail)
        }
      }
      return filled
    } > 0
  }

  /// - Returns: false at the end of the stream.
  private func beginUnit() throws -> Bool {
    let start = try input.peek(Codec.detectionByteCount)
    if start.isEmpty { return false }
    guard decoder.startsUnit(start) else {
      // No format's magic number is longer.
      throw start.count < 4
        ? CompressionError.truncated(place: input.place) : CompressionError.trailingGarbage(place: input.place)
    }
    isInsideUnit = true
    return true
  }
}

/// gzip members: whole ones as long as they tell their length, then any others bit by bit.
final class GzipReader: PieceReader, @unchecked Sendable {
  private let cursor: SourceCursor
  private var stream: StreamReader?

  init(_ cursor: SourceCursor) throws { self.cursor = cursor }

  func fill(_ slot: DecodeSlot) throws -> Bool {
    if let stream { return try stream.fill(slot) }
    let header = try cursor.peek(GzipMember.headerByteCount)
    if header.isEmpty { return false }
    if let size = GzipMember.size(header), size.content <= Decompressor.pieceByteCount,
      size.member <= GzipMember.bound(Decompressor.pieceByteCount)
    {
      return try fillWithMember(slot, size)
    }
    let stream = StreamReader(cursor, try GzipStreamDecompressor())
    self.stream = stream
    return try stream.fill(slot)
  }

  private func fillWithMember(_ slot: DecodeSlot, _ size: GzipMember.Size) throws -> Bool {
    slot.work = .gzip(offset: cursor.offset, count: size.content)
    let got = try slot.input.fill(limit: size.member) { span throws in try cursor.read(into: &span) }
    guard got == size.member else { throw CompressionError.truncated(place: cursor.place(of: cursor.offset)) }
    return true
  }
}
