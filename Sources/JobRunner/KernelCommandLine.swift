// SPDX-License-Identifier: GPL-3.0-or-later

/// The kernel's command line, as `/proc/cmdline` shows it, read in two ways: as the kernel splits it (our own
/// parameters), and as Clonezilla searches it (`ocs_*`).
///
/// Boot loaders hand on quotes differently. All of these forms give `ocs_prerun` the value `sleep 5`:
/// `ocs_prerun="sleep 5"` (isolinux), `"ocs_prerun=sleep 5"` (GRUB 1.99 and later), `ocs_prerun=\"sleep 5\"`.
public struct KernelCommandLine: Sendable, Equatable, CustomStringConvertible {
  public let text: String
  private let bytes: [UInt8]

  public init(_ text: String) {
    let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
    self.text = line
    bytes = Array(line.utf8)
  }

  public var description: String { text }

  /// One word of the line: a flag, or a parameter with its value.
  public struct Parameter: Sendable, Equatable {
    public let name: String
    public let value: String?
  }

  /// The words of the line by the kernel's own rules (`next_arg` in its lib/cmdline.c): white space ends a word
  /// outside double quotes; quotes around the whole word or around its value are not part of them.
  public var parameters: [Parameter] {
    var result: [Parameter] = []
    var position = 0
    while true {
      while position < bytes.count, Self.isSpace(bytes[position]) { position += 1 }
      guard position < bytes.count else { return result }
      let wrapped = bytes[position] == UInt8(ascii: "\"")
      if wrapped { position += 1 }
      let start = position
      var inQuotes = wrapped
      while position < bytes.count, inQuotes || !Self.isSpace(bytes[position]) {
        if bytes[position] == UInt8(ascii: "\"") { inQuotes.toggle() }
        position += 1
      }
      var word = bytes[start..<position]
      if wrapped, word.last == UInt8(ascii: "\"") { word.removeLast() }
      result.append(Self.parameter(word))
    }
  }

  private static func parameter(_ word: ArraySlice<UInt8>) -> Parameter {
    guard let equals = word.dropFirst().firstIndex(of: UInt8(ascii: "=")) else {
      return Parameter(name: String(decoding: word, as: UTF8.self), value: nil)
    }
    var value = word[(equals + 1)...]
    if value.first == UInt8(ascii: "\"") {
      value.removeFirst()
      if value.last == UInt8(ascii: "\"") { value.removeLast() }
    }
    return Parameter(
      name: String(decoding: word[..<equals], as: UTF8.self), value: String(decoding: value, as: UTF8.self))
  }

  /// The value of a Clonezilla parameter, or nil when it is absent, empty or badly quoted.
  ///
  /// Follows `parse_cmdline_option` of DRBL: when the name occurs with a quote after its equals sign, only such
  /// occurrences count; else those inside quotes; else bare words. The last one wins. A value never holds a
  /// double quote, and `$` is not expanded. One thing differs: DRBL finds `ocs_prerun=` inside
  /// `echo_ocs_prerun=no` too, and would run `no`; here a name is a whole name.
  public func clonezilla(_ name: String) -> String? {
    let positions = occurrences(of: name)
    let value: String?
    if positions.contains(where: { openingQuote(at: $0.value) != nil }) {
      value = positions.compactMap { quotedValue(at: $0.value) }.last
    } else if positions.contains(where: \.followsQuote) {
      value = positions.compactMap { $0.followsQuote ? closedValue(from: $0.value) : nil }.last
    } else {
      value = positions.last.map { bareValue(at: $0.value) }
    }
    guard let value, !value.isEmpty else { return nil }
    return value
  }

  /// The parameters `NAME`, `NAME1`, `NAME2`, `NAME10` … that have a value, in the order of their numbers.
  public func numbered(_ name: String) -> [Parameter] {
    let prefix = Array(name.utf8)
    var digits: Set<String> = []
    for start in bytes.indices where startsName(start) && bytes[start...].starts(with: prefix) {
      let rest = bytes[(start + prefix.count)...]
      let number = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      guard rest.dropFirst(number.count).first == UInt8(ascii: "=") else { continue }
      digits.insert(String(decoding: number, as: UTF8.self))
    }
    return digits.sorted(by: Self.comesBefore).compactMap { number in
      clonezilla(name + number).map { Parameter(name: name + number, value: $0) }
    }
  }

  /// As `sort -V` has it: no number first, then by value; `01` before `1`.
  private static func comesBefore(_ left: String, _ right: String) -> Bool {
    let (a, b) = (left.drop { $0 == "0" }, right.drop { $0 == "0" })
    if left.isEmpty || right.isEmpty { return left.count < right.count }
    return (a.count, String(a), left) < (b.count, String(b), right)
  }

  // MARK: Finding values

  private struct Occurrence {
    /// Where the value begins, after the equals sign.
    let value: Int
    /// Whether a double quote stands right before the name.
    let followsQuote: Bool
  }

  private func occurrences(of name: String) -> [Occurrence] {
    let pattern = Array("\(name)=".utf8)
    return bytes.indices.compactMap { start in
      guard startsName(start), bytes[start...].starts(with: pattern) else { return nil }
      return Occurrence(
        value: start + pattern.count, followsQuote: start > 0 && bytes[start - 1] == UInt8(ascii: "\""))
    }
  }

  private func startsName(_ position: Int) -> Bool {
    guard position > 0 else { return true }
    return Self.isSpace(bytes[position - 1]) || bytes[position - 1] == UInt8(ascii: "\"")
  }

  /// The position after `"` or `\"` at the beginning of a value.
  private func openingQuote(at position: Int) -> Int? {
    let rest = bytes[position...]
    if rest.starts(with: Array("\"".utf8)) { return position + 1 }
    return rest.starts(with: Array("\\\"".utf8)) ? position + 2 : nil
  }

  private func quotedValue(at position: Int) -> String? {
    openingQuote(at: position).flatMap { closedValue(from: $0) }
  }

  /// What stands between `start` and the next double quote, when that one ends the word.
  private func closedValue(from start: Int) -> String? {
    guard let end = bytes[start...].firstIndex(of: UInt8(ascii: "\"")),
      end + 1 == bytes.count || Self.isSpace(bytes[end + 1])
    else { return nil }
    var value = bytes[start..<end]
    if value.last == UInt8(ascii: "\\") { value.removeLast() }
    return Self.unescaped(value)
  }

  private func bareValue(at position: Int) -> String {
    let word = String(decoding: bytes[position...].prefix { !Self.isSpace($0) }, as: UTF8.self)
    if case .words(let words)? = ShellWords(word), words.count == 1 { return words[0] }
    return word
  }

  /// What the shell makes of backslashes between double quotes.
  private static func unescaped(_ value: ArraySlice<UInt8>) -> String {
    var result: [UInt8] = []
    var rest = value
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), let next = rest.first, next == byte || next == UInt8(ascii: "`") {
        result.append(next)
        rest.removeFirst()
      } else {
        result.append(byte)
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  private static func isSpace(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || (9...13).contains(byte)
  }
}
