// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Commands
import FileSystems
import Glibc
import ImageStore
import Reporting
import SystemPackage
import Volumes

/// What was restored.
public struct RestoreReport: Sendable, Equatable, Encodable {
  public struct Volume: Sendable, Equatable, Encodable {
    public let device: String
    public let target: String
    public let content: String
    /// Bytes written to the target.
    public let deviceBytes: UInt64
    /// Whether its file system was made larger.
    public internal(set) var grown: Bool
  }

  public let image: String
  public internal(set) var volumes: [Volume]
}

/// Carries out a ``RestorePlan``.
///
/// Boot code is written last: a disk whose restore was interrupted doesn't start half a system. Restoring again makes
/// it whole, since nothing that is on the target matters.
public struct DiskRestorer: Sendable {
  private let plan: RestorePlan
  private let context: ImagingContext

  public init(_ plan: RestorePlan, context: ImagingContext) {
    self.plan = plan
    self.context = context
  }

  /// - Throws: ``ImagingError``, `DeviceError`, `CommandError`, what the engine throws. What was written before an
  ///   error stays; a target file that was to be created does not.
  public func restore() async throws -> RestoreReport {
    for warning in plan.warnings { context.reporter.warning(warning) }
    if plan.options.isVerified {
      try await ImageVerifier(plan.image, context: context).verify(
        only: plan.disks.flatMap(\.volumes).map(\.volume.device) + plan.groups.flatMap(\.volumes).map(\.volume.device))
    }
    // A file that is created has its name when all disks are complete: a volume group may lie on several.
    let paths = plan.disks.map { $0.createsFile ? FilePath($0.path.string + ".partial") : $0.path }
    do {
      for (disk, path) in zip(plan.disks, paths) where disk.createsFile {
        try Self.create(path, byteCount: disk.targetByteCount)
      }
      var report = RestoreReport(image: plan.image.path.string, volumes: try await write(to: paths))
      for (disk, path) in zip(plan.disks, paths) {
        try await grow(disk, at: path, &report.volumes)
        try await makeBootEntry(disk)
      }
      for (disk, path) in zip(plan.disks, paths) where disk.createsFile {
        guard rename(path.string, disk.path.string) == 0 else {
          throw DeviceError.cannotOpen(device: disk.path.string, errno: errno)
        }
      }
      return report
    } catch {
      for (disk, path) in zip(plan.disks, paths) where disk.createsFile { unlink(path.string) }
      throw error
    }
  }

  /// Writes all that the plan says. The devices are open for as long as they are written, and by nobody else; growing
  /// opens them anew.
  private func write(to paths: [FilePath]) async throws -> [RestoreReport.Volume] {
    var volumes: [RestoreReport.Volume] = []
    var devices: [FileDevice] = []
    for (disk, path) in zip(plan.disks, paths) { devices.append(try open(path, disk)) }
    for (disk, device) in zip(plan.disks, devices) {
      context.reporter.note("restoring \(disk.disk.name) of \(plan.image.path) to \(disk.path)")
      try prepare(device, disk)
      for step in disk.volumes {
        let bytes = try await restore(step, to: device, disk)
        volumes.append(
          RestoreReport.Volume(
            device: step.volume.device,
            target: step.targetNumber.map { PartitionNaming.name(disk: disk.path.string, partition: $0) }
              ?? disk.path.string,
            content: step.volume.contentName, deviceBytes: bytes, grown: false))
      }
      for step in disk.swaps { try restore(step, to: device, disk) }
    }
    for group in plan.groups {
      volumes += try await GroupRestorer(group, of: plan, on: devices, context: context).restore()
    }
    for (disk, device) in zip(plan.disks, devices) { try finish(device, disk) }
    return volumes
  }

  private func makeBootEntry(_ disk: RestorePlan.DiskStep) async throws {
    guard plan.options.makesBootEntry, context.isBootedByEFI, let table = disk.table, case .disk = disk.target
    else { return }
    switch try await EFIBootEntries(commands: context.commands).restore(
      plan.image.firmwareBootEntries, table: table, disk: disk.path)
    {
    case .created(let labels):
      context.reporter.note("\(disk.path): boot entries made: \(labels.joined(separator: ", "))")
    case .unchanged(let note): context.reporter.note("\(disk.path): no boot entry made: \(note)")
    case .failed(let error): context.reporter.warning(error.description)
    }
  }

  private func open(_ path: FilePath, _ disk: RestorePlan.DiskStep) throws(DeviceError) -> FileDevice {
    guard case .disk = disk.target, plan.options.partitions == nil else {
      return try FileDevice(path: path, access: .readWrite)
    }
    return try FileDevice(path: path, access: .exclusive)
  }

