// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
public import ImageStore
import PartcloneStream
import Reporting
import SystemPackage
import Volumes

/// What an image holds, for people and programs.
public struct ImageSummary: Sendable, Encodable {
  public struct Disk: Sendable, Encodable {
    public let name: String
    public let bytes: UInt64?
    /// `gpt` or `dos`; nil for a disk without a table.
    public let table: String?
    public let sectorSize: Int?
    public let partitions: [Partition]
    public let warnings: [String]
  }

  public struct Partition: Sendable, Encodable {
    public let number: Int
    /// Bytes.
    public let start: UInt64
    public let bytes: UInt64
    /// A GUID, or hexadecimal digits.
    public let type: String
    public let name: String
  }

  public struct Volume: Sendable, Encodable {
    public let device: String
    public let content: String
    /// Suffix of the files: `zst`, `gz`, `uncomp` …
    public let compression: String?
    public let files: [String]
    public let storedBytes: UInt64
    /// Bytes of the volume that was saved, and how many of them are in the image; nil when only reading it all would
    /// tell.
    public let volumeBytes: UInt64?
    public let usedBytes: UInt64?
    /// Why the stream's start can't be read.
    public let problem: String?
  }

  /// An LVM volume group that was saved by logical volumes.
  public struct Group: Sendable, Encodable {
    public let name: String
    /// As the saving machine called them.
    public let physicalVolumes: [String]
    public let logicalVolumes: [LogicalVolume]
    /// Why it can't be restored.
    public let problem: String?
  }

  public struct LogicalVolume: Sendable, Encodable {
    /// `GROUP/VOLUME`.
    public let device: String
    public let bytes: UInt64
  }

  public struct Swap: Sendable, Encodable {
    public let device: String
    public let uuid: String?
    public let label: String?
  }

  public let name: String
  public let path: String
  /// `disks` or `partitions`.
  public let kind: String
  public let created: String?
  public let disks: [Disk]
  /// Of partitions and logical volumes.
  public let volumes: [Volume]
  public let swaps: [Swap]
  public let groups: [Group]
  public let storedBytes: UInt64

  /// Reads the start of each stream.
  public init(_ image: StoredImage) async {
    name = image.name
    path = image.path.string
    kind = image.isOfDisks ? "disks" : "partitions"
    created = image.created
    storedBytes = image.storedByteCount
    disks = image.disks.map { disk in
      Disk(
        name: disk.name, bytes: disk.byteCount, table: disk.table?.label, sectorSize: disk.table?.sectorSize,
        partitions: (disk.table?.partitions ?? []).map { partition in
          Partition(
            number: partition.number, start: disk.table?.byteOffset(of: partition) ?? 0,
            bytes: disk.table?.byteCount(of: partition) ?? 0, type: partition.type.sfdiskText, name: partition.name)
        }, warnings: disk.warnings)
    }
    groups = image.groups.map { group in
      Group(
        name: group.group.name, physicalVolumes: group.physicalVolumes.map(\.device),
        logicalVolumes: group.group.logicalVolumes.map {
          LogicalVolume(device: group.group.path(of: $0), bytes: $0.byteCount)
        }, problem: group.group.obstacle)
    }
    swaps = (image.swaps + image.groups.flatMap(\.swaps)).map {
      Swap(device: $0.device, uuid: $0.uuid, label: $0.label)
    }
    var volumes: [Volume] = []
    for volume in image.dataVolumes { volumes.append(await Volume(volume)) }
    self.volumes = volumes
  }

  public var text: String {
    var lines = ["\(name): \(kind), \(Quantity.bytes(storedBytes)) stored" + (created.map { ", saved \($0)" } ?? "")]
    for disk in disks {
      lines.append(
        "disk \(disk.name): \(disk.bytes.map { Quantity.bytes($0) } ?? "unknown size"), \(disk.table ?? "no partition table")"
      )
      for partition in disk.partitions {
        let device = PartitionNaming.name(disk: disk.name, partition: partition.number)
        lines.append(
          "  \(device): \(Quantity.bytes(partition.bytes)) at \(Quantity.bytes(partition.start)), \(content(device))")
      }
    }
    for group in groups {
      lines.append(
        "volume group \(group.name) on \(group.physicalVolumes.joined(separator: ", "))"
          + (group.problem.map { ", which can't be restored: \($0)" } ?? ""))
      for volume in group.logicalVolumes {
        lines.append("  \(volume.device): \(Quantity.bytes(volume.bytes)), \(content(volume.device))")
      }
    }
    return lines.joined(separator: "\n")
  }

