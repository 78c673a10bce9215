// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Foundation
import JobRunner
import Logging
import Reporting
import Synchronization
import SystemPackage
import TestSupport
import Testing

@Suite struct LiveSystemTests {
  private final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  private func run(_ script: String) async throws -> (ProgramResult, [String]) {
    let lines = Lines()
    let result = try await LiveSystem(logger: Logger(label: "test")).run(
      Command("/bin/bash", ["-c", script], environment: ["FOO": "bar baz"])
    ) { lines.add($0) }
    return (result, lines.all)
  }

  @Test func joinsBothOutputsInOrder() async throws {
    let (result, lines) = try await run("echo one; echo two >&2; echo \"$FOO\"; read x || echo no input; exit 7")
    #expect(result.status == 7)
    #expect(lines == ["one", "two", "bar baz", "no input"])
    #expect(result.tail == lines)
  }

  @Test func doesNotWaitForWhatWasLeftInTheBackground() async throws {
    let start = ContinuousClock.now
    let (result, lines) = try await run("sleep 20 & echo started $!")
    #expect(result.status == 0)
    #expect(ContinuousClock.now - start < .seconds(10))
    let process = try #require(lines.first?.split(separator: " ").last)
    #expect(lines == ["started \(process)"])
    try await tool("kill", String(process))
  }

  @Test func aMissingProgramIsAResult() async throws {
    let result = try await LiveSystem(logger: Logger(label: "test")).run(Command("no-such-program", [])) { _ in }
    #expect(result.status == 127)
    #expect(result.tail.last?.contains("no-such-program") == true)
  }

  @Test func takesMuchOutput() async throws {
    let (result, lines) = try await run("seq 1 200000")
    #expect(result.status == 0)
    #expect(lines.count == 200_000 && lines.last == "200000")
    #expect(result.tail.count == 20 && result.tail.last == "200000")
  }

  @Test func thinsOutRedrawnLines() {
    var lines = LineSplitter()
    let start = ContinuousClock.now
    var found: [String] = []
    for second in 0..<20 {
      found += lines.add(Array("\rat \(second)".utf8)[...], at: start + .seconds(second))
    }
    found += lines.add(Array("\r\ndone\r\nhalf".utf8)[...], at: start + .seconds(20))
    #expect(found == ["at 0", "at 5", "at 10", "at 15", "at 19", "done"])
    #expect(lines.finish() == ["half"])
    let long = lines.add([UInt8](repeating: 65, count: 10_000)[...], at: start)
    #expect(long.map(\.count) == [4096, 4096])
  }

  @Test func theTranscriptGoesEverywhereAndSurvivesAStuckConsole() async throws {
    try await withTemporaryDirectory { folder in
      let (good, stuck) = (folder.appending("ttyA"), folder.appending("ttyB"))
      try good.write([])
      try await tool("mkfifo", stuck.string)
      let end = try FileDescriptor.open(stuck, .readWrite, options: .nonBlocking)
      defer { try? end.close() }
      let filling = [UInt8](repeating: 0, count: 4096)
      while (try? end.writeAll(filling)) != nil {}
      let log = folder.appending("run/job.log")
      let transcript = Transcript(
        consoles: [folder.appending("absent"), stuck, good], log: log, standardOutput: nil)
      let start = ContinuousClock.now
      let reporter = Reporter(style: .lines) { transcript.write($0) }
      for number in 1...20 { reporter.note("line \(number)") }
      #expect(ContinuousClock.now - start < .seconds(6))
      let expected = (1...20).map { "line \($0)\n" }.joined()
      #expect(String(decoding: try log.contents(), as: UTF8.self) == expected)
      let shown = String(decoding: try good.contents(), as: UTF8.self)
      #expect(shown == expected.replacingOccurrences(of: "\n", with: "\r\n"))
    }
  }
}