  private static func create(_ path: FilePath, byteCount: UInt64) throws(DeviceError) {
    let number = Glibc.open(path.string, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard number >= 0 else { throw .cannotOpen(device: path.string, errno: errno) }
    defer { close(number) }
    guard ftruncate(number, off_t(clamping: byteCount)) == 0 else {
      throw .cannotWrite(device: path.string, offset: 0, count: byteCount, errno: errno)
    }
  }

  /// Grows what the plan says; data that was restored stays right when that fails, so it is only warned of.
  private func grow(
    _ disk: RestorePlan.DiskStep, at path: FilePath, _ volumes: inout [RestoreReport.Volume]
  ) async throws {
    let steps = RestorePlan.growing(disk, plan.options.growth)
    // Once a disk was written and closed, udev may read its table again, and its partitions are gone for a moment.
    if case .disk = disk.target, !steps.isEmpty, await CommandRunner.isInstalled("udevadm") {
      _ = try await context.commands.output(of: Command("udevadm", ["settle", "--timeout=30"]))
    }
    for step in steps {
      guard let kind = step.kind else { continue }
      let node = step.targetNumber.map { PartitionNaming.name(disk: path.string, partition: $0) } ?? path.string
      var hasNode = false
      if case .disk = disk.target { hasNode = access(node, F_OK) == 0 }
      let place = VolumePlace(
        disk: path, number: step.targetNumber, start: step.start, byteCount: step.byteCount,
        node: hasNode ? FilePath(node) : nil)
      let outcome = try await context.reporter.step("growing \(step.volume.device) (\(step.volume.contentName))") { _ in
        try await FileSystemGrower(commands: context.commands).grow(kind, on: place)
      }
      switch outcome {
      case .grown:
        for index in volumes.indices where volumes[index].device == step.volume.device { volumes[index].grown = true }
      case .unchanged(let note): context.reporter.note("\(step.volume.device) is not grown: \(note)")
      case .failed(let error): context.reporter.warning(error.description)
      }
    }
  }

  // MARK: Table

  private static let margin: UInt64 = 1 << 20

  /// Removes the marks of what was on the disk before, and writes the table without boot code.
  private func prepare(_ device: FileDevice, _ disk: RestorePlan.DiskStep) throws {
    guard plan.options.partitions == nil else { return }
    let margin = min(Self.margin, device.byteCount)
    try device.zero(at: 0, count: margin)
    try device.zero(at: device.byteCount - margin, count: margin)
    guard var table = disk.newTable else { return }
    for index in 0..<440 { table.bootSector[index] = 0 }
    try table.write(to: device)
    context.reporter.note(
      "\(disk.path): \(table.label) partition table with \(table.partitions.count) partitions written")
  }

  /// Boot code, and what the kernel is to know.
  private func finish(_ device: FileDevice, _ disk: RestorePlan.DiskStep) throws {
    if plan.options.partitions == nil, let table = disk.newTable {
      if plan.options.restoresHiddenData, let hidden = disk.disk.hiddenData {
        try writeHiddenData(hidden, table, device)
      }
      if plan.options.restoresExtendedBootCode { try writeExtendedBootCode(disk, table, device) }
      if plan.options.restoresBootCode, let sector = disk.disk.bootSector {
        // Bytes 440 to 445 are the signature, which came with the table.
        try device.write(sector.span.bytes.extracting(0..<440), at: 0)
        context.reporter.note("\(disk.path): boot code written")
      }
    }
    try device.synchronize()
    device.dropCaches()
    if disk.newTable != nil, !device.rereadPartitionTable() {
      context.reporter.warning("\(disk.path): the kernel did not read the new partition table; restart before using it")
    }
  }

  private func writeHiddenData(_ file: FilePath, _ table: PartitionTable, _ device: FileDevice) throws {
    guard !table.isGPT, let first = table.partitions.map({ table.byteOffset(of: $0) }).min() else { return }
    let data = try FileDevice(path: file)
    guard data.byteCount <= first - min(first, 512) else {
      context.reporter.warning("\(file) is larger than the gap after the MBR; it is not restored")
      return
    }
    var done: UInt64 = 0
    while done < data.byteCount {
      let part = try data.read(at: done, count: Int(min(Self.margin, data.byteCount - done)))
      try device.write(part.span.bytes, at: 512 + done)
      done += UInt64(part.count)
    }
  }

  private func writeExtendedBootCode(
    _ disk: RestorePlan.DiskStep, _ table: PartitionTable, _ device: FileDevice
  ) throws {
    for (number, record) in disk.disk.extendedBootRecords {
      guard let partition = table.partition(number), partition.type.isExtended else { continue }
      try device.write(record.span.bytes.extracting(0..<446), at: table.byteOffset(of: partition))
    }
  }

  // MARK: Volumes

  private func restore(
    _ step: RestorePlan.VolumeStep, to device: FileDevice, _ disk: RestorePlan.DiskStep
  ) async throws -> UInt64 {
    let title =
      step.targetNumber.map { PartitionNaming.name(disk: disk.path.string, partition: $0) } ?? disk.path.string
    let target = try DeviceSlice(device, start: step.start, byteCount: step.byteCount, name: title)
    if !disk.createsFile { try StaleSignatures.erase(on: target) }
    let restorer = VolumeRestorer(
      step.image, target: target, targetIsZeroed: disk.createsFile, expectedByteCount: step.sourceByteCount)
    let restored = try await context.reporter.step(
      "restoring \(step.volume.device) (\(step.volume.contentName)) to \(title)"
    ) { meter in
      try await restorer.restore(progress: meter)
    }
    for warning in restored.warnings { context.reporter.warning("\(step.volume.device): \(warning)") }
    if !(try BootSectorFix.apply(to: target, start: step.start)).isEmpty {
      context.reporter.note("\(title): its boot sector was put right")
    }
    return restored.deviceBytes
  }

  private func restore(_ step: RestorePlan.SwapStep, to device: FileDevice, _ disk: RestorePlan.DiskStep) throws {
    let title = PartitionNaming.name(disk: disk.path.string, partition: step.targetNumber)
    let target = try DeviceSlice(device, start: step.start, byteCount: step.byteCount, name: title)
    let header = try SwapHeader.write(
      uuid: step.swap.uuid, label: step.swap.label, byteCount: step.byteCount, pageSize: sysconf(Int32(_SC_PAGESIZE)))
    try StaleSignatures.erase(on: target)
    try target.write(header.span.bytes, at: 0)
    context.reporter.note("\(title): swap made anew, UUID \(step.swap.uuid ?? "none")")
  }
}
