// Commands: the one place that runs other programs: logs the command line, reports its error.
// SPDX-License-Identifier: GPL-3.0-or-later

public import Logging
public import Reporting
private import Subprocess
public import SystemPackage

/// A program to run, found on PATH unless it is a path, with its arguments.
public struct Command: Sendable, CustomStringConvertible {
  public var program: String
  public var arguments: [String]
  /// Set on top of the environment of this process.
  public var environment: [String: String]
  public var workingDirectory: FilePath?

  public init(
    _ program: String, _ arguments: [String] = [], environment: [String: String] = [:],
    workingDirectory: FilePath? = nil
  ) {
    self.program = program
    self.arguments = arguments
    self.environment = environment
    self.workingDirectory = workingDirectory
  }

  /// The command line as it could be pasted into a shell.
  public var description: String {
    ([program] + arguments).map(Self.quoted).joined(separator: " ")
  }

  private static func quoted(_ word: String) -> String {
    let plain = word.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      default: "-_./:=,+@%".utf8.contains(byte)
      }
    }
    if plain, !word.isEmpty { return word }
    return "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }
}

/// What a program said and how it ended.
public struct CommandOutput: Sendable {
  public let standardOutput: String
  public let standardError: String
  /// The exit status, or 128 plus the signal that ended it.
  public let status: Int32
  public var succeeded: Bool { status == 0 }
}

/// Why a program could not be run, or that it failed.
public enum CommandError: Failure {
  case cannotStart(command: String, program: String, cause: String)
  case failed(command: String, status: Int32, standardError: String)

  public var reason: String {
    switch self {
    case .cannotStart(let command, _, let cause): "cannot start `\(command)`: \(cause)"
    case .failed(let command, let status, let text):
      "`\(command)` ended with status \(status)" + (text.isEmpty ? "" : ":\n\(Self.tail(of: text))")
    }
  }

  public var remedy: String? {
    guard case .cannotStart(_, let program, _) = self else { return nil }
    return "install the package that has `\(program)`, or check that it is on PATH"
  }

  public var exitCode: ExitCode {
    if case .cannotStart = self { .unavailable } else { .failure }
  }

  /// The last lines, which is where programs say why they gave up.
  private static func tail(of text: String) -> String {
    text.split(whereSeparator: \.isNewline).suffix(20).map { "  | \($0)" }.joined(separator: "\n")
  }
}

/// Runs programs.
public struct CommandRunner: Sendable {
  public let logger: Logger

  public init(logger: Logger) { self.logger = logger }

  /// Runs a command to its end and returns what it printed, whatever its exit status.
  ///
  /// - Parameters:
  ///   - input: given to its standard input.
  ///   - limit: the most bytes taken of each of its outputs.
  /// - Throws: ``CommandError/cannotStart(command:program:cause:)``.
  public func output(of command: Command, input: String = "", limit: Int = 16 << 20) async throws -> CommandOutput {
    logger.debug("run: \(command)")
    do {
      let result = try await Subprocess.run(
        Self.executable(command.program), arguments: Arguments(command.arguments),
        environment: Self.environment(command.environment), workingDirectory: command.workingDirectory,
        platformOptions: Self.endGently, input: .string(input), output: .string(limit: limit),
        error: .string(limit: limit))
      return CommandOutput(
        standardOutput: result.standardOutput, standardError: result.standardError,
        status: Self.status(result.terminationStatus))
    } catch let error as SubprocessError {
      throw CommandError.cannotStart(command: "\(command)", program: command.program, cause: "\(error)")
    }
  }

  /// Runs a command that must succeed.
  /// - Returns: its standard output.
  /// - Throws: ``CommandError``.
  @discardableResult
  public func run(_ command: Command, input: String = "") async throws -> String {
    let output = try await output(of: command, input: input)
    guard output.succeeded else {
      throw CommandError.failed(
        command: "\(command)", status: output.status,
        standardError: output.standardError.isEmpty ? output.standardOutput : output.standardError)
    }
    return output.standardOutput
  }

  /// Runs a command with its output going to a descriptor, and hands on its standard error line by line.
  ///
  /// - Parameters:
  ///   - standardOutput: closed here once the program has it.
  ///   - onErrorLine: called for each line of its standard error as it comes.
  /// - Returns: its status and the last part of its standard error.
  /// - Throws: ``CommandError/cannotStart(command:program:cause:)``.
  public func stream(
    _ command: Command, to standardOutput: FileDescriptor,
    onErrorLine: @escaping @Sendable (String) -> Void = { _ in }
  ) async throws -> CommandOutput {
    logger.debug("run: \(command)")
    do {
      let result = try await Subprocess.run(
        Self.executable(command.program), arguments: Arguments(command.arguments),
        environment: Self.environment(command.environment), workingDirectory: command.workingDirectory,
        platformOptions: Self.endGently, input: .none,
        output: .fileDescriptor(standardOutput, closeAfterSpawningProcess: true), error: .sequence
      ) { execution in
        var last: [String] = []
        for try await line in execution.standardError.strings() {
          onErrorLine(line)
          last.append(line)
          if last.count > 200 { last.removeFirst(100) }
        }
        return last.joined(separator: "\n")
      }
      return CommandOutput(
        standardOutput: "", standardError: result.closureResult, status: Self.status(result.terminationStatus))
    } catch let error as SubprocessError {
      throw CommandError.cannotStart(command: "\(command)", program: command.program, cause: "\(error)")
    }
  }

  /// Whether a program is there to be run.
  public static func isInstalled(_ program: String) async -> Bool {
    (try? await executable(program).resolveExecutablePath(in: .inherit)) != nil
  }

  /// A cancelled program may tidy up before it is killed, and so may the programs it runs: mmdebstrap for one waits for
  /// its children before it heeds a signal. It has a process group of its own: mmdebstrap hangs up its whole group when
  /// it fails, and that must not be us.
  private static var endGently: PlatformOptions {
    var options = PlatformOptions()
    options.processGroupID = 0
    options.teardownSequence = [.gracefulShutDown(toProcessGroup: true, allowedDurationToNextStep: .seconds(20))]
    return options
  }

  private static func executable(_ program: String) -> Executable {
    program.contains("/") ? .path(FilePath(program)) : .name(program)
  }

  private static func environment(_ changes: [String: String]) -> Environment {
    var updates: [Environment.Key: String?] = [:]
    for (name, value) in changes { updates[Environment.Key(stringLiteral: name)] = value }
    return .inherit.updating(updates)
  }

  private static func status(_ status: TerminationStatus) -> Int32 {
    switch status {
    case .exited(let code): code
    case .signaled(let signal): 128 + signal
    }
  }
}
