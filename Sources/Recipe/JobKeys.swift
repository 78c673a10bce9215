// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting

/// The keys of a job, and which go together.
enum JobKeys {
  static let nameKind = Kind<String>.text(
    "1 to 32 of a-z 0-9 . _ -, the first a letter or digit", pattern: "^[a-z0-9][a-z0-9._-]{0,31}$")

  static let name = Key(required: "name", nameKind, "Name of the job, for the kernel parameter `slipway.job=`.")
  static let title = Key(
    "title", RecipeKeys.title("printable ASCII, at most 70 characters"), defaultText: "the job's name",
    "The job's line in the boot menu.")
  static let action = Key(
    required: "action", Kind<Recipe.Job.Action>.choice,
    "What is done: `save` a disk as an image, `restore` an image onto a disk, `verify` an image, run a `command`, "
      + "give a `shell`, or run a `clonezilla` line.")
  static let image = Key(
    "image", imageName, defaultText: "none", actions: [.save, .restore, .verify],
    requiredFor: [.save, .restore, .verify],
    "Name of the image in the repository. Placeholders: `{hostname}`, `{mac}`, `{serial}` and, when saving, `{date}` "
      + "and `{time}`.")
  static let repository = Key(
    "repository",
    Kind<Repository>.text(
      Repository.allowed, schema: ["type": "string", "pattern": .string(Repository.pattern)],
      encode: { .string($0.uri) }, parse: Repository.parse),
    defaultText: "`medium` for restore and verify", actions: [.save, .restore, .verify, .command, .shell, .clonezilla],
    requiredFor: [.save],
    "Where the image lives; mounted before the job runs. Nothing can be saved to `medium`, `http` or `https`.")
  static let source = Key(
    "source", disk, defaultText: "`only`", actions: [.save],
    "The disk that is saved. More than one that fits, or none, is refused when the job runs.")
  static let target = Key(
    "target", disk, defaultText: "`only`", actions: [.restore],
    "The disk that is overwritten. More than one that fits, or none, is refused when the job runs.")
  static let parts = Key(
    "parts", .list(of: .integer(1...256), unique: true, least: 1), defaultText: "the whole disk",
    actions: [.save, .restore], "Numbers of the partitions that are meant; the rest of the disk is left alone.")
  static let compression = Key(
    "compression", Compression.section, defaultText: "zstd, level 3", actions: [.save], "How the image is packed.")
  static let split = Key(
    "split",
    .size(1_000_000...(1 << 50), "a size such as 4GB, at least 1MB", where: { _ in true }), defaultText: "not split",
    actions: [.save], "Largest size of one file of the image, for repositories that can't hold large ones.")
  static let grow = Key(
    "grow", Kind<Recipe.Job.Growth>.choice, defaultText: "`none`", actions: [.restore],
    "Whether the last partition and its file system grow to the end of a larger disk.")
  static let verify = Key(
    "verify", .boolean, defaultText: "`true`", actions: [.save, .restore],
    "Whether a saved image is read back, and an image is checked before the disk is overwritten.")
  static let efiEntry = Key(
    "efi-entry", .boolean, defaultText: "`true`", actions: [.restore],
    "Whether a machine started by UEFI gets a boot entry for what was restored.")
  static let command = Key(
    "command", .text("one line", pattern: "^[^\\x00-\\x1f\\x7f]*[^\\x00-\\x20\\x7f][^\\x00-\\x1f\\x7f]*$"),
    defaultText: "none", actions: [.command, .clonezilla], requiredFor: [.command],
    "For `command` a line for `/bin/sh`; for `clonezilla` a line that begins with `ocs-sr`, unless `arguments` have "
      + "`ocs_live_run`.")
  static let onSuccess = Key(
    "on-success", .choice, default: Recipe.Job.SuccessAction.poweroff,
    "What the machine does after the job; with `none` the live system stays up.")
  static let onFailure = Key(
    "on-failure", .choice, default: Recipe.Job.FailureAction.poweroff,
    "What the machine does when the job failed and no retry is left.")
  static let retries = Key("retries", .integer(0...100), default: 0, "How many more times a failed job is tried.")
  static let network = Key(
    "network", .boolean, defaultText: "`true` when the repository is on the network",
    actions: [.save, .restore, .verify, .command, .shell, .clonezilla],
    "Whether the network must be up before the job runs.")
  static let arguments = Key(
    "arguments", .list(of: RecipeKeys.kernelArgument), default: [],
    "Kernel parameters added for this job. A `clonezilla` job with `ocs_live_run` among them is run by Clonezilla's "
      + "parameters alone, as they stand.")

