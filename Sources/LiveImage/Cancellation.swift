// SPDX-License-Identifier: GPL-3.0-or-later

import Synchronization

/// Carries a task's cancellation to a blocking call on another thread.
final class Cancellation: Sendable {
  private let cancelled = Atomic(false)

  func cancel() { cancelled.store(true, ordering: .relaxed) }

  /// - Throws: `CancellationError` once it was cancelled.
  func check() throws {
    if cancelled.load(ordering: .relaxed) { throw CancellationError() }
  }
}
