// SPDX-License-Identifier: GPL-3.0-or-later

import Synchronization

/// How far one piece of work has come. Advancing it costs one atomic addition, so hot loops may do so per block.
public final class ProgressMeter: Sendable {
  /// What is being done, as shown to a person: `saving /dev/sda2 (ext4)`.
  public let title: String
  /// Bytes to do in all, or nil when that isn't known beforehand.
  public var total: UInt64? {
    let value = totalBytes.load(ordering: .relaxed)
    return value == .max ? nil : value
  }
  /// Bytes done so far.
  public var completed: UInt64 { completedBytes.load(ordering: .relaxed) }

  private let completedBytes = Atomic<UInt64>(0)
  private let totalBytes: Atomic<UInt64>
  private let currentDetail = Mutex<String?>(nil)

  public init(title: String, total: UInt64? = nil) {
    self.title = title
    totalBytes = Atomic(total ?? .max)
  }

  /// What is being done just now, where bytes alone don't tell.
  public var detail: String? {
    get { currentDetail.withLock { $0 } }
    set { currentDetail.withLock { $0 = newValue } }
  }

  /// Counts `bytes` more as done.
  public func advance(by bytes: Int) {
    completedBytes.wrappingAdd(UInt64(max(0, bytes)), ordering: .relaxed)
  }

  /// Sets what is done from a source that counts for itself.
  public func set(completed: UInt64, total: UInt64? = nil) {
    completedBytes.store(completed, ordering: .relaxed)
    if let total { totalBytes.store(total, ordering: .relaxed) }
  }
}
