// SPDX-License-Identifier: GPL-3.0-or-later

public import Commands
import FoundationEssentials
import Glibc
import Logging
import Pipelines
import SystemPackage

/// Boots guests.
public struct VirtualMachine: Sendable {
  private let runner: CommandRunner
  /// Gets what the guest prints on its serial console, as it comes.
  private let onConsole: @Sendable ([UInt8]) -> Void

  /// How long a guest may take to power off once it has given its verdict.
  private static let grace = Duration.seconds(180)

  /// How long a guest under KVM may do nothing at all before KVM is taken to have failed.
  private static let stall = Duration.seconds(15)

  public init(runner: CommandRunner, onConsole: @escaping @Sendable ([UInt8]) -> Void) {
    self.runner = runner
    self.onConsole = onConsole
  }

  /// Boots `guest` and waits until it powers off, gives a verdict and stays on, panics, or the time is up.
  ///
  /// KVM is used when it really executes the guest. Inside some virtual machines `/dev/kvm` is there, but the guest's
  /// kernel fails or hangs in its first instructions: then the guest is started again with TCG. That is only done while
  /// the guest has not written to any disk.
  /// - Throws: ``GuestError``, or `CommandError` when QEMU is missing.
  public func boot(_ guest: Guest, timeout: Duration) async throws -> Outcome {
    for file in [guest.medium] + guest.disks {
      do { try FileDescriptor.open(file, .readOnly).close() } catch { throw GuestError.missingFile(file) }
    }
    if Self.mayUseKVM {
      if let outcome = try await attempt(guest, accelerator: .kvm, timeout: timeout) { return outcome }
      AcceleratorMemory.rememberFailure()
      runner.logger.notice("KVM does not execute guests on this machine: starting again with TCG, which is slower")
    }
    guard let outcome = try await attempt(guest, accelerator: .tcg, timeout: timeout) else {
      throw GuestError.didNotStart(status: 0, standardError: "the emulator failed")
    }
    return outcome
  }

  private static var mayUseKVM: Bool {
    guard !AcceleratorMemory.kvmHasFailed, let descriptor = try? FileDescriptor.open("/dev/kvm", .readWrite) else {
      return false
    }
    try? descriptor.close()
    return true
  }

  /// - Returns: nil when the accelerator cannot execute the guest.
  private func attempt(_ guest: Guest, accelerator: Accelerator, timeout: Duration) async throws -> Outcome? {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("slipway-vm-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(at: folder) }
    let files = FilePath(folder.path)
    let verdictFile = files.appending("verdict")
    var variables: FilePath?
    if guest.firmware != .bios {
      let copy = files.appending("variables.fd")
      try FileManager.default.copyItem(atPath: OVMF.variables(for: guest.firmware).string, toPath: copy.string)
      variables = copy
    }
    let monitorSocket = files.appending("monitor")
    let command = Command(
      "qemu-system-x86_64",
      try guest.arguments(
        accelerator: accelerator, verdictFile: verdictFile, monitor: monitorSocket, variables: variables))

    let start = ContinuousClock.now
    let console = Console()
    let ending = try await withThrowingTaskGroup(of: Ending?.self) { group in
      let (serial, serialInput) = try FileDescriptor.pipe()
      group.addTask {
        let output = try await runner.stream(command, to: serialInput) { console.read(errorLine: $0) }
        if console.sawAcceleratorFailure { return nil }
        guard output.succeeded || Task.isCancelled else {
          let signal = output.status - 128
          if [SIGHUP, SIGINT, SIGKILL, SIGTERM].contains(signal) { throw GuestError.ended("by signal \(signal)") }
          if accelerator == .kvm { return nil }
          throw GuestError.didNotStart(status: output.status, standardError: output.standardError)
        }
        // QEMU succeeds, too, when it is told to end by a signal.
        let signal = output.standardError.split(whereSeparator: \.isNewline).last {
          $0.contains("terminating on signal")
        }
        if let signal, !Task.isCancelled { throw GuestError.ended(String(signal)) }
        return console.sawPanic ? .panicked : .poweredOff
      }
      group.addTask { try await watch(verdictFile, console: console, until: start + timeout) }
      if accelerator == .kvm {
        group.addTask {
          try await waitForStall(monitorSocket, console: console)
          return nil
        }
      }
      async let reader: Void = BlockingThread.run("serial console") { try readConsole(serial, into: console) }
      let first = try await group.next() ?? nil
      group.cancelAll()
      // The reader ends when QEMU does, and the cancelled group ends QEMU.
      while (try? await group.next()) != nil {}
      try? await reader
      return first
    }
    guard let ending else { return nil }
    return Outcome(
      verdict: Self.verdict(in: verdictFile), ending: ending, elapsed: ContinuousClock.now - start,
      accelerator: accelerator)
  }

  private static func verdict(in file: FilePath) -> Verdict? {
    guard let data = try? Data(contentsOf: URL(fileURLWithPath: file.string)) else { return nil }
    return Verdict(lines: [UInt8](data))
  }

  /// Looks at what the guest has said so far, until it should be ended.
  private func watch(_ verdictFile: FilePath, console: Console, until deadline: ContinuousClock.Instant) async throws
    -> Ending?
  {
    var graceEnd: ContinuousClock.Instant?
    while true {
      try await Task.sleep(for: .milliseconds(500))
      let now = ContinuousClock.now
      if let graceEnd {
        if now > graceEnd { return .stayedOn }
        continue
      }
      if Self.verdict(in: verdictFile) != nil {
        graceEnd = now + Self.grace
      } else if console.sawPanic {
        return .panicked
      } else if now > deadline {
        return .timedOut
      }
    }
  }

  /// Returns when the accelerator has failed: QEMU says so, or a guest that has written nothing to its disks has
  /// neither read from them nor printed anything for a while.
  private func waitForStall(_ socket: FilePath, console: Console) async throws {
    var monitor: QEMUMonitor?
    var last: (disks: QEMUMonitor.DiskActivity, printed: Int)?
    var quietSince = ContinuousClock.now
    while true {
      try await Task.sleep(for: .seconds(1))
      if console.sawAcceleratorFailure { return }
      monitor = monitor ?? QEMUMonitor(path: socket)
      guard let disks = monitor?.diskActivity() else { continue }
      if let last, last == (disks, console.printed) {
        if disks.writes == 0, ContinuousClock.now - quietSince > Self.stall { return }
      } else {
        quietSince = ContinuousClock.now
      }
      last = (disks, console.printed)
    }
  }

  private func readConsole(_ serial: FileDescriptor, into console: Console) throws {
    defer { try? serial.close() }
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = try buffer.withUnsafeMutableBytes { try serial.read(into: $0) }
      if count == 0 { return }
      onConsole(Array(buffer[..<count]))
      console.read(output: buffer[..<count])
    }
  }
}
