// SPDX-License-Identifier: GPL-3.0-or-later

/// BLAKE2b-512 without a key as in RFC 7693, which is what `b2sum` prints: 64 bytes.
public struct BLAKE2b: StreamingDigest {
  private var state: InlineArray<8, UInt64>
  private var buffer = BlockBuffer(blockSize: 128, keepsLast: true)
  /// Bytes compressed so far.
  private var compressed: UInt64 = 0

  public init() {
    state = Self.initial
    // The parameter block: digest length 64, no key, fan-out 1, depth 1 (section 2.5).
    state[0] ^= 0x0101_0040
  }

  public mutating func update(_ bytes: RawSpan) {
    var (state, compressed) = (self.state, self.compressed)
    buffer.update(bytes) { blocks, count in
      for block in 0..<count {
        compressed &+= 128
        Self.compress(blocks + block * 128, at: compressed, isLast: false, &state)
      }
    }
    (self.state, self.compressed) = (state, compressed)
  }

  public func digest() -> [UInt8] {
    var state = self.state
    let block = buffer.pending + [UInt8](repeating: 0, count: 128 - buffer.pending.count)
    block.withUnsafeBytes {
      if let block = $0.baseAddress { Self.compress(block, at: buffer.byteCount, isLast: true, &state) }
    }
    var digest: [UInt8] = []
    for index in 0..<8 { digest.append(littleEndian: state[index]) }
    return digest
  }

  /// Section 3.2. An offset of 2^64 bytes is never reached, so that its upper half is zero.
  private static func compress(
    _ block: UnsafeRawPointer, at offset: UInt64, isLast: Bool, _ state: inout InlineArray<8, UInt64>
  ) {
    var v = InlineArray<16, UInt64> { $0 < 8 ? state[$0] : initial[$0 - 8] }
    v[12] ^= offset
    if isLast { v[14] = ~v[14] }
    func word(_ index: UInt8) -> UInt64 {
      UInt64(littleEndian: block.loadUnaligned(fromByteOffset: Int(index) * 8, as: UInt64.self))
    }
    func mix(_ a: Int, _ b: Int, _ c: Int, _ d: Int, _ x: UInt8, _ y: UInt8) {
      v[a] = v[a] &+ v[b] &+ word(x)
      v[d] = rotated(v[d] ^ v[a], 32)
      v[c] = v[c] &+ v[d]
      v[b] = rotated(v[b] ^ v[c], 24)
      v[a] = v[a] &+ v[b] &+ word(y)
      v[d] = rotated(v[d] ^ v[a], 16)
      v[c] = v[c] &+ v[d]
      v[b] = rotated(v[b] ^ v[c], 63)
    }
    for round in 0..<12 {
      let order = permutations[round % 10]
      mix(0, 4, 8, 12, order[0], order[1])
      mix(1, 5, 9, 13, order[2], order[3])
      mix(2, 6, 10, 14, order[4], order[5])
      mix(3, 7, 11, 15, order[6], order[7])
      mix(0, 5, 10, 15, order[8], order[9])
      mix(1, 6, 11, 12, order[10], order[11])
      mix(2, 7, 8, 13, order[12], order[13])
      mix(3, 4, 9, 14, order[14], order[15])
    }
    for index in 0..<8 { state[index] ^= v[index] ^ v[index + 8] }
  }

  private static func rotated(_ value: UInt64, _ count: UInt64) -> UInt64 { value >> count | value << (64 - count) }

  private static let initial: InlineArray<8, UInt64> = [
    0x6A09_E667_F3BC_C908, 0xBB67_AE85_84CA_A73B, 0x3C6E_F372_FE94_F82B, 0xA54F_F53A_5F1D_36F1,
    0x510E_527F_ADE6_82D1, 0x9B05_688C_2B3E_6C1F, 0x1F83_D9AB_FB41_BD6B, 0x5BE0_CD19_137E_2179,
  ]

  /// SIGMA (section 2.7): which word of the block comes where in each round.
  private static let permutations: InlineArray<10, InlineArray<16, UInt8>> = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
  ]
}
