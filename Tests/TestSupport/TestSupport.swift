// TestSupport: temporary folders and real tools for tests.
// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Foundation
import Logging
public import SystemPackage

/// A folder that exists while `body` runs.
public func withTemporaryDirectory<Value>(_ body: (FilePath) async throws -> Value) async throws -> Value {
  var template = Array((getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp").utf8CString.dropLast())
  template += Array("/slipway-test-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
  let path = FilePath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
  defer { try? FileManager.default.removeItem(atPath: path.string) }
  return try await body(path)
}

/// Runs a real tool that must succeed, and returns what it printed.
@discardableResult
public func tool(_ program: String, _ arguments: String..., input: String = "") async throws -> String {
  try await tool(program, arguments, input: input)
}

/// Runs a real tool that must succeed, and returns what it printed.
@discardableResult
public func tool(_ program: String, _ arguments: [String], input: String = "") async throws -> String {
  try await CommandRunner(logger: Logger(label: "test")).run(
    Command(program, arguments, environment: ["LC_ALL": "C", "PATH": toolPath]), input: input)
}

/// Runs a shell script that must succeed, and returns what it printed.
@discardableResult
public func shell(_ script: String) async throws -> String {
  try await tool("/bin/bash", "-euo", "pipefail", "-c", script)
}

/// Debian keeps mkfs and fsck outside an ordinary user's PATH.
private let toolPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/// Whether this process is root.
public var isRoot: Bool { geteuid() == 0 }

extension FilePath {
  /// The whole file; for small ones.
  public func contents() throws -> [UInt8] {
    let descriptor = try FileDescriptor.open(self, .readOnly)
    return try descriptor.closeAfter {
      var bytes: [UInt8] = []
      var part = [UInt8](repeating: 0, count: 1 << 16)
      while true {
        let count = try part.withUnsafeMutableBytes { try descriptor.read(into: $0) }
        if count == 0 { return bytes }
        bytes += part[..<count]
      }
    }
  }

  /// Creates or replaces the file.
  public func write(_ bytes: some Sequence<UInt8>) throws {
    let descriptor = try FileDescriptor.open(
      self, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite, .groupRead, .otherRead])
    try descriptor.closeAfter { _ = try descriptor.writeAll(bytes) }
  }
}
