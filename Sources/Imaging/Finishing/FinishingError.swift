// SPDX-License-Identifier: GPL-3.0-or-later

public import Commands
public import FileSystems
public import Reporting

/// Runs a program to its end: `CommandRunner.output(of:)`, or a stand-in.
public typealias CommandRun = @Sendable (Command) async throws -> CommandOutput

/// What could not be done to a disk whose data was restored all the same.
public enum FinishingError: Failure, Equatable {
  case notGrown(volume: String, kind: FileSystemKind, cause: String)
  case noBootEntry(disk: String, cause: String)

  public var reason: String {
    switch self {
    case .notGrown(let volume, let kind, let cause):
      "the \(kind.rawValue) file system of \(volume) keeps its old size: \(cause)"
    case .noBootEntry(let disk, let cause):
      "the firmware's boot entries for \(disk) were not made anew: \(cause)"
    }
  }

  public var remedy: String? {
    switch self {
    case .notGrown(_, let kind, _):
      "its data is restored and right; grow it later with \(FileSystemGrower.programs(for: kind).last?.program ?? "its own tool")"
    case .noBootEntry: "the disk is restored and right; choose it in the firmware's menu, or run efibootmgr --create"
    }
  }
}

extension CommandOutput {
  /// The last words of a program that failed, for a sentence.
  var complaint: String {
    let lines = (standardError.isEmpty ? standardOutput : standardError).split(whereSeparator: \.isNewline)
    return "status \(status)" + (lines.isEmpty ? "" : ", " + lines.suffix(3).joined(separator: "; "))
  }
}
