// JobRunner: what the booted system does by itself: reads the kernel command line, runs hooks and the job, tells the
// verdict, takes the final action.
// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
public import Reporting
import SystemPackage

/// How the job ended.
public struct JobOutcome: Sendable, Equatable {
  /// Whether a job was asked for; a rescue system has none.
  public let hadJob: Bool
  public let succeeded: Bool
  /// Zero, the status of the program that failed, or one of ``ExitCode``.
  public let status: Int32
  public let message: String
  public let finalAction: FinalAction
}

/// Carries out the job of one boot. It never asks and never waits for a person.
public struct JobRunner: Sendable {
  private let system: LiveSystem
  private let reporter: Reporter
  private var places: Places { system.places }

  /// - Parameters:
  ///   - system: the machine.
  ///   - reporter: where all output goes, the programs' included.
  public init(system: LiveSystem, reporter: Reporter) {
    self.system = system
    self.reporter = reporter
  }

  /// Runs the job from the first hook to the verdict; the final action is left to ``perform(_:)``.
  public func run(_ commandLine: KernelCommandLine) async throws -> JobOutcome {
    let start = system.now()
    let plan: JobPlan
    do {
      plan = try JobPlan(commandLine: commandLine, places: places)
    } catch {
      return try await failedBeforeStart(error, commandLine: commandLine, start: start)
    }
    return try await run(plan, commandLine: commandLine, start: start)
  }

  private func run(_ first: JobPlan, commandLine: KernelCommandLine, start: Duration) async throws -> JobOutcome {
    var plan = first
    reporter.note("slipway: \(plan.hasJob ? "job `\(plan.job.name)`: \(plan.job.title)" : "no job: a rescue system")")
    try await prepare(plan)
    var context = Context(plan: plan, places: places)
    var failure: (any Failure)?
    do {
      context.image = try plan.job.image.map { (name) throws(JobError) in try ImageName(name).expanded(facts()) }
      try await runHooks(.prerun, context)
      try await runNumbered(plan.clonezilla.prerun, context)
      if let changed = try await preload(plan, commandLine) {
        plan = changed
        context = Context(plan: plan, places: places)
        context.image = try plan.job.image.map { (name) throws(JobError) in try ImageName(name).expanded(facts()) }
      }
      try await attemptJob(plan, &context)
    } catch let error as any Failure {
      failure = error
    }
    failure = try await finish(plan, &context, failure: failure)
    let outcome = JobOutcome(
      hadJob: plan.hasJob, succeeded: failure == nil, status: Self.status(failure),
      message: failure?.reason ?? "the job succeeded",
      finalAction: failure == nil ? plan.job.onSuccess : plan.job.onFailure.action)
    try await tell(outcome, job: plan.job.name, start: start)
    return outcome
  }

  /// A job that can't even be planned still tells its verdict and ends the machine.
  private func failedBeforeStart(
    _ error: JobError, commandLine: KernelCommandLine, start: Duration
  ) async throws -> JobOutcome {
    let job = commandLine.parameters.last { $0.name == "slipway.job" }?.value
    let action = commandLine.parameters.last { $0.name == "slipway.onfailure" }?.value.flatMap(
      FinalAction.init(jobFile:))
    reporter.failure(error)
    try await keepLog(repositoryIsMounted: false, failed: true)
    let outcome = JobOutcome(
      hadJob: true, succeeded: false, status: error.exitCode.rawValue, message: error.reason,
      finalAction: action ?? .poweroff)
    try await tell(outcome, job: job ?? "", start: start)
    return outcome
  }

  /// What the hooks learn, growing as the job goes on.
  private struct Context {
    let plan: JobPlan
    let repository: FilePath
    let log: FilePath
    var image: String?
    var attempt = 0
    var isMounted = false

    init(plan: JobPlan, places: Places) {
      self.plan = plan
      repository = places.repository
      log = places.log
    }

    var environment: [String: String] {
      var values = plan.environment(image: image)
      values["SLIPWAY_REPOSITORY"] = repository.string
      values["SLIPWAY_LOG"] = log.string
      values["SLIPWAY_ATTEMPT"] = "\(attempt)"
      return values
    }
  }

  // MARK: Before the job

