// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
public import Compression
import ImageStore
import Reporting
public import SystemPackage
public import Volumes

/// How a disk is to be saved.
public struct SaveOptions: Sendable {
  public var compression = CompressionOptions()
  /// Bytes of a volume of a data file; nil for files that are not split.
  public var splitByteCount: UInt64?
  /// Whether the image is read back and checked before it gets its name.
  public var isVerified = true
  /// Whether an image of that name may be replaced.
  public var replacesExisting = false
  /// False to copy every sector of every partition.
  public var isMapped = true
  /// For `Info-saved-by-cmd.txt`.
  public var commandLine = "reimage"

  public init() {}
}

/// A disk to be saved, or some of its partitions.
public struct SaveSource: Sendable {
  public let target: SelectedTarget
  /// Numbers; nil for the whole disk.
  public let partitions: [Int]?

  public init(_ target: SelectedTarget, partitions: [Int]? = nil) {
    self.target = target
    self.partitions = partitions
  }
}

/// All that a save will do, found out without writing anything.
public struct SavePlan: Sendable {
  public let image: FilePath
  public let disks: [SourceDisk]
  /// The volume groups that are saved by logical volumes.
  public let groups: [SourceGroup]
  public let options: SaveOptions

  /// - Parameters:
  ///   - sources: disks and partitions; several partitions of one disk may come as several sources.
  ///   - repository: folder that takes the image.
  ///   - name: of the image.
  ///   - isMeasured: whether to read the allocation maps now, to tell how much will be saved.
  /// - Throws: ``ImagingError``, `ImageError`, `PartitionTableError`, `DeviceError`.
  public init(
    _ sources: [SaveSource], repository: FilePath, name: String, options: SaveOptions, isMeasured: Bool,
    context: ImagingContext
  ) throws {
    try ImageWriter.check(name: name)
    image = repository.appending(name)
    self.options = options
    var disks: [SourceDisk] = []
    let merged = Self.merged(sources)
    let kernelNames = merged.compactMap { $0.disk?.name }
    for source in merged {
      let disk = try Self.open(
        source, taken: kernelNames + disks.map(\.name), isMapped: options.isMapped, isMeasured: isMeasured)
      disks.append(disk)
    }
    groups = try SourceGroup.find(in: &disks, isMapped: options.isMapped, isMeasured: isMeasured)
    self.disks = disks
  }

  /// Bytes to be read, as far as the maps are known.
  public var usedByteCount: UInt64? {
    (disks.flatMap(\.volumes) + groups.flatMap(\.volumes)).reduce(into: UInt64?(0)) { sum, volume in
      sum = sum.flatMap { total in volume.usedByteCount.map { total &+ $0 } }
    }
  }

  /// Partitions of one disk become one source.
  private static func merged(_ sources: [SaveSource]) -> [(path: FilePath, disk: Disk?, partitions: [Int]?)] {
    var merged: [(path: FilePath, disk: Disk?, partitions: [Int]?)] = []
    for source in sources {
      let entry: (path: FilePath, disk: Disk?, partitions: [Int]?)
      switch source.target {
      case .file(let path): entry = (path, nil, source.partitions)
      case .disk(let disk): entry = (disk.path, disk, source.partitions)
      case .partition(let partition, let disk): entry = (disk.path, disk, [partition.number])
      }
      if let index = merged.firstIndex(where: { $0.path == entry.path }) {
        // The whole disk holds its partitions.
        if let one = merged[index].partitions, let other = entry.partitions {
          merged[index].partitions = Set(one + other).sorted()
        } else {
          merged[index].partitions = nil
        }
      } else {
        merged.append(entry)
      }
    }
    return merged
  }

  private static func open(
    _ source: (path: FilePath, disk: Disk?, partitions: [Int]?), taken: [String], isMapped: Bool, isMeasured: Bool
  ) throws -> SourceDisk {
    var warnings: [String] = []
    if let disk = source.disk {
      let relevant = disk.partitions.filter { source.partitions?.contains($0.number) ?? true }.flatMap(\.uses)
      let uses = source.partitions == nil ? disk.uses : relevant
      let mounts = uses.filter { if case .mounted = $0 { true } else { false } }
      guard mounts.isEmpty else {
        throw ImagingError.isMounted(source: source.path.string, uses: mounts.map(\.description))
      }
      warnings += uses.filter { if case .held = $0 { true } else { false } }.map(\.description)
    }
    let device = try FileDevice(path: source.path)
    device.dropCaches()
    let handle = DiskHandle(device: device, disk: source.disk)
    let name = source.disk?.name ?? Self.standInName(taken)
    let table = try PartitionTable.read(from: device)
    warnings += table?.warnings ?? []
    var volumes: [SourceVolume] = []
    if let table {
      for number in source.partitions ?? [] where table.partition(number) == nil {
        throw ImagingError.noSuchPartition(
          of: source.path.string, number: number, present: table.partitions.map(\.number))
      }
      for partition in table.partitions where source.partitions?.contains(partition.number) ?? true {
        let node = PartitionNaming.name(disk: name, partition: partition.number)
        let slice = try handle.slice(
          table.byteOffset(of: partition), table.byteCount(of: partition), name: "\(device.name) (\(node))")
        volumes.append(
          try SourceVolume(
            device: node, partition: partition, source: slice, isMapped: isMapped, isMeasured: isMeasured))
      }
    } else {
      guard source.partitions == nil else { throw ImagingError.noTable(source.path.string) }
      volumes = [
        try SourceVolume(
          device: name, partition: nil, source: try handle.slice(0, device.byteCount, name: device.name),
          isMapped: isMapped, isMeasured: isMeasured)
      ]
    }
    return SourceDisk(
      name: name, handlePath: source.path.string, byteCount: device.byteCount, table: table, volumes: volumes,
      isWhole: source.partitions == nil, warnings: warnings, handle: handle)
  }

  /// A file has no kernel name; the image calls it as Linux would call a disk.
  private static func standInName(_ taken: [String]) -> String {
    let letters = "abcdefghijklmnopqrstuvwxyz".map { "sd\($0)" }
    return letters.first { !taken.contains($0) } ?? "sdaa"
  }
}
