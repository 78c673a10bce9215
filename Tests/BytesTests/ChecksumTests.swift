// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Testing

@Suite struct ChecksumTests {
  /// "123456789" is the check input of Williams' catalogue of CRCs; the rest are from RFC 3720 (CRC-32C) and zlib.
  @Test(arguments: [
    ([UInt8]("123456789".utf8), UInt32(0xCBF4_3926), UInt32(0xE306_9283)),
    ([UInt8](), 0, 0),
    ([UInt8](repeating: 0, count: 32), 0x190A_55AD, 0x8A91_36AA),
    ([UInt8](repeating: 0xFF, count: 32), 0xFF6C_AB0B, 0x62A8_AB43),
    ([UInt8](0..<32), 0x9126_7E8A, 0x46DD_794E),
  ])
  func knownValues(bytes: [UInt8], crc32: UInt32, crc32c: UInt32) {
    #expect(CRC32.checksum(bytes) == crc32)
    #expect(CRC32C.checksum(bytes) == crc32c)
  }

  /// The definition, bit by bit.
  private func bitwise(_ bytes: some Sequence<UInt8>, polynomial: UInt32) -> UInt32 {
    var crc = UInt32.max
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ polynomial : crc >> 1 }
    }
    return ~crc
  }

  @Test func anyLengthInAnyParts() throws {
    var generator = SplitMix64(seed: 3)
    let bytes = (0..<1000).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    for _ in 0..<300 {
      let start = Int.random(in: 0..<1000, using: &generator)
      let count = Int.random(in: 0...(1000 - start), using: &generator)
      let cut = Int.random(in: 0...count, using: &generator)
      var crc32 = CRC32()
      var crc32c = CRC32C()
      for part in try [
        bytes.span.bytes.array(at: start, count: cut), bytes.span.bytes.array(at: start + cut, count: count - cut),
      ] {
        crc32.update(part.span.bytes)
        crc32c.update(part.span.bytes)
      }
      let range = bytes[start..<(start + count)]
      #expect(crc32.value == bitwise(range, polynomial: 0xEDB8_8320))
      #expect(crc32c.value == bitwise(range, polynomial: 0x82F6_3B78))
    }
  }

  @Test func aChecksumIsTakenUpAgain() {
    var crc = CRC32(CRC32.checksum([UInt8]("1234".utf8)))
    let rest = [UInt8]("56789".utf8)
    crc.update(rest.span.bytes)
    #expect(crc.value == 0xCBF4_3926)
    var castagnoli = CRC32C(CRC32C.checksum([UInt8]("1234".utf8)))
    castagnoli.update(rest.span.bytes)
    #expect(castagnoli.value == 0xE306_9283)
  }
}
