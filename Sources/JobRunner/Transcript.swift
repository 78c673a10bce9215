// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import Synchronization
public import SystemPackage

/// Where all that the job says goes: every console, the journal, and a file that can be kept.
public final class Transcript: Sendable {
  private let consoles: [Console]
  private let log: FileDescriptor?
  private let standardOutput: FileDescriptor?
  private let logged = Atomic<Int>(0)

  /// The log lies in memory: more than this is not kept, in bytes.
  private static let logLimit = 64 << 20

  /// - Parameters:
  ///   - consoles: terminals to write to.
  ///   - log: is replaced; its folder is made.
  ///   - standardOutput: the journal, when systemd started this program.
  public init(consoles: [FilePath], log: FilePath, standardOutput: FileDescriptor? = .standardOutput) {
    self.consoles = consoles.compactMap(Console.init)
    mkdir(log.removingLastComponent().string, 0o755)
    self.log = try? FileDescriptor.open(
      log, .writeOnly, options: [.create, .truncate, .append],
      permissions: [.ownerReadWrite, .groupRead, .otherRead])
    self.standardOutput = standardOutput
  }

  deinit { try? log?.close() }

  /// Writes whole lines. What can't be written somewhere is still written everywhere else.
  public func write(_ text: String) {
    let count = text.utf8.count
    if let log, logged.add(count, ordering: .relaxed).newValue < Self.logLimit { _ = try? log.writeAll(text.utf8) }
    if let standardOutput { _ = try? standardOutput.writeAll(text.utf8) }
    for console in consoles { console.write(text) }
  }
}

/// A terminal that may be slow, gone or held (flow control on a serial line): it never stops the job.
private final class Console: Sendable {
  private let descriptor: FileDescriptor
  private let isStuck = Atomic(false)

  /// A terminal that is opened must not become the one this program is controlled by.
  private static let options = FileDescriptor.OpenOptions(rawValue: O_NONBLOCK | O_NOCTTY)

  init?(_ path: FilePath) {
    guard let descriptor = try? FileDescriptor.open(path, .writeOnly, options: Self.options) else { return nil }
    self.descriptor = descriptor
  }

  deinit { try? descriptor.close() }

  /// Waits at most two seconds for room, and not at all while the last text didn't go through.
  func write(_ text: String) {
    // The terminal is in an unknown mode: a line feed alone may not return to the first column.
    let bytes = Array(text.utf8).flatMap { $0 == UInt8(ascii: "\n") ? Array("\r\n".utf8) : [$0] }
    var rest = bytes[...]
    let patience: Int32 = isStuck.load(ordering: .relaxed) ? 0 : 2000
    while !rest.isEmpty {
      do {
        rest = rest.dropFirst(try rest.withUnsafeBytes { try descriptor.write($0) })
      } catch Errno.resourceTemporarilyUnavailable {
        var room = pollfd(fd: descriptor.rawValue, events: Int16(POLLOUT), revents: 0)
        guard poll(&room, 1, patience) == 1, room.revents & Int16(POLLOUT) != 0 else { break }
      } catch {
        break
      }
    }
    isStuck.store(!rest.isEmpty, ordering: .relaxed)
  }
}
