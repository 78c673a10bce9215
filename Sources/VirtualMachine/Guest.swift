// VirtualMachine: boots a medium or a disk in QEMU and waits for the verdict of the job inside.
// SPDX-License-Identifier: GPL-3.0-or-later

public import SystemPackage

/// What the guest's firmware is.
public enum Firmware: String, Sendable, CaseIterable {
  /// SeaBIOS.
  case bios
  /// OVMF without Secure Boot.
  case uefi
  /// OVMF with Secure Boot on and Microsoft's keys enrolled.
  case secure
}

/// What executes the guest's instructions.
public enum Accelerator: String, Sendable {
  case kvm
  case tcg
}

/// How the guest sees the file it boots from.
public enum Attachment: String, Sendable, CaseIterable {
  case cd
  case usb
  case disk
}

/// A machine to start: what it boots from, what else it has.
public struct Guest: Sendable {
  /// The file to boot from.
  public var medium: FilePath
  public var attachment: Attachment
  public var firmware: Firmware
  /// Further disks, seen as virtio disks with the serial numbers `slipway-0`, `slipway-1` and so on.
  public var disks: [FilePath]
  public var memoryMiB: Int
  /// Under KVM; TCG gets one.
  public var processors: Int
  /// A user-mode network card: the guest reaches services of the host's loopback at 10.0.2.2, nobody reaches the guest.
  public var hasNetwork: Bool
  /// Whether a window shows the guest's screen.
  public var hasWindow: Bool

  public init(
    medium: FilePath, attachment: Attachment? = nil, firmware: Firmware = .bios, disks: [FilePath] = [],
    memoryMiB: Int = 2048, processors: Int = 2, hasNetwork: Bool = false, hasWindow: Bool = false
  ) {
    self.medium = medium
    self.attachment = attachment ?? (medium.extension == "iso" ? .cd : .disk)
    self.firmware = firmware
    self.disks = disks
    self.memoryMiB = memoryMiB
    self.processors = processors
    self.hasNetwork = hasNetwork
    self.hasWindow = hasWindow
  }

  /// The name of the virtio-serial port on which the job reports: one line of JSON, see ``Verdict``.
  public static let verdictPort = "org.slipway.job"

  /// QEMU's arguments.
  ///
  /// - Parameters:
  ///   - accelerator: what executes the guest.
  ///   - verdictFile: where QEMU puts what the guest writes to ``verdictPort``.
  ///   - monitor: the socket QEMU opens for ``QEMUMonitor``.
  ///   - variables: a writable copy of OVMF's variable store; needed unless the firmware is BIOS.
  package func arguments(
    accelerator: Accelerator, verdictFile: FilePath, monitor: FilePath, variables: FilePath?
  ) throws(GuestError) -> [String] {
    // TCG with several processors now and then trips over code that a kernel patches while it runs (seen with QEMU 7.2:
    // `Oops: int3` in the first seconds).
    let processors = accelerator == .tcg ? 1 : processors
    var machine = "q35,accel=\(accelerator.rawValue)"
    if firmware == .secure { machine += ",smm=on" }
    var arguments = [
      "-machine", machine, "-m", "\(memoryMiB)", "-smp", "\(processors)", "-nodefaults", "-no-reboot",
      "-vga", "std", "-display", hasWindow ? "gtk" : "none",
      "-qmp", "unix:\(Self.escaped(monitor)),server=on,wait=off", "-chardev", "stdio,id=serial,signal=off", "-device",
      "isa-serial,chardev=serial",
      "-device", "virtio-serial-pci", "-chardev", "file,id=verdict,path=\(Self.escaped(verdictFile))",
      "-device", "virtserialport,chardev=verdict,name=\(Self.verdictPort)",
      "-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random",
      "-nic", hasNetwork ? "user,model=virtio-net-pci" : "none",
    ]
    if let variables {
      let code = try OVMF.code(for: firmware)
      if firmware == .secure { arguments += ["-global", "driver=cfi.pflash01,property=secure,value=on"] }
      arguments += [
        "-drive", "if=pflash,format=raw,unit=0,readonly=on,file=\(Self.escaped(code))",
        "-drive", "if=pflash,format=raw,unit=1,file=\(Self.escaped(variables))",
      ]
    }
    arguments += mediumArguments
    for (index, disk) in disks.enumerated() {
      arguments += [
        "-drive", "if=none,id=disk\(index),format=\(Self.format(of: disk)),file=\(Self.escaped(disk))",
        "-device", "virtio-blk-pci,drive=disk\(index),serial=slipway-\(index)",
      ]
    }
    return arguments
  }

  private var mediumArguments: [String] {
    let file = Self.escaped(medium)
    switch attachment {
    case .cd:
      return [
        "-drive", "if=none,id=medium,format=raw,media=cdrom,readonly=on,file=\(file)",
        "-device", "ide-cd,drive=medium,bootindex=0",
      ]
    case .usb:
      return [
        "-drive", "if=none,id=medium,format=raw,file=\(file)", "-device", "qemu-xhci",
        "-device", "usb-storage,drive=medium,removable=on,bootindex=0",
      ]
    case .disk:
      return [
        "-drive", "if=none,id=medium,format=\(Self.format(of: medium)),file=\(file)",
        "-device", "virtio-blk-pci,drive=medium,bootindex=0",
      ]
    }
  }

  /// A comma ends an option's value unless it is doubled.
  private static func escaped(_ path: FilePath) -> String {
    path.string.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,")
  }

  /// By name, never by content: a guest could write another format's header into its raw disk.
  private static func format(of path: FilePath) -> String {
    switch path.extension {
    case "qcow2": "qcow2"
    case "vmdk": "vmdk"
    case "vdi": "vdi"
    case "vhd": "vpc"
    case "vhdx": "vhdx"
    default: "raw"
    }
  }
}
