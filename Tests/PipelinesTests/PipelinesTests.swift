// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import Pipelines
import Synchronization
import Testing

private final class Counter: Sendable {
  private let count = Atomic(0)
  private let highest = Atomic(0)

  var value: Int { count.load(ordering: .relaxed) }
  var most: Int { highest.load(ordering: .relaxed) }

  func increase() { highest.max(count.add(1, ordering: .relaxed).newValue, ordering: .relaxed) }
  func decrease() { count.subtract(1, ordering: .relaxed) }
}

@Suite struct OrderedPipelineTests {
  @Test(arguments: [1, 2, 3, 16]) func keepsOrderAndBoundsWhatIsInTheWorks(depth: Int) async throws {
    let inWorks = Counter()
    var next = 0
    var results: [Int] = []
    try await orderedPipeline(depth: depth) { () -> Int? in
      guard next < 200 else { return nil }
      next += 1
      return next
    } transform: { (number: Int) -> Int in
      inWorks.increase()
      // Later pieces finish first.
      try await Task.sleep(for: .microseconds((number * 7919) % 500))
      inWorks.decrease()
      return number * number
    } consume: { result in
      results.append(result)
    }
    #expect(results == (1...200).map { $0 * $0 })
    #expect(inWorks.most <= depth)
  }

  private struct Broken: Error, Equatable { let stage: Int }

  @Test(arguments: [0, 1, 2]) func throwsWhatAStageThrows(stage: Int) async throws {
    await #expect(throws: Broken(stage: stage)) {
      var next = 0
      try await orderedPipeline(depth: 4) { () -> Int? in
        next += 1
        if stage == 0, next == 20 { throw Broken(stage: 0) }
        return next
      } transform: { (number: Int) -> Int in
        if stage == 1, number == 20 { throw Broken(stage: 1) }
        return number
      } consume: { number in
        if stage == 2, number == 20 { throw Broken(stage: 2) }
      }
    }
  }

  @Test func cancellationStopsIt() async throws {
    let work = Task {
      try await orderedPipeline(depth: 2) { () -> Int? in
        1
      } transform: {
        $0
      } consume: { _ in
      }
    }
    work.cancel()
    await #expect(throws: CancellationError.self) { try await work.value }
  }
}

@Suite struct BlockingThreadTests {
  @Test func manyMayBlockAtOnce() async throws {
    // More than Swift's own pool has threads: were they to share it, none would ever be let go.
    let count = 64
    let arrived = Counter()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<count {
        group.addTask {
          try await BlockingThread.run("test") {
            arrived.increase()
            while arrived.value < count { usleep(1000) }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(arrived.value == count)
  }

  @Test func tasksRunOnTheThreadTheyPrefer() async throws {
    let sum = await withTaskExecutorPreference(BlockingThread("test")) {
      await withTaskGroup(of: Int.self) { group in
        for number in 1...100 { group.addTask { number } }
        return await group.reduce(0, +)
      }
    }
    #expect(sum == 5050)
  }
}
