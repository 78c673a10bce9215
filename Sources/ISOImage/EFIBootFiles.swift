// SPDX-License-Identifier: GPL-3.0-or-later

/// The Secure Boot chain of Debian's signed files: firmware starts shim, shim verifies and starts GRUB.
///
/// The files are those of `shim-signed`, `shim-helpers-amd64-signed` and `grub-efi-amd64-signed`; GRUB must be the
/// variant for removable media (`gcdx64.efi.signed`), which looks for `/boot/grub/grub.cfg` beside itself.
public struct EFIBootFiles: Sendable {
  /// `shimx64.efi.signed`
  public var shim: [UInt8]
  /// `gcdx64.efi.signed`
  public var grub: [UInt8]
  /// `mmx64.efi.signed`: shim starts it to enrol keys, and stops with an error when it needs it and it is not there.
  public var mokManager: [UInt8]

  public init(shim: [UInt8], grub: [UInt8], mokManager: [UInt8]) {
    self.shim = shim
    self.grub = grub
    self.mokManager = mokManager
  }

  /// For the image's own tree, so that a stick made by copying the files also starts.
  public var files: [EFISystemPartition.File] {
    [
      EFISystemPartition.File(path: "/EFI/BOOT/BOOTX64.EFI", bytes: shim),
      EFISystemPartition.File(path: "/EFI/BOOT/grubx64.efi", bytes: grub),
      EFISystemPartition.File(path: "/EFI/BOOT/mmx64.efi", bytes: mokManager),
    ]
  }

  /// For the EFI system partition: the same and a `grub.cfg` that goes on with the one of the image.
  ///
  /// - Parameter marker: absolute path of a file that only this image has, such as `/.disk/id/UUID`; letters, digits,
  ///   `/`, `.`, `_` and `-`. GRUB's own fallback, any medium with `/.disk/info`, could find another Debian medium.
  /// - Throws: ``EFISystemPartitionError/invalidPath(path:problem:)``.
  public func partitionFiles(marker: String) throws(EFISystemPartitionError) -> [EFISystemPartition.File] {
    let isPlain = marker.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "-"):
        true
      default: false
      }
    }
    guard isPlain, marker.hasPrefix("/") else {
      throw .invalidPath(path: marker, problem: "must be absolute, of letters, digits and /._-")
    }
    let configuration = """
      search --no-floppy --set=root --file \(marker)
      set prefix=($root)/boot/grub
      configfile $prefix/grub.cfg

      """
    return files + [EFISystemPartition.File(path: "/boot/grub/grub.cfg", bytes: Array(configuration.utf8))]
  }
}
