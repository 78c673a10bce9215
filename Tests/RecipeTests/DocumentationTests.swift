// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import Recipe
import SystemPackage
import TestSupport
import Testing

/// The documents are made from the code, and the schema means what the code does.
///
/// With `SLIPWAY_WRITE_DOCS=1` in the environment the two documents are written anew before they are compared.
@Suite struct Documentation {
  private static let marker = "## Keys\nThe tables are made from the code that reads recipes.\n\n"

  private var writes: Bool { ProcessInfo.processInfo.environment["SLIPWAY_WRITE_DOCS"] == "1" }

  @Test func schemaFileIsCurrent() throws {
    let file = packageRoot.appending("docs/recipe.schema.json")
    if writes { try file.write(Recipe.schema().utf8) }
    #expect(try String(decoding: file.contents(), as: UTF8.self) == Recipe.schema())
  }

  @Test func keyReferenceIsCurrent() throws {
    let file = packageRoot.appending("docs/recipe.md")
    let text = String(decoding: try file.contents(), as: UTF8.self)
    let start = try #require(text.range(of: Self.marker)).upperBound
    if writes { try file.write((text[..<start] + Recipe.keyReference()).utf8) }
    #expect(try String(decoding: file.contents(), as: UTF8.self) == text[..<start] + Recipe.keyReference())
  }

  /// python3-jsonschema reads the schema: it takes every recipe that we take, and refuses what it can know to be wrong.
  @Test func schemaAgreesWithTheCode() async throws {
    let shipped = try shippedRecipes.map {
      String(decoding: try packageRoot.appending("Recipes/\($0).yaml").contents(), as: UTF8.self)
    }
    let good = [fullRecipe, smallRecipe] + shipped
    for recipe in good { _ = try decode(recipe) }
    let job = "name: a\njobs:\n- name: x\n  action: "
    let bad = [
      "{}", "name: a\n", "name: A\njobs: [{name: x, action: shell}]", smallRecipe + "zzz: 1\n",
      smallRecipe + "menu: {timeout: soon}\n", smallRecipe + "compression: {level: 23}\n",
      smallRecipe + "outputs: [usb]\n", smallRecipe + "overlays: x\n", smallRecipe + "menu: {arguments: [a b]}\n",
      smallRecipe + "debian: {components: [main, main]}\n", "name: a\njobs: []\n", job + "restore\n",
      job + "save\n  image: i\n", job + "shell\n  target: sda\n", job + "command\n", job + "shell\n  repository: x\n",
      job + "restore\n  image: \"{dat}\"\n", job + "restore\n  image: i\n  target: onyl\n",
    ]
    for recipe in bad { #expect(throws: RecipeError.self) { try decode(recipe) } }
    try await withTemporaryDirectory { folder in
      for (index, recipe) in good.enumerated() { try folder.appending("good-\(index).yaml").write(recipe.utf8) }
      for (index, recipe) in bad.enumerated() { try folder.appending("bad-\(index).yaml").write(recipe.utf8) }
      try folder.appending("schema.json").write(Recipe.schema().utf8)
      let verdicts = try await tool(
        "/usr/bin/python3", "-c",
        """
        import glob, json, os, sys, jsonschema, yaml
        schema = json.load(open(sys.argv[1] + "/schema.json"))
        jsonschema.Draft7Validator.check_schema(schema)
        validator = jsonschema.Draft7Validator(schema)
        for path in sorted(glob.glob(sys.argv[1] + "/*.yaml")):
            errors = list(validator.iter_errors(yaml.safe_load(open(path))))
            if path.split("/")[-1].startswith("good") == bool(errors):
                print(os.path.basename(path), [e.message for e in errors])
        print("checked", len(glob.glob(sys.argv[1] + "/*.yaml")))
        """, folder.string)
      #expect(verdicts == "checked \(good.count + bad.count)\n")
    }
  }
}
