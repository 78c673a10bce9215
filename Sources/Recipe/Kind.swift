// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting

/// How values of one kind are read from YAML, described to editors and described to people.
struct Kind<Value: Sendable>: Sendable {
  /// Which values are allowed, in words.
  let allowed: String
  let schema: JSON
  /// Keys of the mapping, or of each mapping of the list, that the value is.
  var keys: [any KeyDescription] = []
  var isList = false
  /// The value as a recipe would write it; none for mappings.
  let encode: @Sendable (Value) -> JSON?
  /// The value of a node, or nil after noting what is wrong with it.
  let decode: @Sendable (_ node: YAMLNode, _ key: String, _ problems: inout Problems) -> Value?
}

extension Kind {
  /// A value with a text form of its own.
  static func text(
    _ allowed: String, schema: JSON, encode: @escaping @Sendable (Value) -> JSON,
    parse: @escaping @Sendable (String) -> Parsed<Value>
  ) -> Kind {
    Kind(allowed: allowed, schema: schema, encode: encode) { node, key, problems in
      guard case .text(let text) = node.content else {
        let quoted: String? =
          switch node.content {
          case .integer(_, let text), .float(let text): text
          case .boolean, .null, .text, .sequence, .mapping: nil
          }
        problems.add(
          .badValue, at: node.place(key),
          "expected text, but found \(node.description)\(quoted.map { " (as text: \"\($0)\")" } ?? "")",
          allowed: allowed)
        return nil
      }
      switch parse(text) {
      case .value(let value): return value
      case .wrong(let complaint, let suggestion):
        problems.add(.badValue, at: node.place(key), complaint, allowed: allowed, suggestion: suggestion)
        return nil
      }
    }
  }
}

extension Kind where Value == String {
  /// Text that matches a regular expression of the subset that Swift and JSON Schema share.
  static func text(_ allowed: String, pattern: String) -> Kind {
    .text(
      allowed, schema: ["type": "string", "pattern": .string(pattern)], encode: { .string($0) },
      parse: { matches($0, pattern) ? .value($0) : .wrong("\"\($0)\" is not allowed") })
  }
}

extension Kind where Value: RawRepresentable<String> & CaseIterable {
  /// One of a few words.
  static var choice: Kind {
    let words = Value.allCases.map(\.rawValue)
    return .text(
      words.joined(separator: ", "), schema: ["enum": .array(words.map { .string($0) })],
      encode: { .string($0.rawValue) },
      parse: { text in
        guard let value = Value(rawValue: text) else {
          return .wrong("unknown value \"\(text)\"", suggestion: Suggestion.nearest(to: text, among: words))
        }
        return .value(value)
      })
  }
}

extension Kind where Value == Bool {
  static var boolean: Kind {
    Kind(allowed: "true, false", schema: ["type": "boolean"], encode: { .boolean($0) }) { node, key, problems in
      if case .boolean(let value) = node.content { return value }
      let meant: String? =
        if case .text(let text) = node.content {
          switch text.lowercased() {
          case "yes", "on", "y": "true"
          case "no", "off", "n": "false"
          default: Suggestion.nearest(to: text, among: ["true", "false"])
          }
        } else {
          nil
        }
      problems.add(
        .badValue, at: node.place(key), "expected true or false, but found \(node.description)",
        allowed: "true, false", suggestion: meant)
      return nil
    }
  }
}

extension Kind where Value == Int {
  static func integer(_ range: ClosedRange<Int>) -> Kind {
    let allowed = "\(range.lowerBound) to \(range.upperBound)"
    let schema: JSON = [
      "type": "integer", "minimum": .integer(range.lowerBound), "maximum": .integer(range.upperBound),
    ]
    return Kind(allowed: allowed, schema: schema, encode: { .integer($0) }) { node, key, problems in
      guard case .integer(let value, _) = node.content else {
        problems.add(
          .badValue, at: node.place(key), "expected a whole number, but found \(node.description)", allowed: allowed)
        return nil
      }
      guard range.contains(value) else {
        problems.add(.badValue, at: node.place(key), "\(value) is out of range", allowed: allowed)
        return nil
      }
      return value
    }
  }
}

