// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials
import Glibc
import SystemPackage

/// Shows messages and progress on standard error, in the way that suits who is looking.
public struct Reporter: Sendable {
  public enum Style: String, Sendable, CaseIterable {
    /// A bar that is redrawn, with rate and time left.
    case terminal
    /// A line every few seconds: serial consoles and CI.
    case lines
    /// One JSON object a line, as documented in `docs/events.md`.
    case json
    /// Only warnings.
    case quiet

    /// A bar on a terminal that can redraw a line, plain lines anywhere else.
    public static var automatic: Style {
      guard isatty(STDERR_FILENO) == 1, let term = getenv("TERM"), String(cString: term) != "dumb" else {
        return .lines
      }
      return .terminal
    }
  }

  public let style: Style
  private let write: @Sendable (String) -> Void

  /// - Parameters:
  ///   - style: who is looking.
  ///   - write: takes whole pieces of text; standard error unless told otherwise.
  public init(style: Style = .automatic, write: @escaping @Sendable (String) -> Void = Reporter.toStandardError) {
    self.style = style
    self.write = write
  }

  /// Writes all of `text` to standard error.
  public static let toStandardError: @Sendable (String) -> Void = { text in
    // Nothing sensible can be done when standard error is gone.
    _ = try? FileDescriptor.standardError.writeAll(text.utf8)
  }

  /// Says something worth knowing.
  public func note(_ text: String) {
    switch style {
    case .terminal, .lines: write("\(text)\n")
    case .json: emit(Event(event: "note", message: text))
    case .quiet: break
    }
  }

  /// Says something the person should look at.
  public func warning(_ text: String) {
    if style == .json { emit(Event(event: "warning", message: text)) } else { write("warning: \(text)\n") }
  }

  /// Reports the error that ends the program.
  public func failure(_ error: any Error) {
    let known = error as? any Failure
    if style == .json {
      emit(Event(event: "error", message: known?.reason ?? "\(error)", remedy: known?.remedy))
    } else {
      write("error: \(known?.description ?? "\(error)")\n")
    }
  }

  /// Runs `body` as one step of the work and shows its progress until it returns; a finished step leaves one line
  /// with its time, amount and rate.
  public func step<Value: Sendable>(
    _ title: String, total: UInt64? = nil, _ body: @Sendable (ProgressMeter) async throws -> Value
  ) async throws -> Value {
    let meter = ProgressMeter(title: title, total: total)
    let start = ContinuousClock.now
    let ticker = Task {
      var rate = RateEstimate()
      while !Task.isCancelled {
        do { try await Task.sleep(for: interval) } catch { return }
        rate.sample(meter.completed, at: ContinuousClock.now - start)
        show(meter, rate: rate)
      }
    }
    do {
      let value = try await body(meter)
      ticker.cancel()
      await ticker.value
      finish(meter, elapsed: ContinuousClock.now - start)
      return value
    } catch {
      ticker.cancel()
      await ticker.value
      if style == .terminal { write("\r\u{1B}[K") }
      throw error
    }
  }

  private var interval: Duration {
    switch style {
    case .terminal: .milliseconds(200)
    case .json: .seconds(1)
    case .lines, .quiet: .seconds(5)
    }
  }

  private func show(_ meter: ProgressMeter, rate: RateEstimate) {
    switch style {
    case .quiet: break
    case .json:
      emit(
        Event(
          event: "progress", step: meter.title, completed: meter.completed, total: meter.total,
          rate: rate.bytesPerSecond))
    case .lines: write("  \(meter.title): \(ProgressText.line(meter, rate: rate))\n")
    case .terminal: write("\r\u{1B}[K\(ProgressText.bar(meter, rate: rate, columns: Self.terminalColumns))")
    }
  }

  private func finish(_ meter: ProgressMeter, elapsed: Duration) {
    switch style {
    case .quiet: break
    case .json:
      emit(
        Event(
          event: "step", step: meter.title, completed: meter.completed, total: meter.total,
          seconds: Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18))
    case .lines, .terminal:
      let line = "\(meter.title): \(ProgressText.summary(meter, elapsed: elapsed))\n"
      write(style == .terminal ? "\r\u{1B}[K\(line)" : line)
    }
  }

  private func emit(_ event: Event) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(event) else { return }
    write(String(decoding: data, as: UTF8.self) + "\n")
  }

  private static var terminalColumns: Int {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 20 else { return 80 }
    return Int(size.ws_col)
  }
}

/// One line of `--json` output; absent members are left out.
private struct Event: Encodable {
  var event: String
  var step: String?
  var message: String?
  var remedy: String?
  var completed: UInt64?
  var total: UInt64?
  /// Bytes a second.
  var rate: Double?
  var seconds: Double?
}

/// A rate smoothed over the last few seconds, so that the time left doesn't jump.
struct RateEstimate {
  private(set) var bytesPerSecond: Double?
  private var last: (bytes: UInt64, time: Duration)?

  mutating func sample(_ bytes: UInt64, at time: Duration) {
    defer { last = (bytes, time) }
    guard let last, time > last.time, bytes >= last.bytes else { return }
    let current = Double(bytes - last.bytes) / ((time - last.time) / .seconds(1))
    bytesPerSecond = bytesPerSecond.map { $0 * 0.8 + current * 0.2 } ?? current
  }
}

/// The words and bars that progress is shown with.
enum ProgressText {
  static func line(_ meter: ProgressMeter, rate: RateEstimate) -> String {
    var parts: [String] = []
    if let total = meter.total, total > 0 {
      parts.append("\(percent(meter.completed, of: total)) %")
      parts.append("\(Quantity.bytes(meter.completed)) of \(Quantity.bytes(total))")
    } else if meter.completed > 0 {
      parts.append(Quantity.bytes(meter.completed))
    } else {
      return meter.detail ?? "working"
    }
    if let speed = rate.bytesPerSecond, speed >= 1 {
      parts.append("\(Quantity.bytes(UInt64(speed)))/s")
      if let total = meter.total, total > meter.completed {
        parts.append("\(Quantity.duration(.seconds(Double(total - meter.completed) / speed))) left")
      }
    }
    return parts.joined(separator: ", ")
  }

  static func bar(_ meter: ProgressMeter, rate: RateEstimate, columns: Int) -> String {
    let text = line(meter, rate: rate)
    let room = columns - meter.title.count - text.count - 6
    guard let total = meter.total, total > 0, room >= 10 else {
      return String("\(meter.title): \(text)".prefix(columns - 1))
    }
    let width = min(room, 40)
    let filled = Int(Double(width) * min(1, Double(meter.completed) / Double(total)))
    let bar = String(repeating: "#", count: filled) + String(repeating: "-", count: width - filled)
    return "\(meter.title) [\(bar)] \(text)"
  }

  static func summary(_ meter: ProgressMeter, elapsed: Duration) -> String {
    let time = Quantity.duration(elapsed)
    guard meter.completed > 0 else { return "done in \(time)" }
    let seconds = elapsed / .seconds(1)
    let rate = seconds > 0.05 ? ", \(Quantity.bytes(UInt64(Double(meter.completed) / seconds)))/s" : ""
    return "\(Quantity.bytes(meter.completed)) in \(time)\(rate)"
  }

  private static func percent(_ completed: UInt64, of total: UInt64) -> Int {
    Int(min(100, Double(completed) / Double(total) * 100))
  }
}
