// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Reporting

/// Takes a stream apart as its bytes come in, checking every checksum. No bytes are copied: the blocks are told as
/// ranges of the bytes given.
public struct PartcloneParser: Sendable {
  public enum Event {
    /// The header is valid. Throw here when the volume does not fit; nothing was allocated for it yet.
    case header(PartcloneHeader)
    /// The bitmap is valid; data follows.
    case bitmap(usedBlocks: UInt64)
    /// Bytes of used blocks: where they stand in the bytes given, and where they belong on the volume.
    case data(Range<Int>, deviceOffset: UInt64)
    /// All data told so far is as good as it can be known to be.
    case verified
  }

  /// A bitmap of more bytes is refused: 2^33 blocks.
  public static let maximumBitmapByteCount: UInt64 = 1 << 30

  private let image: String
  private var state = State.header([])
  /// Where the next byte stands in the stream.
  private var offset: UInt64 = 0
  private var checksum = CRC32()
  /// As far as it has come in.
  private var bitmap = BlockBitmap(count: 0)

  private enum State {
    case header([UInt8])
    case bitmap(PartcloneHeader, taken: UInt64)
    case bitmapChecksum(PartcloneHeader, [UInt8])
    case data(PartcloneHeader, UsedBlocks)
    case checksum(PartcloneHeader, UsedBlocks, [UInt8])
    case end
  }

  /// - Parameter image: what errors call the stream.
  public init(image: String) { self.image = image }

  /// Takes the next bytes of the stream.
  /// - Throws: ``PartcloneError``, what `handle` throws.
  public mutating func parse(_ bytes: RawSpan, _ handle: (Event) throws -> Void) throws {
    var position = 0
    while position < bytes.byteCount {
      let before = offset
      let rest = bytes.extracting(position..<bytes.byteCount)
      switch state {
      case .header(let collected): try parseHeader(collected, rest, handle)
      case .bitmap(let header, let taken): try parseBitmap(header, taken, rest)
      case .bitmapChecksum(let header, let collected): try parseBitmapChecksum(header, collected, rest, handle)
      case .data(let header, let blocks): try parseData(header, blocks, rest, at: position, handle)
      case .checksum(let header, let blocks, let collected):
        try parseChecksum(header, blocks, collected, rest, handle)
      case .end: throw PartcloneError.trailingData(image: image, offset: offset)
      }
      position += Int(offset - before)
    }
  }

  /// Says that the stream is at its end.
  /// - Returns: a warning when the last checksum is missing, which some old writers left out.
  /// - Throws: ``PartcloneError``.
  public func finish() throws(PartcloneError) -> String? {
    let missing: String
    switch state {
    case .end: return nil
    case .header(let collected):
      let start = collected.prefix(PartcloneHeader.magic.count)
      guard !start.isEmpty, PartcloneHeader.magic.starts(with: start) else { throw .notPartclone(image: image) }
      missing = "inside its header"
    case .bitmap, .bitmapChecksum: missing = "inside its bitmap"
    case .data(_, let blocks): missing = "where the data of block \(blocks.deviceBlock) is expected"
    case .checksum(_, let blocks, let collected):
      if blocks.isAtEnd, collected.isEmpty { return "the last checksum of \(image) is missing" }
      missing = "inside a checksum"
    }
    throw .truncated(image: image, offset: offset, missing: missing)
  }

  private mutating func parseHeader(_ collected: [UInt8], _ bytes: RawSpan, _ handle: (Event) throws -> Void) throws {
    let collected = try collect(collected, PartcloneHeader.byteCount, bytes)
    state = .header(collected)
    guard collected.count == PartcloneHeader.byteCount else { return }
    let header = try PartcloneHeader(collected.span.bytes, image: image)
    if header.checksumMode == .xxh64 || header.checksumMode == .xxh128 {
      throw PartcloneError.unsupported(image: image, feature: "\(header.checksumMode.name) checksums")
    }
    guard header.bitmapByteCount <= Self.maximumBitmapByteCount else {
      throw PartcloneError.unsupported(image: image, feature: "a bitmap of \(header.totalBlocks) blocks")
    }
    try handle(.header(header))
    switch header.bitmapMode {
    case .none:
      try handle(.bitmap(usedBlocks: header.totalBlocks))
      state = afterBlocks(header, UsedBlocks(header, bitmap: nil))
    case .bit:
      bitmap = BlockBitmap(count: Int(header.totalBlocks))
      state = afterBitmap(header, taken: 0)
    }
  }

