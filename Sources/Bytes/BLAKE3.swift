// SPDX-License-Identifier: GPL-3.0-or-later

/// BLAKE3 without a key, as `b3sum` prints it: 32 bytes.
///
/// Source: O'Connor, Aumasson, Neves, Wilcox-O'Hearn: BLAKE3, one function, fast everywhere (2021-11), section 2.
public struct BLAKE3: StreamingDigest {
  private typealias ChainingValue = InlineArray<8, UInt32>

  /// A leaf of the tree is made of 1024 bytes, compressed 64 at a time.
  private var chunks = BlockBuffer(blockSize: 1024, keepsLast: true)
  /// Chunks that are complete, and known not to be the last.
  private var chunkCount: UInt64 = 0
  /// Chaining values of the complete subtrees, the largest first: one for each one bit of ``chunkCount``.
  private var subtrees: [ChainingValue] = []

  public init() {}

  public mutating func update(_ bytes: RawSpan) {
    var (chunkCount, subtrees) = (self.chunkCount, self.subtrees)
    chunks.update(bytes) { address, count in
      for index in 0..<count {
        let output = Self.chunk(UnsafeRawBufferPointer(start: address + index * 1024, count: 1024), number: chunkCount)
        var value = output.chainingValue
        chunkCount += 1
        // Two subtrees of a size become one, as two one bits carry when a number is counted up.
        var total = chunkCount
        while total & 1 == 0, let left = subtrees.popLast() {
          value = Output(parentOf: left, value).chainingValue
          total >>= 1
        }
        subtrees.append(value)
      }
    }
    (self.chunkCount, self.subtrees) = (chunkCount, subtrees)
  }

  public func digest() -> [UInt8] {
    var output = chunks.pending.withUnsafeBytes { Self.chunk($0, number: chunkCount) }
    for left in subtrees.reversed() { output = Output(parentOf: left, output.chainingValue) }
    output.flags |= Self.root
    let value = output.chainingValue
    var digest: [UInt8] = []
    for index in 0..<8 { digest.append(littleEndian: value[index]) }
    return digest
  }

  // MARK: The tree

  private static let chunkStart: UInt32 = 1
  private static let chunkEnd: UInt32 = 2
  private static let parent: UInt32 = 4
  private static let root: UInt32 = 8

  /// The last compression of a node, not yet done: that of the root differs.
  private struct Output {
    var input: ChainingValue
    var block: InlineArray<16, UInt32>
    var counter: UInt64
    var byteCount: UInt32
    var flags: UInt32

    init(input: ChainingValue, block: InlineArray<16, UInt32>, counter: UInt64, byteCount: UInt32, flags: UInt32) {
      self.input = input
      self.block = block
      self.counter = counter
      self.byteCount = byteCount
      self.flags = flags
    }

    init(parentOf left: ChainingValue, _ right: ChainingValue) {
      self.init(
        input: initial, block: .init { $0 < 8 ? left[$0] : right[$0 - 8] }, counter: 0, byteCount: 64, flags: parent)
    }

    var chainingValue: ChainingValue { compressed(input, block, counter, byteCount, flags) }
  }

  /// A chunk of at most 1024 bytes.
  private static func chunk(_ bytes: UnsafeRawBufferPointer, number: UInt64) -> Output {
    var value = initial
    var offset = 0
    var flags = chunkStart
    while true {
      let count = min(64, bytes.count - offset)
      var block = InlineArray<16, UInt32>(repeating: 0)
      if count == 64 {
        for index in 0..<16 {
          block[index] = UInt32(
            littleEndian: bytes.loadUnaligned(fromByteOffset: offset + index * 4, as: UInt32.self))
        }
      } else {
        for index in 0..<count { block[index / 4] |= UInt32(bytes[offset + index]) << UInt32(index % 4 * 8) }
      }
      guard offset + 64 < bytes.count else {
        return Output(
          input: value, block: block, counter: number, byteCount: UInt32(count), flags: flags | chunkEnd)
      }
      value = compressed(value, block, number, 64, flags)
      offset += 64
      flags = 0
    }
  }

  // MARK: The compression function

  private static func compressed(
    _ input: ChainingValue, _ block: InlineArray<16, UInt32>, _ counter: UInt64, _ byteCount: UInt32, _ flags: UInt32
  ) -> ChainingValue {
    var v = InlineArray<16, UInt32> { $0 < 8 ? input[$0] : $0 < 12 ? initial[$0 - 8] : 0 }
    v[12] = UInt32(truncatingIfNeeded: counter)
    v[13] = UInt32(truncatingIfNeeded: counter >> 32)
    v[14] = byteCount
    v[15] = flags
    var words = block
    func mix(_ a: Int, _ b: Int, _ c: Int, _ d: Int, _ x: UInt32, _ y: UInt32) {
      v[a] = v[a] &+ v[b] &+ x
      v[d] = rotated(v[d] ^ v[a], 16)
      v[c] = v[c] &+ v[d]
      v[b] = rotated(v[b] ^ v[c], 12)
      v[a] = v[a] &+ v[b] &+ y
      v[d] = rotated(v[d] ^ v[a], 8)
      v[c] = v[c] &+ v[d]
      v[b] = rotated(v[b] ^ v[c], 7)
    }
    for round in 0..<7 {
      if round > 0 {
        let former = words
        for index in 0..<16 { words[index] = former[permutation[index]] }
      }
      mix(0, 4, 8, 12, words[0], words[1])
      mix(1, 5, 9, 13, words[2], words[3])
      mix(2, 6, 10, 14, words[4], words[5])
      mix(3, 7, 11, 15, words[6], words[7])
      mix(0, 5, 10, 15, words[8], words[9])
      mix(1, 6, 11, 12, words[10], words[11])
      mix(2, 7, 8, 13, words[12], words[13])
      mix(3, 4, 9, 14, words[14], words[15])
    }
    return .init { v[$0] ^ v[$0 + 8] }
  }

  private static func rotated(_ value: UInt32, _ count: UInt32) -> UInt32 { value >> count | value << (32 - count) }

  private static let initial: ChainingValue = [
    0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
  ]

  /// Table 2: which word of a round comes where in the next.
  private static let permutation: InlineArray<16, Int> = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
}
