// SPDX-License-Identifier: GPL-3.0-or-later

/// The identifier of a physical volume, a volume group or a logical volume: 32 characters, written in seven groups
/// (`b90XtJ-ISP2-CuuA-UtgH-vmvH-0u6F-LOdjKM`).
public struct LVMIdentifier: Hashable, Sendable, CustomStringConvertible {
  /// The characters without dashes, as the label has them.
  public let characters: [UInt8]

  /// - Parameter text: with dashes or without.
  /// - Returns: nil for what is no identifier.
  public init?(_ text: some Sequence<UInt8>) {
    let characters = text.filter { $0 != UInt8(ascii: "-") }
    guard characters.count == 32, characters.allSatisfy(Self.isAllowed) else { return nil }
    self.characters = characters
  }

  public init?(_ text: some StringProtocol) { self.init(text.utf8) }

  public var description: String {
    var rest = characters[...]
    return [6, 4, 4, 4, 4, 4, 6].map { length in
      defer { rest = rest.dropFirst(length) }
      return String(decoding: rest.prefix(length), as: UTF8.self)
    }.joined(separator: "-")
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "!"), UInt8(ascii: "#"):
      true
    default: false
    }
  }
}
