// SPDX-License-Identifier: GPL-3.0-or-later

package import Bytes

/// One boot entry of the firmware, as far as it starts a loader from a GPT partition.
package struct FirmwareBootEntry: Sendable, Equatable {
  /// The `XXXX` of `BootXXXX`.
  package let number: UInt16
  package let isActive: Bool
  package let label: String
  /// Unique GUID of the partition in its `HD(…)` node.
  package let partition: GUID?
  /// Path of the loader on that partition: `\EFI\debian\shimx64.efi`.
  package let loader: String?
}

/// The boot entries of a machine's firmware, read from what `efibootmgr -v` prints.
///
/// Versions up to 17 (Debian 12) write `HD(1,GPT,…)/File(\EFI\…)`, version 18 (Debian 13) `HD(1,GPT,…)/\EFI\…`; either
/// may be followed by the entry's optional data without a gap.
package struct FirmwareBootList: Sendable, Equatable {
  /// In the order the firmware tries them; those outside `BootOrder` last.
  package let entries: [FirmwareBootEntry]

  package init(_ text: String) {
    var order: [UInt16] = []
    var found: [FirmwareBootEntry] = []
    for line in text.split(whereSeparator: \.isNewline) {
      if line.hasPrefix("BootOrder:") {
        order = line.dropFirst("BootOrder:".count).split(separator: ",").compactMap {
          UInt16($0.filter { !$0.isWhitespace }, radix: 16)
        }
      } else if let entry = Self.entry(line) {
        found.append(entry)
      }
    }
    entries =
      order.compactMap { number in found.first { $0.number == number } }
      + found.filter { !order.contains($0.number) }
  }

  private static func entry(_ line: Substring) -> FirmwareBootEntry? {
    let digits = line.dropFirst(4).prefix(4)
    let rest = line.dropFirst(8)
    guard line.hasPrefix("Boot"), digits.count == 4, digits.allSatisfy(\.isHexDigit),
      let number = UInt16(digits, radix: 16), let mark = rest.first, mark == "*" || mark == " "
    else { return nil }
    let body = rest.dropFirst(2)
    // The path follows a tab; tabs do not always survive what people do to text.
    let gap = body.lastIndex(of: "\t") ?? lastPath(in: body)
    let path = gap.map { body[body.index(after: $0)...] } ?? ""
    return FirmwareBootEntry(
      number: number, isActive: mark == "*", label: String(gap.map { body[..<$0] } ?? body),
      partition: partition(path), loader: loader(path))
  }

  private static func lastPath(in text: Substring) -> Substring.Index? {
    text.indices.last { text[$0...].hasPrefix(" HD(") }
  }

  /// `HD(1,GPT,3c1f…,0x800,0x100000)`.
  private static func partition(_ path: Substring) -> GUID? {
    guard path.hasPrefix("HD("), let end = path.firstIndex(of: ")") else { return nil }
    let fields = path[path.index(path.startIndex, offsetBy: 3)..<end].split(separator: ",")
    guard fields.count >= 3, fields[1] == "GPT" else { return nil }
    return GUID(String(fields[2]))
  }

  private static func loader(_ path: Substring) -> String? {
    guard let slash = path.firstIndex(of: "/") else { return nil }
    var file = path[path.index(after: slash)...]
    if file.hasPrefix("File(") {
      file = file.dropFirst("File(".count).prefix { $0 != ")" }
    } else if let end = file.indices.first(where: { file[$0...].prefix(4).lowercased() == ".efi" }) {
      file = file[..<file.index(end, offsetBy: 4)]
    }
    return file.first == "\\" ? String(file) : nil
  }
}
