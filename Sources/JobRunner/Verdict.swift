// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials
import SystemPackage

/// What the host learns of the job, as one line of JSON on the virtio port `org.slipway.job`.
struct Verdict: Encodable, Sendable, Equatable {
  enum Result: String, Encodable { case success, failure }

  let verdict: Result
  let job: String
  let exitCode: Int32
  let message: String
  /// From the start of the program to the verdict.
  let seconds: Double

  /// One line, ended by a line feed, its members sorted by name.
  func line() throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(self)) + [UInt8(ascii: "\n")]
  }

  /// Writes it to the port, when there is one.
  ///
  /// - Parameter limit: how long to try when nobody reads at the other end.
  /// - Returns: whether a host took it.
  func send(to port: FilePath, limit: Duration, system: LiveSystem) async throws -> Bool {
    guard let descriptor = try? FileDescriptor.open(port, .writeOnly, options: .nonBlocking) else { return false }
    defer { try? descriptor.close() }
    var rest = try line()[...]
    let deadline = system.now() + limit
    while true {
      do {
        rest = rest.dropFirst(try rest.withUnsafeBytes { try descriptor.write($0) })
        if rest.isEmpty { return true }
      } catch Errno.resourceTemporarilyUnavailable {
        // The host isn't connected, or its buffer is full.
      }
      guard system.now() < deadline else { return false }
      try await system.sleep(.milliseconds(100))
    }
  }
}
