// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Foundation
import Logging
import SystemPackage
import TestSupport
import Testing

/// Builds that cannot succeed: each says why, and leaves nothing half-written and nothing mounted.
@Suite(.serialized) struct BuildMistakeTests {
  private let runner = CommandRunner(logger: Logger(label: "test"))

  private static let slipway: String = {
    if let folder = ProcessInfo.processInfo.environment["SLIPWAY_BIN"] { return "\(folder)/slipway" }
    return URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent(".build/release/slipway").path
  }()

  private static let recipe = """
    name: mistake
    compression: {level: 1}
    jobs:
      - name: hello
        action: command
        command: "true"

    """

  /// Where the build unpacks; what it mounts there would show in the mount table.
  private func environment(_ folder: FilePath, cache: FilePath) throws -> [String: String] {
    let scratch = folder.appending("tmp").string
    try FileManager.default.createDirectory(
      atPath: scratch, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
    return ["XDG_CACHE_HOME": cache.string, "TMPDIR": scratch]
  }

  /// Builds in a cache of its own, so that nothing made before helps.
  private func build(
    _ recipe: String, in folder: FilePath, output: FilePath? = nil, cache: FilePath? = nil
  ) async throws -> CommandOutput {
    let file = folder.appending("recipe.yaml")
    try file.write(recipe.utf8)
    return try await runner.output(
      of: Command(
        Self.slipway, ["build", file.string, "-o", (output ?? folder.appending("out")).string],
        environment: try environment(folder, cache: cache ?? folder.appending("cache"))))
  }

  private func expectNothingLeft(in folder: FilePath) throws {
    for part in ["out", "cache/slipway/base"] {
      let left = (try? FileManager.default.contentsOfDirectory(atPath: folder.appending(part).string)) ?? []
      #expect(left.isEmpty, "\(part) has \(left)")
    }
    let scratch = try FileManager.default.contentsOfDirectory(atPath: folder.appending("tmp").string)
    #expect(scratch.isEmpty, "left in TMPDIR: \(scratch)")
    let mounts = try String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)
    #expect(!mounts.contains(folder.string), "\(mounts)")
  }

  @Test func aPackageThatDoesNotExist() async throws {
    try await withTemporaryDirectory { folder in
      let output = try await build(Self.recipe + "debian: {packages: [no-such-package-x]}\n", in: folder)
      #expect(output.status == 65)
      #expect(output.standardError.contains("no such package in Debian trixie: no-such-package-x"))
      try expectNothingLeft(in: folder)
    }
  }

  @Test func aMirrorThatDoesNotAnswer() async throws {
    try await withTemporaryDirectory { folder in
      // Port 9 of this machine: nothing listens there.
      let output = try await build(Self.recipe + "debian: {mirror: \"http://127.0.0.1:9/debian\"}\n", in: folder)
      #expect(output.status == 69)
      #expect(output.standardError.contains("the mirror http://127.0.0.1:9/debian does not answer"))
      try expectNothingLeft(in: folder)
    }
  }

  @Test func aRecipeWithASlip() async throws {
    try await withTemporaryDirectory { folder in
      let output = try await build(Self.recipe + "memu: {timeout: 3}\n", in: folder)
      #expect(output.status == 65)
      #expect(output.standardError.contains("recipe.yaml:7:1: memu: unknown key"))
      #expect(output.standardError.contains("did you mean \"menu\"?"))
      try expectNothingLeft(in: folder)
    }
  }

  @Test func aBuildThatIsInterrupted() async throws {
    try await withTemporaryDirectory { folder in
      let runner = runner
      let file = folder.appending("recipe.yaml")
      try file.write(Self.recipe.utf8)
      // Enough for mmdebstrap to be in the middle of it.
      let output = try await runner.output(
        of: Command(
          "timeout",
          [
            "--foreground", "--signal=INT", "12", Self.slipway, "build", file.string, "-o",
            folder.appending("out").string,
          ],
          environment: try environment(folder, cache: folder.appending("cache"))))
      #expect(output.status == 124, "\(output.standardError)")
      #expect(output.standardError.contains("interrupted by signal 2"))
      try expectNothingLeft(in: folder)
    }
  }

  @Test func aDiskThatIsFull() async throws {
    try await withTemporaryDirectory { folder in
      for size in ["20M", "150M"] {
        let small = folder.appending("small-\(size)")
        try await tool("mkdir", small.string)
        try await tool("mount", "-t", "tmpfs", "-o", "size=\(size)", "none", small.string)
        do {
          // Too small for the base layer, which is cached, and too small for the ISO.
          let cacheIsSmall = size == "20M"
          let output = try await build(
            Self.recipe, in: folder, output: cacheIsSmall ? folder.appending("out") : small,
            cache: cacheIsSmall ? small : folder.appending("cache"))
          #expect(output.status == 73 || output.status == 74, "\(output.standardError)")
          #expect(output.standardError.contains("error: "))
          #expect(output.standardError.contains(small.string))
          let left = try await shell("find '\(small.string)' -type f")
          #expect(left.isEmpty, "\(left)")
        } catch {
          try await tool("umount", small.string)
          throw error
        }
        try await tool("umount", small.string)
      }
    }
  }
}
