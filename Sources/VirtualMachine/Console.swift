// SPDX-License-Identifier: GPL-3.0-or-later

import Synchronization

/// What can be learnt from the guest's serial console and from QEMU's own messages.
///
/// Only ever used to end early: whether the job succeeded is said by the verdict alone.
final class Console: Sendable {
  private let panicked = Atomic(false)
  private let acceleratorFailed = Atomic(false)
  private let printedBytes = Atomic(0)
  private let tail = Mutex<[UInt8]>([])

  var sawPanic: Bool { panicked.load(ordering: .relaxed) }
  var sawAcceleratorFailure: Bool { acceleratorFailed.load(ordering: .relaxed) }

  /// How many bytes the guest has printed.
  var printed: Int { printedBytes.load(ordering: .relaxed) }

  func read(output: ArraySlice<UInt8>) {
    printedBytes.add(output.count, ordering: .relaxed)
    let text = tail.withLock { tail in
      tail += output
      let text = String(decoding: tail, as: UTF8.self)
      tail = Array(tail.suffix(Self.panicMessage.utf8.count))
      return text
    }
    if text.contains(Self.panicMessage) { panicked.store(true, ordering: .relaxed) }
  }

  func read(errorLine: String) {
    if errorLine.contains("KVM internal error") || errorLine.contains("failed to initialize kvm") {
      acceleratorFailed.store(true, ordering: .relaxed)
    }
  }

  private static let panicMessage = "Kernel panic - not syncing"
}
