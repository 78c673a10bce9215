// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting
public import SystemPackage

extension Recipe {
  /// Reads and decodes a recipe; of the files it names none is looked at.
  /// - Throws: ``RecipeError`` with all mistakes.
  public init(contentsOf file: FilePath) throws(RecipeError) {
    let bytes: [UInt8]
    do {
      bytes = try Self.contents(of: file)
    } catch {
      var problems = Problems(file: file)
      let whole = Place(key: "", line: 0, column: 0)
      problems.add(.missingFile, at: whole, "cannot read the recipe: \((error as? Errno)?.description ?? "\(error)")")
      throw RecipeError(problems: problems.found)
    }
    self = try Self.decode(bytes, file: file)
  }

  /// Decodes a recipe from UTF-8 text without touching the file system.
  /// - Parameter file: names the recipe in messages; what the recipe names lies relative to its folder.
  /// - Throws: ``RecipeError`` with all mistakes.
  public static func decode(_ bytes: some Collection<UInt8>, file: FilePath) throws(RecipeError) -> Recipe {
    var problems = Problems(file: file)
    let recipe = decode(bytes, file: file, &problems)
    try problems.check()
    guard let recipe else {
      problems.add(.syntax, at: Place(key: "", line: 1, column: 1), "is no recipe")
      throw RecipeError(problems: problems.found)
    }
    return recipe
  }

  private static func decode(
    _ bytes: some Collection<UInt8>, file: FilePath, _ problems: inout Problems
  ) -> Recipe? {
    guard bytes.count <= YAMLReader.sizeLimit else {
      problems.add(
        .syntax, at: Place(key: "", line: 1, column: 1), "is too large to be a recipe: \(bytes.count) bytes",
        allowed: "\(YAMLReader.sizeLimit) bytes")
      return nil
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      let broken = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
      problems.add(.syntax, at: Place(key: "", line: broken + 1, column: 1), "has bytes that are not UTF-8")
      return nil
    }
    do {
      guard let root = try YAMLReader.read(text) else {
        problems.add(
          .missingKey, at: Place(key: "", line: 1, column: 1), "is empty",
          allowed: RecipeKeys.all.map(\.name).joined(separator: ", "))
        return nil
      }
      return recipe(file).decode(root, "", &problems)
    } catch {
      problems.add(error.kind, at: Place(key: "", line: error.line, column: error.column), error.message)
      return nil
    }
  }

  private static func contents(of file: FilePath) throws -> [UInt8] {
    let descriptor = try FileDescriptor.open(file, .readOnly)
    return try descriptor.closeAfter {
      // One byte more than is allowed, so that a larger file is refused and not cut.
      var bytes = [UInt8](repeating: 0, count: YAMLReader.sizeLimit + 1)
      var filled = 0
      while filled < bytes.count {
        let count = try bytes.withUnsafeMutableBytes { buffer in
          try descriptor.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
        }
        if count == 0 { break }
        filled += count
      }
      return Array(bytes[..<filled])
    }
  }

  /// The whole recipe as a kind of value.
  static func recipe(_ file: FilePath) -> Kind<Recipe> {
    .section(RecipeKeys.all) { section, problems in
      let jobs = try section.value(RecipeKeys.jobs)
      let images = try section.value(RecipeKeys.images)
      let menu = try section.value(RecipeKeys.menu)
      checkNames(jobs, images, menu, &problems)
      let name = try section.value(RecipeKeys.name)
      let allowPreload = try section.value(RecipeKeys.allowPreload)
      let hooks = try section.value(RecipeKeys.hooks)
      func resolve(_ path: RecipeKeys.PathText) -> InputPath {
        InputPath(path: file.removingLastComponent().pushing(FilePath(path.text)), place: path.place)
      }
      return try Recipe(
        file: file, name: name, debian: section.value(RecipeKeys.debian), system: section.value(RecipeKeys.system),
        overlays: section.value(RecipeKeys.overlays).map(resolve),
        hooks: Hooks(
          build: hooks.build.map(resolve), prerun: hooks.prerun.map(resolve), postrun: hooks.postrun.map(resolve),
          failure: hooks.failure.map(resolve)),
        console: section.value(RecipeKeys.console),
        menu: Menu(
          title: menu.title ?? name, timeout: menu.timeout.seconds, defaultJob: menu.defaultJob ?? jobs[0].job.name,
          arguments: menu.arguments),
        allowPreload: allowPreload,
        jobs: jobs.map { value in
          var job = value.job
          job.allowPreload = allowPreload
          return job
        },
        images: images.map { EmbeddedImage(name: $0.name, path: resolve($0.path)) },
        outputs: section.value(RecipeKeys.outputs), compression: section.value(RecipeKeys.compression))
    }
  }

  /// What can only be seen when the whole recipe is known: names that are there twice, and names of nothing.
  private static func checkNames(
    _ jobs: [JobKeys.Value], _ images: [RecipeKeys.Images.Value], _ menu: RecipeKeys.Menu.Values,
    _ problems: inout Problems
  ) {
    var jobNames: Set<String> = []
    for value in jobs where !jobNames.insert(value.job.name).inserted {
      problems.add(
        .impossibleCombination, at: value.namePlace, "another job is called \"\(value.job.name)\" already")
    }
    var imageNames: Set<String> = []
    for image in images where !imageNames.insert(image.name).inserted {
      problems.add(.impossibleCombination, at: image.place, "another image is called \"\(image.name)\" already")
    }
    if let wanted = menu.defaultJob, !jobNames.contains(wanted) {
      problems.add(
        .impossibleCombination, at: menu.defaultPlace, "no job is called \"\(wanted)\"",
        allowed: jobs.map(\.job.name).joined(separator: ", "),
        suggestion: Suggestion.nearest(to: wanted, among: jobNames.sorted()))
    }
    // That nothing can be saved to the medium was already said.
    for value in jobs where value.job.action != .save {
      guard value.job.repository == .medium, let image = value.job.image, !imageNames.contains(image) else { continue }
      problems.add(
        .impossibleCombination, at: value.imagePlace, "the medium carries no image \"\(image)\"",
        allowed: images.isEmpty ? "what images lists, which is nothing" : images.map(\.name).joined(separator: ", "),
        suggestion: Suggestion.nearest(to: image, among: imageNames.sorted()))
    }
  }
}
