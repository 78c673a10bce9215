// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import ImageStore
import Reporting
public import Volumes

/// What of a partition is saved, as a look at it decides.
public struct SourceVolume: Sendable {
  public enum Treatment: Sendable, Equatable {
    /// Only the used blocks.
    case usedBlocks
    /// Every byte; the reason is for the log.
    case everyByte(reason: String)
    /// Its identity only: it is made anew.
    case swap
    /// Nothing: it only holds other partitions.
    case extended
    /// Nothing here: it belongs to an LVM volume group, whose logical volumes are saved.
    case physicalVolume(group: String)
  }

  /// As the image calls it: `sda1`, or `GROUP/VOLUME` for a logical volume.
  public let device: String
  /// Nil for a disk without a table, which is saved as one volume, and for a logical volume.
  public let partition: Partition?
  /// In bytes.
  public let byteCount: UInt64
  public internal(set) var treatment: Treatment
  /// Clonezilla's name of what is on it; empty when nothing known is.
  public let fileSystem: String
  public let uuid: String?
  public let label: String?
  /// Bytes that will be read; nil when the allocation map wasn't read yet.
  public var usedByteCount: UInt64?

  /// Whether it gets a data file.
  public var hasData: Bool {
    switch treatment {
    case .usedBlocks, .everyByte: true
    case .swap, .extended, .physicalVolume: false
    }
  }

  /// Whether the image's list of partitions names it.
  var isListed: Bool { if case .physicalVolume = treatment { true } else { hasData } }

  /// parted's name for the content.
  var partedName: String {
    switch fileSystem {
    case "swap": "linux-swap(v1)"
    case Self.physicalVolumeName: ""
    case "vfat": kind?.rawValue == "fat32" ? "fat32" : "fat16"
    default: fileSystem
    }
  }

  private let kind: FileSystemKind?
  /// Its bytes.
  let source: any BlockDevice
  /// What it is to LVM; nil for what has no label.
  let physicalVolume: LVMPhysicalVolume?

  /// blkid's and Clonezilla's name for a physical volume.
  static let physicalVolumeName = "LVM2_member"

  /// Looks at a volume.
  ///
  /// - Parameters:
  ///   - source: its bytes.
  ///   - isMapped: false to save every byte whatever is on it.
  ///   - isMeasured: whether to read the allocation map now, to tell how much will be saved.
  /// - Throws: `DeviceError`.
  init(
    device: String, partition: Partition?, source: any BlockDevice, isMapped: Bool, isMeasured: Bool
  ) throws {
    self.device = device
    self.partition = partition
    self.source = source
    byteCount = source.byteCount
    guard !(partition?.type.isExtended ?? false) else {
      (treatment, fileSystem, uuid, label, usedByteCount, kind) = (.extended, "", nil, nil, 0, nil)
      physicalVolume = nil
      return
    }
    var treatment = Treatment.everyByte(reason: "no file system known here is on it")
    var identity: FileSystemIdentity?
    var member: LVMPhysicalVolume?
    do {
      identity = try FileSystems.identify(source)
      member = try LVMPhysicalVolume(source)
    } catch let error as FileSystemError {
      treatment = .everyByte(reason: error.reason)
    } catch let error as LVMError {
      treatment = .everyByte(reason: error.reason)
      identity = nil
    }
    if let member {
      // Whether its group can be saved by volumes is seen when all physical volumes are known.
      (self.treatment, physicalVolume, kind) = (.everyByte(reason: "it belongs to no LVM volume group"), member, nil)
      (fileSystem, uuid, label, usedByteCount) = (Self.physicalVolumeName, member.id.description, nil, byteCount)
      if let identity {
        self.treatment = .everyByte(reason: "it has an LVM label and a \(identity.kind.rawValue) signature")
      }
      return
    }
    physicalVolume = nil
    if let identity {
      if identity.kind == .swap {
        let isHibernated = try SwapHeader(source)?.isHibernated ?? false
        treatment = isHibernated ? .everyByte(reason: "it holds the memory of a suspended system") : .swap
      } else {
        treatment = isMapped ? .usedBlocks : .everyByte(reason: "a copy of every sector was asked for")
      }
    }
    var used: UInt64? = treatment == .swap ? 0 : byteCount
    if treatment == .usedBlocks {
      used = nil
      if isMeasured {
        do {
          let map = try FileSystems.allocationMap(of: source)
          let covering = map?.covering(byteCount)
          used = covering.map { UInt64($0.bitmap.usedCount) * UInt64($0.blockSize) }
        } catch let error as FileSystemError {
          treatment = .everyByte(reason: error.reason)
          used = byteCount
        }
      }
    }
    self.treatment = treatment
    kind = identity?.kind
    fileSystem = identity?.kind.clonezillaName ?? ""
    uuid = identity?.uuid
    label = identity?.label
    usedByteCount = used
  }
}

