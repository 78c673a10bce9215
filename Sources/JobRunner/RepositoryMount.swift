// SPDX-License-Identifier: GPL-3.0-or-later

package import Commands
import SystemPackage

/// How a repository is mounted: the commands, and what they need beside them.
package struct RepositoryMount: Sendable {
  package let location: RepositoryLocation
  /// Whether the job writes images.
  let isForSaving: Bool
  let places: Places

  package init(location: RepositoryLocation, isForSaving: Bool, places: Places) {
    self.location = location
    self.isForSaving = isForSaving
    self.places = places
  }

  /// One command of several.
  package struct Step: Sendable {
    package let command: Command
    /// Whether the rest is worth trying when it fails.
    package var mayFail = false
  }

  /// Writes the secrets that the commands read, in memory and for root only, and returns the commands.
  ///
  /// Secrets come from the overlay with whatever mode they had there; ssh refuses a key that others may read.
  package func steps() throws -> [Step] {
    let folder = places.repository.string
    switch location {
    case .medium(let subfolder):
      let source = places.medium.pushing(FilePath(subfolder)).string
      // live-boot mounts the medium read-only; a stick can be written, a CD says no and the save fails clearly.
      let remount = Step(command: Command("mount", ["-o", "remount,rw", places.medium.string]), mayFail: true)
      return (isForSaving ? [remount] : []) + [Step(command: Command("mount", ["--bind", source, folder]))]
    case .device(let device):
      return [mount(["-o", isForSaving ? "noatime" : "ro", device, folder])]
    case .memory:
      return [mount(["-t", "tmpfs", "-o", "mode=0700", "ram", folder])]
    case .nfs(let version, let host, let path):
      // No lock daemon is needed for one writer of an image. `soft`: a server that went away is an error, not a hang.
      var options = version == .v3 ? "nfsvers=3,nolock" : "nfsvers=4"
      options += ",soft,timeo=300,retrans=3,noatime"
      if let port = host.port { options += ",port=\(port)" }
      return [mount(["-t", "nfs", "-o", options, "\(host.bracketed):\(path)", folder])]
    case .smb(let dialect, let credentials, let host, let share):
      var options = "soft"
      if let file = try smbCredentials(credentials) { options += ",credentials=\(file)" } else { options += ",guest" }
      if let dialect { options += ",vers=\(dialect)" }
      if let port = host.port { options += ",port=\(port)" }
      return [mount(["-t", "cifs", "-o", options, "//\(host.name)/\(share)", folder])]
    case .ssh(let user, let host, let path):
      return [Step(command: try sshfs(user: user, host: host, path: path))]
    case .web(let address, _):
      let options = [
        "--http-url", "\(address)/", "--config", "/dev/null", "--read-only", "--daemon", "--contimeout", "15s",
        "--timeout", "60s", "--low-level-retries", "10", "--vfs-read-chunk-size", "64M", "--buffer-size", "16M",
        "--dir-cache-time", "1h", "--log-level", "NOTICE",
      ]
      // rclone mounts an address that isn't there, and shows it as an empty folder.
      let check = """
        [ -n "$(ls -A "$0")" ] && exit
        umount -l "$0"
        echo "error: the server lists nothing there"
        exit 1
        """
      return [
        Step(command: Self.limited("rclone", ["mount", ":http:", folder] + options)),
        Step(command: Self.limited("/bin/sh", ["-c", check, folder])),
      ]
    }
  }

  private func mount(_ arguments: [String]) -> Step { Step(command: Self.limited("mount", arguments)) }

  /// A command that is ended when a server doesn't answer.
  private static func limited(_ program: String, _ arguments: [String]) -> Command {
    Command("timeout", ["--kill-after=10", "90", program] + arguments)
  }

  private func smbCredentials(_ credentials: RepositoryLocation.Credentials?) throws -> FilePath? {
    let file = places.run.appending("smb-credentials")
    if let credentials {
      var text = "username=\(credentials.user)\npassword=\(credentials.password ?? "")\n"
      if let domain = credentials.domain { text += "domain=\(domain)\n" }
      try Places.writeSecret(text, to: file)
      return file
    }
    guard let text = try? Places.text(of: places.smbCredentials) else { return nil }
    try Places.writeSecret(text, to: file)
    return file
  }

  private func sshfs(user: String, host: RepositoryLocation.Host, path: String) throws -> Command {
    let names = Places.names(in: places.ssh)
    var options = [
      "reconnect", "ServerAliveInterval=15", "ServerAliveCountMax=3", "ConnectTimeout=20",
      "NumberOfPasswordPrompts=1",
    ]
    // The server must be known when the live system knows any; else the first answer is taken and the log says so.
    if names.contains("known_hosts") {
      options += ["StrictHostKeyChecking=yes", "UserKnownHostsFile=\(places.ssh.appending("known_hosts"))"]
    } else {
      options += ["StrictHostKeyChecking=accept-new", "UserKnownHostsFile=\(places.run.appending("known_hosts"))"]
    }
    for name in names where name.hasPrefix("id_") && !name.hasSuffix(".pub") {
      let key = places.run.appending("ssh-\(name)")
      try Places.writeSecret(try Places.text(of: places.ssh.appending(name)), to: key)
      options.append("IdentityFile=\(key)")
    }
    // sshfs drops what ssh says, which is where the reason is.
    let log = places.run.appending("ssh.log").string
    options.append("ssh_command=ssh -E \(log)")
    var input = FilePath("/dev/null")
    if names.contains("password") {
      input = places.ssh.appending("password")
      options.append("password_stdin")
    } else {
      options.append("BatchMode=yes")
    }
    var arguments = ["\(user)@\(host.bracketed):\(path)", places.repository.string]
    if let port = host.port { arguments += ["-p", "\(port)"] }
    arguments += options.flatMap { ["-o", $0] }
    let script = """
      input=$1 log=$2
      shift 2
      : > "$log"
      sshfs "$@" < "$input" && exit
      cat "$log"
      exit 1
      """
    return Self.limited("/bin/sh", ["-c", script, "sh", input.string, log] + arguments)
  }

  /// What the person should know about trusting this repository.
  var warning: String? {
    guard case .ssh(_, let host, _) = location, !Places.names(in: places.ssh).contains("known_hosts") else {
      return nil
    }
    return "\(places.ssh)/known_hosts is missing: the key that \(host.name) shows first is trusted"
  }
}

/// How long a repository is waited for.
struct Patience: Sendable {
  /// From the first attempt; a running attempt is not cut short.
  var limit: Duration
  var longestPause: Duration = .seconds(30)

  /// A server or its network may still be starting.
  static let network = Patience(limit: .seconds(300))
  /// A disk shows up within seconds.
  static let local = Patience(limit: .seconds(60))

  /// The pause after the attempt with this number (from 1): 1, 2, 4 … seconds.
  func pause(after attempt: Int) -> Duration { min(longestPause, .seconds(1 << min(attempt - 1, 10))) }
}
