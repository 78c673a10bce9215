// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import LiveImage
import Reporting
import SystemPackage
import TestSupport
import Testing

@Suite struct BootstrapTests {
  private let bootstrap = Bootstrap(
    suite: "trixie", mirror: nil, components: ["main"], packages: ["linux-image-amd64", "live-boot"], locale: nil,
    buildHooks: [], modificationTime: 1_700_000_000)

  @Test func withoutAMirrorMmdebstrapChooses() {
    #expect(bootstrap.arguments(mode: .root).suffix(2) == ["trixie", "-"])
    var other = bootstrap
    other.mirror = "file:///srv/mirror"
    #expect(other.arguments(mode: .unshare).suffix(3) == ["trixie", "-", "file:///srv/mirror"])
    #expect(other.arguments(mode: .unshare).first == "--mode=unshare")
  }

  /// Messages as mmdebstrap 1.3.5 and apt print them.
  @Test(arguments: [
    ("E: Unable to locate package no-such-package\nE: mmdebstrap failed to run", ["no-such-package"]),
    ("E: Package 'foo' has no installation candidate\nE: apt-get failed", ["foo"]),
  ])
  func unknownPackagesAreNamed(messages: String, names: [String]) {
    guard case .unknownPackages(names, "trixie") = bootstrap.error(status: 1, messages: messages) else {
      Issue.record("\(bootstrap.error(status: 1, messages: messages))")
      return
    }
  }

  @Test func aMirrorThatDoesNotAnswerIsNamed() {
    var bootstrap = bootstrap
    bootstrap.mirror = "file:///nowhere"
    let error = bootstrap.error(
      status: 1, messages: "E: Failed to fetch file:/nowhere/dists/trixie/InRelease  File not found\nE: apt-get failed")
    guard case .mirrorUnreachable("file:///nowhere", _) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(error.exitCode == .unavailable)
  }

  @Test func aFailedHookIsNamed() {
    let error = bootstrap.error(
      status: 1, messages: "slipway: build hook failed: /srv/hooks/10-x\nE: run_chroot failed")
    guard case .buildHookFailed("/srv/hooks/10-x", _) = error else {
      Issue.record("\(error)")
      return
    }
  }

  @Test func missingNamespacesAreExplained() {
    let error = bootstrap.error(status: 1, messages: "E: newuidmap failed to write uid_map\nE: x")
    guard case .cannotBootstrap = error else {
      Issue.record("\(error)")
      return
    }
    #expect(error.remedy?.contains("/etc/subuid") == true)
  }

  @Test func anythingElseKeepsMmdebstrapsLastWords() {
    let error = bootstrap.error(status: 25, messages: "I: working\nE: something new")
    guard case .bootstrapFailed(25, let detail) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(detail.contains("something new"))
  }

  @Test func theCacheKeyFollowsWhatGoesIn() async throws {
    let key = try BaseCache.key(of: bootstrap, level: 3, blockSize: 131072)
    #expect(try BaseCache.key(of: bootstrap, level: 3, blockSize: 131072) == key)
    #expect(try BaseCache.key(of: bootstrap, level: 4, blockSize: 131072) != key)
    var other = bootstrap
    other.packages.append("less")
    #expect(try BaseCache.key(of: other, level: 3, blockSize: 131072) != key)
    try await withTemporaryDirectory { folder in
      let hook = folder.appending("hook")
      try hook.write("#!/bin/sh\n".utf8)
      var hooked = bootstrap
      hooked.buildHooks = [hook]
      let before = try BaseCache.key(of: hooked, level: 3, blockSize: 131072)
      try hook.write("#!/bin/sh\ntrue\n".utf8)
      #expect(try BaseCache.key(of: hooked, level: 3, blockSize: 131072) != before)
    }
  }
}

@Suite struct InstallationTests {
  @Test func missingPartsAreNamed() async throws {
    try await withTemporaryDirectory { folder in
      #expect(throws: BuildError.self) { try Installation(executable: folder.appending("slipway")) }
      for program in ["reimage", "livejob"] {
        try folder.appending(program).write("#!/bin/sh\n".utf8)
        try await tool("chmod", "+x", folder.appending(program).string)
      }
      do {
        _ = try Installation(executable: folder.appending("slipway"))
        Issue.record("there is no Overlay")
      } catch let error as BuildError {
        #expect(error.reason.contains("Overlay"))
      }
      try await tool("mkdir", "-p", folder.appending("Overlay/etc/slipway").string)
      try await tool("mkdir", "-p", folder.appending("bin").string)
      try await tool(
        "mv", folder.appending("reimage").string, folder.appending("livejob").string, folder.appending("bin").string)
      let installation = try Installation(executable: folder.appending("bin/slipway"))
      #expect(installation.overlay == folder.appending("Overlay"))
    }
  }
}
