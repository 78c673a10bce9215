// SPDX-License-Identifier: GPL-3.0-or-later

/// A globally unique identifier as GPT and EFI store it: the first three fields little-endian, the rest as written.
///
/// Source: UEFI Specification 2.10, appendix A.
public struct GUID: Hashable, Sendable, CustomStringConvertible {
  /// The sixteen bytes as on disk.
  public let bytes: [UInt8]

  public static let zero = GUID(unchecked: [UInt8](repeating: 0, count: 16))

  private init(unchecked bytes: [UInt8]) { self.bytes = bytes }

  /// - Parameter bytes: sixteen bytes as on disk; nil for any other count.
  public init?(bytes: [UInt8]) {
    guard bytes.count == 16 else { return nil }
    self.bytes = bytes
  }

  /// - Parameter text: `C12A7328-F81F-11D2-BA4B-00A0C93EC93B`, in either case; nil for anything else.
  public init?(_ text: String) {
    let groups = text.split(separator: "-", omittingEmptySubsequences: false)
    guard groups.map(\.utf8.count) == [8, 4, 4, 4, 12] else { return nil }
    let digits = groups.joined().utf8.map { $0 }
    var written: [UInt8] = []
    for index in stride(from: 0, to: 32, by: 2) {
      guard let high = Self.digit(digits[index]), let low = Self.digit(digits[index + 1]) else { return nil }
      written.append(high << 4 | low)
    }
    bytes = Self.order.map { written[$0] }
  }

  /// A random identifier (RFC 4122, version 4).
  public static func random() -> GUID {
    var bytes = (0..<16).map { _ in UInt8.random(in: .min ... .max) }
    bytes[7] = bytes[7] & 0x0F | 0x40
    bytes[8] = bytes[8] & 0x3F | 0x80
    return GUID(unchecked: bytes)
  }

  /// Upper-case text, the way `sfdisk` writes it.
  public var description: String {
    var text = ""
    for (position, index) in Self.order.enumerated() {
      if [4, 6, 8, 10].contains(position) { text += "-" }
      let byte = String(bytes[index], radix: 16, uppercase: true)
      text += byte.count == 1 ? "0\(byte)" : byte
    }
    return text
  }

  /// Where each written byte stands on disk; the permutation is its own inverse.
  private static let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]

  private static func digit(_ character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): character - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
