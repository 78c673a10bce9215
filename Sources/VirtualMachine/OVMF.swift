// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage

/// The UEFI firmware of Debian's package `ovmf`.
enum OVMF {
  private static let folder = FilePath("/usr/share/OVMF")

  /// The firmware itself.
  static func code(for firmware: Firmware) throws(GuestError) -> FilePath {
    try existing(firmware == .secure ? "OVMF_CODE_4M.secboot.fd" : "OVMF_CODE_4M.fd")
  }

  /// The variable store a machine starts with.
  static func variables(for firmware: Firmware) throws(GuestError) -> FilePath {
    try existing(firmware == .secure ? "OVMF_VARS_4M.ms.fd" : "OVMF_VARS_4M.fd")
  }

  private static func existing(_ name: String) throws(GuestError) -> FilePath {
    let path = folder.appending(name)
    do {
      try FileDescriptor.open(path, .readOnly).close()
    } catch {
      throw .missingFirmware(path)
    }
    return path
  }
}
