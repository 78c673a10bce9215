// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import JobRunner
import Logging
import Reporting
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// Repositories on real servers on loopback, mounted and read by a job.
@Suite(.serialized) struct RepositoryTests {
  /// A job that lists and reads all of the repository.
  private static let listing =
    #"slipway.action=command "slipway.command=cd $SLIPWAY_REPOSITORY && find . -type f -exec sha256sum {} +""#

  private final class Slept: Sendable {
    let time = Mutex(Duration.zero)
  }

  private final class Text: Sendable {
    private let text = Mutex("")
    func add(_ more: String) { text.withLock { $0 += more } }
    var all: String { text.withLock { $0 } }
  }

  /// Runs a job with the places of a live system below `root`; sleeping only advances its clock.
  private func run(_ line: String, root: FilePath) async throws -> (JobOutcome, String) {
    let text = Text()
    let slept = Slept()
    for folder in ["proc/net", "run/slipway"] {
      try FileManager.default.createDirectory(
        atPath: root.appending(folder).string, withIntermediateDirectories: true)
    }
    var system = LiveSystem(places: Places(root: root), logger: Logger(label: "test"))
    let clock = system.now
    system.sleep = { duration in slept.time.withLock { $0 += duration } }
    system.now = { clock() + slept.time.withLock { $0 } }
    let runner = JobRunner(system: system, reporter: Reporter(style: .lines) { text.add($0) })
    return (try await runner.run(KernelCommandLine(line)), text.all)
  }

  /// A folder with an image-like tree, and what sha256sum says of it.
  private func makeImages(in folder: FilePath) async throws -> Set<Substring> {
    let text = try await shell(
      """
      mkdir -p '\(folder)/demo' && cd '\(folder)'
      head -c 20000003 /dev/urandom > demo/sda1.ext4-ptcl-img.zst.aa
      echo sda > demo/disk
      echo x > 'demo/a b%41#.txt'
      find . -type f -exec sha256sum {} +
      """)
    return Set(text.split(separator: "\n"))
  }

