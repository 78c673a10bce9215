// SPDX-License-Identifier: GPL-3.0-or-later

public import Commands
import Glibc
public import Logging
import SystemPackage

/// What a program left when it ended.
public struct ProgramResult: Sendable {
  /// The exit status, or 128 plus the signal that ended it.
  public var status: Int32
  /// The last lines of its output.
  public var tail: [String]

  public init(status: Int32, tail: [String] = []) {
    self.status = status
    self.tail = tail
  }

  var succeeded: Bool { status == 0 }

  /// Where programs say why they gave up: the last line with `error:` and what it lists (the disks seen), but not its
  /// remedy; else the last line.
  var complaint: String {
    guard let start = tail.lastIndex(where: { $0.hasPrefix("error:") }) else {
      return tail.last { !$0.isEmpty } ?? "it said nothing"
    }
    let list = tail[(start + 1)...].prefix { $0.hasPrefix("  | ") }.map { $0.dropFirst(4) }
    return list.isEmpty ? tail[start] : "\(tail[start]) \(list.joined(separator: "; "))"
  }
}

/// The machine as the job sees it; a test puts its own in place.
public struct LiveSystem: Sendable {
  public var places: Places
  /// Runs a program with no input, hands on its output line by line, and returns when it ended, even when something
  /// it left in the background still holds its output.
  public var run:
    @Sendable (_ command: Command, _ onLine: @escaping @Sendable (String) -> Void) async throws ->
      ProgramResult
  public var sleep: @Sendable (Duration) async throws -> Void
  /// Time since some fixed moment.
  public var now: @Sendable () -> Duration
  /// Seconds since 1970, UTC.
  public var wallClock: @Sendable () -> Int

  public init(
    places: Places,
    run: @escaping @Sendable (Command, @escaping @Sendable (String) -> Void) async throws -> ProgramResult,
    sleep: @escaping @Sendable (Duration) async throws -> Void, now: @escaping @Sendable () -> Duration,
    wallClock: @escaping @Sendable () -> Int
  ) {
    self.places = places
    self.run = run
    self.sleep = sleep
    self.now = now
    self.wallClock = wallClock
  }

  /// The machine itself.
  public init(places: Places = Places(), logger: Logger) {
    let runner = CommandRunner(logger: logger)
    let start = ContinuousClock.now
    self.init(
      places: places,
      run: { try await Self.run($0, with: runner, onLine: $1) },
      sleep: { try await Task.sleep(for: $0) },
      now: { ContinuousClock.now - start },
      wallClock: { Glibc.time(nil) })
  }

  private static func run(
    _ command: Command, with runner: CommandRunner, onLine: @escaping @Sendable (String) -> Void
  ) async throws -> ProgramResult {
    let pipe = try FileDescriptor.pipe()
    // Only the program's own copy may outlive it; and reading must never wait for what it left running.
    _ = fcntl(pipe.readEnd.rawValue, F_SETFD, FD_CLOEXEC)
    _ = fcntl(pipe.writeEnd.rawValue, F_SETFD, FD_CLOEXEC)
    _ = fcntl(pipe.readEnd.rawValue, F_SETFL, O_NONBLOCK)
    defer { try? pipe.readEnd.close() }
    var joined = command
    joined.program = "/bin/sh"
    joined.arguments = ["-c", "exec \"$@\" 2>&1", "sh", command.program] + command.arguments
    let command = joined
    return try await withThrowingTaskGroup(of: [String].self) { group in
      group.addTask { await forward(pipe.readEnd, to: onLine) }
      let status = try await runner.stream(command, to: pipe.writeEnd).status
      group.cancelAll()
      return ProgramResult(status: status, tail: try await group.next() ?? [])
    }
  }

  /// Hands on lines until the output ends or the task is cancelled, then what is still there.
  private static func forward(
    _ descriptor: FileDescriptor, to onLine: @escaping @Sendable (String) -> Void
  ) async -> [String] {
    var lines = LineSplitter()
    var tail: [String] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    func emit(_ found: [String]) {
      found.forEach(onLine)
      tail = (tail + found).suffix(20)
    }
    while true {
      let isLast = Task.isCancelled
      do {
        while true {
          let count = try buffer.withUnsafeMutableBytes { try descriptor.read(into: $0) }
          if count == 0 {
            emit(lines.finish())
            return tail
          }
          emit(lines.add(buffer[..<count], at: .now))
        }
      } catch {
        // Nothing there now.
      }
      if isLast {
        emit(lines.finish())
        return tail
      }
      try? await Task.sleep(for: .milliseconds(50))
    }
  }
}

/// Cuts output into lines. A line that a program redraws (ended by a carriage return) is handed on every few seconds
/// only: a serial console can't take more.
package struct LineSplitter {
  private var line: [UInt8] = []
  private var endsInReturn = false
  private var lastRedrawn: ContinuousClock.Instant?

  package init() {}

  /// Longest line handed on in one piece, in bytes.
  private static let longest = 4096

  package mutating func add(_ bytes: ArraySlice<UInt8>, at time: ContinuousClock.Instant) -> [String] {
    var result: [String] = []
    for byte in bytes {
      // A carriage return may be one half of a line's end.
      if endsInReturn, byte != UInt8(ascii: "\n"), byte != UInt8(ascii: "\r") {
        endsInReturn = false
        let text = take()
        if !text.isEmpty, lastRedrawn.map({ time - $0 >= .seconds(5) }) ?? true {
          lastRedrawn = time
          result.append(text)
        }
      }
      switch byte {
      case UInt8(ascii: "\n"):
        endsInReturn = false
        result.append(take())
      case UInt8(ascii: "\r"): endsInReturn = true
      default:
        line.append(byte)
        if line.count == Self.longest { result.append(take()) }
      }
    }
    return result
  }

  package mutating func finish() -> [String] { line.isEmpty ? [] : [take()] }

  private mutating func take() -> String {
    defer { line.removeAll(keepingCapacity: true) }
    return String(decoding: line, as: UTF8.self)
  }
}
