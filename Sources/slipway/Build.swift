// SPDX-License-Identifier: GPL-3.0-or-later

import ArgumentParser
import LiveImage
import Recipe
import Reporting
import SystemPackage

struct Build: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Build a recipe's live system: one ISO that starts from CD or stick, on BIOS or UEFI.",
    discussion: """
      Runs as root, or as any user who may make user namespaces. Nothing is left behind by a build that fails or is \
      interrupted.
      """)

  @Argument(help: "The recipe.", completion: .file(extensions: ["yaml", "yml"]))
  var recipe: String

  @Option(
    name: .shortAndLong, help: ArgumentHelp("Where the result goes.", valueName: "folder"), completion: .directory)
  var output = "out"

  @Flag(help: "Bootstrap Debian anew, even if a base made in the last day could be used.")
  var fresh = false

  @OptionGroup var reporting: ReportingOptions

  func run() async throws {
    let (file, folder, fresh) = (FilePath(recipe), FilePath(output), fresh)
    let runner = reporting.runner
    try await reporting.perform { reporter in
      let recipe = try Recipe(contentsOf: file)
      try recipe.check()
      let builder = LiveBuilder(recipe: recipe, installation: try .current(), runner: runner, reporter: reporter)
      let result = try await builder.build(in: folder, fresh: fresh)
      print("\(result.path)  \(Quantity.bytes(result.size)) (\(result.size) bytes)")
      print("SHA-256 \(result.sha256)")
      return .success
    }
  }
}

struct Check: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check a recipe without building it, and print what it comes to.")

  @Argument(help: "The recipe.", completion: .file(extensions: ["yaml", "yml"]))
  var recipe: String

  @OptionGroup var reporting: ReportingOptions

  func run() async throws {
    let file = FilePath(recipe)
    try await reporting.perform { _ in
      let recipe = try Recipe(contentsOf: file)
      try recipe.check()
      print(recipe.summary)
      return .success
    }
  }
}

struct Schema: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print the JSON Schema of recipes, for editors.")

  @OptionGroup var reporting: ReportingOptions

  func run() async throws {
    try await reporting.perform { _ in
      print(try Recipe.schema())
      return .success
    }
  }
}
