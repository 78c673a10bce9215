// SPDX-License-Identifier: GPL-3.0-or-later

/// One bit a block: set means used. The bits past the last block are always clear.
public struct BlockBitmap: Sendable, Equatable {
  /// How many blocks the map describes.
  public let count: Int
  /// Bit b of word w stands for block 64w + b.
  private var words: [UInt64]

  /// - Parameters:
  ///   - count: number of blocks.
  ///   - used: what every block starts as.
  public init(count: Int, used: Bool = false) {
    precondition(count >= 0, "a bitmap has no negative size")
    self.count = count
    words = [UInt64](repeating: used ? .max : 0, count: (count + 63) / 64)
    clearSpareBits()
  }

  /// A map from its bytes, block b being bit b & 7 of byte b >> 3 (least significant bit first).
  /// - Throws: ``OutOfBounds`` when there are fewer bytes than the blocks need.
  public init(count: Int, leastSignificantBitFirst bytes: RawSpan) throws(OutOfBounds) {
    let needed = (count + 7) / 8
    let bytes = try bytes.slice(0, needed)
    self.count = count
    words = [UInt64](repeating: 0, count: (count + 63) / 64)
    words.withUnsafeMutableBytes { target in bytes.withUnsafeBytes { target.copyMemory(from: $0) } }
    for index in words.indices { words[index] = UInt64(littleEndian: words[index]) }
    clearSpareBits()
  }

  public subscript(_ block: Int) -> Bool {
    get {
      precondition(block >= 0 && block < count, "block outside the bitmap")
      return words[block >> 6] >> UInt64(block & 63) & 1 == 1
    }
    set {
      precondition(block >= 0 && block < count, "block outside the bitmap")
      if newValue {
        words[block >> 6] |= 1 << UInt64(block & 63)
      } else {
        words[block >> 6] &= ~(1 << UInt64(block & 63))
      }
    }
  }

  /// How many blocks are used.
  public var usedCount: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  /// How many blocks of a range are used; what lies outside the map is not counted.
  public func usedCount(in range: Range<Int>) -> Int {
    let range = range.clamped(to: 0..<count)
    guard !range.isEmpty else { return 0 }
    let first = range.lowerBound >> 6
    let last = (range.upperBound - 1) >> 6
    let head = UInt64.max << UInt64(range.lowerBound & 63)
    let tail = UInt64.max >> UInt64(63 - ((range.upperBound - 1) & 63))
    if first == last { return (words[first] & head & tail).nonzeroBitCount }
    var used = (words[first] & head).nonzeroBitCount + (words[last] & tail).nonzeroBitCount
    for index in (first + 1)..<last { used += words[index].nonzeroBitCount }
    return used
  }

  /// Marks a range of blocks; what lies outside the map is ignored.
  public mutating func set(_ range: Range<Int>, used: Bool = true) {
    let range = range.clamped(to: 0..<count)
    guard !range.isEmpty else { return }
    let first = range.lowerBound >> 6
    let last = (range.upperBound - 1) >> 6
    let head = UInt64.max << UInt64(range.lowerBound & 63)
    let tail = UInt64.max >> UInt64(63 - ((range.upperBound - 1) & 63))
    if first == last {
      apply(head & tail, to: first, used: used)
      return
    }
    apply(head, to: first, used: used)
    for index in (first + 1)..<last { words[index] = used ? .max : 0 }
    apply(tail, to: last, used: used)
  }

