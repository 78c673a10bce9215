// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import Recipe
import Reporting
import SystemPackage
import TestSupport
import Testing

/// A recipe with mistakes, and what is said about them.
struct Mistake: Sendable, CustomTestStringConvertible {
  let recipe: String
  let messages: [String]
  var testDescription: String { messages.first ?? "" }

  init(_ recipe: String, _ messages: String...) {
    self.recipe = recipe
    self.messages = messages
  }

  /// A recipe that is sound but for more lines at its end; the first of them is line 4.
  static func after(_ lines: String, _ messages: String...) -> Mistake {
    var mistake = Mistake(smallRecipe + lines)
    mistake = Mistake(recipe: mistake.recipe, messages: messages)
    return mistake
  }

  /// A recipe with one job, whose first key stands on line 3, column 5.
  static func job(_ lines: String, _ messages: String...) -> Mistake {
    let body = lines.split(separator: "\n").joined(separator: "\n    ")
    return Mistake(recipe: "name: a\njobs:\n  - \(body)\n", messages: messages)
  }

  private init(recipe: String, messages: [String]) {
    self.recipe = recipe
    self.messages = messages
  }
}

private let topKeys =
  "name, debian, system, overlays, hooks, console, menu, allow-preload, jobs, images, outputs, compression"
private let jobKeys =
  "name, title, action, image, repository, source, target, parts, compression, split, grow, verify, efi-entry, "
  + "command, on-success, on-failure, retries, network, arguments"
private let actions = "save, restore, verify, command, shell, clonezilla"
private let jobName = "1 to 32 of a-z 0-9 . _ -, the first a letter or digit"
private let disks = "only, a kernel name such as sda, path:/dev/..., serial:..., size>=10GB or size<=2TiB"
private let repositories =
  "medium, label=NAME, uuid=ID, dev:///..., nfs://host/path, nfs4://host/path, smb://host/share, "
  + "ssh://user@host/path, http://host/path, https://host/path"
private let imageName = "A-Z a-z 0-9 . _ - and the placeholders {hostname} {date} {time} {mac} {serial}"

