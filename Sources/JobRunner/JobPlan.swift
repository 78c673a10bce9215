// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import SystemPackage

/// All that will happen, decided from the kernel command line and the job files before anything is done.
public struct JobPlan: Sendable {
  package enum Work: Sendable, Equatable {
    /// `reimage` with the arguments the job gives.
    case reimage
    case ocsSr([String])
    /// A line for a shell.
    case line(String, shell: String)
    /// Nothing but a shell: a rescue system.
    case shell
  }

  package private(set) var job: Job
  package let work: Work
  /// Whether a job was asked for at all; if not, no verdict is given.
  package let hasJob: Bool
  package let clonezilla: ClonezillaParameters
  package let repository: RepositoryLocation?
  package let allowsPreload: Bool

  /// - Parameters:
  ///   - commandLine: of the kernel.
  ///   - places: where job files and the policy are.
  /// - Throws: ``JobError``: a job that cannot run as it was meant is refused here.
  public init(commandLine: KernelCommandLine, places: Places) throws(JobError) {
    let parameters = try JobParameters(commandLine)
    clonezilla = ClonezillaParameters(commandLine)
    var job: Job
    if clonezilla.run != nil {
      if let other = parameters.firstForReimage { throw .conflict("ocs_live_run", other) }
      job = Self.clonezillaJob(clonezilla)
    } else if let name = parameters.job {
      if parameters.action != nil { throw .conflict("slipway.job", "slipway.action") }
      job = try places.job(named: name)
    } else if let action = parameters.action {
      job = Job(name: "command-line", title: "Job of the kernel command line", action: action)
    } else if let other = parameters.firstForReimage {
      throw .conflict(other, "no slipway.job or slipway.action")
    } else {
      job = Self.clonezillaJob(clonezilla)
    }
    hasJob = clonezilla.run != nil || parameters.job != nil || parameters.action != nil
    // What was given on the command line counts over the job file.
    if let repository = clonezilla.repository { job.repository = repository }
    let fromLine = job.repository
    try parameters.apply(to: &job)
    if clonezilla.repository != nil, job.repository != fromLine {
      throw .conflict("ocs_repository", "slipway.repository")
    }
    try job.validate()
    repository = try job.repository.map { (uri) throws(JobError) in try RepositoryLocation(uri) }
    if let directory = clonezilla.subdirectory, directory.split(separator: "/").contains("..") {
      throw .badParameter(name: "ocs_use_subdir", found: directory, expected: "a folder inside the repository")
    }
    work = try Self.work(job, clonezilla)
    if case .ocsSr(let words) = work, clonezilla.run == nil,
      let postaction = OcsSr(words: words).postaction.map(FinalAction.init(clonezilla:)), postaction != .none
    {
      job.onSuccess = postaction
    }
    if let image = job.image { try ImageName(image).check() }
    self.job = job
    allowsPreload = job.allowPreload || places.policy().allowPreload
  }

  /// The job that a Clonezilla command line describes.
  private static func clonezillaJob(_ clonezilla: ClonezillaParameters) -> Job {
    var job = Job(
      name: "ocs_live_run", title: clonezilla.isInteractive ? "Rescue system" : "Clonezilla job",
      action: clonezilla.isInteractive ? .shell : .command)
    job.command = clonezilla.run
    job.onSuccess = clonezilla.isInteractive ? .shell : clonezilla.finalAction
    // Clonezilla stops at a menu; nobody would see that where nobody is.
    job.onFailure.action = clonezilla.isAttended ? .shell : .poweroff
    return job
  }

  private static func work(_ job: Job, _ clonezilla: ClonezillaParameters) throws(JobError) -> Work {
    let command = job.command ?? ""
    switch job.action {
    case .save, .restore, .verify: return .reimage
    case .shell: return .shell
    // Clonezilla evaluates its line in bash, a job file's is for any shell.
    case .command: return .line(command, shell: clonezilla.run == nil ? "/bin/sh" : "/bin/bash")
    case .clonezilla:
      guard case .words(let words)? = ShellWords(command), words.first == "ocs-sr" else {
        throw .badJob(
          name: job.name, member: "command", found: command,
          expected: "ocs-sr and its options, without ; | & < > ( ) outside quotes")
      }
      return .ocsSr(words)
    }
  }