  private func content(_ device: String) -> String {
    if let group = groups.first(where: { $0.physicalVolumes.contains(device) }) {
      return "physical volume of the volume group \(group.name)"
    }
    return volumes.first { $0.device == device }.map { volume in
      "\(volume.content), \(Quantity.bytes(volume.storedBytes)) stored"
        + (volume.usedBytes.map { " of \(Quantity.bytes($0)) used" } ?? "")
        + (volume.problem.map { ": \($0)" } ?? "")
    } ?? (swaps.contains { $0.device == device } ? "swap" : "not saved")
  }
}

extension ImageSummary.Volume {
  fileprivate init(_ volume: ImageVolume) async {
    device = volume.device
    content = volume.contentName
    compression = volume.compressionSuffix
    files = volume.files.map { $0.lastComponent?.string ?? $0.string }
    storedBytes = volume.storedByteCount
    var sizes: (volume: UInt64?, used: UInt64?)
    var fault: String?
    do {
      sizes = try await Self.sizes(volume)
    } catch {
      fault = (error as? any Failure)?.reason ?? "\(error)"
    }
    volumeBytes = sizes.volume
    usedBytes = sizes.used
    problem = fault
  }

  private static func sizes(_ volume: ImageVolume) async throws -> (volume: UInt64?, used: UInt64?) {
    guard volume.content == .raw || volume.content.isPartclone else { return (nil, nil) }
    let codec = try volume.compressionSuffix.map { suffix throws(CompressionError) in try Codec(suffix: suffix) }
    let source = try ConcatenatedFilesSource(volume.files)
    let image = VolumeImage(source, codec: codec, format: volume.content == .raw ? .raw : .partclone)
    guard let header = try await image.header() else {
      let size = try await image.volumeByteCount()
      return (size, size)
    }
    let (used, overflow) = header.usedBlocks.multipliedReportingOverflow(by: UInt64(header.blockSize))
    return (header.deviceSize, overflow ? nil : used)
  }
}

/// What a save would do.
public struct SavePlanSummary: Sendable, Encodable {
  public struct Volume: Sendable, Encodable {
    public let device: String
    public let fileSystem: String
    public let bytes: UInt64
    /// Bytes that will be read.
    public let usedBytes: UInt64?
    /// `used blocks`, `every byte`, `swap`, `extended` or `physical volume`.
    public let treatment: String
    public let reason: String?
  }

  public struct Disk: Sendable, Encodable {
    public let source: String
    public let name: String
    public let bytes: UInt64
    public let table: String?
    public let volumes: [Volume]
    public let warnings: [String]
  }

  public struct Group: Sendable, Encodable {
    public let name: String
    /// As the image will call them.
    public let physicalVolumes: [String]
    public let volumes: [Volume]
  }

  public let image: String
  public let usedBytes: UInt64?
  public let disks: [Disk]
  /// The LVM volume groups that are saved by logical volumes.
  public let groups: [Group]

  public init(_ plan: SavePlan) {
    image = plan.image.string
    usedBytes = plan.usedByteCount
    groups = plan.groups.map { group in
      Group(name: group.group.name, physicalVolumes: group.physicalVolumes, volumes: group.volumes.map(Volume.init))
    }
    disks = plan.disks.map { disk in
      Disk(
        source: disk.handlePath, name: disk.name, bytes: disk.byteCount, table: disk.table?.label,
        volumes: disk.volumes.map(Volume.init), warnings: disk.warnings)
    }
  }

  public var text: String {
    var lines = ["save as \(image)" + (usedBytes.map { ": \(Quantity.bytes($0)) to read" } ?? "")]
    for disk in disks {
      lines.append(
        "\(disk.source) as \(disk.name): \(Quantity.bytes(disk.bytes)), \(disk.table ?? "no partition table")")
      lines += disk.warnings.map { "  warning: \($0)" }
      lines += disk.volumes.map { "  \($0.text)" }
    }
    for group in groups {
      lines.append("volume group \(group.name) on \(group.physicalVolumes.joined(separator: ", "))")
      lines += group.volumes.map { "  \($0.text)" }
    }
    return lines.joined(separator: "\n")
  }
}

