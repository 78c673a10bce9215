// Imaging: saves disks as Clonezilla image directories, restores and verifies them.
// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
public import Commands
public import Reporting
public import Volumes

/// What every job needs of the machine: its disks, a place to report to, a way to run the tools of the file systems.
public struct ImagingContext: Sendable {
  public let reporter: Reporter
  public let commands: CommandRunner
  /// The disks as they were seen when the job began.
  public let inventory: DiskInventory
  /// Whether the machine was started by EFI firmware, so that boot entries can be made.
  public let isBootedByEFI: Bool

  public init(reporter: Reporter, commands: CommandRunner, inventory: DiskInventory, isBootedByEFI: Bool) {
    self.reporter = reporter
    self.commands = commands
    self.inventory = inventory
    self.isBootedByEFI = isBootedByEFI
  }
}

/// A disk to read or write: a block device, or a file that holds what a disk holds.
struct DiskHandle: Sendable {
  let device: FileDevice
  /// What the kernel knows of it; nil for a file.
  let disk: Disk?

  /// A range of it as a device of its own.
  func slice(_ start: UInt64, _ byteCount: UInt64, name: String) throws(DeviceError) -> DeviceSlice<FileDevice> {
    try DeviceSlice(device, start: start, byteCount: byteCount, name: name)
  }
}
