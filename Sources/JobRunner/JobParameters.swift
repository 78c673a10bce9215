// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting

/// The `slipway.*` parameters of the kernel command line: which job, and what differs from its file.
package struct JobParameters: Sendable {
  /// Name of a job file.
  var job: String?
  /// An action given without a job file.
  var action: Job.Action?
  private var changes: [(parameter: Parameter, value: String)] = []

  /// One parameter that changes a member of the job.
  private struct Parameter: Sendable {
    let name: String
    let expected: String
    /// Whether it belongs to `reimage`, so that it means nothing to an `ocs-sr` line.
    var isForReimage = true
    /// False when the value isn't one of those expected.
    let apply: @Sendable (inout Job, String) -> Bool
  }

  /// All names, for the nearest-name hint and for the test that each is documented.
  package static var names: [String] { ["slipway.job", "slipway.action"] + known.map(\.name) }

  private static let known: [Parameter] = [
    Parameter(name: "slipway.repository", expected: "where images live", isForReimage: false) { job, value in
      job.repository = value
      return true
    },
    Parameter(name: "slipway.image", expected: "the name of an image") { job, value in
      job.image = value
      return !value.isEmpty
    },
    Parameter(name: "slipway.source", expected: "a disk") { job, value in
      job.source = value
      return !value.isEmpty
    },
    Parameter(name: "slipway.target", expected: "a disk") { job, value in
      job.target = value
      return !value.isEmpty
    },
    Parameter(name: "slipway.parts", expected: "numbers of partitions, such as 1,3") { job, value in
      let numbers = value.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
      job.parts = numbers.compactMap(\.self)
      return !numbers.contains(nil)
    },
    Parameter(name: "slipway.compression", expected: "zstd, gzip, lz4, xz or none") { job, value in
      // A level belongs to the compressor it was chosen for.
      if job.compression != value { job.compressionLevel = nil }
      job.compression = value
      return ["zstd", "gzip", "lz4", "xz", "none"].contains(value)
    },
    Parameter(name: "slipway.level", expected: "1 to 22 for zstd, 1 to 9 for gzip and xz, 1 to 12 for lz4") {
      job, value in
      job.compressionLevel = Int(value)
      return job.compressionLevel != nil
    },
    Parameter(name: "slipway.split", expected: "bytes, such as 4294967296 or 4G") { job, value in
      job.splitBytes = bytes(value)
      return job.splitBytes != nil
    },
    Parameter(name: "slipway.grow", expected: "last or none") { job, value in
      job.grow = value
      return ["last", "none"].contains(value)
    },
    Parameter(name: "slipway.verify", expected: "yes or no") { job, value in set(&job.verify, value) },
    Parameter(name: "slipway.efientry", expected: "yes or no") { job, value in set(&job.efiEntry, value) },
    Parameter(name: "slipway.command", expected: "a line for the shell") { job, value in
      job.command = value
      return !value.isEmpty
    },
    Parameter(name: "slipway.onsuccess", expected: "poweroff, reboot, shell or none", isForReimage: false) {
      job, value in
      guard let action = FinalAction(jobFile: value) else { return false }
      job.onSuccess = action
      return true
    },
    Parameter(name: "slipway.onfailure", expected: "poweroff, reboot or shell", isForReimage: false) { job, value in
      guard let action = FinalAction(jobFile: value), action != .none else { return false }
      job.onFailure.action = action
      return true
    },
    Parameter(name: "slipway.retries", expected: "0 to 100", isForReimage: false) { job, value in
      guard let count = Int(value), (0...100).contains(count) else { return false }
      job.onFailure.retries = count
      return true
    },
    Parameter(name: "slipway.network", expected: "yes or no", isForReimage: false) { job, value in
      set(&job.network, value)
    },
  ]

  /// - Throws: ``JobError/unknownParameter(name:nearest:)``: a slip such as `slipway.taget=sda` must not let the
  ///   job run on another disk.
  init(_ commandLine: KernelCommandLine) throws(JobError) {
    for parameter in commandLine.parameters where parameter.name.hasPrefix("slipway.") {
      let value = parameter.value ?? ""
      if parameter.name == "slipway.job" {
        job = value
      } else if parameter.name == "slipway.action" {
        guard let action = Job.Action(rawValue: value) else {
          throw .badParameter(
            name: parameter.name, found: value,
            expected: Job.Action.allCases.map(\.rawValue).joined(separator: ", "))
        }
        self.action = action
      } else if let known = Self.known.first(where: { $0.name == parameter.name }) {
        changes.append((known, value))
      } else {
        throw .unknownParameter(
          name: parameter.name, nearest: Suggestion.nearest(to: parameter.name, among: Self.names))
      }
    }
  }

  /// Changes `job` as the parameters say.
  /// - Throws: ``JobError/badParameter(name:found:expected:)``.
  func apply(to job: inout Job) throws(JobError) {
    for (parameter, value) in changes {
      guard parameter.apply(&job, value) else {
        throw .badParameter(name: parameter.name, found: value, expected: parameter.expected)
      }
    }
  }

  /// The first parameter that means nothing beside `ocs_live_run`.
  var firstForReimage: String? {
    if job != nil { return "slipway.job" }
    if action != nil { return "slipway.action" }
    return changes.first { $0.parameter.isForReimage }?.parameter.name
  }

  private static func set(_ member: inout Bool, _ value: String) -> Bool {
    guard ["yes", "no", "true", "false", "1", "0"].contains(value) else { return false }
    member = ["yes", "true", "1"].contains(value)
    return true
  }

  private static func bytes(_ text: String) -> UInt64? {
    let shifts: [Character: UInt64] = ["K": 10, "M": 20, "G": 30, "T": 40]
    guard let shift = text.last.flatMap({ shifts[$0] }) else { return UInt64(text) }
    let (bytes, overflow) = (UInt64(text.dropLast()) ?? 0).multipliedReportingOverflow(by: 1 << shift)
    return overflow || bytes == 0 ? nil : bytes
  }
}
