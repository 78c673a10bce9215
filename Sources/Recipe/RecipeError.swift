// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting
import SystemPackage

/// All that is wrong with a recipe, in the order of its lines.
public struct RecipeError: Failure, Equatable {
  /// One mistake.
  public struct Problem: Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable {
      /// Not YAML, or a file too large or deep to be a recipe.
      case syntax
      case unknownKey
      case duplicateKey
      case missingKey
      /// A value of the wrong type, or one that is not allowed.
      case badValue
      /// Values that are fine alone but not together.
      case impossibleCombination
      /// A file or folder that is not there or is not what it has to be.
      case missingFile
    }

    public let kind: Kind
    /// The recipe's file, as it was named.
    public let file: String
    /// From 1; 0 when the file could not be read.
    public let line: Int
    /// From 1, in Unicode scalars; 0 when the file could not be read.
    public let column: Int
    /// For example `jobs[0].target`; empty for the whole file.
    public let key: String
    public let message: String
    public let allowed: String?
    public let suggestion: String?

    /// `file:line:column: key: what is wrong; allowed: …; did you mean "…"?`
    public var description: String {
      var text = line > 0 ? "\(file):\(line):\(column): " : "\(file): "
      if !key.isEmpty { text += "\(key): " }
      text += message
      if let allowed { text += "; allowed: \(allowed)" }
      if let suggestion { text += "; did you mean \"\(suggestion)\"?" }
      return text
    }
  }

  /// Never empty.
  public let problems: [Problem]

  public var reason: String {
    let lines = problems.map(\.description).joined(separator: "\n")
    guard problems.count > 1, let file = problems.first?.file else { return lines }
    return "\(problems.count) mistakes in \(file)\n\(lines)"
  }

  public var exitCode: ExitCode { problems.allSatisfy { $0.kind == .missingFile } ? .noInput : .invalidData }
}

/// Where something stands in a recipe.
struct Place: Sendable, Equatable {
  /// The key's path, for example `jobs[0].target`.
  let key: String
  let line: Int
  let column: Int
}

/// Gathers mistakes while a recipe is read.
struct Problems {
  let file: FilePath
  private(set) var found: [RecipeError.Problem] = []

  init(file: FilePath) { self.file = file }

  mutating func add(
    _ kind: RecipeError.Problem.Kind, at place: Place, _ message: String, allowed: String? = nil,
    suggestion: String? = nil
  ) {
    found.append(
      RecipeError.Problem(
        kind: kind, file: file.string, line: place.line, column: place.column, key: place.key,
        message: Self.clean(message), allowed: allowed, suggestion: suggestion.map(Self.clean)))
  }

  /// Throws when there is any, in the order of the lines.
  func check() throws(RecipeError) {
    guard !found.isEmpty else { return }
    let sorted = found.enumerated().sorted { left, right in
      (left.element.line, left.element.column, left.offset) < (right.element.line, right.element.column, right.offset)
    }
    throw RecipeError(problems: sorted.map(\.element))
  }

  /// What a recipe says can't move the cursor of the terminal that shows it, nor fill its screen.
  private static func clean(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars.prefix(400) {
      result.unicodeScalars.append(scalar.properties.generalCategory == .control ? "\u{FFFD}" : scalar)
    }
    return result
  }
}
