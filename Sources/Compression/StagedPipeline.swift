// SPDX-License-Identifier: GPL-3.0-or-later

import Pipelines

/// A fixed number of slots (buffers and contexts) that go round: what is in use never grows.
final class Pool<Slot: Sendable>: Sendable {
  fileprivate let free: AsyncStream<Slot>
  private let returns: AsyncStream<Slot>.Continuation

  init(count: Int, make: () throws -> Slot) rethrows {
    (free, returns) = AsyncStream.makeStream()
    for _ in 0..<count { returns.yield(try make()) }
  }

  fileprivate func give(back slot: Slot) { returns.yield(slot) }
}

/// A slot on its way through the stages; it returns to its pool when the last reference goes.
final class Lease<Slot: Sendable>: Sendable {
  let slot: Slot
  private let pool: Pool<Slot>

  fileprivate init(_ slot: Slot, of pool: Pool<Slot>) {
    self.slot = slot
    self.pool = pool
  }

  deinit { pool.give(back: slot) }
}

/// Reads, transforms and consumes at the same time: filling on a thread of its own, the costly part on all cores, and
/// consuming in order in the caller's task.
///
/// - Parameters:
///   - pool: must hold more slots than `depth` and what `consume` holds on to.
///   - depth: how many slots may be in transformation at once.
///   - fill: puts the next piece into a slot; false at the end. May block.
///   - transform: runs beside other transforms.
///   - consume: takes the slots in the order they were filled. May keep a lease for a while.
func stagedPipeline<Slot: Sendable>(
  pool: Pool<Slot>,
  depth: Int,
  fill: @escaping @Sendable (Slot) throws -> Bool,
  transform: @escaping @Sendable (Slot) throws -> Void,
  consume: (Lease<Slot>) async throws -> Void
) async throws {
  let (filled, output) = AsyncThrowingStream.makeStream(of: Lease<Slot>.self)
  try await withThrowingTaskGroup(of: Void.self) { group in
    group.addTask(executorPreference: BlockingThread("reader")) {
      for await slot in pool.free {
        let lease = Lease(slot, of: pool)
        do {
          guard try fill(slot) else { break }
        } catch {
          output.finish(throwing: error)
          return
        }
        output.yield(lease)
      }
      output.finish()
    }
    var pieces = filled.makeAsyncIterator()
    try await orderedPipeline(
      depth: depth,
      produce: {
        let piece = try await pieces.next()
        // A cancelled task sees the same nil as one at the end.
        try Task.checkCancellation()
        return piece
      },
      transform: { lease in
        try transform(lease.slot)
        return lease
      },
      consume: consume)
  }
}
