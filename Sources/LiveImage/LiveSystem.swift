// LiveImage: the build pipeline: a recipe becomes a plan, the plan becomes an ISO.
// SPDX-License-Identifier: GPL-3.0-or-later

import Recipe
import SystemPackage

/// What the live system is made of, besides what a recipe adds.
enum LiveSystem {
  /// Boots, finds the medium, has a network and a console.
  private static let basePackages = [
    "live-boot", "systemd-sysv", "udev", "kmod", "dbus", "iproute2", "systemd-resolved", "ca-certificates", "less",
  ]
  /// Libraries of `reimage` and the programs that it runs, and those an administrator expects beside it.
  private static let imagingPackages = [
    "libbz2-1.0", "libdeflate0", "liblz4-1", "liblzma5", "liblzo2-2", "libzstd1", "zlib1g", "e2fsprogs", "dosfstools",
    "fatresize", "xfsprogs", "btrfs-progs", "ntfs-3g",
    "efibootmgr", "fdisk", "gdisk", "parted", "zstd", "mount", "util-linux",
  ]

  /// Packages that a kind of repository is mounted with.
  private static func packages(for scheme: Repository.Scheme) -> [String] {
    switch scheme {
    case .medium, .dev: []
    case .nfs, .nfs4: ["nfs-common"]
    case .smb: ["cifs-utils"]
    case .ssh: ["sshfs", "openssh-client"]
    case .http, .https: ["rclone", "fuse3"]
    }
  }

  /// What a system without time zone data has anyway.
  private static func isUniversalTime(_ timezone: String) -> Bool { ["UTC", "Etc/UTC"].contains(timezone) }

  static func packages(for recipe: Recipe) -> [String] {
    var names = [recipe.debian.kernel] + basePackages + imagingPackages
    names += recipe.repositorySchemes.sorted { $0.rawValue < $1.rawValue }.flatMap(packages(for:))
    if recipe.system.locale != "C.UTF-8" { names.append("locales") }
    if !isUniversalTime(recipe.system.timezone) { names.append("tzdata") }
    if recipe.system.keyboard.layout != "us" || recipe.system.keyboard.variant != nil {
      names += ["console-setup", "keyboard-configuration"]
    }
    names += recipe.debian.packages
    var seen: Set<String> = []
    return names.filter { seen.insert($0).inserted }
  }

  /// Small files that carry the recipe's settings, by their path in the root.
  static func settings(for recipe: Recipe) -> [(path: FilePath, contents: String)] {
    let keyboard = recipe.system.keyboard
    return [
      ("etc/hostname", "\(recipe.system.hostname)\n"),
      (
        "etc/hosts",
        "127.0.0.1 localhost\n127.0.1.1 \(recipe.system.hostname)\n::1 localhost ip6-localhost ip6-loopback\n"
      ),
      ("etc/locale.conf", "LANG=\(recipe.system.locale)\n"),
      ("etc/default/locale", "LANG=\(recipe.system.locale)\n"),
      ("etc/timezone", "\(recipe.system.timezone)\n"),
      (
        "etc/default/keyboard",
        "XKBMODEL=pc105\nXKBLAYOUT=\(keyboard.layout)\nXKBVARIANT=\(keyboard.variant ?? "")\nXKBOPTIONS=\nBACKSPACE=guess\n"
      ),
      // Empty: systemd makes one up at each boot, and doesn't take it for the first boot of an installation.
      ("etc/machine-id", ""),
      ("etc/slipway/policy.json", "{\"allowPreload\":\(recipe.allowPreload)}\n"),
      ("etc/slipway/recipe", "\(recipe.name)\n"),
    ].map { (FilePath($0.0), $0.1) }
  }

  /// Symbolic links of the live system, by their path in the root.
  static func links(for recipe: Recipe) -> [(path: FilePath, target: String)] {
    var links = [
      ("etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
      ("etc/systemd/system/default.target", "/usr/lib/systemd/system/multi-user.target"),
      ("etc/systemd/system/multi-user.target.wants/slipway-job.service", "/etc/systemd/system/slipway-job.service"),
      // A machine that is about to be overwritten needs no clean-up jobs beside its own.
      ("etc/systemd/system/apt-daily.timer", "/dev/null"),
      ("etc/systemd/system/apt-daily-upgrade.timer", "/dev/null"),
      ("etc/systemd/system/dpkg-db-backup.timer", "/dev/null"),
      ("etc/systemd/system/e2scrub_all.timer", "/dev/null"),
      ("etc/systemd/system/fstrim.timer", "/dev/null"),
      // Network only when the job asks for it.
      ("etc/systemd/system/systemd-networkd-wait-online.service", "/dev/null"),
      ("usr/sbin/ocs-sr", "../bin/reimage"),
    ]
    if !isUniversalTime(recipe.system.timezone) {
      links.append(("etc/localtime", "/usr/share/zoneinfo/\(recipe.system.timezone)"))
    }
    return links.map { (FilePath($0.0), $0.1) }
  }

  /// Kernel arguments of every menu entry.
  ///
  /// `panic=30` restarts a machine whose kernel or initial RAM disk gives up, so that none waits at a prompt.
  static func kernelArguments(for recipe: Recipe) -> [String] {
    ["boot=live", "noeject", "nofastboot", "panic=30", "quiet", "loglevel=4"] + recipe.menu.arguments
  }
}
