// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials

/// Remembers, until the host boots again, that KVM does not execute guests here, so that not every boot finds it out anew.
enum AcceleratorMemory {
  private static var note: String? {
    guard let boot = try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8) else { return nil }
    let environment = ProcessInfo.processInfo.environment
    let cache = environment["XDG_CACHE_HOME"] ?? environment["HOME"].map { "\($0)/.cache" } ?? "/var/cache"
    return "\(cache)/slipway/kvm-failed-\(boot.filter { !$0.isWhitespace })"
  }

  static var kvmHasFailed: Bool { note.map { FileManager.default.fileExists(atPath: $0) } ?? false }

  static func rememberFailure() {
    guard let note else { return }
    let folder = URL(fileURLWithPath: note).deletingLastPathComponent().path
    // Only a convenience: without it the next boot tries KVM again.
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try? Data().write(to: URL(fileURLWithPath: note))
  }
}
