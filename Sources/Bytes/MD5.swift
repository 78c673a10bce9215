// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc

/// MD5 as in RFC 1321: 16 bytes. It shows damage, not forgery.
public struct MD5: StreamingDigest {
  private typealias State = (UInt32, UInt32, UInt32, UInt32)

  private var state: State = (0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476)
  private var buffer = BlockBuffer(blockSize: 64)

  public init() {}

  public mutating func update(_ bytes: RawSpan) {
    var state = self.state
    buffer.update(bytes) { Self.compress($0, count: $1, &state) }
    self.state = state
  }

  public func digest() -> [UInt8] {
    var last = self
    // A one bit, zeros up to 56 bytes of a block, the length in bits (section 3.1 and 3.2).
    var padding: [UInt8] = [0x80]
    padding += [UInt8](repeating: 0, count: (119 - buffer.pending.count) % 64)
    padding.append(littleEndian: buffer.byteCount &* 8)
    last.update(padding.span.bytes)
    var digest: [UInt8] = []
    for word in [last.state.0, last.state.1, last.state.2, last.state.3] { digest.append(littleEndian: word) }
    return digest
  }

  private static func compress(_ blocks: UnsafeRawPointer, count: Int, _ state: inout State) {
    sines.withUnsafeBufferPointer { sines in
      for block in 0..<count {
        let words = blocks + block * 64
        func word(_ index: Int) -> UInt32 {
          UInt32(littleEndian: words.loadUnaligned(fromByteOffset: (index & 15) * 4, as: UInt32.self))
        }
        var (a, b, c, d) = state
        func step(_ mixed: UInt32, _ step: Int, _ index: Int, _ shift: UInt32) {
          let sum = a &+ mixed &+ sines[step] &+ word(index)
          (a, d, c, b) = (d, c, b, b &+ (sum << shift | sum >> (32 - shift)))
        }
        for round in 0..<4 {
          let base = round * 4
          step(b & c | ~b & d, base, base, 7)
          step(b & c | ~b & d, base + 1, base + 1, 12)
          step(b & c | ~b & d, base + 2, base + 2, 17)
          step(b & c | ~b & d, base + 3, base + 3, 22)
        }
        for round in 4..<8 {
          let base = round * 4
          step(b & d | c & ~d, base, 5 * base + 1, 5)
          step(b & d | c & ~d, base + 1, 5 * base + 6, 9)
          step(b & d | c & ~d, base + 2, 5 * base + 11, 14)
          step(b & d | c & ~d, base + 3, 5 * base, 20)
        }
        for round in 8..<12 {
          let base = round * 4
          step(b ^ c ^ d, base, 3 * base + 5, 4)
          step(b ^ c ^ d, base + 1, 3 * base + 8, 11)
          step(b ^ c ^ d, base + 2, 3 * base + 11, 16)
          step(b ^ c ^ d, base + 3, 3 * base + 14, 23)
        }
        for round in 12..<16 {
          let base = round * 4
          step(c ^ (b | ~d), base, 7 * base, 6)
          step(c ^ (b | ~d), base + 1, 7 * base + 7, 10)
          step(c ^ (b | ~d), base + 2, 7 * base + 14, 15)
          step(c ^ (b | ~d), base + 3, 7 * base + 21, 21)
        }
        state = (state.0 &+ a, state.1 &+ b, state.2 &+ c, state.3 &+ d)
      }
    }
  }

  /// Section 3.4: the integer part of 2^32 |sin i| for i from 1 on, in radians.
  private static let sines = (1...64).map { UInt32(abs(sin(Double($0))) * 4_294_967_296) }
}