private let mistakes: [Mistake] = [
  // Keys.
  .after("debain: {}", "r.yaml:4:1: debain: unknown key; allowed: \(topKeys); did you mean \"debian\"?"),
  .after("zzz: 1", "r.yaml:4:1: zzz: unknown key; allowed: \(topKeys)"),
  .after(
    "timezone: Etc/UTC", "r.yaml:4:1: timezone: unknown key; allowed: \(topKeys); did you mean \"system.timezone\"?"),
  .after(
    "menu:\n  tiemout: 3",
    "r.yaml:5:3: menu.tiemout: unknown key; allowed: title, timeout, default, arguments; did you mean \"timeout\"?"),
  .after("menu:\n  timeout: 3\n  timeout: 4", "r.yaml:6:3: the key \"timeout\" was already given on line 5"),
  .after("menu: {timeout: 3, timeout: 4}", "r.yaml:4:8: the key \"timeout\" is given more than once"),
  .job(
    "name: x\naction: shell\nonSuccess: none",
    "r.yaml:5:5: jobs[0].onSuccess: unknown key; allowed: \(jobKeys); did you mean \"on-success\"?"),
  Mistake("", "r.yaml:1:1: is empty; allowed: \(topKeys)"),
  Mistake("[]", "r.yaml:1:1: expected a mapping, but found a list; allowed: \(topKeys)"),
  Mistake(
    "{}", "r.yaml:1:1: name: missing; allowed: \(jobName)", "r.yaml:1:1: jobs: missing; allowed: a list of mappings"),
  .job("action: shell", "r.yaml:3:5: jobs[0].name: missing; allowed: \(jobName)"),
  .job("name: x", "r.yaml:3:5: jobs[0].action: missing; allowed: \(actions)"),
  // Types and ranges.
  Mistake(
    "name: 12\njobs: [{name: s, action: shell}]",
    "r.yaml:1:7: name: expected text, but found the number 12 (as text: \"12\"); allowed: \(jobName)"),
  Mistake("name: Ab\njobs: [{name: s, action: shell}]", "r.yaml:1:7: name: \"Ab\" is not allowed; allowed: \(jobName)"),
  Mistake(
    "name: \"\(String(repeating: "a", count: 33))\"\njobs: []",
    "r.yaml:1:7: name: \"\(String(repeating: "a", count: 33))\" is not allowed; allowed: \(jobName)",
    "r.yaml:2:7: jobs: must not be empty; allowed: a list of mappings"),
  .after(
    "allow-preload: yes",
    "r.yaml:4:16: allow-preload: expected true or false, but found \"yes\"; allowed: true, false; did you mean \"true\"?"
  ),
  .after(
    "overlays: site",
    "r.yaml:4:11: overlays: expected a list, but found \"site\"; allowed: a list of: a folder, by a path relative to the recipe's folder"
  ),
  .after(
    "overlays:",
    "r.yaml:4:1: overlays: expected a list, but found nothing; allowed: a list of: a folder, by a path relative to the recipe's folder"
  ),
  .after(
    "menu: {timeout: 1.5}",
    "r.yaml:4:17: menu.timeout: expected seconds, but found the number 1.5; allowed: 0 to 3600, none"),
  .after(
    "menu: {timeout: 3601}",
    "r.yaml:4:17: menu.timeout: expected seconds, but found the number 3601; allowed: 0 to 3600, none"),
  .after("compression: {level: 23}", "r.yaml:4:22: compression.level: 23 is out of range; allowed: 1 to 22"),
  .after(
    "compression: {level: \"3\"}",
    "r.yaml:4:22: compression.level: expected a whole number, but found \"3\"; allowed: 1 to 22"),
  .after(
    "compression: {block-size: 100KiB}",
    "r.yaml:4:27: compression.block-size: 100KiB is not allowed; allowed: a power of two from 4KiB to 1MiB"),
  .after(
    "compression: {block-size: -1}",
    "r.yaml:4:27: compression.block-size: expected a size, but found the number -1; allowed: a power of two from 4KiB to 1MiB"
  ),
  .after(
    "debian: {suite: trixi}",
    "r.yaml:4:17: debian.suite: unknown value \"trixi\"; allowed: bookworm, trixie; did you mean \"trixie\"?"),
  .after("debian: {suite: sid}", "r.yaml:4:17: debian.suite: unknown value \"sid\"; allowed: bookworm, trixie"),
  .after("debian: {components: [main, main]}", "r.yaml:4:29: debian.components[1]: \"main\" is there twice"),
  .after("debian: {components: [contrib]}", "r.yaml:4:22: debian.components: nothing can be built without main"),
  .after(
    "debian: {packages: [ok, '-o Debug=1']}",
    "r.yaml:4:25: debian.packages[1]: \"-o Debug=1\" is not allowed; allowed: a package: name or name=version"),
  .after(
    "debian: {mirror: ftp://x}",
    "r.yaml:4:18: debian.mirror: \"ftp://x\" is not allowed; allowed: a URL: http://, https:// or file:///"),
  .after(
    "console: {serial: off}",
    "r.yaml:4:19: console.serial: expected a list, but found \"off\"; allowed: a list of mappings"),
  .after(
    "console: {serial: [{speed: 115201}]}",
    "r.yaml:4:28: console.serial[0].speed: the number 115201 is no speed of a serial port; allowed: 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200"
  ),
  .after(
    "console: {video: false, serial: []}",
    "r.yaml:4:10: console: neither video nor serial: nobody could see what happens"),
  .after("console: {serial: [{}, {}]}", "r.yaml:4:19: console.serial: a port is there twice"),
  .after(
    "menu: {arguments: [a b]}",
    "r.yaml:4:20: menu.arguments[0]: \"a b\" is not one kernel parameter; allowed: one kernel parameter: name or name=value, spaces only inside \"...\""
  ),
  .after(
    "menu: {arguments: [slipway.job=x]}",
    "r.yaml:4:20: menu.arguments[0]: slipway.job is set by the menu entry of each job; allowed: one kernel parameter: name or name=value, spaces only inside \"...\""
  ),
  .after(
    "outputs: [iso, usb]",
    "r.yaml:4:16: outputs[1]: \"usb\" can't be written yet: this version writes iso; allowed: iso"),
  .after("outputs: [is]", "r.yaml:4:11: outputs[0]: unknown output \"is\"; allowed: iso; did you mean \"iso\"?"),
  .after(
    "system: {keyboard: {variant: x}}",
    "r.yaml:4:30: system.keyboard.variant: a variant belongs to a layout: give layout, too"),
  .after(
    "system: {hostname: a.b}",
    "r.yaml:4:20: system.hostname: \"a.b\" is not allowed; allowed: letters, digits and -, at most 63"),
  // Jobs.
  .job(
    "name: x\naction: restor",
    "r.yaml:4:13: jobs[0].action: unknown value \"restor\"; allowed: \(actions); did you mean \"restore\"?"),
  .job(
    "name: x\naction: restore", "r.yaml:3:5: jobs[0].image: missing: jobs that restore need it; allowed: \(imageName)"),
  .job(
    "name: x\naction: save\nimage: i",
    "r.yaml:3:5: jobs[0].repository: missing: jobs that save need it; allowed: \(repositories)"),
  .job(
    "name: x\naction: command",
    "r.yaml:3:5: jobs[0].command: missing: jobs that run a command need it; allowed: one line"),
  .job(
    "name: x\naction: shell\ntarget: sda\ngrow: last",
    "r.yaml:5:13: jobs[0].target: is not for jobs that give a shell; allowed: with action restore",
    "r.yaml:6:11: jobs[0].grow: is not for jobs that give a shell; allowed: with action restore"),
  .job(
    "name: x\naction: save\nimage: i\nrepository: medium",
    "r.yaml:6:17: jobs[0].repository: an ISO can't be written to, so nothing can be saved to the medium; allowed: label=, uuid=, dev:, nfs:, nfs4:, smb:, ssh:"
  ),
  .job(
    "name: x\naction: save\nimage: i\nrepository: https://h/x",
    "r.yaml:6:17: jobs[0].repository: nothing can be saved to https; allowed: label=, uuid=, dev:, nfs:, nfs4:, smb:, ssh:"
  ),
  .job(
    "name: x\naction: restore\nimage: i",
    "r.yaml:5:12: jobs[0].image: the medium carries no image \"i\"; allowed: what images lists, which is nothing"),
  .job(
    "name: x\naction: restore\nimage: i-{date}\nrepository: nfs://h/x",
    "r.yaml:5:12: jobs[0].image: {date} and {time} name a new image; one that exists has another time"),
  .job(
    "name: x\naction: restore\nimage: \"{sreial}\"\nrepository: nfs://h/x",
    "r.yaml:5:12: jobs[0].image: unknown placeholder \"{sreial}\"; allowed: \(imageName); did you mean \"{serial}\"?"),
  .job(
    "name: x\naction: restore\nimage: \"{mac\"\nrepository: nfs://h/x",
    "r.yaml:5:12: jobs[0].image: the placeholder \"{mac\" is not closed; allowed: \(imageName); did you mean \"{mac}\"?"
  ),
  .job(
    "name: x\naction: restore\nimage: ../etc\nrepository: nfs://h/x",
    "r.yaml:5:12: jobs[0].image: \"../etc\" is no image's name; allowed: \(imageName)"),
  .job(
    "name: x\naction: restore\nimage: i\nrepository: nfs://h/x\ntarget: /dev/sda",
    "r.yaml:7:13: jobs[0].target: \"/dev/sda\" names no disk; allowed: \(disks); did you mean \"sda\"?"),
  .job(
    "name: x\naction: restore\nimage: i\nrepository: nfs://h/x\ntarget: /dev/disk/by-id/x",
    "r.yaml:7:13: jobs[0].target: \"/dev/disk/by-id/x\" names no disk; allowed: \(disks); did you mean \"path:/dev/disk/by-id/x\"?"
  ),
  .job(
    "name: x\naction: restore\nimage: i\nrepository: nfs://h/x\ntarget: onyl",
    "r.yaml:7:13: jobs[0].target: \"onyl\" names no disk; allowed: \(disks); did you mean \"only\"?"),
  .job(
    "name: x\naction: restore\nimage: i\nrepository: nfs://h/x\nparts: [1]\ngrow: last",
    "r.yaml:8:11: jobs[0].grow: only a whole disk can grow: without parts, or with grow: none"),
  .job(
    "name: x\naction: restore\nimage: i\nrepository: nfs://h/x\nnetwork: false",
    "r.yaml:7:14: jobs[0].network: the repository is on the network, which is switched off here"),
  .job(
    "name: x\naction: save\nimage: i\nrepository: label=B\ncompression: {algorithm: gzip, level: 10}",
    "r.yaml:7:43: jobs[0].compression.level: gzip has no level 10; allowed: 1 to 9"),
  .job(
    "name: x\naction: save\nimage: i\nrepository: label=B\ncompression: {algorithm: none, level: 1}",
    "r.yaml:7:43: jobs[0].compression.level: none has no level 1"),
  .job(
    "name: x\naction: save\nimage: i\nrepository: label=B\nsplit: 99999999TB",
    "r.yaml:7:12: jobs[0].split: expected a size, but found \"99999999TB\"; allowed: a size such as 4GB, at least 1MB"),
  .job(
    "name: x\naction: clonezilla\ncommand: ocs-sr -x\narguments: [ocs_live_run=ocs-live-restore]",
    "r.yaml:5:14: jobs[0].command: there is one line too many: arguments have ocs_live_run"),
  .job(
    "name: x\naction: shell\narguments: [ocs_live_run=ocs-live-restore]",
    "r.yaml:5:16: jobs[0].arguments: ocs_live_run would be a second job; allowed: with action clonezilla"),
  .job(
    "name: x\naction: clonezilla",
    "r.yaml:3:5: jobs[0].command: missing: jobs that run a clonezilla line need it; allowed: one line that begins with "
      + "ocs-sr, or ocs_live_run=\"...\" among arguments"),
  .job(
    "name: x\naction: clonezilla\ncommand: rm -rf /",
    "r.yaml:5:14: jobs[0].command: a clonezilla line begins with ocs-sr"),
  .job(
    "name: x\naction: shell\nrepository: nsf://h/x",
    "r.yaml:5:17: jobs[0].repository: unknown kind of repository \"nsf\"; allowed: \(repositories); did you mean \"nfs://\"?"
  ),
  .job(
    "name: x\naction: shell\nrepository: meduim",
    "r.yaml:5:17: jobs[0].repository: \"meduim\" is no repository; allowed: \(repositories); did you mean \"medium\"?"),
  .job(
    "name: x\naction: shell\nrepository: ssh://h/x",
    "r.yaml:5:17: jobs[0].repository: names no user: expected ssh://user@host/path; allowed: \(repositories)"),
  .job(
    "name: x\naction: shell\nrepository: ssh://u:p@h/x",
    "r.yaml:5:17: jobs[0].repository: has a password in it, which ssh doesn't take: put a key into an overlay; allowed: \(repositories)"
  ),
  .job(
    "name: x\naction: shell\nrepository: smb://h",
    "r.yaml:5:17: jobs[0].repository: names no share: expected smb://host/share; allowed: \(repositories)"),
  .job(
    "name: x\naction: shell\nrepository: nfs://h:0/x",
    "r.yaml:5:17: jobs[0].repository: has no such port; allowed: \(repositories)"),
  .job(
    "name: x\naction: shell\nrepository: nfs:///x",
    "r.yaml:5:17: jobs[0].repository: names no host; allowed: \(repositories)"),
  .job(
    "name: x\naction: shell\nrepository: http://h/%zz",
    "r.yaml:5:17: jobs[0].repository: has a % that is not followed by two hexadecimal digits; allowed: \(repositories)"),
  .job(
    "name: x\naction: shell\nrepository: http://h/ü",
    "r.yaml:5:17: jobs[0].repository: has a character that a URI must write as %XX (a space is %20); allowed: \(repositories)"
  ),
  .job(
    "name: x\naction: shell\nrepository: dev:///etc/x",
    "r.yaml:5:17: jobs[0].repository: names no partition: expected dev:///LABEL=..., dev:///UUID=..., dev:///PARTLABEL=..., dev:///PARTUUID=... or dev:///dev/...; allowed: \(repositories)"
  ),
  // Names of other things.
  .after(
    "menu: {default: hs}", "r.yaml:4:17: menu.default: no job is called \"hs\"; allowed: sh; did you mean \"sh\"?"),
  Mistake(
    "name: a\njobs:\n- {name: x, action: shell}\n- {name: x, action: shell}",
    "r.yaml:4:10: jobs[1].name: another job is called \"x\" already"),
  .after("images: [{path: a/x}, {path: b/x}]", "r.yaml:4:30: images[1].path: another image is called \"x\" already"),
  .after(
    "images: [{path: ..}]",
    "r.yaml:4:17: images[0].path: the last part of the path can't be the image's name: give name, too; allowed: 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter, digit or _"
  ),
  Mistake(
    "name: a\nimages: [{path: x/demo}]\njobs:\n- {name: x, action: verify, image: dmeo}",
    "r.yaml:4:36: jobs[0].image: the medium carries no image \"dmeo\"; allowed: demo; did you mean \"demo\"?"),
  // Several at once, in the order of the lines.
  Mistake(
    "nmae: x\ndebian: {suite: sid}\njobs:\n- {name: x, action: shelll}\nmenu: {timeout: soon}",
    "r.yaml:1:1: nmae: unknown key; allowed: \(topKeys); did you mean \"name\"?",
    "r.yaml:1:1: name: missing; allowed: \(jobName)",
    "r.yaml:2:17: debian.suite: unknown value \"sid\"; allowed: bookworm, trixie",
    "r.yaml:4:21: jobs[0].action: unknown value \"shelll\"; allowed: \(actions); did you mean \"shell\"?",
    "r.yaml:5:17: menu.timeout: expected seconds, but found \"soon\"; allowed: 0 to 3600, none"),
  // YAML.
  Mistake(
    "name: [a\njobs: x", "r.yaml:2:5: not valid YAML: while parsing a flow sequence, did not find expected ',' or ']'"),
  Mistake(
    "name: a\n\tjobs: x",
    "r.yaml:2:1: not valid YAML: while scanning a plain scalar, found a tab character that violates indentation"),
  Mistake("name: \"a", "r.yaml:1:9: not valid YAML: while scanning a quoted scalar, found unexpected end of stream"),
  Mistake(
    "name: a\n---\nname: b",
    "r.yaml:2:1: not valid YAML: expected a single document in the stream, but found another document"),
  Mistake("name: *x", "r.yaml:1:7: no anchor &x stands before *x"),
  Mistake("a: &a [*a]", "r.yaml:1:8: no anchor &a stands before *a"),
  Mistake("a: &a b\n*a : c", "r.yaml:2:1: a key must be a plain word"),
  Mistake("? [a]\n: b", "r.yaml:1:3: a key must be a plain word"),
  Mistake("<<: 3", "r.yaml:1:5: << expects a mapping, but found the number 3"),
  Mistake("name: !thing a", "r.yaml:1:7: the tag !thing is not supported"),
  Mistake("name: a\u{E000}", "r.yaml:1:8: the private-use character U+E000 is not allowed"),
  Mistake("name: a\u{1}", "r.yaml:1:8: not valid YAML: control characters are not allowed"),
  Mistake(
    "name: \"\\x1b[2J\"\njobs: [{name: s, action: shell}]",
    "r.yaml:1:7: name: \"\u{FFFD}[2J\" is not allowed; allowed: \(jobName)"),
]

