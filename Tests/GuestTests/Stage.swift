// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import SystemPackage
import TestSupport
import Testing

/// What several tests need, made once, by the first that asks for it.
///
/// All of it lies in `out/guest-tests`, which is emptied at the start. With `SLIPWAY_STAGE` another folder is taken and
/// nothing is emptied: what an earlier run finished there is used again, for working on a test.
actor Stage {
  static let shared = Stage()

  /// The top of the package, through the links a scratch package may have.
  static let package = FilePath(
    URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().path)
  static func program(_ name: String) -> String { package.appending(".build/release").appending(name).string }

  private var folder: FilePath?
  private var tasks: [String: Task<Void, any Error>] = [:]

  /// The folder of everything; root only, for the disks are mounted.
  func place(_ name: String) throws -> FilePath {
    if let folder { return folder.appending(name) }
    try #require(isRoot, "guest tests mount disks and need root: make test-guest")
    let kept = ProcessInfo.processInfo.environment["SLIPWAY_STAGE"]
    let folder = kept.map { FilePath($0) } ?? Self.package.appending("out/guest-tests")
    if kept == nil, FileManager.default.fileExists(atPath: folder.string) {
      try FileManager.default.removeItem(atPath: folder.string)
    }
    try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
    self.folder = folder
    return folder.appending(name)
  }

  /// Runs `make` for a part of the stage once, whoever asks; a part that could not be made fails all who need it.
  private func once(_ name: String, _ make: @escaping @Sendable (FilePath) async throws -> Void) async throws
    -> FilePath
  {
    let place = try place(name)
    if let task = tasks[name] {
      try await task.value
      return place
    }
    let task = Task {
      let finished = place.appending(".finished")
      if FileManager.default.fileExists(atPath: finished.string) { return }
      try await tool("rm", "-rf", place.string)
      try FileManager.default.createDirectory(atPath: place.string, withIntermediateDirectories: false)
      try await make(place)
      try finished.write([])
    }
    tasks[name] = task
    try await task.value
    return place
  }

  // MARK: The demo

  struct Demo {
    /// A disk with a stock Debian: mmdebstrap, GRUB.
    let source: FilePath
    /// The ISO that restores it from itself to the only disk.
    let iso: FilePath
    let restored: [FilePath]
    let log: FilePath
  }

  /// Runs the demo; it must end well.
  func demo() async throws -> Demo {
    let folder = try await once("demo") { folder in
      let end = try await narrated(
        "demo", "/bin/bash",
        [
          "-o", "pipefail", "-c",
          """
          '\(Self.package)/Demo/demo.sh' '\(folder)' 2>&1 | tee '\(folder)/log' | while IFS= read -r line; do
            # What guests say on their consoles is in the log.
            case $line in
              '== Boot'*) console=1 ;;
              '== '*) console= ;;
              'job '* | failed*) ;;
              *) [ -z "$console" ] || continue ;;
            esac
            echo "$line" >&2
          done
          """,
        ],
        output: folder.appending("nothing"), log: folder.appending("log"))
      try #require(end.status == 0, "the demo failed:\n\(end.said.suffix(3000))")
    }
    return Demo(
      source: folder.appending("source.raw"), iso: folder.appending("demo-restore.iso"),
      restored: [folder.appending("restored-bios.raw"), folder.appending("restored-uefi.raw")],
      log: folder.appending("log"))
  }

  // MARK: Media

  /// The medium whose menu starts one of the jobs of ``guestRecipe`` by itself.
  func medium(starting job: String) async throws -> FilePath {
    let name = "guest-\(job)"
    let network = try await network()
    let images = try place("saved").appending("files")
    return try await once(name) { folder in
      let recipe = folder.appending("\(name).yaml")
      try recipe.write(Array(guestRecipe(name: name, starting: job, network: network, images: images).utf8))
      let end = try await narrated(
        "build \(name)", Self.program("slipway"), ["build", recipe.string, "-o", folder.string],
        output: folder.appending("result"))
      try #require(end.status == 0, "building \(recipe) failed:\n\(end.said)")
    }.appending("\(name).iso")
  }

  struct Network {
    /// Ports of the host's loopback, which a guest reaches at 10.0.2.2.
    let web: Int
    let nfs: Int
    let ssh: Int
    let smb: Int
    /// Has `host_key`, `authorized_keys` and `overlay`, with the guest's side of both.
    let keys: FilePath
  }

  /// Where guests look for servers. It is settled before there is a medium, for the medium knows it.
  func network() async throws -> Network {
    let folder = try await once("network") { folder in
      try await shell(
        """
        cd '\(folder)'
        python3 > ports <<'END'
        import socket
        sockets = [socket.socket() for _ in range(4)]
        for s in sockets: s.bind(('127.0.0.1', 0))
        print(*[s.getsockname()[1] for s in sockets])
        END
        read -r web nfs ssh smb < ports
        mkdir -p overlay/etc/slipway/ssh
        ssh-keygen -q -t ed25519 -N '' -f host_key
        ssh-keygen -q -t ed25519 -N '' -f overlay/etc/slipway/ssh/id_ed25519
        mv overlay/etc/slipway/ssh/id_ed25519.pub authorized_keys
        # The firmware of the saved machine knows its disk; what that of a restored one knows is shown.
        cat > before <<'END'
        #!/bin/sh
        [ "$SLIPWAY_ACTION" = save ] && [ -d /sys/firmware/efi ] || exit 0
        efibootmgr -q -c -d /dev/vda -p 2 -L 'stock system' -l '\\EFI\\BOOT\\BOOTX64.EFI'
        END
        cat > after <<'END'
        #!/bin/sh
        [ ! -d /sys/firmware/efi ] || efibootmgr -v
        END
        chmod 755 before after
        echo "[10.0.2.2]:$ssh $(cut -d' ' -f1,2 host_key.pub)" > overlay/etc/slipway/ssh/known_hosts
        """)
    }
    let text = String(decoding: try folder.appending("ports").contents(), as: UTF8.self)
    let ports = text.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
    try #require(ports.count == 4, "four ports")
    return Network(web: ports[0], nfs: ports[1], ssh: ports[2], smb: ports[3], keys: folder)
  }

  // MARK: An image that a guest saved

  struct Saved {
    /// The folder with the image directory `stock`.
    let repository: FilePath
    /// The disk it was saved to: one partition, ext4, label `images`.
    let repositoryDisk: FilePath
    let boot: Machine.Boot
    /// SHA-256 of the source disk before and after.
    let sums: [String]
  }

  /// Boots the save job beside a copy of the demo's source disk and a repository disk.
  func saved() async throws -> Saved {
    let folder = try await once("saved") { folder in
      let (demo, iso) = (try await self.demo(), try await self.medium(starting: "save"))
      let source = try await Disk.copy(of: demo.source, to: folder.appending("source.raw"))
      let disk = try await Disk.repository(folder.appending("repository.raw"))
      try folder.appending("sum.before").write(Array(try await source.sum().utf8))
      let boot = try await Machine.boot(
        iso, firmware: "uefi", attach: "usb", disks: [source.path, disk.path], in: folder)
      try folder.appending("sum.after").write(Array(try await source.sum().utf8))
      try #require(boot.status == 0, "the save failed:\n\(boot.said)")
      try await disk.copyFiles(ofPartition: 0, to: folder.appending("files"))
      try await tool("rm", source.path.string)
    }
    return Saved(
      repository: folder.appending("files"), repositoryDisk: folder.appending("repository.raw"),
      boot: try Machine.Boot(in: folder),
      sums: try ["sum.before", "sum.after"].map {
        String(decoding: try folder.appending($0).contents(), as: UTF8.self)
      })
  }

  // MARK: The real Clonezilla

  /// A copy of the tools beside the golden images, and the guest with Debian's clonezilla package they make.
  func realClonezilla() async throws -> FilePath {
    let tools = Self.package.appending("../shared/golden/tools")
    return try await once("clonezilla") { folder in
      let end = try await narrated(
        "make the guest with the real Clonezilla", "/bin/bash",
        [
          "-ec",
          """
          cp -r '\(tools)' '\(folder)/tools'
          chmod -R u+w '\(folder)/tools'
          exec '\(folder)/tools/make-guest.sh' '\(folder)/guest'
          """,
        ], output: folder.appending("log"))
      try #require(end.status == 0, "\(end.said)")
    }
  }
}