  /// Marks the blocks from `block` on whose bits are set in a map kept on disk (least significant bit first), a word
  /// at a time; blocks that were marked stay so, and what lies outside this map is ignored.
  /// - Throws: ``OutOfBounds`` when there are fewer bytes than `count` bits need.
  public mutating func formUnion(
    at block: Int, count: Int, leastSignificantBitFirst bytes: RawSpan
  ) throws(OutOfBounds) {
    precondition(block >= 0 && count >= 0, "blocks outside the bitmap")
    let bytes = try bytes.slice(0, count / 8 + (count & 7 == 0 ? 0 : 1))
    let count = min(count, self.count - block)
    var done = 0
    while done < count {
      let bits = min(64, count - done)
      var word: UInt64 = 0
      if bytes.byteCount - done / 8 >= 8 {
        word = UInt64(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: done / 8, as: UInt64.self))
      } else {
        for offset in 0..<(bytes.byteCount - done / 8) {
          word |= UInt64(bytes.unsafeLoad(fromByteOffset: done / 8 + offset, as: UInt8.self)) << UInt64(offset * 8)
        }
      }
      word &= UInt64.max >> UInt64(64 - bits)
      let shift = UInt64((block + done) & 63)
      let index = (block + done) >> 6
      words[index] |= word << shift
      if shift != 0, word >> (64 - shift) != 0 { words[index + 1] |= word >> (64 - shift) }
      done += 64
    }
  }

  /// Marks all blocks that a map of the same size marks.
  public mutating func formUnion(_ other: BlockBitmap) {
    precondition(other.count == count, "bitmaps of different sizes")
    for index in words.indices { words[index] |= other.words[index] }
  }

  /// The next run of used blocks at or after `block`, or nil when there is none.
  public func nextUsedRun(from block: Int) -> Range<Int>? {
    guard let start = next(from: block, flip: 0) else { return nil }
    return start..<(next(from: start, flip: .max) ?? count)
  }

  /// Calls `body` with each run of used blocks, in order.
  public func forEachUsedRun<E: Error>(_ body: (Range<Int>) throws(E) -> Void) throws(E) {
    var position = 0
    while let run = nextUsedRun(from: position) {
      try body(run)
      position = run.upperBound
    }
  }

  /// The bytes of the map, least significant bit first; spare bits of the last byte are clear.
  public func leastSignificantBitFirstBytes() -> [UInt8] {
    let littleEndian = words.map(\.littleEndian)
    return littleEndian.withUnsafeBytes { [UInt8]($0.prefix((count + 7) / 8)) }
  }

  /// Copies part of what ``leastSignificantBitFirstBytes()`` gives: as many bytes from byte `first` on as `target`
  /// holds, all of which the map must have.
  public func copyLeastSignificantBitFirst(from first: Int, into target: inout MutableRawSpan) {
    let size = target.byteCount
    precondition(first >= 0 && size <= (count + 7) / 8 - first, "bytes outside the bitmap")
    target.withUnsafeMutableBytes { target in
      for offset in 0..<size {
        let byte = first + offset
        target[offset] = UInt8(truncatingIfNeeded: words[byte >> 3] >> UInt64((byte & 7) * 8))
      }
    }
  }

  /// The same usage in blocks `factor` times smaller.
  public func refined(by factor: Int) -> BlockBitmap {
    var finer = BlockBitmap(count: count * factor)
    forEachUsedRun { finer.set(($0.lowerBound * factor)..<($0.upperBound * factor)) }
    return finer
  }

  /// The same map with room for more blocks, which are marked as told.
  public func extended(to newCount: Int, used: Bool) -> BlockBitmap {
    precondition(newCount >= count, "a bitmap is only extended")
    var larger = BlockBitmap(count: newCount)
    for index in words.indices { larger.words[index] = words[index] }
    larger.set(count..<newCount, used: used)
    return larger
  }

  /// First block at or after `block` whose bit, xor `flip`, is set.
  private func next(from block: Int, flip: UInt64) -> Int? {
    guard block < count else { return nil }
    var index = max(0, block) >> 6
    var word = (words[index] ^ flip) & (UInt64.max << UInt64(max(0, block) & 63))
    while word == 0 {
      index += 1
      guard index < words.count else { return nil }
      word = words[index] ^ flip
    }
    let found = index * 64 + word.trailingZeroBitCount
    return found < count ? found : nil
  }

  private mutating func apply(_ mask: UInt64, to index: Int, used: Bool) {
    if used { words[index] |= mask } else { words[index] &= ~mask }
  }

  private mutating func clearSpareBits() {
    if count & 63 != 0 { words[words.count - 1] &= UInt64.max >> UInt64(64 - (count & 63)) }
  }
}