@Suite struct Mistakes {
  @Test(arguments: mistakes)
  func areNamed(_ mistake: Mistake) throws {
    let error = try #require(throws: RecipeError.self) { try decode(mistake.recipe) }
    #expect(error.problems.map(\.description) == mistake.messages)
    #expect(error.exitCode == .invalidData)
  }

  @Test func reasonListsAll() throws {
    let error = try #require(throws: RecipeError.self) { try decode("{}", file: "d/r.yaml") }
    #expect(
      error.reason == """
        2 mistakes in d/r.yaml
        d/r.yaml:1:1: name: missing; allowed: \(jobName)
        d/r.yaml:1:1: jobs: missing; allowed: a list of mappings
        """)
  }

  @Test func bytesThatAreNotUTF8AreRefused() throws {
    let error = try #require(throws: RecipeError.self) {
      try Recipe.decode(Array("name: a\njobs: ".utf8) + [0xFF], file: "r.yaml")
    }
    #expect(error.reason == "r.yaml:2:1: has bytes that are not UTF-8")
  }

  @Test func missingRecipeIsNamed() throws {
    let error = try #require(throws: RecipeError.self) { try Recipe(contentsOf: "/nonexistent/r.yaml") }
    #expect(error.reason == "/nonexistent/r.yaml: cannot read the recipe: No such file or directory")
    #expect(error.exitCode == .noInput)
  }
}