  private func afterBitmap(_ header: PartcloneHeader, taken: UInt64) -> State {
    taken == header.bitmapByteCount ? .bitmapChecksum(header, []) : .bitmap(header, taken: taken)
  }

  private mutating func parseBitmap(_ header: PartcloneHeader, _ taken: UInt64, _ bytes: RawSpan) throws {
    let count = Int(min(UInt64(bytes.byteCount), header.bitmapByteCount - taken))
    let part = bytes.extracting(0..<count)
    checksum.update(part)
    let first = Int(taken) * 8
    try bitmap.formUnion(at: first, count: min(count * 8, bitmap.count - first), leastSignificantBitFirst: part)
    offset += UInt64(count)
    state = afterBitmap(header, taken: taken + UInt64(count))
  }

  private mutating func parseBitmapChecksum(
    _ header: PartcloneHeader, _ collected: [UInt8], _ bytes: RawSpan, _ handle: (Event) throws -> Void
  ) throws {
    let collected = try collect(collected, 4, bytes)
    state = .bitmapChecksum(header, collected)
    guard collected.count == 4 else { return }
    let stored = try collected.littleEndian(UInt32.self, at: 0)
    guard stored == ~checksum.value else {
      throw PartcloneError.wrongBitmapChecksum(image: image, expected: stored, found: ~checksum.value)
    }
    checksum = CRC32()
    try handle(.bitmap(usedBlocks: UInt64(bitmap.usedCount)))
    state = afterBlocks(header, UsedBlocks(header, bitmap: bitmap))
    bitmap = BlockBitmap(count: 0)
  }

  /// Takes all data up to the next checksum or the end of the bytes.
  private mutating func parseData(
    _ header: PartcloneHeader, _ blocks: UsedBlocks, _ bytes: RawSpan, at position: Int,
    _ handle: (Event) throws -> Void
  ) throws {
    var blocks = blocks
    var taken = 0
    while taken < bytes.byteCount, !blocks.isAtChecksum, !blocks.isAtEnd {
      let count = min(blocks.adjacent, bytes.byteCount - taken)
      if header.checksumMode != .none { checksum.update(bytes.extracting(taken..<(taken + count))) }
      let start = position + taken
      try handle(.data(start..<(start + count), deviceOffset: blocks.deviceOffset))
      blocks.pass(count)
      taken += count
    }
    offset += UInt64(taken)
    if header.checksumMode == .none { try handle(.verified) }
    state = afterBlocks(header, blocks)
  }

  private func afterBlocks(_ header: PartcloneHeader, _ blocks: UsedBlocks) -> State {
    if blocks.isAtChecksum { return .checksum(header, blocks, []) }
    return blocks.isAtEnd ? .end : .data(header, blocks)
  }

  private mutating func parseChecksum(
    _ header: PartcloneHeader, _ blocks: UsedBlocks, _ collected: [UInt8], _ bytes: RawSpan,
    _ handle: (Event) throws -> Void
  ) throws {
    let collected = try collect(collected, 4, bytes)
    state = .checksum(header, blocks, collected)
    guard collected.count == 4 else { return }
    let stored = try collected.littleEndian(UInt32.self, at: 0)
    guard stored == ~checksum.value else {
      throw PartcloneError.wrongChecksum(
        image: image, block: blocks.firstUncheckedBlock, offset: offset - 4, expected: stored, found: ~checksum.value)
    }
    if header.reseedsChecksum { checksum = CRC32() }
    var blocks = blocks
    blocks.passChecksum()
    try handle(.verified)
    state = afterBlocks(header, blocks)
  }

  /// Adds bytes until there are `wanted`.
  private mutating func collect(_ collected: [UInt8], _ wanted: Int, _ bytes: RawSpan) throws -> [UInt8] {
    let more = try bytes.array(at: 0, count: min(bytes.byteCount, wanted - collected.count))
    offset += UInt64(more.count)
    return collected + more
  }
}
