// Reporting: what a person or a program sees of the work: errors, exit codes, progress.
// SPDX-License-Identifier: GPL-3.0-or-later

/// An error made to be read by the person who has to act on it.
///
/// Every module's own typed error conforms to it, so that all programs print errors alike:
/// what was expected and what was found in ``reason``, what to do next in ``remedy``.
public protocol Failure: Error, CustomStringConvertible, Sendable {
  /// What went wrong: names the file, device or recipe line, what was expected, what was found.
  var reason: String { get }
  /// What to do next, where there is something to do.
  var remedy: String? { get }
  /// How the program ends.
  var exitCode: ExitCode { get }
}

extension Failure {
  public var remedy: String? { nil }
  public var exitCode: ExitCode { .failure }
  public var description: String {
    guard let remedy else { return reason }
    return "\(reason)\n  \(remedy)"
  }
}

/// How our programs end; the numbers are documented in `docs/exit-codes.md` and never change.
///
/// Numbers from 64 are those of `sysexits.h`; 10 to 19 are verdicts of `slipway boot` and `livejob`.
public enum ExitCode: Int32, Sendable, CaseIterable {
  case success = 0
  /// Something failed that no other code describes.
  case failure = 1
  /// The job in the guest ran and reported failure.
  case jobFailed = 10
  /// The guest reported no verdict within the time given.
  case timedOut = 11
  /// The guest's kernel panicked.
  case kernelPanic = 12
  /// The guest ended without a verdict.
  case noVerdict = 13
  /// Wrong arguments.
  case usage = 64
  /// The input (recipe, image, file system) is broken or not allowed.
  case invalidData = 65
  /// An input does not exist.
  case noInput = 66
  /// A program, device or service that is needed is missing.
  case unavailable = 69
  /// An output can't be created, or there is no room for it.
  case cannotCreate = 73
  /// Reading or writing failed.
  case ioError = 74
  /// What was asked for is refused because it could destroy something: ambiguous, mounted or too small a target.
  case refused = 75
  /// Not allowed for this user.
  case noPermission = 77
}
