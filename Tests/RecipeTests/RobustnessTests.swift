// SPDX-License-Identifier: GPL-3.0-or-later

import Recipe
import SystemPackage
import TestSupport
import Testing

/// Hostile and broken recipes end in a typed error, in bounded time.
@Suite struct Robustness {
  @Test func aliasBombsAreRefused() throws {
    // Ten times ten, twelve levels deep; as value, as key, and as a merge.
    var levels = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...12 {
      let aliases = Array(repeating: "*l\(level - 1)", count: 10).joined(separator: ", ")
      levels += "l\(level): &l\(level) [\(aliases)]\n"
    }
    for text in [levels, levels + "? *l12\n: x\n", levels + "? [*l12]\n: x\n", levels + "{[*l12]: x}\n"] {
      let error = try #require(throws: RecipeError.self) { try decode(text) }
      #expect(error.problems.count == 1)
    }
    let error = try #require(throws: RecipeError.self) { try decode(levels) }
    #expect(
      error.reason == "r.yaml:5:5: too much for a recipe once its aliases are resolved; allowed: 20000 values")
  }

  @Test(arguments: ["[", "{", "- ", "? ", "a: [", "[a, {b: ", "- - ? "])
  func deepNestingIsRefused(_ opening: String) throws {
    let error = try #require(throws: RecipeError.self) {
      try decode(String(repeating: opening, count: 30_000))
    }
    #expect(error.problems.map(\.kind) == [.syntax])
  }

  @Test func deepIndentationIsRefused() throws {
    let lines = (0..<700).map { String(repeating: " ", count: $0) + "a:\n" }.joined()
    let error = try #require(throws: RecipeError.self) { try decode(lines) }
    #expect(
      error.reason.hasSuffix("nested too deeply to be a recipe; allowed: 64 levels"))
  }

  @Test func largeFilesAreRefused() async throws {
    let large = Array(repeating: UInt8(ascii: "#"), count: (256 << 10) + 1)
    let error = try #require(throws: RecipeError.self) { try Recipe.decode(large, file: "r.yaml") }
    #expect(error.reason == "r.yaml:1:1: is too large to be a recipe: 262145 bytes; allowed: 262144 bytes")
    // A file that never ends is not read to its end.
    #expect(throws: RecipeError.self) { try Recipe(contentsOf: "/dev/zero") }
  }

  @Test func longValuesAndKeysAreNotEchoedWhole() throws {
    let long = String(repeating: "x", count: 100_000)
    let error = try #require(throws: RecipeError.self) { try decode("name: \(long)\n\(long.prefix(900)): 1\n") }
    #expect(error.reason.utf8.count < 4000)
  }

  /// Random edits of sound recipes.
  @Test func mutationsNeverTrap() throws {
    let seeds =
      try [fullRecipe, smallRecipe]
      + shippedRecipes.map {
        String(decoding: try packageRoot.appending("Recipes/\($0).yaml").contents(), as: UTF8.self)
      }
    let tokens = [
      "*", "&a", "*a", "<<", ": ", "- ", "? ", "[", "]", "{", "}", "\"", "'", "\n", "  ", "#", "|", ">", "!", "%", "\t",
      "---", "...", "999999999999999999999", "-1", "0x10", "1e999", ".inf", "null", "~", "true", "\u{0}", "\u{7F}",
      "\u{85}", "\u{2028}", "\u{FEFF}", "é", "\r\n", "@", "`", "\\", "{date}", "size>=", "://", "%zz",
    ].map { Array($0.utf8) }
    var random = SplitMix(state: 20_250_630)
    var accepted = 0
    var refused = 0
    for round in 0..<4000 {
      var bytes = Array(seeds[round % seeds.count].utf8)
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        let end = min(bytes.count, place + Int.random(in: 1...12, using: &random))
        switch Int.random(in: 0..<6, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.removeSubrange(place..<end)
        case 2: bytes.insert(contentsOf: bytes[place..<end], at: Int.random(in: 0..<bytes.count, using: &random))
        case 3: bytes.removeSubrange(place...)
        default: bytes.insert(contentsOf: tokens[Int.random(in: 0..<tokens.count, using: &random)], at: place)
        }
        if bytes.isEmpty { bytes = Array("a".utf8) }
      }
      do throws(RecipeError) {
        let recipe = try Recipe.decode(bytes, file: "r.yaml")
        #expect(!recipe.jobs.isEmpty && recipe.defaultJob != nil && !recipe.summary.isEmpty)
        accepted += 1
      } catch {
        #expect(!error.problems.isEmpty && error.problems.allSatisfy { $0.line >= 1 && $0.column >= 1 })
        refused += 1
      }
    }
    // Edits in comments and texts leave a recipe sound; most others don't.
    #expect(accepted > 100 && refused > 1000)
  }
}

/// A generator with a fixed seed.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
