// SPDX-License-Identifier: GPL-3.0-or-later

import Yams

/// One value of a YAML file and where it stands, with aliases and merge keys already resolved.
struct YAMLNode: Sendable {
  enum Content: Sendable {
    /// A quoted or block scalar, or a plain one that reads as text.
    case text(String)
    case integer(Int, text: String)
    case boolean(Bool)
    case float(String)
    case null
    case sequence([YAMLNode])
    case mapping([Entry])
  }

  struct Entry: Sendable {
    let key: String
    let keyLine: Int
    let keyColumn: Int
    let value: YAMLNode
  }

  let content: Content
  let line: Int
  let column: Int
  /// How many nodes this one and those in it are, aliases counted each time they are used.
  let weight: Int

  func place(_ key: String) -> Place { Place(key: key, line: line, column: column) }

  /// What the node is, for messages.
  var description: String {
    switch content {
    case .text(let text): "\"\(text)\""
    case .integer(_, let text), .float(let text): "the number \(text)"
    case .boolean(let value): "\(value)"
    case .null: "nothing"
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }
}

/// Reads YAML text into a tree.
///
/// Yams puts the nodes that aliases name in their place, and hashes keys, which takes exponential time when a key is
/// made of nested aliases. So it gets to see none: the `*` of whatever could be an alias is replaced by a character
/// that must not occur otherwise, and the tree is resolved here, where its weight is counted.
struct YAMLReader {
  /// Bytes in a recipe.
  static let sizeLimit = 256 << 10
  /// Nodes in a recipe after aliases were resolved.
  static let weightLimit = 20_000
  /// Values nested in each other; real recipes have five.
  static let depthLimit = 64

  private static let aliasMark: Unicode.Scalar = "\u{E000}"

  private var anchors: [String: YAMLNode] = [:]

  /// - Throws: ``Stop`` when the text is not YAML or breaks a limit.
  static func read(_ text: String) throws(Stop) -> YAMLNode? {
    if let scalar = text.unicodeScalars.firstIndex(of: aliasMark) {
      throw Stop(position(of: scalar, in: text), "the private-use character U+E000 is not allowed")
    }
    let source = markAliases(text)
    do {
      let parser = try Parser(yaml: source, resolver: .basic, encoding: .utf8)
      // Nodes refer weakly to their anchors, which live as long as the parser.
      return try withExtendedLifetime(parser) {
        guard let root = try parser.singleRoot() else { return nil }
        var reader = YAMLReader()
        return try reader.resolve(root, depth: 0)
      }
    } catch let stop as Stop {
      throw stop
    } catch let error as YamlError {
      throw Stop(error, source: text)
    } catch {
      throw Stop((1, 1), "not readable as YAML")
    }
  }

  private static func markAliases(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    var isCandidate = false
    for scalar in text.unicodeScalars {
      if isCandidate { result.append(isAnchorCharacter(scalar) ? aliasMark : "*") }
      isCandidate = scalar == "*"
      if !isCandidate { result.append(scalar) }
    }
    if isCandidate { result.append("*") }
    return String(result)
  }

  private static func isAnchorCharacter(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", "-", "_": true
    default: false
    }
  }

  private mutating func resolve(_ node: Node, depth: Int) throws(Stop) -> YAMLNode {
    let position = (node.mark?.line ?? 1, node.mark?.column ?? 1)
    guard depth < Self.depthLimit else {
      throw Stop(position, "nested too deeply to be a recipe; allowed: \(Self.depthLimit) levels")
    }
    guard ["tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"].contains(node.tag.description)
    else { throw Stop(position, "the tag \(node.tag.description) is not supported") }
    let content: YAMLNode.Content
    var weight = 1
    switch node {
    case .scalar(let scalar):
      if scalar.style == .plain, scalar.string.unicodeScalars.first == Self.aliasMark {
        let name = String(scalar.string.unicodeScalars.dropFirst())
        guard let target = anchors[name] else { throw Stop(position, "no anchor &\(name) stands before *\(name)") }
        return target
      }
      content = Self.content(of: scalar)
    case .sequence(let sequence):
      var nodes: [YAMLNode] = []
      for element in sequence {
        let resolved = try resolve(element, depth: depth + 1)
        weight += resolved.weight
        try Self.checkWeight(weight, at: position)
        nodes.append(resolved)
      }
      content = .sequence(nodes)
    case .mapping(let mapping):
      var entries: [YAMLNode.Entry] = []
      var merged: [YAMLNode.Entry] = []
      for (key, value) in mapping {
        let resolved = try resolve(value, depth: depth + 1)
        weight += resolved.weight + 1
        try Self.checkWeight(weight, at: position)
        guard case .scalar(let scalar) = key, scalar.string.unicodeScalars.first != Self.aliasMark else {
          throw Stop((key.mark?.line ?? 1, key.mark?.column ?? 1), "a key must be a plain word")
        }
        if scalar.string == "<<", scalar.style == .plain {
          merged += try Self.mergeEntries(resolved)
        } else {
          entries.append(
            YAMLNode.Entry(
              key: Self.restore(scalar.string), keyLine: scalar.mark?.line ?? position.0,
              keyColumn: scalar.mark?.column ?? position.1, value: resolved))
        }
      }
      var known = Set(entries.map(\.key))
      for entry in merged where known.insert(entry.key).inserted { entries.append(entry) }
      content = .mapping(entries)
    case .alias:
      // Only trees that were made by hand have these.
      throw Stop(position, "an alias that could not be resolved")
    }
    let resolved = YAMLNode(content: content, line: position.0, column: position.1, weight: weight)
    if let anchor = node.anchor { anchors[anchor.rawValue] = resolved }
    return resolved
  }

