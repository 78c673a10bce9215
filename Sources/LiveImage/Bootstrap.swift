// SPDX-License-Identifier: GPL-3.0-or-later

package import Commands
import Glibc
package import SystemPackage

/// What mmdebstrap is asked for, and what its messages mean.
package struct Bootstrap: Sendable, Equatable {
  package var suite: String
  /// Nil for mmdebstrap's own default.
  package var mirror: String?
  package var components: [String]
  package var packages: [String]
  /// A locale to generate besides C.UTF-8, such as `de_DE.UTF-8`.
  package var locale: String?
  /// Executables run in the new root, in this order.
  package var buildHooks: [FilePath]
  /// Seconds since 1970 that nothing in the result is newer than.
  package var modificationTime: UInt32

  package init(
    suite: String, mirror: String?, components: [String], packages: [String], locale: String?, buildHooks: [FilePath],
    modificationTime: UInt32
  ) {
    self.suite = suite
    self.mirror = mirror
    self.components = components
    self.packages = packages
    self.locale = locale
    self.buildHooks = buildHooks
    self.modificationTime = modificationTime
  }

  /// Where the boot files lie in the tar stream; they are taken out of it.
  static let bootFolder = "slipway-boot"
  /// Debian packages whose files start the medium. They are unpacked, not installed: the live system doesn't need them.
  static let bootPackages = [
    "isolinux", "syslinux-common", "shim-signed", "shim-helpers-amd64-signed", "grub-efi-amd64-signed",
  ]

  package enum Mode: String, Sendable {
    case root
    case unshare
  }

  /// Root makes the system as root; anybody else needs user namespaces.
  static var mode: Mode { geteuid() == 0 ? .root : .unshare }

  /// The command that writes the system to its standard output as a tar.
  ///
  /// As root it has mounts of its own, which go when the last of its processes does, however that ends; in unshare
  /// mode mmdebstrap sees to that.
  /// - Parameter scratch: where mmdebstrap unpacks; every user must be able to enter it.
  package func command(mode: Mode, scratch: FilePath) -> Command {
    let words = ["mmdebstrap"] + arguments(mode: mode)
    let wrapped = mode == .root ? ["unshare", "--mount", "--propagation", "private"] + words : words
    return Command(
      wrapped[0], Array(wrapped.dropFirst()),
      environment: [
        "SOURCE_DATE_EPOCH": "\(modificationTime)", "LC_ALL": "C.UTF-8", "TZ": "UTC", "TMPDIR": scratch.string,
      ])
  }

  /// What mmdebstrap is told; it settles what comes out.
  package func arguments(mode: Mode) -> [String] {
    var arguments = [
      "--mode=\(mode.rawValue)", "--variant=minbase", "--format=tar",
      "--components=\(components.joined(separator: ","))",
      "--include=\(packages.joined(separator: ","))",
      // Documentation is of no use on a medium that runs unattended.
      "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/info/*",
      "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    ]
    if let locale {
      arguments.append(
        "--customize-hook=echo '\(locale) UTF-8' > \"$1/etc/locale.gen\" && chroot \"$1\" locale-gen")
    }
    for hook in buildHooks {
      arguments.append(
        "--customize-hook=install -m 755 \(Self.shellQuoted(hook.string)) \"$1/slipway-hook\" && "
          + "{ chroot \"$1\" /slipway-hook || { echo \(Self.hookFailure)\(Self.shellQuoted(hook.string)) >&2; exit 1; }; } && "
          + "rm \"$1/slipway-hook\"")
    }
    arguments.append("--customize-hook=\(Self.unpackBootFiles)")
    arguments += [suite, "-"]
    if let mirror { arguments.append(mirror) }
    return arguments
  }

  /// The command that removes what mmdebstrap left in its scratch folder. In unshare mode its files belong to users
  /// that only exist in its namespace.
  static func removal(of left: [String], mode: Mode) -> Command {
    let remove = ["rm", "-rf", "--one-file-system", "--"] + left
    return mode == .root
      ? Command("rm", Array(remove.dropFirst())) : Command("mmdebstrap", ["--unshare-helper"] + remove)
  }

  /// The package files come through the new system's own apt settings, so that its keys and mirror vouch for them.
  /// Run outside of the root: there, a package may already have put another resolv.conf in place.
  private static let unpackBootFiles = """
    mkdir -p "$1/\(bootFolder)" && chmod 755 "$1/\(bootFolder)" && cd "$1/\(bootFolder)" && \
    APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq -o APT::Sandbox::User=root \
    download \(bootPackages.joined(separator: " ")) && \
    for package in *.deb; do dpkg-deb -x "$package" . && rm "$package" || exit 1; done
    """

  private static let hookFailure = "slipway: build hook failed: "

  private static func shellQuoted(_ text: String) -> String {
    "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }

  /// Turns mmdebstrap's last words into what the person can change.
  package func error(status: Int32, messages: String) -> BuildError {
    let lines = messages.split(whereSeparator: \.isNewline).map(String.init)
    let detail = lines.suffix(20).joined(separator: "\n")
    if let line = lines.first(where: { $0.hasPrefix(Self.hookFailure) }) {
      return .buildHookFailed(hook: String(line.dropFirst(Self.hookFailure.count)), detail: detail)
    }
    let missing = lines.compactMap { line -> String? in
      guard let range = line.firstRange(of: "Unable to locate package ") else { return nil }
      return String(line[range.upperBound...])
    }
    if !missing.isEmpty { return .unknownPackages(names: missing, suite: suite) }
    // apt's words for a package that is named by others but that the archive doesn't have.
    let virtual = lines.compactMap { line -> String? in
      guard line.hasPrefix("E: Package '"), line.hasSuffix("' has no installation candidate") else { return nil }
      return String(line.dropFirst("E: Package '".count).dropLast("' has no installation candidate".count))
    }
    if !virtual.isEmpty { return .unknownPackages(names: virtual, suite: suite) }
    let network = [
      "Could not resolve", "Temporary failure resolving", "Could not connect", "Failed to fetch", "Connection refused",
      "does not have a Release file", "Connection timed out",
    ]
    if let line = lines.first(where: { line in network.contains { line.contains($0) } }) {
      return .mirrorUnreachable(mirror: mirror ?? "(mmdebstrap's default)", detail: line)
    }
    let namespace = ["unshare", "newuidmap", "newgidmap", "/etc/subuid", "/etc/subgid", "user namespace"]
    if let line = lines.first(where: { line in
      (line.hasPrefix("E: ") || line.hasPrefix("unshare: ")) && namespace.contains { line.contains($0) }
    }) {
      return .cannotBootstrap(cause: line)
    }
    return .bootstrapFailed(status: status, detail: detail)
  }
}
