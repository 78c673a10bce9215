// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting
public import SystemPackage

/// Why a live system could not be built.
public enum BuildError: Failure {
  /// Neither root nor user namespaces.
  case cannotBootstrap(cause: String)
  case unknownPackages(names: [String], suite: String)
  case mirrorUnreachable(mirror: String, detail: String)
  case bootstrapFailed(status: Int32, detail: String)
  case buildHookFailed(hook: String, detail: String)
  case bootFileMissing(name: String, package: String)
  case programMissing(name: String, searched: FilePath)
  case dataMissing(name: String, searched: FilePath)
  case noRoom(path: FilePath, needed: UInt64, available: UInt64)
  case cannotCreate(path: FilePath, cause: String)
  case cannotRead(path: FilePath, cause: String)

  public var reason: String {
    switch self {
    case .cannotBootstrap(let cause): "a Debian root cannot be made here: \(cause)"
    case .unknownPackages(let names, let suite): "no such package in Debian \(suite): \(names.joined(separator: ", "))"
    case .mirrorUnreachable(let mirror, let detail):
      "the mirror \(mirror) does not answer as a Debian mirror: \(detail)"
    case .bootstrapFailed(let status, let detail): "mmdebstrap ended with status \(status):\n\(detail)"
    case .buildHookFailed(let hook, let detail): "the build hook \(hook) failed:\n\(detail)"
    case .bootFileMissing(let name, let package): "the new system has no \(name), which \(package) should have brought"
    case .programMissing(let name, let searched): "the program \(name) is not beside slipway in \(searched)"
    case .dataMissing(let name, let searched): "the folder \(name) was not found above \(searched)"
    case .noRoom(let path, let needed, let available):
      "\(path) has room for \(Quantity.bytes(available)), but about \(Quantity.bytes(needed)) are needed"
    case .cannotCreate(let path, let cause): "cannot create \(path): \(cause)"
    case .cannotRead(let path, let cause): "cannot read \(path): \(cause)"
    }
  }

  public var remedy: String? {
    switch self {
    case .cannotBootstrap:
      "run as root, or allow user namespaces (kernel.unprivileged_userns_clone=1) and give this user a range in "
        + "/etc/subuid and /etc/subgid; install mmdebstrap and uidmap"
    case .unknownPackages:
      "correct debian.packages or debian.kernel in the recipe; packages outside main need their part of the archive in "
        + "debian.components"
    case .mirrorUnreachable: "check debian.mirror in the recipe, and the network"
    case .bootstrapFailed: "look for the first line that begins with E:"
    case .buildHookFailed: "correct the hook; it runs as root in the new system, with / as its folder"
    case .bootFileMissing: "check debian.kernel in the recipe"
    case .programMissing: "build all of Slipway: make build"
    case .dataMissing: "run slipway from its source folder or from where it was installed"
    case .noRoom: "free some space, or choose another folder with -o"
    case .cannotCreate: "check the folder and who may write there"
    case .cannotRead: "check that it exists and who may read it"
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .cannotBootstrap, .mirrorUnreachable, .programMissing, .dataMissing: .unavailable
    case .unknownPackages: .invalidData
    case .bootstrapFailed, .buildHookFailed, .bootFileMissing: .failure
    case .noRoom, .cannotCreate: .cannotCreate
    case .cannotRead: .noInput
    }
  }
}
