// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials
public import Reporting
public import SystemPackage

/// What the job in the guest says of itself, as one line of JSON on the port ``Guest/verdictPort``.
public struct Verdict: Codable, Sendable, Equatable {
  public enum Result: String, Codable, Sendable {
    case success
    case failure
  }

  public let verdict: Result
  /// The job's name.
  public let job: String?
  public let exitCode: Int?
  public let message: String?
  /// How long the job took.
  public let seconds: Double?

  /// The first complete line that is a verdict; nil until there is one.
  package init?(lines bytes: [UInt8]) {
    for line in bytes.prefix(1 << 16).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast()
    {
      if let verdict = try? JSONDecoder().decode(Verdict.self, from: Data(line)) {
        self = verdict
        return
      }
    }
    return nil
  }
}

/// How the guest ended.
public enum Ending: String, Sendable, Codable {
  /// By itself, after a verdict or without one.
  case poweredOff
  /// It gave its verdict and then stayed on; it was ended.
  case stayedOn
  /// Its kernel panicked.
  case panicked
  /// The time was up.
  case timedOut
}

/// What came of booting a guest.
public struct Outcome: Sendable {
  public let verdict: Verdict?
  public let ending: Ending
  public let elapsed: Duration
  public let accelerator: Accelerator

  package init(verdict: Verdict?, ending: Ending, elapsed: Duration, accelerator: Accelerator) {
    self.verdict = verdict
    self.ending = ending
    self.elapsed = elapsed
    self.accelerator = accelerator
  }

  /// The exit code that says it.
  public var exitCode: ExitCode {
    switch (verdict?.verdict, ending) {
    case (.success, _): .success
    case (.failure, _): .jobFailed
    case (nil, .panicked): .kernelPanic
    case (nil, .timedOut): .timedOut
    case (nil, .poweredOff), (nil, .stayedOn): .noVerdict
    }
  }
}

/// Why a guest could not be booted.
public enum GuestError: Failure {
  case missingFirmware(FilePath)
  case missingFile(FilePath)
  case didNotStart(status: Int32, standardError: String)
  /// Somebody else ended QEMU; what it said about that.
  case ended(String)

  public var reason: String {
    switch self {
    case .missingFirmware(let path): "the UEFI firmware \(path) is not there"
    case .missingFile(let path): "\(path) does not exist or cannot be read"
    case .didNotStart(let status, let text): "QEMU ended with status \(status): \(text)"
    case .ended(let text): "QEMU was ended from outside in the middle: \(text)"
    }
  }

  public var remedy: String? {
    switch self {
    case .missingFirmware: "install Debian's package ovmf, or boot with --firmware bios"
    case .missingFile: "check the path"
    case .didNotStart: nil
    case .ended: "boot it again; what its disks hold now is unfinished"
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .missingFirmware: .unavailable
    case .missingFile: .noInput
    case .didNotStart, .ended: .failure
    }
  }
}
