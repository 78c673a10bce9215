// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The checksums of a JBD2 journal.
///
/// The newer kinds are CRC-32C without the final inversion; the first kind, in commit blocks only, is the CRC-32 of
/// Ethernet with the most significant bit first, initial value FFFFFFFF and without the final inversion.
enum ExtJournalChecksum {
  /// Continues a CRC-32C.
  static func castagnoli(_ seed: UInt32, _ bytes: RawSpan) -> UInt32 {
    var crc = CRC32C(~seed)
    crc.update(bytes)
    return ~crc.value
  }

  /// Of a block that holds its own checksum in the four bytes at `offset`, which count as zeros.
  static func castagnoli(_ seed: UInt32, _ block: RawSpan, without offset: Int) throws(OutOfBounds) -> UInt32 {
    let start = castagnoli(seed, try block.slice(0, offset))
    let zeros = castagnoli(start, [UInt8](repeating: 0, count: 4).span.bytes)
    return castagnoli(zeros, try block.slice(offset + 4, block.byteCount - offset - 4))
  }

  /// Continues a CRC-32, most significant bit first.
  static func ethernet(_ seed: UInt32, _ bytes: RawSpan) -> UInt32 {
    bytes.withUnsafeBytes { bytes in
      bytes.reduce(seed) { crc, byte in crc << 8 ^ table[Int(crc >> 24 ^ UInt32(byte))] }
    }
  }

  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte) << 24) { crc, _ in crc >> 31 == 1 ? crc << 1 ^ 0x04C1_1DB7 : crc << 1 }
  }
}