  static let all: [any KeyDescription] = [
    name, title, action, image, repository, source, target, parts, compression, split, grow, verify, efiEntry, command,
    onSuccess, onFailure, retries, network, arguments,
  ]

  private static let disk = Kind<DiskSelector>.text(
    DiskSelector.allowed, schema: ["type": "string", "pattern": .string(DiskSelector.pattern)],
    encode: { .string($0.description) },
    parse: { text in
      DiskSelector(text).map { .value($0) }
        ?? .wrong("\"\(text)\" names no disk", suggestion: DiskSelector.guess(text))
    })

  private static let placeholders = ["hostname", "date", "time", "mac", "serial"]
  private static let imageName = Kind<String>.text(
    "A-Z a-z 0-9 . _ - and the placeholders \(placeholders.map { "{\($0)}" }.joined(separator: " "))",
    schema: [
      "type": "string",
      "pattern": .string(
        "^([A-Za-z0-9_]|\\{(\(placeholders.joined(separator: "|")))\\})"
          + "([A-Za-z0-9._-]|\\{(\(placeholders.joined(separator: "|")))\\}){0,63}$"),
    ],
    encode: { .string($0) },
    parse: { text in
      for part in text.split(separator: "{", omittingEmptySubsequences: false).dropFirst() {
        let word = String(part.prefix { $0 != "}" })
        let isKnown = placeholders.contains(word)
        if isKnown, word.count < part.count { continue }
        let meant = isKnown ? word : Suggestion.nearest(to: word, among: placeholders)
        let complaint =
          word.count == part.count
          ? "the placeholder \"{\(word)\" is not closed" : "unknown placeholder \"{\(word)}\""
        return .wrong(complaint, suggestion: meant.map { "{\($0)}" })
      }
      let literal = placeholders.reduce(text) { $0.replacing("{\($1)}", with: "x") }
      return matches(literal, RecipeKeys.imageNamePattern) ? .value(text) : .wrong("\"\(text)\" is no image's name")
    })

  enum Compression {
    static let algorithm = Key(
      "algorithm", .choice, default: Recipe.Job.Compression.zstd, "The compressor; `none` stores the data as it is.")
    static let level = Key(
      "level", .integer(1...22), defaultText: "3 for zstd, 6 for gzip, 1 for lz4, 3 for xz",
      "1 to 22 for zstd, 1 to 9 for gzip and xz, 1 to 12 for lz4.")

    struct Value: Sendable {
      let algorithm: Recipe.Job.Compression
      let level: Int?
    }

    static let section = Kind<Value>.section([algorithm, level]) { section, problems in
      let algorithm = try section.value(algorithm)
      let level = try section.optional(level)
      if let level, algorithm.levels?.contains(level) != true {
        problems.add(
          .impossibleCombination, at: section.place(of: Self.level), "\(algorithm.rawValue) has no level \(level)",
          allowed: algorithm.levels.map { "\($0.lowerBound) to \($0.upperBound)" })
      }
      return Value(algorithm: algorithm, level: level ?? algorithm.defaultLevel)
    }
  }

  /// A job and where its keys stand, for checks that need the rest of the recipe.
  struct Value: Sendable, Equatable {
    var job: Recipe.Job
    let namePlace: Place
    let imagePlace: Place

    static func == (left: Value, right: Value) -> Bool { left.job == right.job }
  }

  /// For editors: which keys an action has and needs.
  private static let rules: [JSON] = Recipe.Job.Action.allCases.map { action in
    let needed = all.filter { $0.requiredFor.contains(action) }.map { JSON.string($0.name) }
    let foreign = all.filter { !$0.actions.isEmpty && !$0.actions.contains(action) }.map { ($0.name, JSON(false)) }
    var consequence: [String: JSON] = ["properties": .object(Dictionary(uniqueKeysWithValues: foreign))]
    if !needed.isEmpty { consequence["required"] = .array(needed) }
    return [
      "if": ["properties": ["action": ["const": .string(action.rawValue)]], "required": ["action"]],
      "then": .object(consequence),
    ]
  }

  static let section = Kind<Value>.section(all, rules: rules) { section, problems in
    let action = try section.value(action)
    checkKeys(of: action, section, &problems)
    let job = try job(section, action: action)
    checkCombinations(of: job, section, &problems)
    return Value(job: job, namePlace: section.place(of: name), imagePlace: section.place(of: image))
  }

