// SPDX-License-Identifier: GPL-3.0-or-later

/// A line split into words by the shell's quoting rules, with nothing expanded.
package enum ShellWords: Equatable {
  /// One simple command.
  case words([String])
  /// The line has an operator of the shell (`;`, `|`, `&`, `<`, `>`, `(`, `)`) outside quotes; these are the words
  /// and operators in their order.
  case compound([String])

  /// Nil when a quote isn't closed or a backslash ends the line.
  package init?(_ line: String) {
    var words: [String] = []
    var word: String?
    var isCompound = false
    var rest = Substring(line)
    while let character = rest.popFirst() {
      switch character {
      case " ", "\t", "\n":
        if let finished = word { words.append(finished) }
        word = nil
      case "'":
        guard let end = rest.firstIndex(of: "'") else { return nil }
        word = (word ?? "") + rest[..<end]
        rest = rest[rest.index(after: end)...]
      case "\"":
        guard let quoted = Self.doubleQuoted(&rest) else { return nil }
        word = (word ?? "") + quoted
      case "\\":
        guard let next = rest.popFirst() else { return nil }
        word = (word ?? "") + String(next)
      case ";", "|", "&", "<", ">", "(", ")":
        isCompound = true
        if let finished = word { words.append(finished) }
        word = nil
        words.append(String(character))
      default: word = (word ?? "") + String(character)
      }
    }
    if let word { words.append(word) }
    self = isCompound ? .compound(words) : .words(words)
  }

  /// Takes what follows a double quote up to the closing one.
  private static func doubleQuoted(_ rest: inout Substring) -> String? {
    var result = ""
    while let character = rest.popFirst() {
      if character == "\"" { return result }
      if character == "\\", let next = rest.first, "\"\\$`".contains(next) {
        result.append(next)
        rest.removeFirst()
      } else {
        result.append(character)
      }
    }
    return nil
  }

  /// Words and operators in their order.
  package var all: [String] {
    switch self {
    case .words(let words), .compound(let words): words
    }
  }
}
