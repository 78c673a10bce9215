// SPDX-License-Identifier: GPL-3.0-or-later

/// Clonezilla's `ocs_*` parameters, with the meaning that its ocs-live scripts give them.
package struct ClonezillaParameters: Sendable, Equatable {
  /// Commands given by a numbered parameter, and whether their text may be shown (`echo_NAME=no` hides a password).
  package struct Numbered: Sendable, Equatable {
    package var commands: [KernelCommandLine.Parameter] = []
    package var isShown = true

    fileprivate init(_ name: String, in line: KernelCommandLine) {
      commands = line.numbered(name)
      isShown = line.clonezilla("echo_\(name)") != "no"
    }
  }

  package var prerun: Numbered
  package var preload: Numbered
  package var postrun: Numbered
  /// `ocs_live_run`, with `ocs-live-restore` replaced by the `ocs-sr` line it stands for.
  package var run: String?
  /// Whether `run` only opened Clonezilla's menus or a shell.
  package var isInteractive: Bool
  package var repository: String?
  package var isRepositoryShown: Bool
  package var subdirectory: String?
  package var daemonsOn: [String]
  package var daemonsOff: [String]
  /// Console level of kernel messages, 1 to 8.
  package var kernelMessages: Int?
  package var syncsTime: Bool
  /// `ocs_sr_save_extra_opt` and `ocs_sr_restore_extra_opt`: `ocs-sr` finds them in its environment.
  package var extraOptions: [String: String]
  /// What ends the job: `-p` of an `ocs-sr` line, else `ocs_final_action`.
  package var finalAction: FinalAction
  /// Whether someone is meant to sit at the machine.
  package var isAttended: Bool

  package init(_ line: KernelCommandLine) {
    prerun = Numbered("ocs_prerun", in: line)
    preload = Numbered("ocs_preload", in: line)
    postrun = Numbered("ocs_postrun", in: line)
    repository = line.clonezilla("ocs_repository")
    isRepositoryShown = line.clonezilla("echo_ocs_repository") != "no"
    subdirectory = line.clonezilla("ocs_use_subdir")
    daemonsOn = Self.list(line.clonezilla("ocs_daemonon"))
    daemonsOff = Self.list(line.clonezilla("ocs_daemonoff"))
    kernelMessages = line.clonezilla("ocs_dmesg_n").flatMap(Int.init).flatMap { (1...8).contains($0) ? $0 : nil }
    syncsTime = line.clonezilla("ocs_time_sync") == "yes"

    extraOptions = [:]
    for name in ["ocs_sr_save_extra_opt", "ocs_sr_restore_extra_opt"] { extraOptions[name] = line.clonezilla(name) }

    run = line.clonezilla("ocs_live_run")
    if run == "ocs-live-restore" {
      run = "ocs-sr \(line.clonezilla("ocs_live_extra_param") ?? "")"
      // A recovery medium of Clonezilla has its image there.
      if repository == nil { repository = "medium:/home/partimag" }
    }
    let program = run.flatMap { ShellWords($0)?.all.first }
    isInteractive = program.map { Self.interactivePrograms.contains($0) } ?? true
    let invocation = run.flatMap(OcsSr.init(line:))
    let isBatch = line.clonezilla("ocs_live_batch") == "yes" || line.clonezilla("ocs_batch_mode") == "on"
    isAttended = isInteractive || !(isBatch || invocation?.isBatch == true)

    var action = invocation?.postaction ?? line.clonezilla("ocs_final_action") ?? ""
    // `poweroff-on-savedisk`: the action for one type of job, whatever its line says.
    if let overwrite = line.clonezilla("ocs_overwrite_postaction"), let type = invocation?.type,
      overwrite.hasSuffix("-on-\(type)")
    {
      action = String(overwrite.dropLast("-on-\(type)".count))
    }
    finalAction = FinalAction(clonezilla: action)
  }

  private static let interactivePrograms: Set = [
    "ocs-live-general", "ocs-live-save", "clonezilla", "ocs-live", "ocs-live-run-menu", "bash", "sh", "/bin/bash",
    "/bin/sh", "drbl-live",
  ]

  private static func list(_ value: String?) -> [String] {
    value?.split(whereSeparator: \.isWhitespace).map(String.init) ?? []
  }
}

/// What an `ocs-sr` line says to the rest of the job.
package struct OcsSr: Sendable, Equatable {
  /// All words, the first being `ocs-sr`.
  package let words: [String]
  /// savedisk, saveparts, restoredisk, restoreparts, 1-2-mdisks, chk-img-restorable.
  package let type: String?
  package let image: String?
  package let devices: [String]
  /// The value of `-p`.
  package let postaction: String?
  /// `-b` or `-batch`: nobody is asked.
  package let isBatch: Bool

  /// Finds `ocs-sr` in a line for the shell; nil when it isn't there.
  package init?(line: String) {
    guard let words = ShellWords(line)?.all,
      let start = words.firstIndex(where: { $0 == "ocs-sr" || $0.hasSuffix("/ocs-sr") })
    else { return nil }
    let end = words[start...].firstIndex { [";", "|", "&", "<", ">", "(", ")"].contains($0) } ?? words.endIndex
    self.init(words: Array(words[start..<end]))
  }

  init(words: [String]) {
    self.words = words
    let typeIndex = words.firstIndex { Self.types.contains($0) }
    type = typeIndex.map { words[$0] }
    let rest = typeIndex.map { words[($0 + 1)...] } ?? []
    image = rest.first
    devices = Array(rest.dropFirst())
    postaction = words.lastIndex { $0 == "-p" || $0 == "--postaction" }.flatMap { index in
      index + 1 < words.count ? words[index + 1] : nil
    }
    isBatch = words.contains { ["-b", "-batch", "--batch"].contains($0) }
  }

  private static let types: Set = [
    "savedisk", "saveparts", "restoredisk", "restoreparts", "1-2-mdisks", "chk-img-restorable",
  ]
}