  private static func job(_ section: Section, action: Recipe.Job.Action) throws(Section.Incomplete) -> Recipe.Job {
    let name = try section.value(name)
    let usesImage = action == .restore || action == .verify
    let repository = try section.optional(repository) ?? (usesImage ? .medium : nil)
    let packing = try section.optional(compression) ?? Compression.Value(algorithm: .zstd, level: 3)
    return try Recipe.Job(
      name: name, title: section.optional(title) ?? name, action: action, image: section.optional(image),
      repository: repository,
      source: action == .save ? section.optional(source) ?? .only : nil,
      target: action == .restore ? section.optional(target) ?? .only : nil,
      parts: section.optional(parts),
      compression: action == .save ? packing.algorithm : nil,
      compressionLevel: action == .save ? packing.level : nil,
      splitBytes: section.optional(split),
      grow: action == .restore ? section.optional(grow) ?? Recipe.Job.Growth.none : nil,
      verify: action == .save || action == .restore ? section.optional(verify) ?? true : nil,
      efiEntry: action == .restore ? section.optional(efiEntry) ?? true : nil,
      command: section.optional(command), onSuccess: section.value(onSuccess),
      onFailure: Recipe.Job.FailurePolicy(action: section.value(onFailure), retries: section.value(retries)),
      allowPreload: false, network: section.optional(network) ?? repository?.scheme.isNetwork ?? false,
      arguments: section.value(arguments))
  }

  private static func checkKeys(of action: Recipe.Job.Action, _ section: Section, _ problems: inout Problems) {
    for key in all {
      if let place = section.place(of: key.name), !key.actions.isEmpty, !key.actions.contains(action) {
        problems.add(
          .impossibleCombination, at: place, "is not for jobs that \(action.phrase)",
          allowed: "with action \(key.actions.map(\.rawValue).joined(separator: ", "))")
      }
      if section.place(of: key.name) == nil, key.requiredFor.contains(action) {
        problems.add(
          .missingKey,
          at: Place(key: "\(section.place.key).\(key.name)", line: section.place.line, column: section.place.column),
          "missing: jobs that \(action.phrase) need it", allowed: key.allowed)
      }
    }
  }

  private static func checkCombinations(of job: Recipe.Job, _ section: Section, _ problems: inout Problems) {
    func refuse(_ place: Place, _ message: String, allowed: String? = nil) {
      problems.add(.impossibleCombination, at: place, message, allowed: allowed)
    }
    if let repository = job.repository {
      if job.action == .save, !repository.scheme.isWritable {
        let why =
          repository.scheme == .medium
          ? "an ISO can't be written to, so nothing can be saved to the medium"
          : "nothing can be saved to \(repository.scheme.rawValue)"
        refuse(section.place(of: Self.repository), why, allowed: "label=, uuid=, dev:, nfs:, nfs4:, smb:, ssh:")
      }
      if repository.scheme.isNetwork, !job.network {
        refuse(section.place(of: network), "the repository is on the network, which is switched off here")
      }
    }
    if job.action != .save, let image = job.image, image.contains("{date}") || image.contains("{time}") {
      refuse(section.place(of: Self.image), "{date} and {time} name a new image; one that exists has another time")
    }
    if job.parts != nil, job.grow == .last {
      refuse(section.place(of: grow), "only a whole disk can grow: without parts, or with grow: none")
    }
    if job.action == .clonezilla {
      switch (job.command, job.isClonezillaKernelLine) {
      case (let command?, false):
        if !command.hasPrefix("ocs-sr ") {
          refuse(section.place(of: Self.command), "a clonezilla line begins with ocs-sr")
        }
      case (nil, true):
        if job.repository != nil {
          refuse(section.place(of: repository), "ocs_live_run has its repository from ocs_repository in arguments")
        }
      case (_?, true):
        refuse(section.place(of: Self.command), "there is one line too many: arguments have ocs_live_run")
      case (nil, false):
        refuse(
          section.place(of: Self.command), "missing: jobs that \(job.action.phrase) need it",
          allowed: "one line that begins with ocs-sr, or ocs_live_run=\"...\" among arguments")
      }
    } else if job.isClonezillaKernelLine {
      refuse(section.place(of: arguments), "ocs_live_run would be a second job", allowed: "with action clonezilla")
    }
  }
}

extension Recipe.Job.Action {
  /// What a job with this action does, for messages.
  fileprivate var phrase: String {
    switch self {
    case .save, .restore, .verify: rawValue
    case .command: "run a command"
    case .shell: "give a shell"
    case .clonezilla: "run a clonezilla line"
    }
  }
}
