// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// UUIDs as file systems store them: the sixteen bytes in the order they are written (RFC 4122, section 4.1.2).
/// (GPT and EFI swap the first three fields: `Bytes.GUID`.)
enum UUIDText {
  /// Lower-case text; nil for sixteen zeros, which stand for no UUID.
  static func text(of bytes: ArraySlice<UInt8>) -> String? {
    guard bytes.count == 16, bytes.contains(where: { $0 != 0 }) else { return nil }
    var text = ""
    for (position, byte) in bytes.enumerated() {
      if [4, 6, 8, 10].contains(position) { text += "-" }
      text += byte < 16 ? "0" : ""
      text += String(byte, radix: 16)
    }
    return text
  }

  /// The sixteen bytes of a text in either case; nil when it is not a UUID.
  static func bytes(of text: String) -> [UInt8]? {
    guard let mixed = GUID(text)?.bytes else { return nil }
    return mixed[0..<4].reversed() + mixed[4..<6].reversed() + mixed[6..<8].reversed() + mixed[8...]
  }
}

/// A label as `blkid` prints it: it ends at the first NUL, and trailing blanks do not count; nil when nothing is left.
func labelText(of bytes: ArraySlice<UInt8>) -> String? {
  var label = bytes.prefix { $0 != 0 }
  while let last = label.last, [0x20, 0x09, 0x0A, 0x0B, 0x0C, 0x0D].contains(last) { label.removeLast() }
  return label.isEmpty ? nil : String(decoding: label, as: UTF8.self)
}
