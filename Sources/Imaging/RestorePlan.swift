// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Commands
import Compression
import FileSystems
import Glibc
public import ImageStore
import PartcloneStream
import Reporting
public import SystemPackage
public import Volumes

/// All that a restore will do, checked as far as it can be without writing anything.
public struct RestorePlan: Sendable {
  /// One volume and where it goes.
  public struct VolumeStep: Sendable {
    public let volume: ImageVolume
    /// Nil for a disk without a table.
    public let targetNumber: Int?
    /// Where it goes on the target, and the room there, in bytes.
    public let start: UInt64
    public let byteCount: UInt64
    /// Bytes of the volume that was saved; nil when only reading all of it would tell.
    public let volumeByteCount: UInt64?
    /// Where it began on the source disk, and its size there, in bytes; nil when the image doesn't tell.
    public let sourceStart: UInt64?
    public let sourceByteCount: UInt64?
    /// What file system it is, where this version knows it.
    let kind: FileSystemKind?
    let image: VolumeImage
  }

  public struct SwapStep: Sendable {
    public let swap: ImageSwap
    public let targetNumber: Int
    public let start: UInt64
    public let byteCount: UInt64
  }

  /// A partition or disk that becomes an LVM physical volume.
  public struct PhysicalVolumeStep: Sendable {
    /// As the image calls it.
    public let device: String
    /// Place among the disks of the plan.
    public let disk: Int
    /// Nil for a disk without a table.
    public let targetNumber: Int?
    /// Where it lies on the target, and the room there, in bytes.
    public let start: UInt64
    public let byteCount: UInt64
  }

  /// One logical volume; it is made as large as it was.
  public struct LogicalVolumeStep: Sendable {
    public let volume: ImageVolume
    /// Place among those of the group.
    public let index: Int
    /// Bytes of the volume that was saved; nil when only reading all of it would tell.
    public let volumeByteCount: UInt64?
    let image: VolumeImage
  }

  /// An LVM volume group, to be made anew on the disks of the plan.
  public struct GroupStep: Sendable {
    public let group: ImageVolumeGroup
    /// In the group's order.
    public let physicalVolumes: [PhysicalVolumeStep]
    public let volumes: [LogicalVolumeStep]
  }

  /// One disk and where it goes.
  public struct DiskStep: Sendable {
    public let disk: ImageDisk
    public let target: SelectedTarget
    public let targetByteCount: UInt64
    public let targetSectorSize: Int
    /// The table to write; nil when that of the target stays.
    public let newTable: PartitionTable?
    /// The table the target has in the end; nil for a disk without one.
    public let table: PartitionTable?
    public let volumes: [VolumeStep]
    public let swaps: [SwapStep]
    /// Whether the target is a file that will be created.
    public let createsFile: Bool
    public let path: FilePath
  }

  public let image: StoredImage
  public let disks: [DiskStep]
  public let groups: [GroupStep]
  public let options: RestoreOptions
  public let warnings: [String]

  /// Bytes of the volumes as they were, used or not.
  public var volumeByteCount: UInt64 {
    let sizes = disks.flatMap(\.volumes).map(\.volumeByteCount) + groups.flatMap(\.volumes).map(\.volumeByteCount)
    return sizes.reduce(0) { $0 &+ ($1 ?? 0) }
  }

  /// - Parameters:
  ///   - targets: one for each disk of the image, in their order; each already found to be unambiguous.
  /// - Throws: ``ImagingError``, `TargetError`, `PartitionTableError`, `CompressionError`, `PartcloneError`,
  ///   `DeviceError`: before anything was written.
  public init(
    _ image: StoredImage, to targets: [SelectedTarget], options: RestoreOptions, context: ImagingContext
  ) async throws {
    self.image = image
    self.options = options
    try Self.checkContent(of: image, options)
    guard image.isOfDisks || options.partitions != nil else {
      throw ImagingError.imageOfPartitions(image: image.path.string, numbers: image.volumes.compactMap(\.number))
    }
    guard targets.count == image.disks.count else {
      throw ImagingError.wrongTargetCount(
        image: image.path.string, disks: image.disks.map(\.name), targets: targets.count)
    }
    let holding = DiskInventory.disks(holding: Self.absolute(image.path))
    var seen: Set<String> = []
    var warnings: [String] = []
    var disks: [DiskStep] = []
    for (disk, target) in zip(image.disks, targets) {
      let path = target.path
      guard seen.insert(path.string).inserted else { throw ImagingError.sameTargetTwice(path.string) }
      if case .partition = target { throw ImagingError.notADisk(path.string) }
      try Self.checkWritable(target, options, holding: holding, context: context)
      warnings += disk.warnings
      disks.append(try await Self.step(disk, of: image, to: target, options, &warnings))
    }
    groups = try await Self.groupSteps(of: image, on: disks, options, &warnings)
    self.disks = disks
    self.warnings = warnings
    try await checkTools()
  }

