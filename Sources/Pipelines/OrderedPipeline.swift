// SPDX-License-Identifier: GPL-3.0-or-later

/// Takes pieces one after another, transforms them on all cores and hands the results on in the order of the pieces.
///
/// - Parameters:
///   - depth: how many pieces may be in the works at once; bounds the memory used.
///   - produce: gives the next piece, or nil at the end. Called in turn with `consume`, never beside it.
///   - transform: the costly part; runs beside other transforms.
///   - consume: takes the results, first piece first.
/// - Throws: what any of the three throws; the others are cancelled and waited for.
public func orderedPipeline<Input: Sendable, Output: Sendable>(
  depth: Int,
  produce: () async throws -> Input?,
  transform: @escaping @Sendable (Input) async throws -> Output,
  consume: (Output) async throws -> Void
) async throws {
  precondition(depth > 0, "a pipeline needs room for a piece")
  try await withThrowingTaskGroup(of: (Int, Output).self) { group in
    var early: [Int: Output] = [:]
    var produced = 0
    var consumed = 0
    var atEnd = false
    while true {
      while !atEnd, produced - consumed < depth {
        try Task.checkCancellation()
        guard let piece = try await produce() else {
          atEnd = true
          break
        }
        let index = produced
        group.addTask(executorPreference: globalConcurrentExecutor) { (index, try await transform(piece)) }
        produced += 1
      }
      guard consumed < produced else { return }
      while early[consumed] == nil {
        guard let (index, output) = try await group.next() else { return }
        early[index] = output
      }
      while let output = early.removeValue(forKey: consumed) {
        try await consume(output)
        consumed += 1
      }
    }
  }
}
