// livejob: runs the job of a live system, as the systemd unit slipway-job.service.
// SPDX-License-Identifier: GPL-3.0-or-later

import ArgumentParser
import Glibc
import JobRunner
import Logging
import Reporting
import SystemPackage

@main
struct LiveJob: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "livejob",
    abstract: "Does the job that the kernel command line names.",
    subcommands: [Run.self, Explain.self, Network.self])

  fileprivate static func failed(_ error: any Failure, _ reporter: Reporter) -> ArgumentParser.ExitCode {
    reporter.failure(error)
    return ArgumentParser.ExitCode(error.exitCode.rawValue)
  }
}

struct CommandLineOption: ParsableArguments {
  @Option(name: .customLong("cmdline"), help: "Read this file instead of the kernel's command line.")
  var file: String = "\(Places().commandLine)"

  func read() throws -> KernelCommandLine {
    KernelCommandLine(try Places.commandLine(at: FilePath(file)))
  }
}

struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run the job, tell its verdict and take the final action.",
    discussion: "Exit status 0 when the job succeeded, 10 when it failed.")

  @OptionGroup var commandLine: CommandLineOption

  func run() async throws {
    let places = Places()
    // Started by hand, what is shown here need not be shown on the consoles too.
    let consoles = isatty(STDOUT_FILENO) == 1 ? [] : places.consoles()
    let transcript = Transcript(consoles: consoles, log: places.log)
    let reporter = Reporter(style: .lines) { transcript.write($0) }
    let runner = JobRunner(system: LiveSystem(places: places, logger: Logger(label: "livejob")), reporter: reporter)
    let outcome: JobOutcome
    do {
      outcome = try await runner.run(try commandLine.read())
    } catch let error as any Failure {
      throw LiveJob.failed(error, reporter)
    }
    try await runner.perform(outcome)
    if !outcome.succeeded { throw ArgumentParser.ExitCode(Reporting.ExitCode.jobFailed.rawValue) }
  }
}

struct Explain: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print what would be done, step by step, and do nothing.")

  @OptionGroup var commandLine: CommandLineOption
  @Option(help: "Read jobs, hooks and policy below this folder, such as an unpacked live system.")
  var root = "/"

  func run() throws {
    let places = Places(root: FilePath(root))
    do {
      let plan = try JobPlan(commandLine: try commandLine.read(), places: places)
      for line in plan.explanation(places: places) { print(line) }
    } catch let error as any Failure {
      throw LiveJob.failed(error, Reporter())
    }
  }
}

struct Network: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Bring up the network and wait for an address.",
    discussion: "By ip= of the kernel command line, else by DHCP on every Ethernet card. For hooks and for a shell.")

  func run() async throws {
    let reporter = Reporter(style: .lines)
    let system = LiveSystem(logger: Logger(label: "livejob"))
    do {
      try await JobRunner(system: system, reporter: reporter).bringUpNetwork()
    } catch let error as any Failure {
      throw LiveJob.failed(error, reporter)
    }
  }
}