  /// Restoring single partitions leaves those in use alone, as long as they aren't the ones to be written.
  private static func checkWritable(
    _ target: SelectedTarget, _ options: RestoreOptions, holding: Set<String>, context: ImagingContext
  ) throws {
    guard case .disk(let disk) = target, let numbers = options.partitions else {
      return try target.checkWritable(in: context.inventory, excluding: holding)
    }
    for number in numbers.map({ options.renumbering[$0] ?? $0 }) {
      guard let partition = disk.partitions.first(where: { $0.number == number }) else { continue }
      try SelectedTarget.partition(partition, of: disk).checkWritable(in: context.inventory)
    }
  }

  /// Refuses what this version can't restore.
  private static func checkContent(of image: StoredImage, _ options: RestoreOptions) throws(ImagingError) {
    for volume in image.volumes where isWanted(volume, options) {
      let what: String
      switch volume.content {
      case .physicalVolume(let name):
        let group = image.groups.first { $0.group.name == name }
        if group != nil, group?.group.obstacle == nil, volume.disk != nil { continue }
        what = "belongs to the LVM volume group \(name)" + (group?.group.obstacle.map { " (\($0))" } ?? "")
      case .encrypted: what = "is a LUKS container whose content was saved"
      case .legacy(let program): what = "was saved by \(program)"
      case .partclone, .raw:
        guard volume.disk == nil else { continue }
        what = "is no partition of a disk of the image"
      }
      throw .notYetSupported(image: image.path.string, device: volume.device, what: what)
    }
    for number in options.partitions ?? [] where !image.volumes.contains(where: { $0.number == number }) {
      guard !image.swaps.contains(where: { $0.number == number }) else { continue }
      throw .noSuchPartition(of: image.path.string, number: number, present: image.volumes.compactMap(\.number))
    }
  }

  static func isWanted(_ volume: ImageVolume, _ options: RestoreOptions) -> Bool {
    guard let partitions = options.partitions else { return true }
    return volume.number.map(partitions.contains) ?? false
  }

  private static func step(
    _ disk: ImageDisk, of image: StoredImage, to target: SelectedTarget, _ options: RestoreOptions,
    _ warnings: inout [String]
  ) async throws -> DiskStep {
    let path = target.path
    let exists = access(path.string, F_OK) == 0
    var createsFile = false
    if case .file = target {
      if exists {
        guard options.overwritesFiles || options.partitions != nil else { throw ImagingError.existingFile(path.string) }
      } else {
        createsFile = true
      }
    }
    let byteCount: UInt64
    let sectorSize: Int
    var present: PartitionTable?
    if createsFile {
      guard let size = disk.byteCount, options.partitions == nil else { throw ImagingError.noTable(path.string) }
      byteCount = size
      sectorSize = disk.table?.sectorSize ?? 512
    } else {
      let device = try FileDevice(path: path)
      device.dropCaches()
      byteCount = device.byteCount
      sectorSize = device.isBlockDevice ? device.sectorSize : disk.table?.sectorSize ?? 512
      if options.partitions != nil {
        present = try PartitionTable.read(from: device)
        guard present != nil else { throw ImagingError.noTable(path.string) }
      }
    }
    var newTable: PartitionTable?
    if options.partitions == nil, let table = disk.table {
      var adapted = try adapt(table, toByteCount: byteCount, sectorSize: sectorSize, options, target: path)
      if options.growth == .last { adapted = grown(adapted, image: image, disk: disk, &warnings) }
      newTable = adapted
    }
    let table = newTable ?? present
    let volumes = try await volumeSteps(
      disk, of: image, table: table, target: path, targetByteCount: byteCount, options)
    return DiskStep(
      disk: disk, target: target, targetByteCount: byteCount, targetSectorSize: sectorSize, newTable: newTable,
      table: table, volumes: volumes, swaps: try swapSteps(disk, of: image, table: table, target: path, options),
      createsFile: createsFile, path: path)
  }

  private static func adapt(
    _ table: PartitionTable, toByteCount byteCount: UInt64, sectorSize: Int, _ options: RestoreOptions,
    target: FilePath
  ) throws -> PartitionTable {
    do {
      guard options.growth == .proportional else {
        return try table.adapted(toByteCount: byteCount, sectorSize: sectorSize)
      }
      return try table.proportional(toByteCount: byteCount, sectorSize: sectorSize)
    } catch PartitionTableError.doesNotFit(let needed, let available) {
      throw TargetError.tooSmall(target: target.string, needed: needed, available: available)
    }
  }

  /// The table with its last partition grown, unless that would help nobody.
  private static func grown(
    _ table: PartitionTable, image: StoredImage, disk: ImageDisk, _ warnings: inout [String]
  ) -> PartitionTable {
    guard let last = table.last else { return table }
    let volume = image.volumes.first { $0.disk == disk.name && $0.number == last.number }
    guard let volume, case .partclone = volume.content, last.type != .efiSystem, last.type != .microsoftRecovery else {
      warnings.append(
        "\(disk.name): the last partition (\(last.number)) holds no file system that grows; it stays as it is")
      return table
    }
    return table.growingLast()
  }

