// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Foundation
import JobRunner
import Reporting
import Synchronization
import SystemPackage
import TestSupport

/// A live system whose programs only leave a record, below a temporary folder; its clock advances by sleeping.
final class FakeMachine: Sendable {
  let places: Places
  private let root: FilePath
  private let state = Mutex(State())

  private struct State {
    var events: [String] = []
    var environments: [String: [String: String]] = [:]
    var text = ""
    var time = Duration.zero
    var results: [(prefix: String, result: ProgramResult)] = []
  }

  init(root: FilePath) throws {
    self.root = root
    places = Places(root: root)
    for folder in [
      "etc/slipway/jobs", "etc/slipway/hooks/prerun.d", "etc/slipway/hooks/postrun.d", "etc/slipway/hooks/failure.d",
      "run/slipway", "dev/virtio-ports", "var/lib/clonezilla", "opt", "sys/class/tty/console", "proc/net",
      "proc/sys/kernel",
    ] {
      try FileManager.default.createDirectory(
        atPath: root.appending(folder).string, withIntermediateDirectories: true)
    }
    try write("proc/net/route", "Iface\tDestination\tGateway\neth0\t00000000\t0100000A\t0003\n")
    try write("proc/sys/kernel/hostname", "live\n")
  }

  func write(_ path: String, _ text: String, executable: Bool = false) throws {
    let file = root.appending(path)
    try file.write(Array(text.utf8))
    if executable { try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.string) }
  }

  func job(_ name: String, _ members: String) throws {
    try write("etc/slipway/jobs/\(name).json", #"{"name":"\#(name)","title":"A job",\#(members)}"#)
  }

  func hook(_ kind: String, _ name: String, executable: Bool = true) throws {
    try write("etc/slipway/hooks/\(kind).d/\(name)", "#!/bin/sh\n", executable: executable)
  }

  /// Makes the next run of a command that begins with `prefix` end so; later ones succeed.
  func next(_ prefix: String, status: Int32, _ tail: String...) {
    state.withLock { $0.results.append((prefix, ProgramResult(status: status, tail: tail))) }
  }

  var system: LiveSystem {
    LiveSystem(
      places: places,
      run: { command, onLine in
        let event = self.event(command)
        return self.state.withLock { state in
          state.events.append(event)
          state.environments[event] = command.environment
          guard let index = state.results.firstIndex(where: { event.hasPrefix($0.prefix) }) else {
            return ProgramResult(status: 0)
          }
          return state.results.remove(at: index).result
        }
      },
      sleep: { duration in
        self.state.withLock { state in
          state.time += duration
          state.events.append("sleep \(Int(duration / .seconds(1)))")
        }
      },
      now: { self.state.withLock { $0.time } },
      wallClock: { 1_751_293_439 })
  }

  var runner: JobRunner {
    JobRunner(
      system: system, reporter: Reporter(style: .lines) { text in self.state.withLock { $0.text += text } })
  }

  /// The command without the root of this machine and without what only limits its time.
  private func event(_ command: Command) -> String {
    let line = "\(command)".replacingOccurrences(of: "\(root)", with: "")
    return line.replacingOccurrences(
      of: #"^timeout (--kill-after=10 )?[0-9]+ "#, with: "", options: .regularExpression)
  }

  var events: [String] { state.withLock { $0.events } }
  var text: String { state.withLock { $0.text } }

  func environment(of prefix: String) -> [String: String]? {
    state.withLock { state in state.environments.first { $0.key.hasPrefix(prefix) }?.value }
  }

  /// Runs a job to its final action.
  @discardableResult
  func boot(_ line: String) async throws -> JobOutcome {
    let outcome = try await runner.run(KernelCommandLine(line))
    try await runner.perform(outcome)
    return outcome
  }
}

/// Runs `body` with a machine of its own.
func withMachine(_ body: (FakeMachine) async throws -> Void) async throws {
  try await withTemporaryDirectory { try await body(try FakeMachine(root: $0)) }
}