/// The jobs that guests are booted for. All media have all of them, and so one base layer.
private func guestRecipe(
  name: String, starting job: String, network: Stage.Network, images: FilePath
) -> String {
  """
  name: \(name)
  menu:
    title: Guest tests
    timeout: 1
    default: \(job)
    # An emulated processor has better things to do than to be safe from what nobody runs on it.
    arguments: [mitigations=off]
  compression: { level: 1 }
  overlays: ["\(network.keys)/overlay"]
  hooks: { prerun: ["\(network.keys)/before"], postrun: ["\(network.keys)/after"] }
  jobs:
    - name: save
      action: save
      image: stock
      repository: label=images
      source: serial:slipway-0
      compression: { algorithm: zstd, level: 1 }
      split: 64MB
    - name: line-save
      action: clonezilla
      arguments:
        - ocs_live_run="ocs-sr -q2 -c -j2 -z1p -i 100 -sfsck -scs -senc -batch -p poweroff savedisk line vda"
        - &batch ocs_live_batch=yes
        - &images ocs_repository="dev:///LABEL=images"
        - &keyboard keyboard-layouts=NONE
    - name: line-restore
      action: clonezilla
      arguments:
        - ocs_live_run=ocs-live-restore
        - ocs_live_extra_param="-e1 auto -e2 -r -j2 -c -scr -batch -p poweroff restoredisk stock vda"
        - *batch
        - *images
        - *keyboard
    - name: panic
      action: shell
      arguments: [init=/nonexistent, rdinit=/nonexistent]
    - name: secure
      action: command
      command: dmesg | grep "Secure boot enabled"
    - name: web
      action: restore
      image: stock
      repository: http://10.0.2.2:\(network.web)/images
      verify: false
    - name: nfs
      action: restore
      image: stock
      repository: nfs4://10.0.2.2:\(network.nfs)/images
    - name: smb
      action: restore
      image: stock
      repository: smb://root:pass%20word@10.0.2.2:\(network.smb)/images
    - name: ssh
      action: restore
      image: stock
      repository: ssh://root@10.0.2.2:\(network.ssh)\(images)
  """
}