  private static func volumeSteps(
    _ disk: ImageDisk, of image: StoredImage, table: PartitionTable?, target: FilePath, targetByteCount: UInt64,
    _ options: RestoreOptions
  ) async throws -> [VolumeStep] {
    var steps: [VolumeStep] = []
    for volume in image.volumes where volume.disk == disk.name && isWanted(volume, options) {
      if case .physicalVolume = volume.content { continue }
      let place = try place(of: volume, table: table, target: target, targetByteCount: targetByteCount, options)
      let source = volume.number.flatMap { disk.table?.partition($0) }
      let stream = try await stream(of: volume)
      let sourceByteCount = source.flatMap { partition in disk.table?.byteCount(of: partition) }
      if let needed = stream.byteCount ?? sourceByteCount, needed > place.byteCount {
        throw ImagingError.partitionTooSmall(
          target: target.string, number: place.number, needed: needed, available: place.byteCount)
      }
      steps.append(
        VolumeStep(
          volume: volume, targetNumber: place.number, start: place.start, byteCount: place.byteCount,
          volumeByteCount: stream.byteCount,
          sourceStart: source.flatMap { partition in disk.table?.byteOffset(of: partition) },
          sourceByteCount: volume.number == nil ? disk.byteCount : sourceByteCount,
          kind: kind(of: volume, stream.header), image: stream.image))
    }
    return steps
  }

  /// Where on a target a partition of the image goes, and the room there, in bytes.
  static func place(
    of volume: ImageVolume, table: PartitionTable?, target: FilePath, targetByteCount: UInt64, _ options: RestoreOptions
  ) throws(ImagingError) -> (number: Int?, start: UInt64, byteCount: UInt64) {
    guard let number = volume.number else { return (nil, 0, targetByteCount) }
    let place = options.renumbering[number] ?? number
    guard let table, let partition = table.partition(place) else {
      throw .noSuchPartition(of: target.string, number: place, present: table?.partitions.map(\.number) ?? [])
    }
    return (place, table.byteOffset(of: partition), table.byteCount(of: partition))
  }

  /// The stream of a volume, and what its beginning tells.
  static func stream(
    of volume: ImageVolume
  ) async throws -> (image: VolumeImage, header: PartcloneHeader?, byteCount: UInt64?) {
    let codec = try volume.compressionSuffix.map { suffix throws(CompressionError) in try Codec(suffix: suffix) }
    let image = VolumeImage(
      try ConcatenatedFilesSource(volume.files), codec: codec, format: volume.content == .raw ? .raw : .partclone)
    let header = try await image.header()
    var byteCount = header?.deviceSize
    if byteCount == nil { byteCount = try await image.volumeByteCount() }
    return (image, header, byteCount)
  }

  private static func swapSteps(
    _ disk: ImageDisk, of image: StoredImage, table: PartitionTable?, target: FilePath, _ options: RestoreOptions
  ) throws -> [SwapStep] {
    var steps: [SwapStep] = []
    for swap in image.swaps where swap.disk == disk.name {
      guard let number = swap.number, options.partitions?.contains(number) ?? true else { continue }
      let place = options.renumbering[number] ?? number
      guard let table, let partition = table.partition(place) else {
        throw ImagingError.noSuchPartition(
          of: target.string, number: place, present: table?.partitions.map(\.number) ?? [])
      }
      steps.append(
        SwapStep(
          swap: swap, targetNumber: place, start: table.byteOffset(of: partition),
          byteCount: table.byteCount(of: partition)))
    }
    return steps
  }

  /// The volumes whose file systems are to grow.
  static func growing(_ disk: DiskStep, _ growth: RestoreOptions.Growth) -> [VolumeStep] {
    switch growth {
    case .none: []
    case .fileSystems, .proportional: disk.volumes.filter(canGrow)
    case .last: disk.volumes.filter { canGrow($0) && $0.targetNumber == disk.table?.last?.number }
    }
  }

  /// Whether there is at least a MiB more room than the volume had.
  private static func canGrow(_ step: VolumeStep) -> Bool {
    guard step.kind != nil, let before = step.volumeByteCount else { return false }
    return step.byteCount >= before &+ (1 << 20)
  }

  private static func kind(of volume: ImageVolume, _ header: PartcloneHeader?) -> FileSystemKind? {
    let kinds = FileSystemKind.allCases.filter { $0.partcloneName != nil && $0.partcloneName == header?.fileSystem }
    return kinds.first { $0.clonezillaName == volume.contentName } ?? kinds.first
  }

  /// What will be needed at the end must be there at the beginning.
  private func checkTools() async throws {
    for step in disks.flatMap({ Self.growing($0, options.growth) }) {
      guard let kind = step.kind else { continue }
      for (program, package) in FileSystemGrower.programs(for: kind) where !(await CommandRunner.isInstalled(program)) {
        throw ImagingError.toolMissing(program: program, purpose: "growing \(kind.rawValue)", package: package)
      }
    }
  }

  private static func absolute(_ path: FilePath) -> FilePath {
    guard let resolved = realpath(path.string, nil) else { return path }
    defer { free(resolved) }
    return FilePath(String(cString: resolved))
  }
}
