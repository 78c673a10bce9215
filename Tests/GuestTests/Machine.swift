// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Foundation
import Logging
import SystemPackage
import TestSupport

extension String {
  var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}

/// How a program ended, and the last of what it said on standard error.
struct End: Sendable {
  let status: Int32
  let said: String
}

/// Prints a line of progress, at once: the tests take minutes.
func say(_ text: String) {
  try? FileHandle.standardError.write(contentsOf: Data("  \(text)\n".utf8))
}

/// Runs a program with its output going to a file, hands on what it says on standard error, and tells every half minute
/// where its output, or the log it writes, has got to.
func narrated(
  _ title: String, _ program: String, _ arguments: [String], output: FilePath, log: FilePath? = nil
) async throws -> End {
  let start = ContinuousClock.now
  let seconds = { @Sendable in Int((ContinuousClock.now - start) / .seconds(1)) }
  let descriptor = try FileDescriptor.open(
    output, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
  let clock = Task {
    while true {
      try await Task.sleep(for: .seconds(30))
      let text = String(decoding: try (log ?? output).contents().suffix(2000), as: UTF8.self)
      let line = text.split(whereSeparator: \.isNewline).last ?? ""
      // A boot loader draws its menu with control sequences.
      say("[\(title)] \(seconds()) s: \(line.filter { $0.isASCII && $0 >= " " }.suffix(120))")
    }
  }
  defer { clock.cancel() }
  let end = try await CommandRunner(logger: Logger(label: "guest")).stream(
    Command(program, arguments, environment: ["LC_ALL": "C"]), to: descriptor
  ) { say("[\(title)] \($0)") }
  say("[\(title)] \(seconds()) s: ended with status \(end.status)")
  return End(status: end.status, said: end.standardError)
}

/// Boots guests with `slipway boot`.
enum Machine {
  struct Boot: Sendable {
    /// Exit status of `slipway boot`.
    let status: Int32
    /// What it said: the verdict last.
    let said: String
    /// What the guest wrote on its serial line.
    let console: String

    fileprivate init(status: Int32, said: String, console: String) {
      self.status = status
      self.said = said
      self.console = console
    }

    /// A boot that went well and left its console in `folder`.
    init(in folder: FilePath) throws {
      self.init(status: 0, said: "", console: try Self.console(in: folder))
    }

    fileprivate static func console(in folder: FilePath) throws -> String {
      String(decoding: try folder.appending("console").contents(), as: UTF8.self)
    }
  }

  /// - Parameter folder: gets the file `console`.
  static func boot(
    _ medium: FilePath, firmware: String = "bios", attach: String? = nil, disks: [FilePath] = [],
    hasNetwork: Bool = false, timeout: Int = 900, in folder: FilePath
  ) async throws -> Boot {
    var arguments = ["boot", medium.string, "--firmware", firmware, "--timeout", "\(timeout)"]
    if let attach { arguments += ["--attach", attach] }
    for disk in disks { arguments += ["--disk", disk.string] }
    if hasNetwork { arguments.append("--network") }
    let end = try await narrated(
      "\(medium.stem ?? "boot"), \(firmware)", Stage.program("slipway"), arguments,
      output: folder.appending("console"))
    return Boot(status: end.status, said: end.said, console: try Boot.console(in: folder))
  }
}

/// A folder of the stage for one test, removed when the test is through.
func withScene<Value>(_ name: String, _ body: (FilePath) async throws -> Value) async throws -> Value {
  let folder = try await Stage.shared.place("scene-\(name)")
  try await tool("rm", "-rf", folder.string)
  try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
  let value = try await body(folder)
  // Kept when the test threw: its consoles tell why.
  try await tool("rm", "-rf", folder.string)
  return value
}