extension Kind where Value == UInt64 {
  /// A size in bytes.
  static func size(_ range: ClosedRange<UInt64>, _ note: String, where accepts: @escaping @Sendable (UInt64) -> Bool)
    -> Kind
  {
    let schema: JSON = [
      "type": ["string", "integer"], "pattern": .string("^\(ByteSize.body)$"), "minimum": 0,
    ]
    return Kind(allowed: note, schema: schema, encode: { .string(ByteSize.text($0)) }) { node, key, problems in
      let size: UInt64? =
        switch node.content {
        case .integer(let number, _): UInt64(exactly: number)
        case .text(let text): ByteSize.parse(text)
        case .boolean, .float, .null, .sequence, .mapping: nil
        }
      guard let size else {
        problems.add(.badValue, at: node.place(key), "expected a size, but found \(node.description)", allowed: note)
        return nil
      }
      guard range.contains(size), accepts(size) else {
        problems.add(.badValue, at: node.place(key), "\(ByteSize.text(size)) is not allowed", allowed: note)
        return nil
      }
      return size
    }
  }
}

extension Kind {
  /// Any number of values in order; `unique`: none twice.
  static func list<Element: Sendable & Equatable>(
    of element: Kind<Element>, unique: Bool = false, least: Int = 0
  ) -> Kind where Value == [Element] {
    var schema: [String: JSON] = ["type": "array", "items": element.schema]
    if unique { schema["uniqueItems"] = true }
    if least > 0 { schema["minItems"] = .integer(least) }
    let allowed = element.keys.isEmpty ? "a list of: \(element.allowed)" : "a list of mappings"
    return Kind(
      allowed: allowed, schema: .object(schema), keys: element.keys, isList: true,
      encode: { values in .array(values.compactMap(element.encode)) },
      decode: { node, key, problems in
        guard case .sequence(let nodes) = node.content else {
          problems.add(
            .badValue, at: node.place(key), "expected a list, but found \(node.description)", allowed: allowed)
          return nil
        }
        if nodes.count < least {
          problems.add(.badValue, at: node.place(key), "must not be empty", allowed: allowed)
          return nil
        }
        var values: [Element] = []
        var isWhole = true
        for (index, node) in nodes.enumerated() {
          let path = "\(key)[\(index)]"
          guard let value = element.decode(node, path, &problems) else {
            isWhole = false
            continue
          }
          if unique, values.contains(value) {
            problems.add(.badValue, at: node.place(path), "\(node.description) is there twice")
          } else {
            values.append(value)
          }
        }
        return isWhole ? values : nil
      })
  }

  /// A mapping with known keys.
  static func section(
    _ keys: [any KeyDescription], rules: [JSON] = [],
    make: @escaping @Sendable (Section, inout Problems) throws -> Value?
  ) -> Kind {
    var schema: [String: JSON] = [
      "type": "object", "additionalProperties": false,
      "properties": .object(Dictionary(uniqueKeysWithValues: keys.map { ($0.name, JSONSchema.property($0)) })),
    ]
    let required = keys.filter(\.isRequired).map { JSON.string($0.name) }
    if !required.isEmpty { schema["required"] = .array(required) }
    if !rules.isEmpty { schema["allOf"] = .array(rules) }
    let allowed = keys.map(\.name).joined(separator: ", ")
    return Kind(allowed: allowed, schema: .object(schema), keys: keys, encode: { _ in nil }) { node, key, problems in
      guard case .mapping(let entries) = node.content else {
        problems.add(
          .badValue, at: node.place(key), "expected a mapping, but found \(node.description)", allowed: allowed)
        return nil
      }
      let section = Section(entries, keys: keys, place: node.place(key), &problems)
      // Only Section.Incomplete is thrown, whose problem is noted.
      return try? make(section, &problems)
    }
  }
}
