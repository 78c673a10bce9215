// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting
public import SystemPackage

/// What keeps a disk or partition from being overwritten.
public enum DeviceUse: Hashable, Sendable, CustomStringConvertible {
  case mounted(device: String, at: String)
  case swap(device: String)
  /// Device mapper, RAID or bcache sits on it.
  case held(device: String, by: String)
  case liveMedium
  case readOnly

  public var description: String {
    switch self {
    case .mounted(let device, let point): "\(device) is mounted on \(point)"
    case .swap(let device): "\(device) is in use as swap"
    case .held(let device, let holder): "\(device) is in use by \(holder)"
    case .liveMedium: "it carries the live medium"
    case .readOnly: "it is read-only"
    }
  }
}

/// A partition as the kernel knows it.
public struct DiskPartition: Sendable, Equatable {
  /// `sda1`.
  public var name: String
  public var number: Int
  /// First byte on the disk.
  public var start: UInt64
  public var byteCount: UInt64
  public var uses: [DeviceUse]

  public var path: FilePath { FilePath("/dev/\(name)") }
}

/// A disk as the kernel knows it.
public struct Disk: Sendable, Equatable {
  /// The kernel's name: `sda`, `nvme0n1`.
  public var name: String
  public var byteCount: UInt64
  /// Logical and physical sector size in bytes.
  public var sectorSize: Int
  public var physicalSectorSize: Int
  public var model: String
  public var serial: String
  public var wwn: String
  /// `sata`, `usb`, `nvme`, `virtio`, `mmc`, `scsi`, `loop` … or empty.
  public var transport: String
  public var isRemovable: Bool
  /// A disk one could unplug or that firmware presents as one, unlike loop devices and device-mapper targets.
  public var isPhysical: Bool
  public var partitions: [DiskPartition]
  /// What keeps it, or a partition of it, from being overwritten.
  public var uses: [DeviceUse]

  public var path: FilePath { FilePath("/dev/\(name)") }
  public var carriesLiveMedium: Bool { uses.contains(.liveMedium) }
  public var isReadOnly: Bool { uses.contains(.readOnly) }

  /// One line for lists and refusals: `sda 500 GiB, Samsung SSD 870, serial S5Y1: sda1 is mounted on /`.
  public var summary: String {
    var parts = ["\(name) (\(Quantity.bytes(byteCount)), \(byteCount) bytes)"]
    if !model.isEmpty { parts.append(model) }
    if !serial.isEmpty { parts.append("serial \(serial)") }
    if !transport.isEmpty { parts.append(transport) }
    return parts.joined(separator: ", ") + (uses.isEmpty ? "" : ": " + uses.map(\.description).joined(separator: "; "))
  }
}

/// The disks of this machine.
public struct DiskInventory: Sendable, Equatable {
  /// In the order of their names.
  public var disks: [Disk]

  public init(disks: [Disk]) { self.disks = disks }

  public func disk(named name: String) -> Disk? { disks.first { $0.name == name } }

  /// Looks at what the kernel shows now. Empty drives (a card reader, a loop device without a file) are left out.
  /// - Parameter root: where `sys`, `proc` and `dev` are; `/` except in tests.
  public init(root: FilePath = "/") {
    let files = SystemFiles(root: root)
    let scan = DeviceScan(files: files)
    disks = files.names(in: "sys/block").compactMap { scan.disk($0) }
      .sorted { ($0.name.utf8.count, $0.name) < ($1.name.utf8.count, $1.name) }
  }

  /// The disks that a file or folder of this machine lies on, through partitions, loop devices and device mapper: those
  /// of the repository must not be a target.
  /// - Parameters:
  ///   - path: an absolute path without links.
  ///   - root: as for ``init(root:)``.
  public static func disks(holding path: FilePath, root: FilePath = "/") -> Set<String> {
    let files = SystemFiles(root: root)
    return DeviceScan(files: files).disks(holding: path.string)
  }
}
