// Pipelines: bounded concurrency for work that streams: a thread for calls that block, a parallel map that keeps order.
// SPDX-License-Identifier: GPL-3.0-or-later

import Dispatch

/// A thread of its own for calls that block (disk, pipe, C library), so that they never hold one of the few threads
/// Swift runs its tasks on.
///
/// Use it as a task executor: `await withTaskExecutorPreference(BlockingThread("reader")) { … }`.
public final class BlockingThread: TaskExecutor {
  private let queue: DispatchQueue

  /// - Parameter name: shown by debuggers.
  public init(_ name: String) {
    queue = DispatchQueue(label: name)
  }

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }

  /// Runs `body`, which may block, on a thread of its own.
  public static func run<Value: Sendable>(
    _ name: String, _ body: @Sendable @escaping () throws -> Value
  ) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      DispatchQueue(label: name).async { continuation.resume(with: Result(catching: body)) }
    }
  }
}