  /// Whether the network must be up before the job.
  package var needsNetwork: Bool { job.network || clonezilla.syncsTime || repository?.needsNetwork == true }

  /// What a hook is told of the job before it ran: names and values of environment variables.
  func environment(image: String?) -> [String: String] {
    let ocs = clonezilla.run.flatMap(OcsSr.init(line:)) ?? job.command.flatMap(OcsSr.init(line:))
    var environment = [
      "SLIPWAY_JOB": job.name, "SLIPWAY_ACTION": action(of: ocs),
      "SLIPWAY_IMAGE": image ?? ocs?.image ?? "", "SLIPWAY_SOURCE": "", "SLIPWAY_TARGET": "",
    ]
    switch environment["SLIPWAY_ACTION"] {
    case "save": environment["SLIPWAY_SOURCE"] = ocs?.devices.joined(separator: " ") ?? job.source
    case "restore": environment["SLIPWAY_TARGET"] = ocs?.devices.joined(separator: " ") ?? job.target
    default: break
    }
    return environment
  }

  private func action(of ocs: OcsSr?) -> String {
    switch ocs?.type {
    case "savedisk", "saveparts": "save"
    case "restoredisk", "restoreparts", "1-2-mdisks": "restore"
    case "chk-img-restorable": "verify"
    default: job.action.rawValue
    }
  }
}

extension JobPlan {
  /// The plan in the order it will be carried out, a line each.
  public func explanation(places: Places) -> [String] {
    var lines = ["job: \(hasJob ? "\(job.name) (\(job.title))" : "none: a rescue system")"]
    lines += clonezilla.daemonsOn.map { "start the service \($0)" }
    lines += clonezilla.daemonsOff.map { "stop the service \($0)" }
    if let level = clonezilla.kernelMessages { lines.append("show kernel messages below level \(level)") }
    if clonezilla.syncsTime { lines.append("set the clock from the network") }
    lines += places.hooks(.prerun).map { "run the hook \($0); stop if it fails" }
    lines += Self.lines(clonezilla.prerun, "run", "; go on if it fails")
    lines += Self.lines(clonezilla.preload, allowsPreload ? "load and unpack" : "refuse to load", "")
    if needsNetwork { lines.append("wait for the network") }
    if let repository {
      let shown = clonezilla.isRepositoryShown ? "\(repository)" : "the repository"
      lines.append("mount \(shown) on \(places.repository)")
    }
    if let directory = clonezilla.subdirectory { lines.append("use its folder \(directory)") }
    lines.append("run \(workText(places: places))" + (hasJob ? Self.times(1 + job.onFailure.retries) : ""))
    lines += places.hooks(.postrun).map { "after success, run the hook \($0)" }
    lines += places.hooks(.failure).map { "after failure, run the hook \($0)" }
    lines += Self.lines(clonezilla.postrun, "run", " after success and after failure")
    if hasJob { lines.append("tell the host the verdict") }
    lines.append("after success: \(job.onSuccess)")
    if hasJob { lines.append("after failure: \(job.onFailure.action)") }
    return lines
  }

  private func workText(places: Places) -> String {
    switch work {
    case .reimage:
      let arguments = job.reimageArguments(image: job.image ?? "", repository: places.repository.string) ?? []
      return "`\(Command("reimage", arguments))`"
    case .ocsSr(let words): return "`\(words.joined(separator: " "))`"
    case .line(let line, let shell): return "`\(line)` in \(shell)"
    case .shell: return "nothing but a shell"
    }
  }

  private static func lines(
    _ parameters: ClonezillaParameters.Numbered, _ verb: String, _ remark: String
  ) -> [String] {
    parameters.commands.map { "\(verb) \($0.name)\(parameters.isShown ? " `\($0.value ?? "")`" : "")\(remark)" }
  }

  private static func times(_ count: Int) -> String { count == 1 ? "" : ", up to \(count) times" }
}
