// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting
import Synchronization
import Testing

@Suite struct QuantityTests {
  @Test(
    arguments: [
      (0, "0 B"), (999, "999 B"), (1000, "0.98 KiB"), (1024, "1.00 KiB"), (1536, "1.50 KiB"), (10_485_760, "10.0 MiB"),
      (1_073_741_824, "1.00 GiB"), (UInt64.max, "16.0 EiB"),
    ] as [(UInt64, String)])
  func bytes(value: UInt64, text: String) { #expect(Quantity.bytes(value) == text) }

  @Test(arguments: [
    (Duration.milliseconds(250), "0.3 s"), (.seconds(9.31), "9.3 s"), (.seconds(42), "42 s"),
    (.seconds(252), "4 min 12 s"),
    (.seconds(7500), "2 h 05 min"),
  ])
  func durations(value: Duration, text: String) { #expect(Quantity.duration(value) == text) }

  @Test func decimals() {
    #expect(Quantity.decimal(3.14159, digits: 2) == "3.14")
    #expect(Quantity.decimal(-0.05, digits: 1) == "-0.1")
    #expect(Quantity.decimal(2.999, digits: 2) == "3.00")
    #expect(Quantity.decimal(7, digits: 0) == "7")
  }
}

@Suite struct ReporterTests {
  private final class Sink: Sendable {
    let text = Mutex("")
    var reporter: @Sendable (String) -> Void { { new in self.text.withLock { $0 += new } } }
    var written: String { text.withLock { $0 } }
  }

  private struct Mistake: Failure {
    var reason: String { "the sky is green" }
    var remedy: String? { "look again" }
    var exitCode: ExitCode { .invalidData }
  }

  @Test func aStepLeavesALineWithAmountAndTime() async throws {
    let sink = Sink()
    let value = try await Reporter(style: .lines, write: sink.reporter).step("copying", total: 2048) { meter in
      meter.advance(by: 1024)
      meter.advance(by: 1024)
      #expect(meter.completed == 2048)
      return 7
    }
    #expect(value == 7)
    #expect(sink.written.hasPrefix("copying: 2.00 KiB in "))
    #expect(sink.written.hasSuffix("\n"))
  }

  @Test func aStepThatFailsThrowsAndClaimsNothing() async throws {
    let sink = Sink()
    await #expect(throws: Mistake.self) {
      try await Reporter(style: .lines, write: sink.reporter).step("copying") { _ in throw Mistake() }
    }
    #expect(sink.written.isEmpty)
  }

  @Test func failuresSayWhatToDo() {
    let sink = Sink()
    Reporter(style: .lines, write: sink.reporter).failure(Mistake())
    #expect(sink.written == "error: the sky is green\n  look again\n")
  }

  @Test func jsonIsOneObjectALine() async throws {
    let sink = Sink()
    let reporter = Reporter(style: .json, write: sink.reporter)
    reporter.note("a \"quoted\" /path")
    reporter.warning("careful")
    reporter.failure(Mistake())
    try await reporter.step("copying", total: 10) { $0.advance(by: 10) }
    let lines = sink.written.split(separator: "\n")
    #expect(lines.count == 4)
    #expect(lines[0] == #"{"event":"note","message":"a \"quoted\" /path"}"#)
    #expect(lines[1] == #"{"event":"warning","message":"careful"}"#)
    #expect(lines[2] == #"{"event":"error","message":"the sky is green","remedy":"look again"}"#)
    #expect(lines[3].hasPrefix(#"{"completed":10,"event":"step","seconds":"#))
  }

  @Test func quietKeepsWarningsOnly() {
    let sink = Sink()
    let reporter = Reporter(style: .quiet, write: sink.reporter)
    reporter.note("nothing to see")
    reporter.warning("careful")
    #expect(sink.written == "warning: careful\n")
  }

  /// The numbers are promised to scripts.
  @Test func exitCodesAreTheDocumentedOnes() {
    #expect(
      ExitCode.allCases.map(\.rawValue).sorted() == [0, 1, 10, 11, 12, 13, 64, 65, 66, 69, 73, 74, 75, 77])
  }
}