@Suite struct FileCheck {
  private let recipe = """
    name: a
    overlays: [site, hooks/run]
    hooks:
      build: [hooks/run, hooks/no]
      prerun: [hooks/plain, site]
    images: [{path: good}, {path: parts}, {path: site}, {path: gone}]
    jobs: [{name: s, action: shell}]
    """

  @Test func findsAllThatIsMissing() async throws {
    try await withTemporaryDirectory { folder in
      let make = FileManager.default
      for name in ["site", "hooks", "good", "parts"] {
        try make.createDirectory(atPath: folder.appending(name).string, withIntermediateDirectories: false)
      }
      for name in ["hooks/run", "hooks/plain", "good/disk", "parts/parts"] { try folder.appending(name).write([]) }
      try make.setAttributes([.posixPermissions: 0o755], ofItemAtPath: folder.appending("hooks/run").string)
      let file = folder.appending("r.yaml")
      try file.write(recipe.utf8)
      let decoded = try Recipe(contentsOf: file)
      let error = try #require(throws: RecipeError.self) { try decoded.check() }
      #expect(
        error.problems.map(\.description) == [
          "\(file):2:18: overlays[1]: \(folder)/hooks/run is not a folder",
          "\(file):4:22: hooks.build[1]: \(folder)/hooks/no: No such file or directory",
          "\(file):5:12: hooks.prerun[0]: \(folder)/hooks/plain is not executable: chmod +x it",
          "\(file):5:25: hooks.prerun[1]: \(folder)/site is not a file",
          "\(file):6:46: images[2].path: \(folder)/site is not a Clonezilla image directory: "
            + "it has neither a file disk nor a file parts",
          "\(file):6:60: images[3].path: \(folder)/gone: No such file or directory",
        ])
      #expect(error.exitCode == .noInput)
    }
  }

  @Test func acceptsTheDemoOnceItsImageIsThere() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("out/demo/demo")
      try FileManager.default.createDirectory(atPath: image.string, withIntermediateDirectories: true)
      try FileManager.default.createDirectory(
        atPath: folder.appending("Recipes").string, withIntermediateDirectories: false)
      let copy = folder.appending("Recipes/demo-restore.yaml")
      try copy.write(packageRoot.appending("Recipes/demo-restore.yaml").contents())
      let recipe = try Recipe(contentsOf: copy)
      #expect(throws: RecipeError.self) { try recipe.check() }
      try image.appending("disk").write("sda\n".utf8)
      try recipe.check()
    }
  }
}
