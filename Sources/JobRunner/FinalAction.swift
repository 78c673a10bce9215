// SPDX-License-Identifier: GPL-3.0-or-later

/// What the machine does when the job is over.
public enum FinalAction: Sendable, Equatable, CustomStringConvertible {
  case poweroff
  case reboot
  /// A root shell on every console.
  case shell
  /// The system stays up as it is.
  case none
  /// A line for the shell (Clonezilla's `-p CMD` and `ocs_final_action=CMD`).
  case command(String)

  /// The four actions a job file and `slipway.*` parameters may name.
  init?(jobFile name: String) {
    switch name {
    case "poweroff": self = .poweroff
    case "reboot": self = .reboot
    case "shell": self = .shell
    case "none": self = .none
    default: return nil
    }
  }

  /// The words of Clonezilla's `-p` and `ocs_final_action`. Its `choose` opens a menu, ours a shell.
  init(clonezilla name: String) {
    switch name {
    case "poweroff": self = .poweroff
    case "reboot": self = .reboot
    case "", "choose", "prompt", "cmd", "command": self = .shell
    case "true": self = .none
    default: self = .command(name)
    }
  }

  public var description: String {
    switch self {
    case .poweroff: "power off"
    case .reboot: "reboot"
    case .shell: "open a root shell on every console"
    case .none: "stay up"
    case .command(let line): "run `\(line)`"
    }
  }
}
