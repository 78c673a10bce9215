// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import SystemPackage
import TestSupport
import Testing

/// Guests that restore from servers on the host's loopback, which they see as 10.0.2.2.
@Suite(.serialized) struct NetworkTests {
  /// A web server that dies while a disk is being written: the job fails within minutes and says why. Once the server
  /// is back the same medium restores the same disk.
  @Test(.timeLimit(.minutes(30))) func aWebServerThatDiesAndComesBack() async throws {
    let (demo, saved) = (try await Stage.shared.demo(), try await Stage.shared.saved())
    let iso = try await Stage.shared.medium(starting: "web")
    let port = try await Stage.shared.network().web
    try await withScene("web") { folder in
      let target = try await Disk.empty(folder.appending("target.raw"), size: "1536M")
      // Slow enough for the server to be ended in the middle.
      var server = try await WebServer(saved.repository, port: port, rate: "3m", in: folder)
      async let booting = Machine.boot(iso, disks: [target.path], hasNetwork: true, in: folder)
      do {
        // The root file system is being written when there is more than the partitions before it hold.
        try await waitUntil("the guest writes the root file system") { try await target.allocated() > 90 << 20 }
        try await server.kill()
      } catch {
        try await server.kill()
        _ = try await booting
        throw error
      }
      let killed = ContinuousClock.now
      let failed = try await booting
      let waited = ContinuousClock.now - killed
      say("[web] \(Int(waited / .seconds(1))) s from the end of the server to the end of the machine")
      #expect(failed.status == 10, "\(failed.said)")
      #expect(waited < .seconds(300), "a server that is gone ends the job in bounded time")
      #expect(failed.said.contains("/home/partimag/stock/vda4.ext4-ptcl-img"), "the file is named: \(failed.said)")

      server = try await WebServer(saved.repository, port: port, rate: "0", in: folder)
      do {
        let boot = try await Machine.boot(iso, firmware: "uefi", disks: [target.path], hasNetwork: true, in: folder)
        #expect(boot.status == 0, "\(boot.said)")
      } catch {
        try await server.kill()
        throw error
      }
      try await server.kill()
      try await compare(demo.source, target.path)
    }
  }

  /// From an NFS server (version 4) on BIOS, over SSH on UEFI and from an SMB server on BIOS, at the same time.
  @Test(.timeLimit(.minutes(30))) func restoresFromNFSAndSSHAndSMB() async throws {
    let (demo, saved) = (try await Stage.shared.demo(), try await Stage.shared.saved())
    let network = try await Stage.shared.network()
    let media = [
      try await Stage.shared.medium(starting: "nfs"), try await Stage.shared.medium(starting: "ssh"),
      try await Stage.shared.medium(starting: "smb"),
    ]
    try await withScene("nfs-ssh-smb") { folder in
      let server = try await NFSServer(saved.repository, port: network.nfs, in: folder)
      let daemon = try await SSHServer(network, in: folder)
      let samba = try await SMBServer(saved.repository, port: network.smb, in: folder)
      do {
        async let nfs: Void = restore(demo, from: media[0], firmware: "bios", in: folder.appending("nfs"))
        async let ssh: Void = restore(demo, from: media[1], firmware: "uefi", in: folder.appending("ssh"))
        async let smb: Void = restore(demo, from: media[2], firmware: "bios", in: folder.appending("smb"))
        try await nfs
        try await ssh
        try await smb
      } catch {
        try await server.stop()
        try await daemon.stop()
        try await samba.stop()
        throw error
      }
      try await server.stop()
      try await daemon.stop()
      try await samba.stop()
    }
  }

  private func restore(_ demo: Stage.Demo, from medium: FilePath, firmware: String, in folder: FilePath) async throws {
    try await tool("mkdir", folder.string)
    let target = try await Disk.empty(folder.appending("target.raw"), size: "1536M")
    let boot = try await Machine.boot(
      medium, firmware: firmware, disks: [target.path], hasNetwork: true, in: folder)
    #expect(boot.status == 0, "\(boot.said)")
    if firmware == "uefi" {
      // The firmware that had never seen the disk has the entry of the machine that was saved, for this disk.
      let partition = try await tool("sfdisk", "--part-uuid", demo.source.string, "2").trimmed.lowercased()
      let entry = boot.console.split(whereSeparator: \.isNewline).first {
        $0.contains("stock system") && $0.contains("HD(2,GPT")
      }
      #expect(entry?.lowercased().contains(partition) == true, "\(entry ?? "no entry") is not for \(partition)")
    }
    // An error here would end the machine beside this one.
    if boot.status == 0 { try await compare(demo.source, target.path) }
  }

  private func waitUntil(_ what: String, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(600)
    while try await !condition() {
      try #require(ContinuousClock.now < deadline, "waited in vain until \(what)")
      try await Task.sleep(for: .milliseconds(250))
    }
  }
}

/// An nginx that hands out a folder as `/images`, listed.
private struct WebServer {
  private let configuration: FilePath
  private let pid: FilePath

