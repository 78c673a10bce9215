// SPDX-License-Identifier: GPL-3.0-or-later

/// CRC-32C (Castagnoli) as in RFC 3720, XFS, Btrfs and ext4: reflected polynomial 82F63B78, initial value and final
/// inversion FFFFFFFF.
public struct CRC32C: Sendable {
  /// The checksum of all bytes so far.
  public private(set) var value: UInt32

  /// - Parameter value: the checksum of what went before.
  public init(_ value: UInt32 = 0) { self.value = value }

  public mutating func update(_ bytes: RawSpan) {
    var crc = ~value
    Self.tables.withUnsafeBufferPointer { tables in
      bytes.withUnsafeBytes { bytes in
        var offset = 0
        // Eight bytes a step, each looked up in the table of its distance from the step's end.
        while offset + 8 <= bytes.count {
          let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) ^ UInt64(crc)
          crc = 0
          for lane in 0..<8 {
            crc ^= tables[(7 - lane) << 8 | Int(truncatingIfNeeded: word >> UInt64(lane * 8)) & 0xFF]
          }
          offset += 8
        }
        while offset < bytes.count {
          crc = crc >> 8 ^ tables[Int((crc ^ UInt32(bytes[offset])) & 0xFF)]
          offset += 1
        }
      }
    }
    value = ~crc
  }

  /// The checksum of `bytes`.
  public static func checksum(_ bytes: RawSpan) -> UInt32 {
    var crc = CRC32C()
    crc.update(bytes)
    return crc.value
  }

  public static func checksum(_ bytes: [UInt8]) -> UInt32 { checksum(bytes.span.bytes) }

  /// Entry 256t + b: what byte b contributes with t more bytes to come.
  private static let tables: [UInt32] = {
    var tables = [UInt32](repeating: 0, count: 8 * 256)
    for byte in 0..<256 {
      var crc = UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1 }
      tables[byte] = crc
    }
    for index in 256..<(8 * 256) {
      let shorter = tables[index - 256]
      tables[index] = shorter >> 8 ^ tables[Int(shorter & 0xFF)]
    }
    return tables
  }()
}