extension SavePlanSummary.Volume {
  fileprivate init(_ volume: SourceVolume) {
    (treatment, reason) =
      switch volume.treatment {
      case .usedBlocks: ("used blocks", nil)
      case .everyByte(let reason): ("every byte", reason)
      case .swap: ("swap", nil)
      case .extended: ("extended", nil)
      case .physicalVolume(let group): ("physical volume", "of the volume group \(group)")
      }
    device = volume.device
    fileSystem = volume.fileSystem
    bytes = volume.byteCount
    usedBytes = volume.usedByteCount
  }

  fileprivate var text: String {
    let kind = fileSystem.isEmpty ? "unknown content" : fileSystem
    let used = usedBytes.map { "\(Quantity.bytes($0)) of " } ?? ""
    return "\(device): \(kind), \(used)\(Quantity.bytes(bytes)): \(treatment)" + (reason.map { " (\($0))" } ?? "")
  }
}

/// What a restore would do.
public struct RestorePlanSummary: Sendable, Encodable {
  public struct Volume: Sendable, Encodable {
    public let device: String
    public let content: String
    public let target: String
    public let volumeBytes: UInt64?
    public let targetBytes: UInt64
    public let grows: Bool
  }

  public struct Disk: Sendable, Encodable {
    public let name: String
    public let target: String
    public let targetBytes: UInt64
    /// Whether the target's partition table is replaced, or the target is a file that will be created.
    public let writesTable: Bool
    public let createsFile: Bool
    public let volumes: [Volume]
    public let swaps: [String]
  }

  public struct Group: Sendable, Encodable {
    public let name: String
    /// The targets that become its physical volumes.
    public let physicalVolumes: [String]
    public let volumes: [Volume]
    public let swaps: [String]
  }

  public let image: String
  public let disks: [Disk]
  public let groups: [Group]
  public let warnings: [String]

  public init(_ plan: RestorePlan) {
    groups = plan.groups.map { step in
      let group = step.group.group
      return Group(
        name: group.name,
        physicalVolumes: step.physicalVolumes.map { place in
          let path = plan.disks[place.disk].path.string
          return place.targetNumber.map { PartitionNaming.name(disk: path, partition: $0) } ?? path
        },
        volumes: step.volumes.map { volume in
          Volume(
            device: volume.volume.device, content: volume.volume.contentName, target: volume.volume.device,
            volumeBytes: volume.volumeByteCount, targetBytes: group.logicalVolumes[volume.index].byteCount, grows: false
          )
        }, swaps: step.group.swaps.map(\.device))
    }
    image = plan.image.path.string
    warnings = plan.warnings
    disks = plan.disks.map { disk in
      let growing = RestorePlan.growing(disk, plan.options.growth).map(\.volume.device)
      func target(_ number: Int?) -> String {
        number.map { PartitionNaming.name(disk: disk.path.string, partition: $0) } ?? disk.path.string
      }
      return Disk(
        name: disk.disk.name, target: disk.path.string, targetBytes: disk.targetByteCount,
        writesTable: disk.newTable != nil, createsFile: disk.createsFile,
        volumes: disk.volumes.map { step in
          Volume(
            device: step.volume.device, content: step.volume.contentName, target: target(step.targetNumber),
            volumeBytes: step.volumeByteCount, targetBytes: step.byteCount, grows: growing.contains(step.volume.device))
        }, swaps: disk.swaps.map { target($0.targetNumber) })
    }
  }

  public var text: String {
    var lines = ["restore \(image)"]
    for disk in disks {
      let action = disk.createsFile ? "created" : disk.writesTable ? "overwritten" : "partly overwritten"
      lines.append("\(disk.name) to \(disk.target) (\(Quantity.bytes(disk.targetBytes))), which is \(action)")
      for volume in disk.volumes {
        lines.append(
          "  \(volume.device) (\(volume.content)) to \(volume.target), \(Quantity.bytes(volume.targetBytes))"
            + (volume.grows ? ", grown" : ""))
      }
      lines += disk.swaps.map { "  \($0): swap made anew" }
    }
    for group in groups {
      lines.append("volume group \(group.name), made anew on \(group.physicalVolumes.joined(separator: ", "))")
      lines += group.volumes.map { "  \($0.device) (\($0.content)), \(Quantity.bytes($0.targetBytes))" }
      lines += group.swaps.map { "  \($0): swap made anew" }
    }
    return lines.joined(separator: "\n")
  }
}