  /// - Parameter rate: bytes a second for each connection as nginx takes it; `0` for as fast as it goes.
  init(_ images: FilePath, port: Int, rate: String, in folder: FilePath) async throws {
    configuration = folder.appending("nginx.conf")
    pid = folder.appending("nginx.pid")
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map { "\($0)_temp_path \(folder)/\($0);" }
    try configuration.write(
      Array(
        """
        pid \(pid); error_log \(folder)/nginx.log; user root; worker_processes 1;
        events {}
        http { access_log off; \(temporary.joined(separator: " "))
          server {
            listen 127.0.0.1:\(port); autoindex on; limit_rate \(rate);
            location /images/ { alias \(images)/; }
          } }
        """.utf8))
    try await tool("nginx", "-c", configuration.string)
  }

  /// Ends it without a word to its clients.
  func kill() async throws {
    try await shell(
      """
      [ -e '\(pid)' ] || exit 0
      master=$(cat '\(pid)')
      workers=$(ps -o pid= --ppid "$master")
      kill -9 "$master" $workers
      rm '\(pid)'
      """)
  }
}

/// nfs-ganesha, which needs no NFS server in the kernel; a folder as `/images`, read-only.
private struct NFSServer {
  private let pid: FilePath

  init(_ images: FilePath, port: Int, in folder: FilePath) async throws {
    pid = folder.appending("ganesha.pid")
    let configuration = folder.appending("ganesha.conf")
    try configuration.write(
      Array(
        """
        NFS_CORE_PARAM {
          Protocols = 4; NFS_Port = \(port); Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false;
        }
        # No 4.2: nfs-ganesha 4.3 answers READ_PLUS of newer kernels with zeros.
        NFSv4 { RecoveryBackend = fs; RecoveryRoot = "\(folder)"; Graceless = true; Minor_Versions = 0, 1; }
        EXPORT {
          Export_Id = 1; Path = "\(images)"; Pseudo = "/images"; Access_Type = RO; Protocols = 4;
          Squash = No_Root_Squash; SecType = sys; FSAL { Name = VFS; }
        }
        """.utf8))
    try await tool("ganesha.nfsd", "-f", configuration.string, "-L", "\(folder)/ganesha.log", "-p", pid.string)
    try await waitForPort(port)
  }

  func stop() async throws { try await shell("kill \"$(cat '\(pid)')\"") }
}

/// An sshd that lets the guests' key in.
private struct SSHServer {
  private let pid: FilePath

  init(_ network: Stage.Network, in folder: FilePath) async throws {
    pid = folder.appending("sshd.pid")
    let configuration = folder.appending("sshd_config")
    try configuration.write(
      Array(
        """
        ListenAddress 127.0.0.1:\(network.ssh)
        HostKey \(network.keys)/host_key
        PidFile \(pid)
        AuthorizedKeysFile \(network.keys)/authorized_keys
        PermitRootLogin yes
        PasswordAuthentication no
        StrictModes no
        UsePAM no
        Subsystem sftp internal-sftp

        """.utf8))
    try await shell("mkdir -p -m 755 /run/sshd && /usr/sbin/sshd -f '\(configuration)' -E '\(folder)/sshd.log'")
    try await waitForPort(network.ssh)
  }

  func stop() async throws { try await shell("kill \"$(cat '\(pid)')\"") }
}

/// A smbd with one user; a folder as share `images`, read-only.
private struct SMBServer {
  private let pid: FilePath

  init(_ images: FilePath, port: Int, in folder: FilePath) async throws {
    let state = folder.appending("samba")
    pid = state.appending("smbd.pid")
    let configuration = folder.appending("smb.conf")
    let folders = [
      "private dir", "lock directory", "state directory", "cache directory", "pid directory", "ncalrpc dir",
    ]
    try configuration.write(
      Array(
        """
        [global]
        server role = standalone server
        smb ports = \(port)
        interfaces = 127.0.0.1
        bind interfaces only = yes
        \(folders.map { "\($0) = \(state)" }.joined(separator: "\n"))
        log file = \(folder)/smbd.log
        load printers = no
        [images]
        path = \(images)
        read only = yes

        """.utf8))
    try await shell(
      """
      mkdir -p -m 755 '\(state)'
      printf 'pass word\npass word\n' | smbpasswd -c '\(configuration)' -s -a root
      smbd -D -s '\(configuration)'
      """)
    try await waitForPort(port)
  }

  func stop() async throws { try await shell("kill \"$(cat '\(pid)')\"") }
}

private func waitForPort(_ port: Int) async throws {
  try await shell(
    """
    for _ in {1..100}; do
      if (exec 3<> /dev/tcp/127.0.0.1/\(port)) 2> /dev/null; then exit; fi
      sleep 0.2
    done
    echo "nothing listens on port \(port)" >&2
    exit 1
    """)
}

extension Disk {
  /// Bytes of the file that are on the host's disk.
  fileprivate func allocated() async throws -> Int {
    Int(try await tool("stat", "-c", "%b", path.string).trimmed).map { $0 * 512 } ?? 0
  }
}
