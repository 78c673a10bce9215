// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import SystemPackage
import TestSupport
import Testing

/// Guests that restore from servers on the host's loopback, which they see as 10.0.2.2.
@Suite(.serialized) struct NetworkTests {
  /// A web server that dies while a disk is being written: the job fails within minutes and says why. Once the server is
  /// back the same medium restores the same disk.
  @Test(.timeLimit(.minutes(30))) func aWebServerThatDiesAndComesBack() async throws {
    let (demo, saved) = (try await Stage.shared.demo(), try await Stage.shared.saved())
    let iso = try await Stage.shared.medium(starting: "web")
    let port = try await Stage.shared.webPort()
    try await withScene("web") { folder in
      let target = try await Disk.empty(folder.appending("target.raw"), size: "1536M")
      // Slow enough for the server to be ended in the middle.
      var server = try await WebServer(saved.repository, port: port, rate: "3m", in: folder)
      async let booting = Machine.boot(iso, disks: [target.path], hasNetwork: true, in: folder)
      do {
        // The root file system is being written when there is more than the partitions before it hold.
        try await waitUntil("the guest writes the root file system") { try await target.allocated() > 90 << 20 }
        try await server.kill()
      } catch {
        try await server.kill()
        _ = try await booting
        throw error
      }
      let killed = ContinuousClock.now
      let failed = try await booting
      let waited = ContinuousClock.now - killed
      say("[web] \(Int(waited / .seconds(1))) s from the end of the server to the end of the machine")
      #expect(failed.status == 10, "\(failed.said)")
      #expect(waited < .seconds(300), "a server that is gone ends the job in bounded time")
      #expect(failed.said.contains("/home/partimag/stock/vda4.ext4-ptcl-img"), "the file is named: \(failed.said)")

      server = try await WebServer(saved.repository, port: port, rate: "0", in: folder)
      do {
        let boot = try await Machine.boot(iso, firmware: "uefi", disks: [target.path], hasNetwork: true, in: folder)
        #expect(boot.status == 0, "\(boot.said)")
      } catch {
        try await server.kill()
        throw error
      }
      try await server.kill()
      try await compare(demo.source, target.path)
    }
  }

  private func waitUntil(_ what: String, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(600)
    while try await !condition() {
      try #require(ContinuousClock.now < deadline, "waited in vain until \(what)")
      try await Task.sleep(for: .milliseconds(250))
    }
  }
}

/// An nginx that hands out a folder as `/images`, listed.
private struct WebServer {
  private let configuration: FilePath
  private let pid: FilePath

  /// - Parameter rate: bytes a second for each connection as nginx takes it; `0` for as fast as it goes.
  init(_ images: FilePath, port: Int, rate: String, in folder: FilePath) async throws {
    configuration = folder.appending("nginx.conf")
    pid = folder.appending("nginx.pid")
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map { "\($0)_temp_path \(folder)/\($0);" }
    try configuration.write(
      Array(
        """
        pid \(pid); error_log \(folder)/nginx.log; user root; worker_processes 1;
        events {}
        http { access_log off; \(temporary.joined(separator: " "))
          server {
            listen 127.0.0.1:\(port); autoindex on; limit_rate \(rate);
            location /images/ { alias \(images)/; }
          } }
        """.utf8))
    try await tool("nginx", "-c", configuration.string)
  }

  /// Ends it without a word to its clients.
  func kill() async throws {
    try await shell(
      """
      [ -e '\(pid)' ] || exit 0
      master=$(cat '\(pid)')
      workers=$(ps -o pid= --ppid "$master")
      kill -9 "$master" $workers
      rm '\(pid)'
      """)
  }
}

extension Disk {
  /// Bytes of the file that are on the host's disk.
  fileprivate func allocated() async throws -> Int {
    Int(try await tool("stat", "-c", "%b", path.string).trimmed).map { $0 * 512 } ?? 0
  }
}
