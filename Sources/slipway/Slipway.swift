// slipway: the program a person builds live systems with.
// SPDX-License-Identifier: GPL-3.0-or-later

import ArgumentParser
import Commands
import Glibc
import Logging
import Reporting

@main
struct Slipway: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "slipway",
    abstract: "Builds live systems that save and restore disks unattended.",
    discussion: "Exit codes are documented in docs/exit-codes.md.",
    subcommands: [Build.self, Check.self, Boot.self, Schema.self])
}

/// How the work is shown; the same for all subcommands.
struct ReportingOptions: ParsableArguments {
  @Flag(help: "Print progress and results as JSON, one object a line, on standard error.")
  var json = false

  @Flag(name: .shortAndLong, help: "Also print the command lines of the programs that are run.")
  var verbose = false

  var reporter: Reporter { Reporter(style: json ? .json : .automatic) }

  var logger: Logger {
    var logger = Logger(label: "slipway") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = verbose ? .debug : .notice
    return logger
  }

  var runner: CommandRunner { CommandRunner(logger: logger) }

  /// Runs the work of a subcommand: signals cancel it, and an error is reported and becomes the exit code.
  func perform(_ body: @escaping @Sendable (Reporter) async throws -> Reporting.ExitCode) async throws {
    let reporter = reporter
    let code: Reporting.ExitCode
    do {
      code = try await cancelledBySignals { try await body(reporter) }
    } catch {
      reporter.failure(error)
      code = (error as? any Failure)?.exitCode ?? .failure
    }
    if code != .success { throw ArgumentParser.ExitCode(code.rawValue) }
  }
}
