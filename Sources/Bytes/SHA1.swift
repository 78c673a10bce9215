// SPDX-License-Identifier: GPL-3.0-or-later

/// SHA-1 as in RFC 3174: 20 bytes. It shows damage, not forgery.
public struct SHA1: StreamingDigest {
  private typealias State = (UInt32, UInt32, UInt32, UInt32, UInt32)

  private var state: State = (0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0)
  private var buffer = BlockBuffer(blockSize: 64)

  public init() {}

  public mutating func update(_ bytes: RawSpan) {
    var state = self.state
    buffer.update(bytes) { Self.compress($0, count: $1, &state) }
    self.state = state
  }

  public func digest() -> [UInt8] {
    var last = self
    // Section 4: a one bit, zeros up to 56 bytes of a block, the length in bits.
    var padding: [UInt8] = [0x80]
    padding += [UInt8](repeating: 0, count: (119 - buffer.pending.count) % 64)
    padding.append(littleEndian: (buffer.byteCount &* 8).byteSwapped)
    last.update(padding.span.bytes)
    var digest: [UInt8] = []
    for word in [last.state.0, last.state.1, last.state.2, last.state.3, last.state.4] {
      digest.append(littleEndian: word.byteSwapped)
    }
    return digest
  }

  private static func compress(_ blocks: UnsafeRawPointer, count: Int, _ state: inout State) {
    var words = InlineArray<16, UInt32>(repeating: 0)
    for block in 0..<count {
      for index in 0..<16 {
        words[index] = UInt32(
          bigEndian: blocks.loadUnaligned(fromByteOffset: block * 64 + index * 4, as: UInt32.self))
      }
      var (a, b, c, d, e) = state
      func step(_ mixed: UInt32, _ constant: UInt32, _ index: Int) {
        if index >= 16 {
          let word =
            words[(index + 13) & 15] ^ words[(index + 8) & 15] ^ words[(index + 2) & 15] ^ words[index & 15]
          words[index & 15] = word << 1 | word >> 31
        }
        let sum = (a << 5 | a >> 27) &+ mixed &+ e &+ words[index & 15] &+ constant
        (e, d, c, b, a) = (d, c, b << 30 | b >> 2, a, sum)
      }
      for index in 0..<20 { step(b & c | ~b & d, 0x5A82_7999, index) }
      for index in 20..<40 { step(b ^ c ^ d, 0x6ED9_EBA1, index) }
      for index in 40..<60 { step(b & c | b & d | c & d, 0x8F1B_BCDC, index) }
      for index in 60..<80 { step(b ^ c ^ d, 0xCA62_C1D6, index) }
      state = (state.0 &+ a, state.1 &+ b, state.2 &+ c, state.3 &+ d, state.4 &+ e)
    }
  }
}
