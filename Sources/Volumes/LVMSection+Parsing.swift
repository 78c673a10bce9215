// SPDX-License-Identifier: GPL-3.0-or-later

extension LVMSection {
  /// Metadata is hardly ever larger than a few hundred KiB; `vgcreate` allows a group far less than this.
  public static let maximumByteCount = 16 << 20

  /// Reads metadata as LVM wrote it: `key = value`, `key { … }`, numbers, strings in double quotes, lists in brackets,
  /// comments from `#` to the end of the line. A NUL ends the text.
  ///
  /// Source: lvm2, libdm/libdm-config.c (the grammar, as a comment), lib/format_text/export.c.
  ///
  /// - Parameters:
  ///   - text: at most ``maximumByteCount`` bytes.
  ///   - source: file or device, for messages.
  /// - Throws: ``LVMError/malformed(source:line:expected:found:)``.
  public init(parsing text: [UInt8], source: String) throws(LVMError) {
    var parser = LVMParser(text: text, source: source)
    self = try parser.parse()
  }
}

private struct LVMParser {
  /// LVM's own metadata nests five deep.
  private static let maximumDepth = 12

  let text: [UInt8]
  let source: String
  private var position = 0

  init(text: [UInt8], source: String) {
    self.text = text
    self.source = source
  }

  mutating func parse() throws(LVMError) -> LVMSection {
    guard text.count <= LVMSection.maximumByteCount else {
      throw failure(expected: "at most \(LVMSection.maximumByteCount) bytes", found: "\(text.count)")
    }
    return try section(depth: 0)
  }

  /// The byte at hand; nil at the end.
  private var byte: UInt8? {
    guard position < text.count, text[position] != 0 else { return nil }
    return text[position]
  }

  private mutating func section(depth: Int) throws(LVMError) -> LVMSection {
    guard depth <= Self.maximumDepth else { throw failure(expected: "sections nested less deep") }
    var entries: [LVMSection.Entry] = []
    var keys: Set<String> = []
    while true {
      skipBlanks()
      guard let byte else {
        guard depth == 0 else { throw failure(expected: "\"}\"") }
        break
      }
      if byte == UInt8(ascii: "}") {
        guard depth > 0 else { throw failure(expected: "a name") }
        position += 1
        break
      }
      let key = try key()
      guard keys.insert(key).inserted else {
        throw failure(expected: "each name once in a section", found: "a second \"\(key)\"")
      }
      skipBlanks()
      switch self.byte {
      case UInt8(ascii: "{"):
        position += 1
        entries.append(LVMSection.Entry(key, .section(try section(depth: depth + 1))))
      case UInt8(ascii: "="):
        position += 1
        entries.append(LVMSection.Entry(key, try value(depth: depth)))
      default: throw failure(expected: "\"=\" or \"{\" after \"\(key)\"")
      }
    }
    return LVMSection(entries)
  }

  private mutating func key() throws(LVMError) -> String {
    let start = position
    while let byte, Self.isOfAName(byte) { position += 1 }
    guard position > start else { throw failure(expected: "a name") }
    return String(decoding: text[start..<position], as: UTF8.self)
  }

  private mutating func value(depth: Int) throws(LVMError) -> LVMSection.Value {
    skipBlanks()
    switch byte {
    case UInt8(ascii: "["): return try list(depth: depth + 1)
    case UInt8(ascii: "\""): return .text(try string())
    default: return try number()
    }
  }

  private mutating func list(depth: Int) throws(LVMError) -> LVMSection.Value {
    guard depth <= Self.maximumDepth else { throw failure(expected: "lists nested less deep") }
    position += 1
    var values: [LVMSection.Value] = []
    while true {
      skipBlanks()
      if byte == UInt8(ascii: "]") { break }
      values.append(try value(depth: depth))
      skipBlanks()
      if byte == UInt8(ascii: ",") { position += 1 } else if byte != UInt8(ascii: "]") { break }
    }
    guard byte == UInt8(ascii: "]") else { throw failure(expected: "\",\" or \"]\"") }
    position += 1
    return .list(values)
  }

  private mutating func string() throws(LVMError) -> String {
    position += 1
    var characters: [UInt8] = []
    while let byte, byte != UInt8(ascii: "\"") {
      position += 1
      if byte == UInt8(ascii: "\\"), let escaped = self.byte {
        position += 1
        characters.append(escaped)
      } else {
        characters.append(byte)
      }
    }
    guard byte != nil else { throw failure(expected: "a quote at the end of a string") }
    position += 1
    return String(decoding: characters, as: UTF8.self)
  }

  private mutating func number() throws(LVMError) -> LVMSection.Value {
    let start = position
    while let byte, Self.isOfANumber(byte) { position += 1 }
    let word = String(decoding: text[start..<position], as: UTF8.self)
    if let number = Int64(word) { return .integer(number) }
    let parts = word.split(separator: ".", omittingEmptySubsequences: false)
    let isDecimal = parts.count == 2 && parts.allSatisfy { !$0.isEmpty } && Double(word) != nil
    guard isDecimal else {
      position = start
      throw failure(expected: "a number, a string or a list")
    }
    return .decimal(word)
  }

  private mutating func skipBlanks() {
    while let byte {
      switch byte {
      case UInt8(ascii: " "), 9...13: position += 1
      case UInt8(ascii: "#"): while let byte = self.byte, byte != 10 { position += 1 }
      default: return
      }
    }
  }

  private static func isOfAName(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "+"),
      UInt8(ascii: "-"), UInt8(ascii: "/"), UInt8(ascii: "@"):
      true
    default: false
    }
  }

  private static func isOfANumber(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "+"): true
    default: false
    }
  }

  private func failure(expected: String, found: String? = nil) -> LVMError {
    let line = text[..<min(position, text.count)].reduce(1) { $1 == 10 ? $0 + 1 : $0 }
    let next = text[min(position, text.count)...].prefix { $0 != 10 && $0 != 0 }.prefix(40)
    let rest =
      next.isEmpty
      ? "the end of the \(byte == nil ? "text" : "line")" : "\"\(String(decoding: next, as: UTF8.self))\""
    return .malformed(source: source, line: line, expected: expected, found: found ?? rest)
  }
}
