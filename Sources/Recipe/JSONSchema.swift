// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials
import SystemPackage

/// A JSON value.
enum JSON: Sendable, Equatable, Encodable {
  case string(String)
  case integer(Int)
  case boolean(Bool)
  case array([JSON])
  case object([String: JSON])

  init(_ value: Bool) { self = .boolean(value) }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .string(let value): try container.encode(value)
    case .integer(let value): try container.encode(value)
    case .boolean(let value): try container.encode(value)
    case .array(let values): try container.encode(values)
    case .object(let members): try container.encode(members)
    }
  }

  func text(pretty: Bool) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
    return try String(decoding: encoder.encode(self), as: UTF8.self)
  }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  init(stringLiteral value: String) { self = .string(value) }
  init(integerLiteral value: Int) { self = .integer(value) }
  init(booleanLiteral value: Bool) { self = .boolean(value) }
  init(arrayLiteral elements: JSON...) { self = .array(elements) }
  init(dictionaryLiteral elements: (String, JSON)...) {
    self = .object(Dictionary(elements, uniquingKeysWith: { _, last in last }))
  }
}

enum JSONSchema {
  /// The schema of one key: that of its kind with description and default.
  static func property(_ key: any KeyDescription) -> JSON {
    guard case .object(var members) = key.valueSchema else { return key.valueSchema }
    members["description"] = .string(key.documentation)
    if let fallback = key.fallbackJSON { members["default"] = fallback }
    return .object(members)
  }
}

extension Recipe {
  /// The JSON Schema (draft 7, which editors know) of recipes; `docs/recipe.schema.json`.
  public static func schema() throws -> String {
    guard case .object(var members) = recipe("recipe.yaml").schema else { return "" }
    members["$schema"] = "http://json-schema.org/draft-07/schema#"
    members["title"] = "Slipway recipe"
    return try JSON.object(members).text(pretty: true) + "\n"
  }

  /// The keys as Markdown tables; the second half of `docs/recipe.md`.
  public static func keyReference() throws -> String {
    try KeyReference.sections(title: "Top level", path: "", keys: RecipeKeys.all).joined(separator: "\n")
  }
}

private enum KeyReference {
  static func sections(title: String, path: String, keys: [any KeyDescription]) throws -> [String] {
    let hasActions = keys.contains { !$0.actions.isEmpty }
    var text = "### \(title)\n\n"
    text +=
      hasActions
      ? "| key | allowed | default | actions | |\n|---|---|---|---|---|\n"
      : "| key | allowed | default | |\n|---|---|---|---|\n"
    var nested: [String] = []
    for key in keys {
      let inner = path + key.name + (key.isList ? "[]" : "")
      let allowed =
        key.nested.isEmpty
        ? cell(key.allowed) : key.isList ? "list of [\(inner)](#\(anchor(inner)))" : "[\(inner)](#\(anchor(inner)))"
      var columns = ["`\(key.name)`", allowed, try fallback(key)]
      if hasActions {
        columns.append(key.actions.isEmpty ? "all" : key.actions.map(\.rawValue).joined(separator: ", "))
      }
      columns.append(cell(key.documentation))
      text += "| " + columns.joined(separator: " | ") + " |\n"
      if !key.nested.isEmpty { nested += try sections(title: inner, path: inner + ".", keys: key.nested) }
    }
    return [text] + nested
  }

  private static func fallback(_ key: any KeyDescription) throws -> String {
    if key.isRequired { return "**must be given**" }
    if !key.requiredFor.isEmpty {
      return "**must be given** for \(key.requiredFor.map(\.rawValue).joined(separator: ", "))"
    }
    if let text = key.fallbackText { return cell(text) }
    guard let value = key.fallbackJSON else { return "" }
    if case .string(let text) = value { return "`\(text)`" }
    return "`\(try value.text(pretty: false))`"
  }

  /// GitHub's anchor of a heading.
  private static func anchor(_ heading: String) -> String {
    heading.lowercased().filter { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" }
  }

  private static func cell(_ text: String) -> String { text.replacing("|", with: "\\|") }
}
