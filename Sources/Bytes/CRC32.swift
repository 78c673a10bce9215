// SPDX-License-Identifier: GPL-3.0-or-later

private import CDeflate

/// CRC-32 as in IEEE 802.3, gzip and GPT: reflected polynomial EDB88320, initial value and final inversion FFFFFFFF.
public struct CRC32: Sendable {
  /// The checksum of all bytes so far.
  public private(set) var value: UInt32

  /// - Parameter value: the checksum of what went before.
  public init(_ value: UInt32 = 0) { self.value = value }

  public mutating func update(_ bytes: RawSpan) {
    value = bytes.withUnsafeBytes { libdeflate_crc32(value, $0.baseAddress, $0.count) }
  }

  /// The checksum of `bytes`.
  public static func checksum(_ bytes: RawSpan) -> UInt32 {
    var crc = CRC32()
    crc.update(bytes)
    return crc.value
  }

  public static func checksum(_ bytes: [UInt8]) -> UInt32 { checksum(bytes.span.bytes) }

  /// The shift register after `bytes`, with neither the initial nor the final inversion: `crc32_le` in the Linux kernel,
  /// which F2FS and NILFS2 use.
  /// - Parameter seed: the shift register before.
  public static func shiftRegister(seed: UInt32, _ bytes: RawSpan) -> UInt32 {
    var crc = CRC32(~seed)
    crc.update(bytes)
    return ~crc.value
  }
}
