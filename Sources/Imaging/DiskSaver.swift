// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Commands
import Compression
import FileSystems
import FoundationEssentials
import ImageStore
import Reporting
import SystemPackage
import Volumes

/// What was saved.
public struct SaveReport: Sendable, Equatable, Encodable {
  public struct Volume: Sendable, Equatable, Encodable {
    public let device: String
    /// Clonezilla's name of the file system, `dd` for every byte.
    public let content: String
    /// Bytes read from the device, bytes stored in the image.
    public let deviceBytes: UInt64
    public let storedBytes: UInt64
    /// Why every byte was saved, if it was.
    public let wholeBecause: String?
  }

  public let image: String
  public internal(set) var volumes: [Volume]
}

/// Carries out a ``SavePlan``.
public struct DiskSaver: Sendable {
  private let plan: SavePlan
  private let context: ImagingContext

  public init(_ plan: SavePlan, context: ImagingContext) {
    self.plan = plan
    self.context = context
  }

  /// Saves the disks. The image has its name only when it is complete; after an error nothing of it is left.
  /// - Throws: `ImageError`, `DeviceError`, what the engine throws.
  public func save() async throws -> SaveReport {
    let writer = try ImageWriter(
      repository: plan.image.removingLastComponent(), name: plan.image.lastComponent?.string ?? "",
      replacesExisting: plan.options.replacesExisting)
    let log = JobLog(reporter: context.reporter)
    if writer.replacedPartial {
      log.warn("the remains of an interrupted save of \(plan.image) were removed")
    }
    do {
      let report = try await fill(writer, log)
      return report
    } catch {
      try? writer.discard()
      throw error
    }
  }

  private func fill(_ writer: ImageWriter, _ log: JobLog) async throws -> SaveReport {
    log.note(
      "\(plan.options.commandLine): saving \(plan.disks.map(\.handlePath).joined(separator: ", ")) as \(plan.image)")
    try writer.write("Info-saved-by-cmd.txt", plan.options.commandLine + "\n")
    var report = SaveReport(image: plan.image.string, volumes: [])
    for disk in plan.disks {
      for warning in disk.warnings { log.warn("\(disk.handlePath): \(warning)") }
      try writeTable(of: disk, writer, log)
      for volume in disk.volumes {
        if let saved = try await save(volume, writer, log) { report.volumes.append(saved) }
      }
    }
    for group in plan.groups {
      for volume in group.volumes {
        if let saved = try await save(volume, writer, log) { report.volumes.append(saved) }
      }
    }
    try writeGroups(writer)
    try await writeLists(writer, log)
    log.note("saved \(Quantity.bytes(report.volumes.reduce(0) { $0 + $1.storedBytes })) for \(plan.image)")
    try writer.write("clonezilla-img", log.text(created: Date()))
    let isOfDisks = plan.disks.allSatisfy(\.isWhole)
    try writer.commit(
      disks: isOfDisks ? plan.disks.map(\.name) : nil,
      parts: plan.disks.flatMap(\.volumes).filter(\.isListed).map(\.device))
    return report
  }

  // MARK: Tables and boot code

  /// Clonezilla keeps no more between MBR and first partition than this.
  private static let hiddenDataLimit: UInt64 = 1 << 30

  private func writeTable(of disk: SourceDisk, _ writer: ImageWriter, _ log: JobLog) throws {
    let device = disk.handle.device
    let parted = disk.partedPrint
    try writer.write("\(disk.name)-pt.parted", parted.text(.sectors))
    try writer.write("\(disk.name)-pt.parted.compact", parted.text(.compact))
    guard let table = disk.table else {
      log.note("\(disk.name): \(disk.byteCount) bytes without a partition table, saved as one volume")
      return
    }
    log.note("\(disk.name): \(disk.byteCount) bytes, \(table.label) with \(table.partitions.count) partitions")
    try writer.write("\(disk.name)-pt.sf", SfdiskDump(table, device: "/dev/\(disk.name)").text)
    try writer.write("\(disk.name)-chs.sf", table.geometryText)
    try writer.write("\(disk.name)-mbr", bytes: table.bootSector)
    if let backup = table.gdiskBackup() {
      try writer.write("\(disk.name)-gpt.gdisk", bytes: backup)
      try writer.write("\(disk.name)-gpt-1st", bytes: device.read(at: 0, count: 34 * 512))
      // As Clonezilla's: 33 sectors were meant, but the copy begins one late and the disk ends.
      try writer.write("\(disk.name)-gpt-2nd", bytes: device.read(at: device.byteCount - 32 * 512, count: 32 * 512))
    } else {
      try writeHiddenData(of: disk, table, writer, log)
    }
    for partition in table.partitions where partition.type.isExtended {
      let record = try device.read(at: table.byteOffset(of: partition), count: 512)
      try writer.write("\(PartitionNaming.name(disk: disk.name, partition: partition.number))-ebr", bytes: record)
    }
  }

  private func writeHiddenData(
    of disk: SourceDisk, _ table: PartitionTable, _ writer: ImageWriter, _ log: JobLog
  ) throws {
    guard disk.isWhole,
      let first = table.partitions.map({ table.byteOffset(of: $0) }).min(), first > 512
    else { return }
    let count = first - 512
    let name = "\(disk.name)-hidden-data-after-mbr"
    guard count < Self.hiddenDataLimit else {
      let note =
        "\(count) bytes between the MBR and the first partition are not saved: the limit is \(Self.hiddenDataLimit)"
      try writer.write("\(name).notes.txt", note + "\n")
      log.warn("\(disk.name): \(note)")
      return
    }
    let sink = try SplitFileSink(
      writer.directory.appending(name), permissions: [.ownerReadWrite, .groupRead, .otherRead])
    try copy(disk.handle.device, from: 512, count: count, to: sink)
  }

