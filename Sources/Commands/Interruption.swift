// SPDX-License-Identifier: GPL-3.0-or-later

import Dispatch
import Glibc
public import Reporting

/// The person, or the system, asked the program to stop.
public struct Interrupted: Failure {
  public let signal: Int32
  public var reason: String { "interrupted by signal \(signal); nothing unfinished was left behind" }
}

/// Runs `body` as a task that SIGINT, SIGTERM and SIGHUP cancel, so that it tidies up before the program ends.
///
/// - Throws: ``Interrupted`` in place of whatever a cancelled `body` throws.
public func cancelledBySignals<Value: Sendable>(
  _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
  let work = Task { try await body() }
  let (signals, continuation) = AsyncStream.makeStream(of: Int32.self)
  let sources = [SIGINT, SIGTERM, SIGHUP].map { number in
    signal(number, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: number)
    source.setEventHandler { continuation.yield(number) }
    source.resume()
    return source
  }
  let listener = Task { () -> Int32? in
    for await number in signals {
      work.cancel()
      return number
    }
    return nil
  }
  let result = await work.result
  continuation.finish()
  for source in sources { source.cancel() }
  if case .failure = result, let number = await listener.value { throw Interrupted(signal: number) }
  return try result.get()
}
