// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting
import SystemPackage

/// One key of a recipe: the single source of how it is read, of the JSON Schema and of the documentation.
struct Key<Value: Sendable>: KeyDescription {
  let name: String
  let kind: Kind<Value>
  /// Taken when the recipe doesn't give the key.
  let fallback: Value?
  /// The default in words, where it depends on other keys.
  let fallbackText: String?
  let isRequired: Bool
  let actions: [Recipe.Job.Action]
  let requiredFor: [Recipe.Job.Action]
  let documentation: String

  /// A key with a default that is always the same; `text` says it where the value's own form can't.
  init(
    _ name: String, _ kind: Kind<Value>, default fallback: Value, text: String? = nil, _ documentation: String
  ) {
    self.init(name, kind, fallback, defaultText: text, documentation)
  }

  /// A mapping whose keys all have defaults, which together are its own.
  init(section name: String, _ kind: Kind<Value>, _ documentation: String) {
    var problems = Problems(file: "")
    let empty = YAMLNode(content: .mapping([]), line: 1, column: 1, weight: 1)
    self.init(name, kind, kind.decode(empty, name, &problems), documentation)
  }

  /// A key that may be absent.
  init(
    _ name: String, _ kind: Kind<Value>, defaultText: String, actions: [Recipe.Job.Action] = [],
    requiredFor: [Recipe.Job.Action] = [], _ documentation: String
  ) {
    self.init(
      name, kind, nil, defaultText: defaultText, actions: actions, requiredFor: requiredFor, documentation)
  }

  /// A key that must be there.
  init(required name: String, _ kind: Kind<Value>, _ documentation: String) {
    self.init(name, kind, nil, isRequired: true, documentation)
  }

  private init(
    _ name: String, _ kind: Kind<Value>, _ fallback: Value?, defaultText: String? = nil, isRequired: Bool = false,
    actions: [Recipe.Job.Action] = [], requiredFor: [Recipe.Job.Action] = [], _ documentation: String
  ) {
    self.name = name
    self.kind = kind
    self.fallback = fallback
    fallbackText = defaultText
    self.isRequired = isRequired
    self.actions = actions
    self.requiredFor = requiredFor
    self.documentation = documentation
  }

  var allowed: String { kind.allowed }
  var valueSchema: JSON { kind.schema }
  var nested: [any KeyDescription] { kind.keys }
  var isList: Bool { kind.isList }
  var fallbackJSON: JSON? { nested.isEmpty ? fallback.flatMap(kind.encode) : nil }

  func decode(_ node: YAMLNode, at key: String, _ problems: inout Problems) -> (any Sendable)? {
    kind.decode(node, key, &problems)
  }
}

/// What is known of a key without its value's type.
protocol KeyDescription: Sendable {
  var name: String { get }
  var documentation: String { get }
  /// Which values are allowed, in words.
  var allowed: String { get }
  var valueSchema: JSON { get }
  var fallbackJSON: JSON? { get }
  var fallbackText: String? { get }
  var isRequired: Bool { get }
  /// Actions of jobs that the key belongs to; none: to all.
  var actions: [Recipe.Job.Action] { get }
  /// Actions of jobs that can't do without the key.
  var requiredFor: [Recipe.Job.Action] { get }
  /// Keys of the mapping, or of each mapping of the list, that the value is.
  var nested: [any KeyDescription] { get }
  var isList: Bool { get }

  func decode(_ node: YAMLNode, at key: String, _ problems: inout Problems) -> (any Sendable)?
}

/// A mapping of the recipe whose single values are decoded.
struct Section {
  /// Thrown when a value without which nothing can be made is missing or wrong; the problem is already noted.
  struct Incomplete: Error {}

  let place: Place
  private let values: [String: any Sendable]
  private let places: [String: Place]

  /// Decodes all entries by `keys`, noting unknown and missing keys and wrong values.
  init(_ entries: [YAMLNode.Entry], keys: [any KeyDescription], place: Place, _ problems: inout Problems) {
    self.place = place
    var values: [String: any Sendable] = [:]
    var places: [String: Place] = [:]
    for entry in entries {
      let path = place.key.isEmpty ? entry.key : "\(place.key).\(entry.key)"
      guard let key = keys.first(where: { $0.name == entry.key }) else {
        let known = keys.map(\.name)
        problems.add(
          .unknownKey, at: Place(key: path, line: entry.keyLine, column: entry.keyColumn), "unknown key",
          allowed: known.joined(separator: ", "),
          suggestion: Suggestion.nearest(to: entry.key, among: known) ?? RecipeKeys.path(of: entry.key))
        continue
      }
      // An empty value stands at the end of what was read; its key is the better place.
      let place =
        if case .null = entry.value.content {
          Place(key: path, line: entry.keyLine, column: entry.keyColumn)
        } else {
          entry.value.place(path)
        }
      places[key.name] = place
      let node = YAMLNode(
        content: entry.value.content, line: place.line, column: place.column, weight: entry.value.weight)
      values[key.name] = key.decode(node, at: path, &problems)
    }
    for key in keys where key.isRequired && places[key.name] == nil {
      let path = place.key.isEmpty ? key.name : "\(place.key).\(key.name)"
      problems.add(
        .missingKey, at: Place(key: path, line: place.line, column: place.column), "missing", allowed: key.allowed)
    }
    self.values = values
    self.places = places
  }

  /// The value or the key's default.
  func value<Value>(_ key: Key<Value>) throws(Incomplete) -> Value {
    guard let value = try optional(key) ?? key.fallback else { throw Incomplete() }
    return value
  }

  /// The value that the recipe gives, if it gives one.
  func optional<Value>(_ key: Key<Value>) throws(Incomplete) -> Value? {
    guard places[key.name] != nil else { return nil }
    guard let value = values[key.name] as? Value else { throw Incomplete() }
    return value
  }

  /// Where the key's value stands; none when it is absent.
  func place(of name: String) -> Place? { places[name] }

  func place<Value>(of key: Key<Value>) -> Place {
    places[key.name]
      ?? Place(
        key: place.key.isEmpty ? key.name : "\(place.key).\(key.name)", line: place.line, column: place.column)
  }
}