  /// Daemons, kernel messages and the clock. None of them ends the job.
  private func prepare(_ plan: JobPlan) async throws {
    let clonezilla = plan.clonezilla
    for name in clonezilla.daemonsOn { try await attempt("systemctl", "start", name) }
    for name in clonezilla.daemonsOff { try await attempt("systemctl", "stop", name) }
    if let level = clonezilla.kernelMessages { try await attempt("dmesg", "-n", "\(level)") }
    guard clonezilla.syncsTime else { return }
    do {
      try await bringUpNetwork()
      try await attempt("systemctl", "start", "systemd-timesyncd.service")
      try await attempt("timeout", "60", "/usr/lib/systemd/systemd-time-wait-sync")
    } catch let error as JobError {
      reporter.warning("the clock is not set: \(error.reason)")
    }
  }

  /// Brings up the network if it isn't up yet and waits for an address.
  ///
  /// `ip=` of the kernel command line is honoured through systemd's own generator; else all Ethernet cards use DHCP.
  public func bringUpNetwork() async throws {
    if places.hasDefaultRoute { return }
    reporter.note("network: waiting for an address")
    for unit in ["systemd-network-generator.service", "systemd-networkd.service", "systemd-resolved.service"] {
      _ = try await run(Command("systemctl", ["start", unit]))
    }
    let wait = try await run(
      Command("/usr/lib/systemd/systemd-networkd-wait-online", ["--any", "--timeout=60"]))
    guard wait.succeeded else { throw JobError.networkNotReady(cause: wait.complaint) }
  }

  private func runHooks(_ kind: Places.HookKind, _ context: Context, _ more: [String: String] = [:]) async throws {
    for hook in places.hooks(kind) {
      reporter.note("hook: \(hook)")
      let environment = context.environment.merging(more) { $1 }
      let result = try await run(Command(hook.string, environment: environment))
      guard result.succeeded else { throw JobError.hookFailed(hook, status: result.status) }
    }
  }

  /// Runs each command in turn, going on after one that fails, as Clonezilla does. One that succeeded is not run again
  /// when the job is started once more by hand.
  private func runNumbered(
    _ parameters: ClonezillaParameters.Numbered, _ context: Context, _ more: [String: String] = [:]
  ) async throws {
    for parameter in parameters.commands {
      let mark = places.done.appending(parameter.name)
      let text = parameters.isShown ? "\(parameter.name): \(parameter.value ?? "")" : parameter.name
      if mark.exists {
        reporter.note("\(text): done before, skipped")
        continue
      }
      reporter.note(text)
      let environment = context.environment.merging(more) { $1 }
      let result = try await run(Command("/bin/bash", ["-c", parameter.value ?? ""], environment: environment))
      if result.succeeded {
        try await attempt("/bin/sh", "-c", "mkdir -p \"${0%/*}\" && : > \"$0\"", mark.string)
      } else {
        reporter.warning("\(parameter.name) ended with status \(result.status)")
      }
    }
  }

  /// Loads what `ocs_preload` names, where that is allowed.
  /// - Returns: the plan of the command line that was loaded, if one was.
  private func preload(_ plan: JobPlan, _ commandLine: KernelCommandLine) async throws -> JobPlan? {
    let parameters = plan.clonezilla.preload
    guard !parameters.commands.isEmpty else { return nil }
    guard plan.allowsPreload else {
      throw JobError.preloadNotAllowed(parameters: parameters.commands.map(\.name))
    }
    let preload = Preload(places: places)
    for parameter in parameters.commands {
      reporter.note(parameters.isShown ? "\(parameter.name): \(parameter.value ?? "")" : parameter.name)
      let value = parameter.value ?? ""
      if !value.hasPrefix("file://") { try await bringUpNetwork() }
      for command in try preload.commands(for: parameter) {
        let result = try await run(command)
        guard result.succeeded else { throw JobError.preloadFailed(parameter: parameter.name, cause: result.complaint) }
      }
    }
    guard let changed = preload.replacement(for: commandLine) else { return nil }
    reporter.note("the command line was replaced by a loaded one")
    let copy = places.run.appending("cmdline")
    try Places.writeSecret(changed.text + "\n", to: copy)
    try await attempt("mount", "--bind", "-o", "ro", copy.string, places.commandLine.string)
    return try JobPlan(commandLine: changed, places: places)
  }

  // MARK: The job