  private func copy(_ device: FileDevice, from start: UInt64, count: UInt64, to sink: SplitFileSink) throws {
    var done: UInt64 = 0
    while done < count {
      let part = try device.read(at: start + done, count: Int(min(1 << 20, count - done)))
      try sink.write(part.span.bytes)
      done += UInt64(part.count)
    }
    try sink.finish()
  }

  // MARK: Volumes

  /// - Returns: nil when the volume gets no data file.
  private func save(
    _ volume: SourceVolume, _ writer: ImageWriter, _ log: JobLog
  ) async throws -> SaveReport.Volume? {
    var content = VolumeContent.everyByte
    var token = "dd"
    var reason: String?
    switch volume.treatment {
    case .extended: return nil
    case .physicalVolume(let group):
      log.note("\(volume.device): physical volume of the LVM volume group \(group), whose logical volumes are saved")
      return nil
    case .swap:
      let name = ImageWriter.fileName(of: volume.device)
      try writer.write("swappt-\(name).info", ImageTexts.swap(uuid: volume.uuid, label: volume.label))
      log.note("\(volume.device): swap, UUID \(volume.uuid ?? "none"); its content is not saved")
      return nil
    case .everyByte(let why): reason = why
    case .usedBlocks:
      do {
        if let map = try FileSystems.allocationMap(of: volume.source), let name = map.identity.kind.partcloneName {
          let (blockSize, bitmap) = map.covering(volume.byteCount)
          for warning in map.warnings { log.warn("\(volume.device): \(warning)") }
          content = .usedBlocks(fileSystem: name, blockSize: blockSize, bitmap: bitmap)
          token = map.identity.kind.clonezillaName
        }
      } catch let error as FileSystemError {
        reason = error.reason
        log.warn("\(volume.device) is copied whole: \(error.reason)")
      }
    }
    let saver = try VolumeSaver(volume.source, content: content, compression: plan.options.compression)
    let file = writer.dataFile(
      volume.device, content: token, compressionSuffix: plan.options.compression.codec.suffix)
    let split = plan.options.splitByteCount
    let (saved, files) = try await context.reporter.step(
      "saving \(volume.device) (\(token))", total: saver.byteCount
    ) { meter in
      var sink = try SplitFileSink(file, volumeByteCount: split)
      let saved = try await saver.save(to: &sink, progress: meter)
      return (saved, sink.volumes)
    }
    log.record(
      "\(volume.device) (\(volume.fileSystem.isEmpty ? "unknown" : volume.fileSystem)): \(saved.deviceBytes) of "
        + "\(volume.byteCount) bytes read, \(saved.storedBytes) stored; files: \(files.count)"
        + (reason.map { "; every byte, because \($0)" } ?? ""))
    if plan.options.isVerified {
      let image = VolumeImage(
        try ConcatenatedFilesSource(files), codec: plan.options.compression.codec,
        format: token == "dd" ? .raw : .partclone)
      let expected = volume.byteCount
      let verified = try await context.reporter.step("checking \(volume.device)", total: saved.deviceBytes) { meter in
        try await VolumeVerifier(image, expectedByteCount: expected).verify(progress: meter)
      }
      log.record("\(volume.device): read back and found right (\(verified.deviceBytes) bytes)")
    }
    return SaveReport.Volume(
      device: volume.device, content: token, deviceBytes: saved.deviceBytes, storedBytes: saved.storedBytes,
      wholeBecause: reason)
  }

  // MARK: Lists

  private func writeGroups(_ writer: ImageWriter) throws {
    guard !plan.groups.isEmpty else { return }
    var physical = ""
    var logical = ""
    for source in plan.groups {
      physical += ImageTexts.physicalVolumes(of: source.group, on: source.physicalVolumes)
      for volume in source.volumes {
        logical += ImageTexts.logicalVolume(
          volume.device, fileSystem: volume.fileSystem, uuid: volume.uuid, isSwap: volume.treatment == .swap)
      }
      let text = source.group.backupText(
        description: plan.options.commandLine, host: ProcessInfo.processInfo.hostName,
        time: Int64(Date().timeIntervalSince1970))
      try writer.write("lvm_\(source.group.name).conf", text)
    }
    try writer.write("lvm_vg_dev.list", physical)
    try writer.write("lvm_logv.list", logical)
  }

  private func writeLists(_ writer: ImageWriter, _ log: JobLog) async throws {
    let descriptions = plan.disks.map { $0.description(plan.groups) }
    try writer.write("dev-fs.list", ImageTexts.deviceFileSystems(descriptions))
    try writer.write("blkdev.list", ImageTexts.blockDevices(descriptions))
    try writer.write("blkid.list", ImageTexts.identities(descriptions))
    let hasGPT = plan.disks.contains { $0.table?.isGPT ?? false && $0.handle.disk != nil }
    guard context.isBootedByEFI, hasGPT else { return }
    do {
      try writer.write("efi-nvram.dat", await context.commands.run(Command("efibootmgr", ["-v"])))
    } catch let error as CommandError {
      log.warn("the boot entries of the firmware are not saved: \(error.reason)")
    }
  }
}
