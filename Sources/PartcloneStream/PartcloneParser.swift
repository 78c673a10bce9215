// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Reporting

/// partclone's formats; see ``VolumeStreamParser``.
final class PartcloneParser: FormatParser {
  typealias Event = VolumeStreamParser.Event

  /// A bitmap of more blocks is refused: it would take 1 GiB.
  private static let maximumBitmapBlocks: UInt64 = 1 << 33
  /// What follows a bitmap of bytes.
  private static let bitmapEnd = Array("BiTmAgIc".utf8)

  private let image: String
  private var state = State.header([])
  /// Where the next byte stands in the stream.
  private var offset: UInt64 = 0
  private var bitmapChecksum = CRC32()
  private var checksum: DataChecksum?
  /// As far as it has come in.
  private var bitmap = BlockBitmap(count: 0)
  /// Bytes that mean nothing after each checksum of version 1: 0, or 4 when a 64-bit program wrote it; nil as long as
  /// that is not known.
  private var padding: Int?

  private enum State {
    case header([UInt8])
    case bitmap(PartcloneHeader, taken: UInt64)
    case bitmapEnd(PartcloneHeader, [UInt8])
    case data(PartcloneHeader, UsedBlocks)
    case checksum(PartcloneHeader, UsedBlocks, [UInt8])
    /// The second block of version 1, with its checksum and what may be padding before it.
    case secondBlock(PartcloneHeader, UsedBlocks, [UInt8])
    case padding(PartcloneHeader, UsedBlocks, left: Int)
    case end
  }

  init(image: String) { self.image = image }

  func parse(_ bytes: RawSpan, _ handle: (Event) throws -> Void) throws {
    var position = 0
    while position < bytes.byteCount {
      let before = offset
      let rest = bytes.extracting(position..<bytes.byteCount)
      switch state {
      case .header(let collected): try parseHeader(collected, rest, handle)
      case .bitmap(let header, let taken): try parseBitmap(header, taken, rest)
      case .bitmapEnd(let header, let collected): try parseBitmapEnd(header, collected, rest, handle)
      case .data(let header, let blocks): try parseData(header, blocks, rest, at: position, handle)
      case .checksum(let header, let blocks, let collected):
        try parseChecksum(header, blocks, collected, rest, handle)
      case .secondBlock(let header, let blocks, let collected):
        try parseSecondBlock(header, blocks, collected, rest, handle)
      case .padding(let header, let blocks, let left):
        let count = min(left, rest.byteCount)
        offset += UInt64(count)
        state = count == left ? afterBlocks(header, blocks) : .padding(header, blocks, left: left - count)
      case .end: throw PartcloneError.trailingData(image: image, offset: offset)
      }
      position += Int(offset - before)
    }
  }

  func finish() throws(PartcloneError) -> String? {
    let missing: String
    switch state {
    case .end: return nil
    case .header(let collected):
      let start = collected.prefix(PartcloneHeader.magic.count)
      guard !start.isEmpty, PartcloneHeader.magic.starts(with: start) else { throw .notPartclone(image: image) }
      missing = "inside its header"
    case .bitmap, .bitmapEnd: missing = "inside its bitmap"
    case .data(_, let blocks): missing = "where the data of block \(blocks.deviceBlock) is expected"
    case .checksum(_, let blocks, let collected):
      if blocks.isAtEnd, collected.isEmpty { return "the last checksum of \(image) is missing" }
      missing = "inside a checksum"
    case .secondBlock(_, let blocks, _): missing = "inside block \(blocks.deviceBlock)"
    case .padding(_, let blocks, _):
      if blocks.isAtEnd { return nil }
      missing = "after a checksum"
    }
    throw .truncated(image: image, offset: offset, missing: missing)
  }

  private func parseHeader(_ collected: [UInt8], _ bytes: RawSpan, _ handle: (Event) throws -> Void) throws {
    let versionEnd = PartcloneHeader.versionEnd
    let wanted = collected.count < versionEnd ? versionEnd : PartcloneHeader.byteCount(of: collected)
    let collected = try collect(collected, wanted, bytes)
    state = .header(collected)
    guard collected.count == wanted, wanted > versionEnd else { return }
    let header = try PartcloneHeader(collected.span.bytes, image: image)
    guard header.bitmapMode == .none || header.totalBlocks <= Self.maximumBitmapBlocks else {
      throw PartcloneError.unsupported(image: image, feature: "a bitmap of \(header.totalBlocks) blocks")
    }
    try handle(.header(header))
    checksum = try DataChecksum(header.checksumMode, blockSize: header.blockSize)
    switch header.bitmapMode {
    case .none:
      try handle(.bitmap(usedBlocks: header.totalBlocks))
      state = afterBlocks(header, UsedBlocks(header, bitmap: nil))
    case .bit, .byte:
      bitmap = BlockBitmap(count: Int(header.totalBlocks))
      state = afterBitmap(header, taken: 0)
    }
  }

  private func afterBitmap(_ header: PartcloneHeader, taken: UInt64) -> State {
    taken == header.bitmapByteCount ? .bitmapEnd(header, []) : .bitmap(header, taken: taken)
  }

  private func parseBitmap(_ header: PartcloneHeader, _ taken: UInt64, _ bytes: RawSpan) throws {
    let count = Int(min(UInt64(bytes.byteCount), header.bitmapByteCount - taken))
    let part = bytes.extracting(0..<count)
    bitmapChecksum.update(part)
    if header.bitmapMode == .byte {
      takeBytes(part, from: Int(taken))
    } else {
      let first = Int(taken) * 8
      try bitmap.formUnion(at: first, count: min(count * 8, bitmap.count - first), leastSignificantBitFirst: part)
    }
    offset += UInt64(count)
    state = afterBitmap(header, taken: taken + UInt64(count))
  }