  /// Mounts the repository and runs the job, as often as the job says.
  private func attemptJob(_ plan: JobPlan, _ context: inout Context) async throws {
    let attempts = 1 + plan.job.onFailure.retries
    while true {
      context.attempt += 1
      do {
        if plan.needsNetwork, plan.repository == nil { try await bringUpNetwork() }
        try await mountRepository(plan, &context)
        try await runJob(plan, context)
        return
      } catch let error as any Failure {
        guard context.attempt < attempts else { throw error }
        reporter.failure(error)
        let pause = min(Duration.seconds(60), .seconds(10 * context.attempt))
        reporter.note("attempt \(context.attempt) of \(attempts) failed; next in \(Quantity.duration(pause))")
        try await unmountRepository(&context)
        try await system.sleep(pause)
      }
    }
  }

  private func runJob(_ plan: JobPlan, _ context: Context) async throws {
    var command: Command
    switch plan.work {
    case .shell: return
    case .reimage:
      command = Command(
        "reimage", plan.job.reimageArguments(image: context.image ?? "", repository: context.repository.string) ?? [])
    case .ocsSr(let words): command = Command("ocs-sr", Array(words.dropFirst()))
    case .line(let line, let shell): command = Command(shell, ["-c", line])
    }
    reporter.note("run: \(command)")
    command.environment = context.environment.merging(plan.clonezilla.extraOptions) { $1 }
    let result = try await run(command)
    guard result.succeeded else {
      throw JobError.jobFailed(command: "\(command)", status: result.status, complaint: result.complaint)
    }
  }

  private func mountRepository(_ plan: JobPlan, _ context: inout Context) async throws {
    guard let location = plan.repository else { return }
    let shown = plan.clonezilla.isRepositoryShown ? "\(location)" : "the repository"
    let mount = RepositoryMount(
      location: location, isForSaving: context.environment["SLIPWAY_ACTION"] == "save", places: places)
    let patience: Patience = location.needsNetwork ? .network : .local
    let deadline = system.now() + patience.limit
    reporter.note("repository: \(shown)")
    if let warning = mount.warning { reporter.warning(warning) }
    try await attempt("mkdir", "-p", places.repository.string)
    var attempts = 0
    while true {
      attempts += 1
      let cause: String
      do {
        if location.needsNetwork { try await bringUpNetwork() }
        guard let complaint = try await firstComplaint(mount.steps()) else { break }
        cause = complaint
      } catch let error as JobError {
        cause = error.reason
      }
      let pause = patience.pause(after: attempts)
      guard system.now() + pause < deadline else {
        throw JobError.repositoryNotMounted(location: shown, attempts: attempts, cause: cause)
      }
      reporter.note("repository: \(cause); again in \(Quantity.duration(pause))")
      try await system.sleep(pause)
    }
    context.isMounted = true
    guard let folder = plan.clonezilla.subdirectory else { return }
    let bind = Command(
      "mount", ["--bind", places.repository.pushing(FilePath(folder)).string, places.repository.string])
    let result = try await run(bind)
    guard result.succeeded else {
      throw JobError.repositoryNotMounted(location: "\(shown), folder \(folder)", attempts: 1, cause: result.complaint)
    }
  }

  /// Runs the steps of a mount.
  /// - Returns: why one that had to succeed didn't.
  private func firstComplaint(_ steps: [RepositoryMount.Step]) async throws -> String? {
    for step in steps {
      let result = try await run(step.command)
      if !result.succeeded, !step.mayFail { return result.complaint }
    }
    return nil
  }

  /// Unmounts all that is mounted on the repository's folder (`ocs_use_subdir` mounts twice).
  private func unmountRepository(_ context: inout Context) async throws {
    guard context.isMounted else { return }
    context.isMounted = false
    let folder = places.repository.string
    let mounts = context.plan.clonezilla.subdirectory == nil ? 1 : 2
    for _ in 0..<mounts where try await !run(Command("timeout", ["60", "umount", folder])).succeeded {
      // A server that is gone keeps its mount busy.
      try await attempt("umount", "-l", folder)
    }
  }

  // MARK: After the job

