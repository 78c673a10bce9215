// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Logging
import Reporting
import Synchronization
import SystemPackage
import Testing

@Suite struct CommandRunnerTests {
  private let runner = CommandRunner(logger: Logger(label: "test"))

  @Test func givesOutputErrorAndStatus() async throws {
    let output = try await runner.output(of: Command("sh", ["-c", "cat; echo oops >&2; exit 3"]), input: "in")
    #expect(output.standardOutput == "in")
    #expect(output.standardError == "oops\n")
    #expect(output.status == 3)
    #expect(!output.succeeded)
  }

  @Test func aSignalIsAStatusAbove128() async throws {
    #expect(try await runner.output(of: Command("sh", ["-c", "kill -TERM $$"])).status == 143)
  }

  @Test func failureNamesTheCommandAndItsLastWords() async throws {
    let error = await #expect(throws: CommandError.self) {
      try await runner.run(Command("sh", ["-c", "echo 'no such thing' >&2; exit 1"]))
    }
    let reason = try #require(error).reason
    #expect(reason.contains("status 1"))
    #expect(reason.contains("no such thing"))
  }

  @Test func aMissingProgramSaysWhatToInstall() async throws {
    let error = await #expect(throws: CommandError.self) { try await runner.run(Command("no-such-program-here")) }
    #expect(try #require(error).exitCode == .unavailable)
    #expect(try #require(error).remedy?.contains("no-such-program-here") == true)
    #expect(await !CommandRunner.isInstalled("no-such-program-here"))
    #expect(await CommandRunner.isInstalled("sh"))
  }

  @Test func environmentAndFolder() async throws {
    let output = try await runner.run(
      Command("sh", ["-c", "echo $GREETING; pwd"], environment: ["GREETING": "hello"], workingDirectory: "/"))
    #expect(output == "hello\n/\n")
  }

  @Test func streamsErrorLinesAsTheyCome() async throws {
    let lines = Mutex<[String]>([])
    let null = try FileDescriptor.open("/dev/null", .writeOnly)
    let output = try await runner.stream(
      Command("sh", ["-c", "echo data; echo one >&2; echo two >&2; exit 4"]), to: null
    ) { line in lines.withLock { $0.append(line) } }
    #expect(lines.withLock { $0 } == ["one", "two"])
    #expect(output.status == 4)
  }

  @Test func cancellationEndsTheProgram() async throws {
    let runner = runner
    let work = Task { try await runner.output(of: Command("sleep", ["600"])) }
    try await Task.sleep(for: .milliseconds(300))
    let start = ContinuousClock.now
    work.cancel()
    _ = try? await work.value
    #expect(ContinuousClock.now - start < .seconds(15))
  }

  @Test(arguments: [
    (["a b"], "x 'a b'"), (["it's"], #"x 'it'\''s'"#), ([""], "x ''"),
    (["/dev/sda1", "--size=1G"], "x /dev/sda1 --size=1G"),
  ])
  func descriptionCanBePastedIntoAShell(arguments: [String], text: String) async throws {
    #expect(Command("x", arguments).description == text)
    // The shell agrees.
    let printed = try await runner.run(Command("sh", ["-c", "set -- \(text.dropFirst(2)); printf '%s\\n' \"$@\""]))
    #expect(printed == arguments.map { "\($0)\n" }.joined())
  }
}