/// A disk to be saved, with what is on it.
public struct SourceDisk: Sendable {
  /// As the image calls it: the kernel's name, or `sda` and so on for a file.
  public let name: String
  public let handlePath: String
  public let byteCount: UInt64
  public let table: PartitionTable?
  public internal(set) var volumes: [SourceVolume]
  /// Whether the whole disk is saved, not just some of its partitions.
  public let isWhole: Bool
  /// Worth telling: a damaged copy of the table, a volume group that is active.
  public internal(set) var warnings: [String]
  let handle: DiskHandle

  /// The lists' view of it.
  func description(_ groups: [SourceGroup]) -> DiskDescription {
    DiskDescription(
      name: name, byteCount: byteCount, model: handle.disk?.model ?? "",
      volumes: volumes.map { volume in
        VolumeDescription(
          device: volume.device, fileSystem: volume.fileSystem, byteCount: volume.byteCount, uuid: volume.uuid,
          label: volume.label, partition: volume.partition,
          partitionUUID: volume.partition.flatMap { partitionUUID($0) },
          logicalVolumes: groups.first { $0.physicalVolumes.contains(volume.device) }?.descriptions(on: volume.device))
      })
  }

  private func partitionUUID(_ partition: Partition) -> String? {
    if let uuid = partition.uuid { return uuid.description.lowercased() }
    guard case .mbr(let signature)? = table?.scheme else { return nil }
    let digits = String(signature, radix: 16)
    let number = String(partition.number, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits + "-" + (number.count == 1 ? "0" : "") + number
  }

  /// parted's line for the model.
  var partedModel: String {
    guard let disk = handle.disk else { return " (file)" }
    let transports = [
      "sata": "scsi", "usb": "scsi", "ata": "scsi", "virtio": "virtblk", "mmc": "sd/mmc", "loop": "loopback",
    ]
    let transport = transports[disk.transport] ?? (disk.transport.isEmpty ? "unknown" : disk.transport)
    return "\(disk.transport == "loop" ? "Loopback device" : disk.model) (\(transport))"
  }

  /// The partition table as parted prints it.
  var partedPrint: PartedPrint {
    let sectorSize = handle.device.sectorSize
    let physical = handle.disk?.physicalSectorSize ?? sectorSize
    guard let table else {
      return PartedPrint(
        withoutTable: "/dev/\(name)", model: partedModel, sectorCount: byteCount / UInt64(sectorSize),
        sectorSize: sectorSize, physicalSectorSize: physical, fileSystem: volumes.first?.partedName ?? "")
    }
    var fileSystems: [Int: String] = [:]
    for volume in volumes { if let number = volume.partition?.number { fileSystems[number] = volume.partedName } }
    return PartedPrint(
      table, device: "/dev/\(name)", model: partedModel, physicalSectorSize: max(physical, table.sectorSize),
      fileSystems: fileSystems)
  }
}
