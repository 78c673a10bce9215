// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Testing

/// Each operation against the same done on an array of Booleans.
@Suite struct BlockBitmapTests {
  /// Around the ends of words and bytes.
  static let counts = [0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 191, 192, 200, 1000]

  private func bits(_ bitmap: BlockBitmap) -> [Bool] { (0..<bitmap.count).map { bitmap[$0] } }

  private func random(_ count: Int, _ generator: inout SplitMix64) -> (map: BlockBitmap, model: [Bool]) {
    let model = (0..<count).map { _ in Bool.random(using: &generator) }
    var map = BlockBitmap(count: count)
    for block in 0..<count where model[block] { map[block] = true }
    return (map, model)
  }

  private func packed(_ model: [Bool]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: (model.count + 7) / 8)
    for (block, used) in model.enumerated() where used { bytes[block / 8] |= 1 << UInt8(block % 8) }
    return bytes
  }

  @Test(arguments: counts) func startsAllFreeOrAllUsed(count: Int) {
    let free = BlockBitmap(count: count)
    let used = BlockBitmap(count: count, used: true)
    #expect(free.usedCount == 0)
    #expect(used.usedCount == count)
    #expect(bits(used) == [Bool](repeating: true, count: count))
    #expect(used.nextUsedRun(from: 0) == (count == 0 ? nil : 0..<count))
    #expect(free.nextUsedRun(from: 0) == nil)
    #expect(used.leastSignificantBitFirstBytes() == packed([Bool](repeating: true, count: count)))
  }

  @Test(arguments: counts) func bytesComeBackAsTheyWent(count: Int) throws {
    var generator = SplitMix64(seed: UInt64(count))
    let (map, model) = random(count, &generator)
    #expect(bits(map) == model)
    #expect(map.usedCount == model.count { $0 })
    let bytes = map.leastSignificantBitFirstBytes()
    #expect(bytes == packed(model))
    #expect(try BlockBitmap(count: count, leastSignificantBitFirst: bytes.span.bytes) == map)
    // Set bits behind the last block and more bytes than needed change nothing.
    var noisy = bytes + [0xFF, 0xFF, 0xFF]
    if count % 8 != 0 { noisy[count / 8] |= 0xFF << UInt8(count % 8) }
    #expect(try BlockBitmap(count: count, leastSignificantBitFirst: noisy.span.bytes) == map)
    if count > 0 {
      let short = [UInt8](bytes.dropLast())
      #expect(throws: OutOfBounds(offset: 0, count: bytes.count, available: bytes.count - 1)) {
        try BlockBitmap(count: count, leastSignificantBitFirst: short.span.bytes)
      }
    }
  }

  @Test func singleBlocksAreSetAndCleared() {
    var generator = SplitMix64(seed: 7)
    var (map, model) = random(300, &generator)
    for _ in 0..<2000 {
      let block = Int.random(in: 0..<300, using: &generator)
      let used = Bool.random(using: &generator)
      map[block] = used
      model[block] = used
    }
    #expect(bits(map) == model)
  }

  @Test(arguments: counts) func rangesAreSetClearedAndCounted(count: Int) {
    var generator = SplitMix64(seed: 11 + UInt64(count))
    var (map, model) = random(count, &generator)
    for _ in 0..<500 {
      let lower = Int.random(in: -20...(count + 20), using: &generator)
      let upper = Int.random(in: lower...(count + 100), using: &generator)
      let used = Bool.random(using: &generator)
      map.set(lower..<upper, used: used)
      let inside = (lower..<upper).clamped(to: 0..<count)
      for block in inside { model[block] = used }
      let asked = Int.random(in: -5...count, using: &generator)..<(count + 5)
      #expect(map.usedCount(in: asked) == model[asked.clamped(to: 0..<count)].count { $0 })
    }
    #expect(bits(map) == model)
    #expect(map.usedCount == model.count { $0 })
  }

  @Test func countsEverySmallRange() {
    var generator = SplitMix64(seed: 13)
    let (map, model) = random(150, &generator)
    for lower in 0..<150 {
      for upper in lower...150 {
        #expect(map.usedCount(in: lower..<upper) == model[lower..<upper].count { $0 })
      }
    }
  }

  @Test(arguments: counts) func unionWithBitsAtAnyBlock(count: Int) throws {
    var generator = SplitMix64(seed: 17 + UInt64(count))
    for _ in 0..<300 {
      var (map, model) = random(count, &generator)
      let (other, otherModel) = random(Int.random(in: 0...200, using: &generator), &generator)
      // May reach past the end: what lies outside is ignored.
      let start = Int.random(in: 0...(count + 70), using: &generator)
      var bytes = other.leastSignificantBitFirstBytes()
      if other.count % 8 != 0 { bytes[bytes.count - 1] |= 0xFF << UInt8(other.count % 8) }
      try map.formUnion(at: start, count: other.count, leastSignificantBitFirst: bytes.span.bytes)
      for (index, used) in otherModel.enumerated() where used && start + index < count { model[start + index] = true }
      #expect(bits(map) == model)
      #expect(map.usedCount == model.count { $0 }, "no bit behind the last block")
    }
  }

  @Test func unionWithTooFewBytesIsRefused() {
    var map = BlockBitmap(count: 100)
    let bytes: [UInt8] = [0xFF, 0xFF]
    #expect(throws: OutOfBounds(offset: 0, count: 3, available: 2)) {
      try map.formUnion(at: 0, count: 17, leastSignificantBitFirst: bytes.span.bytes)
    }
    #expect(map.usedCount == 0)
  }

  @Test(arguments: counts) func unionOfTwoMaps(count: Int) {
    var generator = SplitMix64(seed: 19 + UInt64(count))
    var (map, model) = random(count, &generator)
    let (other, otherModel) = random(count, &generator)
    map.formUnion(other)
    model = zip(model, otherModel).map { $0 || $1 }
    #expect(bits(map) == model)
  }

  @Test(arguments: counts) func runsCoverExactlyTheUsedBlocks(count: Int) {
    var generator = SplitMix64(seed: 23 + UInt64(count))
    for density in [0, 1, 2, 8] {
      let model = (0..<count).map { _ in density > 0 && Int.random(in: 0..<density, using: &generator) == 0 }
      var map = BlockBitmap(count: count)
      for block in 0..<count where model[block] { map[block] = true }
      var seen = [Bool](repeating: false, count: count)
      var end = -1
      map.forEachUsedRun { run in
        #expect(!run.isEmpty)
        #expect(run.lowerBound > end, "runs are in order and do not touch")
        for block in run { seen[block] = true }
        end = run.upperBound
      }
      #expect(seen == model)
      for start in 0...(count + 2) {
        let first = model.indices.first { $0 >= start && model[$0] }
        #expect(map.nextUsedRun(from: start)?.lowerBound == first)
      }
    }
  }

  @Test func anErrorEndsTheWalkOverRuns() {
    struct Stop: Error {}
    var map = BlockBitmap(count: 100)
    for block in stride(from: 0, to: 100, by: 10) { map[block] = true }
    var calls = 0
    #expect(throws: Stop.self) {
      try map.forEachUsedRun { _ in
        calls += 1
        if calls == 3 { throw Stop() }
      }
    }
    #expect(calls == 3)
  }

  @Test(arguments: counts, [1, 2, 3, 8, 64]) func refiningRepeatsEachBlock(count: Int, factor: Int) {
    var generator = SplitMix64(seed: 29 + UInt64(count))
    let (map, model) = random(count, &generator)
    #expect(bits(map.refined(by: factor)) == model.flatMap { [Bool](repeating: $0, count: factor) })
  }

  @Test(arguments: counts, [0, 1, 63, 64, 65, 500]) func extendingKeepsWhatIsThere(count: Int, more: Int) {
    var generator = SplitMix64(seed: 31 + UInt64(count))
    let (map, model) = random(count, &generator)
    for used in [false, true] {
      #expect(bits(map.extended(to: count + more, used: used)) == model + [Bool](repeating: used, count: more))
    }
  }
}

/// A small generator with a seed, so that every run of a test sees the same numbers (Steele, Lea, Flood 2014).
struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}