  private func freePort() async throws -> String {
    let text = try await tool(
      "python3", "-c", "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
    return text.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  // MARK: HTTP

  private func withWebServer(_ folder: FilePath, _ body: (_ port: String) async throws -> Void) async throws {
    let port = try await freePort()
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map { "\($0)_temp_path \(folder)/\($0);" }
    try folder.appending("nginx.conf").write(
      Array(
        """
        pid \(folder)/nginx.pid; error_log \(folder)/error.log; user root;
        events {}
        http { access_log off; \(temporary.joined(separator: " "))
          server { listen 127.0.0.1:\(port); root \(folder)/www; autoindex on; } }
        """.utf8))
    try await tool("nginx", "-c", "\(folder)/nginx.conf")
    do {
      try await body(port)
    } catch {
      try await tool("nginx", "-c", "\(folder)/nginx.conf", "-s", "stop")
      throw error
    }
    try await tool("nginx", "-c", "\(folder)/nginx.conf", "-s", "stop")
  }

  @Test func readsOverHTTP() async throws {
    try #require(isRoot, "mounting needs root")
    try await withTemporaryDirectory { folder in
      let expected = try await makeImages(in: folder.appending("www/images"))
      try await withWebServer(folder) { port in
        let (outcome, text) = try await run(
          "\(Self.listing) slipway.repository=http://127.0.0.1:\(port)/images/", root: folder)
        #expect(outcome.succeeded, "\(text)")
        #expect(expected.isSubset(of: Set(text.split(separator: "\n"))), "\(text)")

        let (missing, why) = try await run(
          "\(Self.listing) slipway.repository=http://127.0.0.1:\(port)/nowhere", root: folder)
        #expect(!missing.succeeded && missing.status == Reporting.ExitCode.unavailable.rawValue, "\(why)")
        #expect(missing.message.contains("the server lists nothing there"), "\(missing.message)")
      }
      let mounts = try await tool("findmnt", "--list", "--noheadings", "--output", "TARGET")
      #expect(!mounts.contains(folder.string), "\(mounts)")
    }
  }

  @Test func aWebServerThatIsGoneIsAnError() async throws {
    try await withTemporaryDirectory { folder in
      let port = try await freePort()
      let (outcome, _) = try await run(
        "\(Self.listing) slipway.repository=http://127.0.0.1:\(port)/images", root: folder)
      #expect(!outcome.succeeded && outcome.status == Reporting.ExitCode.unavailable.rawValue)
      #expect(outcome.message.contains("http://127.0.0.1:\(port)/images could not be mounted"))
      let mounts = try await tool("findmnt", "--list", "--noheadings", "--output", "TARGET")
      #expect(!mounts.contains(folder.string), "\(mounts)")
    }
  }

  // MARK: SSH

  private func withSSHServer(_ folder: FilePath, _ body: (_ port: String) async throws -> Void) async throws {
    let port = try await freePort()
    try await shell(
      """
      cd '\(folder)' && mkdir -p -m 755 /run/sshd etc/slipway/ssh
      ssh-keygen -q -t ed25519 -N '' -f host_key
      ssh-keygen -q -t ed25519 -N '' -f etc/slipway/ssh/id_ed25519
      cp etc/slipway/ssh/id_ed25519.pub authorized_keys
      chmod 644 etc/slipway/ssh/id_ed25519
      chmod 600 authorized_keys
      cat > sshd_config <<END
      ListenAddress 127.0.0.1:\(port)
      HostKey \(folder)/host_key
      PidFile \(folder)/sshd.pid
      AuthorizedKeysFile \(folder)/authorized_keys
      PermitRootLogin yes
      PasswordAuthentication no
      StrictModes no
      UsePAM no
      Subsystem sftp internal-sftp
      END
      /usr/sbin/sshd -f sshd_config -E sshd.log
      """)
    let stop = "kill $(cat '\(folder)/sshd.pid')"
    do {
      try await body(port)
    } catch {
      try await shell(stop)
      throw error
    }
    try await shell(stop)
  }

  @Test func readsAndWritesOverSSH() async throws {
    try #require(isRoot, "mounting needs root")
    try await withTemporaryDirectory { folder in
      let images = folder.appending("images")
      let expected = try await makeImages(in: images)
      try await withSSHServer(folder) { port in
        let known = folder.appending("etc/slipway/ssh/known_hosts")
        let line = "\(Self.listing) slipway.repository=ssh://root@127.0.0.1:\(port)\(images)"

        let (open, warning) = try await run(line, root: folder)
        #expect(open.succeeded, "\(warning)")
        #expect(warning.contains("the key that 127.0.0.1 shows first is trusted"))

        let key = String(decoding: try folder.appending("host_key.pub").contents(), as: UTF8.self)
        try known.write(Array("[127.0.0.1]:\(port) \(key)".utf8))
        try folder.appending("run/slipway/job.log").write(Array("the log\n".utf8))
        let (strict, text) = try await run(line, root: folder)
        #expect(strict.succeeded && !text.contains("warning"), "\(text)")
        #expect(expected.isSubset(of: Set(text.split(separator: "\n"))), "\(text)")
        let logs = try await shell("cat '\(images)'/slipway-logs/*.log")
        #expect(logs == "the log\n")

        let other = try await shell(
          "cd '\(folder)' && ssh-keygen -q -t ed25519 -N '' -f other && cat other.pub")
        try known.write(Array("[127.0.0.1]:\(port) \(other)".utf8))
        let (refused, why) = try await run(line, root: folder)
        #expect(!refused.succeeded && refused.status == Reporting.ExitCode.unavailable.rawValue)
        #expect(why.contains("Host key verification failed"), "\(why)")
      }
      let mounts = try await tool("findmnt", "--list", "--noheadings", "--output", "TARGET")
      #expect(!mounts.contains(folder.string), "\(mounts)")
    }
  }
}