  private static func checkWeight(_ weight: Int, at position: (Int, Int)) throws(Stop) {
    guard weight <= weightLimit else {
      throw Stop(position, "too much for a recipe once its aliases are resolved; allowed: \(weightLimit) values")
    }
  }

  /// What `<<` brings in: the keys of a mapping, or of a list of mappings where the first has precedence.
  private static func mergeEntries(_ node: YAMLNode) throws(Stop) -> [YAMLNode.Entry] {
    switch node.content {
    case .mapping(let entries): return entries
    case .sequence(let nodes):
      var entries: [YAMLNode.Entry] = []
      for node in nodes {
        guard case .mapping(let more) = node.content else { break }
        entries += more
      }
      return entries
    default: throw Stop((node.line, node.column), "<< expects a mapping, but found \(node.description)")
    }
  }

  private static func restore(_ text: String) -> String {
    guard text.unicodeScalars.contains(aliasMark) else { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars { result.append(scalar == aliasMark ? "*" : scalar) }
    return String(result)
  }

  /// The core schema of YAML 1.2.2, section 10.3.2, for plain scalars; the others are text.
  private static func content(of scalar: Node.Scalar) -> YAMLNode.Content {
    let text = restore(scalar.string)
    guard scalar.style == .plain else { return .text(text) }
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "true", "True", "TRUE": return .boolean(true)
    case "false", "False", "FALSE": return .boolean(false)
    default: break
    }
    guard let first = text.unicodeScalars.first, "+-.0123456789".unicodeScalars.contains(first) else {
      return .text(text)
    }
    if matches(text, "[-+]?[0-9]+"), let number = Int(text) { return .integer(number, text: text) }
    let isFloat = matches(
      text, "([-+]?(\\.[0-9]+|[0-9]+(\\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\\.(inf|Inf|INF)|\\.(nan|NaN|NAN))")
    return isFloat ? .float(text) : .text(text)
  }

  /// Line and column, both from 1.
  fileprivate static func position(of index: String.Index, in text: String) -> (Int, Int) {
    var (line, column) = (1, 1)
    for scalar in text.unicodeScalars[..<index] {
      if scalar == "\n" { (line, column) = (line + 1, 1) } else { column += 1 }
    }
    return (line, column)
  }
}

extension YAMLReader {
  /// Why no tree could be made.
  struct Stop: Error {
    let kind: RecipeError.Problem.Kind
    let line: Int
    let column: Int
    let message: String

    init(_ position: (Int, Int), _ message: String, kind: RecipeError.Problem.Kind = .syntax) {
      self.kind = kind
      (line, column) = position
      self.message = message
    }

    fileprivate init(_ error: YamlError, source: String) {
      switch error {
      case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
        .composer(let context, let problem, let mark, _):
        let text = [context?.text, problem].compactMap(\.self).joined(separator: ", ")
        self.init((mark.line, mark.column), "not valid YAML: \(text)")
      case .reader(let problem, let offset, _, let yaml):
        let index = offset.flatMap { yaml.index(yaml.startIndex, offsetBy: $0, limitedBy: yaml.endIndex) }
        self.init(index.map { YAMLReader.position(of: $0, in: yaml) } ?? (1, 1), "not valid YAML: \(problem)")
      case .duplicatedKeysInMapping(let duplicates, let context):
        let key = YAMLReader.restore(duplicates.first ?? "")
        let first = context.mark
        if let line = Self.lineOfRepetition(of: key, after: first, in: source) {
          self.init(
            (line, first.column), "the key \"\(key)\" was already given on line \(first.line)", kind: .duplicateKey)
        } else {
          self.init((first.line, first.column), "the key \"\(key)\" is given more than once", kind: .duplicateKey)
        }
      default: self.init((1, 1), "not valid YAML")
      }
    }

    /// Yams says where a repeated key stands first. In a block mapping the next one has the same column.
    private static func lineOfRepetition(of key: String, after first: Mark, in source: String) -> Int? {
      let lines = source.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
      let column = first.column - 1
      guard first.line <= lines.count else { return nil }
      for (offset, line) in lines[first.line...].enumerated() {
        let content = line.drop { $0 == " " }
        let indent = line.count - content.count
        if content.isEmpty || content.first == "#" { continue }
        guard indent >= column else { return nil }
        let rest = content.dropFirst(key.count)
        if indent == column, content.hasPrefix(key), rest.drop(while: { $0 == " " }).first == ":" {
          return first.line + 1 + offset
        }
      }
      return nil
    }
  }
}