  /// Marks the blocks whose byte is 1; every other value means unused.
  private func takeBytes(_ bytes: RawSpan, from first: Int) {
    var index = 0
    while index < bytes.byteCount {
      let start = index
      while index < bytes.byteCount, bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self) == 1 { index += 1 }
      if start < index { bitmap.set((first + start)..<(first + index)) }
      index += 1
    }
  }

  /// A CRC-32 after bits. After bytes a mark; partclone's own writer and reader of version 2 disagree about that.
  private func parseBitmapEnd(
    _ header: PartcloneHeader, _ collected: [UInt8], _ bytes: RawSpan, _ handle: (Event) throws -> Void
  ) throws {
    // More than four only of what began like the mark.
    let wanted = collected.count < 4 ? 4 : Self.bitmapEnd.count
    let collected = try collect(collected, wanted, bytes)
    state = .bitmapEnd(header, collected)
    let mayBeMark = header.bitmapMode == .byte && Self.bitmapEnd.starts(with: collected)
    if collected.count < 4 || collected.count < Self.bitmapEnd.count && mayBeMark { return }
    if !mayBeMark {
      guard header.format == .partclone2, collected.count == 4 else {
        throw PartcloneError.wrongBitmapEnd(image: image)
      }
      let stored = try collected.littleEndian(UInt32.self, at: 0)
      guard stored == ~bitmapChecksum.value else {
        throw PartcloneError.wrongBitmapChecksum(image: image, expected: stored, found: ~bitmapChecksum.value)
      }
    }
    try handle(.bitmap(usedBlocks: UInt64(bitmap.usedCount)))
    state = afterBlocks(header, UsedBlocks(header, bitmap: bitmap))
    bitmap = BlockBitmap(count: 0)
  }

  /// Takes all data up to the next checksum or the end of the bytes.
  private func parseData(
    _ header: PartcloneHeader, _ blocks: UsedBlocks, _ bytes: RawSpan, at position: Int,
    _ handle: (Event) throws -> Void
  ) throws {
    var blocks = blocks
    var taken = 0
    while taken < bytes.byteCount, !blocks.isAtChecksum, !blocks.isAtEnd {
      let count = min(blocks.adjacent, bytes.byteCount - taken)
      checksum?.update(bytes.extracting(taken..<(taken + count)))
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

  private func parseChecksum(
    _ header: PartcloneHeader, _ blocks: UsedBlocks, _ collected: [UInt8], _ bytes: RawSpan,
    _ handle: (Event) throws -> Void
  ) throws {
    let size = header.checksumMode.byteCount
    let collected = try collect(collected, size, bytes)
    state = .checksum(header, blocks, collected)
    guard collected.count == size else { return }
    let found = checksum?.bytes ?? []
    guard collected == found else { throw wrongChecksum(blocks, expected: collected, found: found) }
    if header.reseedsChecksum { checksum?.restart() }
    var blocks = blocks
    blocks.passChecksum()
    try handle(.verified)
    guard header.format == .partclone1 else {
      state = afterBlocks(header, blocks)
      return
    }
    switch padding {
    case nil where !blocks.isAtEnd: state = .secondBlock(header, blocks, [])
    case 0: state = afterBlocks(header, blocks)
    default: state = .padding(header, blocks, left: 4)
    }
  }

  /// Looks where the second block's checksum fits, and so learns whether padding follows each checksum.
  private func parseSecondBlock(
    _ header: PartcloneHeader, _ blocks: UsedBlocks, _ collected: [UInt8], _ bytes: RawSpan,
    _ handle: (Event) throws -> Void
  ) throws {
    let unpadded = header.blockSize + 4
    let collected = try collect(collected, collected.count < unpadded ? unpadded : unpadded + 4, bytes)
    state = .secondBlock(header, blocks, collected)
    let padding = collected.count - unpadded
    guard padding == 0 || padding == 4, let checksum else { return }
    let block = Array(collected[padding..<(padding + header.blockSize)])
    var withBlock = checksum
    withBlock.update(block.span.bytes)
    let stored = Array(collected.suffix(4))
    var blocks = blocks
    let place = blocks.deviceOffset
    blocks.pass(header.blockSize)
    guard stored == withBlock.bytes else {
      // With padding four more bytes are wanted.
      if padding == 0 { return }
      throw wrongChecksum(blocks, expected: stored, found: withBlock.bytes)
    }
    self.checksum = withBlock
    self.padding = padding
    blocks.passChecksum()
    try handle(.keptData(block, deviceOffset: place))
    try handle(.verified)
    state = padding == 0 ? afterBlocks(header, blocks) : .padding(header, blocks, left: padding)
  }

  /// Both in hexadecimal, as the numbers they are; of XXH128 that is its canonical form.
  private func wrongChecksum(_ blocks: UsedBlocks, expected: [UInt8], found: [UInt8]) -> PartcloneError {
    func hex(_ bytes: [UInt8]) -> String {
      bytes.reversed().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
    return .wrongChecksum(
      image: image, block: blocks.firstUncheckedBlock, offset: offset - UInt64(expected.count),
      expected: hex(expected), found: hex(found))
  }

  /// Adds bytes until there are `wanted`.
  private func collect(_ collected: [UInt8], _ wanted: Int, _ bytes: RawSpan) throws -> [UInt8] {
    let more = try bytes.array(at: 0, count: min(bytes.byteCount, wanted - collected.count))
    offset += UInt64(more.count)
    return collected + more
  }
}