  /// Runs the hooks of the outcome and keeps the log.
  /// - Returns: the failure, which may be that of a hook after a job that succeeded.
  private func finish(
    _ plan: JobPlan, _ context: inout Context, failure jobFailure: (any Failure)?
  ) async throws -> (any Failure)? {
    var failure = jobFailure
    if failure == nil {
      do {
        try await runHooks(.postrun, context, Self.outcome(nil))
      } catch let error as any Failure {
        failure = error
      }
    }
    if let failure {
      reporter.failure(failure)
      do {
        try await runHooks(.failure, context, Self.outcome(failure))
      } catch let error as any Failure {
        reporter.warning(error.reason)
      }
    }
    try await runNumbered(plan.clonezilla.postrun, context, Self.outcome(failure))
    if plan.hasJob { try await keepLog(repositoryIsMounted: context.isMounted, failed: failure != nil) }
    // A rescue shell keeps the repository.
    let action = failure == nil ? plan.job.onSuccess : plan.job.onFailure.action
    if action != .shell, action != .none { try await unmountRepository(&context) }
    return failure
  }

  private static func status(_ failure: (any Failure)?) -> Int32 {
    if case .jobFailed(_, let status, _)? = failure as? JobError { return status }
    return (failure?.exitCode ?? .success).rawValue
  }

  private static func outcome(_ failure: (any Failure)?) -> [String: String] {
    ["SLIPWAY_OUTCOME": failure == nil ? "success" : "failure", "SLIPWAY_EXIT_CODE": "\(status(failure))"]
  }

  /// Copies the transcript to the repository, and after a failure to the medium too, where they can be written.
  private func keepLog(repositoryIsMounted: Bool, failed: Bool) async throws {
    let facts = facts()
    let name = "slipway-logs/\(facts.mac ?? facts.hostname)-\(facts.date)-\(facts.time).log"
    var folders = repositoryIsMounted ? [places.repository] : []
    if failed { folders.append(places.medium) }
    for folder in folders {
      let copy = Command(
        "timeout", ["60", "install", "-D", "-m", "644", places.log.string, folder.appending(name).string])
      var result = try await system.run(copy) { _ in }
      if failed, !result.succeeded {
        // live-boot mounts a stick read-only; a CD stays so.
        let remounted = try await system.run(Command("timeout", ["60", "mount", "-o", "remount,rw", folder.string])) {
          _ in
        }
        if remounted.succeeded { result = try await system.run(copy) { _ in } }
      }
      if result.succeeded { reporter.note("log: \(folder.appending(name))") }
    }
  }

  private func tell(_ outcome: JobOutcome, job: String, start: Duration) async throws {
    guard outcome.hadJob else { return }
    let elapsed = system.now() - start
    let verdict = Verdict(
      verdict: outcome.succeeded ? .success : .failure, job: job, exitCode: outcome.status, message: outcome.message,
      seconds: (elapsed / .milliseconds(1)).rounded() / 1000)
    reporter.note(
      "verdict: \(outcome.succeeded ? "success" : "FAILURE") after \(Quantity.duration(elapsed)): \(outcome.message)")
    _ = try await verdict.send(to: places.verdictPort, limit: .seconds(5), system: system)
  }

  /// Takes the final action.
  public func perform(_ outcome: JobOutcome) async throws {
    reporter.note("final action: \(outcome.finalAction)")
    switch outcome.finalAction {
    case .poweroff, .reboot:
      // Long enough to read why, short enough for a machine that nobody looks at.
      if !outcome.succeeded { try await system.sleep(.seconds(10)) }
      try await attempt("systemctl", "--no-block", outcome.finalAction == .reboot ? "reboot" : "poweroff")
    case .shell: try await attempt("systemctl", "--no-block", "start", "slipway-shell.service")
    case .none: break
    case .command(let line): try await attempt("/bin/bash", "-c", line)
    }
  }

  // MARK: Programs

  private func facts() -> ImageName.Facts { places.facts(at: system.wallClock()) }

  /// Runs a program with its output in the transcript.
  private func run(_ command: Command) async throws -> ProgramResult {
    var command = command
    command.environment["PATH"] = "/usr/lib/slipway:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return try await system.run(command) { reporter.note($0) }
  }

  /// Runs a program whose failure is worth a warning only.
  private func attempt(_ program: String, _ arguments: String...) async throws {
    let command = Command(program, arguments)
    let result = try await run(command)
    if !result.succeeded { reporter.warning("`\(command)` ended with status \(result.status)") }
  }
}
