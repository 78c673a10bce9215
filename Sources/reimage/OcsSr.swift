// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Compression
import Glibc
import ImageStore
import Imaging
import Reporting
import SystemPackage
import Volumes

/// `ocs-sr [OPTIONS] TYPE IMAGE DEVICE…`, as Clonezilla's kernel lines have it.
enum OcsSr {
  static func run(_ arguments: [String]) async -> Reporting.ExitCode {
    let reporter = Reporter()
    let options: ClonezillaOptions
    do {
      options = try ClonezillaOptions(
        arguments,
        extra: ClonezillaOptions.Extra(
          saving: variable("ocs_sr_save_extra_opt"), restoring: variable("ocs_sr_restore_extra_opt")))
    } catch {
      reporter.failure(error)
      return error.exitCode
    }
    for note in options.notes { reporter.note(note) }
    return await Work.perform(reporter: reporter, isVerbose: options.isVerbose) { context in
      let repository = FilePath(options.repository)
      switch options.work {
      case .saveDisk, .saveParts:
        let commandLine = "\(Command("ocs-sr", arguments))"
        try await save(options, commandLine: commandLine, in: repository, context)
      case .restoreDisk, .restoreParts, .restoreDisks:
        let image = try StoredImage(opening: repository.appending(imageName(options)))
        try await ImageChecksums(image.path, reporter: context.reporter).check(options.checkedChecksums)
        try await restore(options, image, context)
      case .checkImage:
        let image = try StoredImage(opening: repository.appending(imageName(options)))
        try await ImageChecksums(image.path, reporter: context.reporter).check(options.checkedChecksums)
        try await ImageVerifier(image, context: context).verify()
        context.reporter.note("\(image.path) can be restored: \(image.dataVolumes.count) volumes checked")
      }
      try await finish(options.finalAction, context)
    }
  }

  private static func save(
    _ options: ClonezillaOptions, commandLine: String, in repository: FilePath, _ context: ImagingContext
  ) async throws {
    let holding = DiskInventory.disks(holding: Paths.absolute(repository))
    let targets = try options.targets(in: context.inventory, excluding: holding)
    say(targets, options, context)
    for target in targets { try check(target, is: options.work.isOfDisks ? .disk : .partition) }
    var save = SaveOptions()
    save.compression = CompressionOptions(codec: options.codec)
    save.splitByteCount = options.volumeByteCount
    save.isMapped = options.isMapped
    save.isVerified = options.checksAfterSaving
    save.commandLine = commandLine
    let plan = try SavePlan(
      targets.map { SaveSource($0) }, repository: repository, name: imageName(options), options: save,
      isMeasured: false, context: context)
    _ = try await DiskSaver(plan, context: context).save()
    if options.isReadableByAll {
      for file in try StoredImage(opening: plan.image).volumes.flatMap(\.files) {
        guard chmod(file.string, 0o644) == 0 else { throw ImageError.cannotWrite(file: file.string, errno: errno) }
      }
    }
    try await ImageChecksums(plan.image, reporter: context.reporter).write(options.madeChecksums)
  }

  private static func restore(
    _ options: ClonezillaOptions, _ image: StoredImage, _ context: ImagingContext
  ) async throws {
    let targets = try options.targets(
      in: context.inventory, imageDisks: image.disks.map(\.name), imageParts: image.volumes.map(\.device),
      excluding: DiskInventory.disks(holding: Paths.absolute(image.path)))
    say(targets, options, context)
    for target in targets { try check(target, is: options.work.isOfDisks ? .disk : .partition) }
    var restore = RestoreOptions()
    restore.isVerified = options.checksBeforeRestoring
    restore.growth = options.scalesTable ? .proportional : options.growsFileSystems ? .fileSystems : .none
    // Clonezilla touches the boot entries only when a whole disk was restored.
    restore.makesBootEntry = options.makesBootEntries && options.work.isOfDisks
    restore.restoresBootCode = options.restoresBootCode
    restore.restoresHiddenData = options.restoresBootCode
    restore.restoresExtendedBootCode = options.restoresExtendedBootCode
    var disks: [SelectedTarget] = []
    if options.work.isOfDisks {
      disks = targets
      if options.keepsTable {
        restore.partitions = (image.volumes.compactMap(\.number) + image.swaps.compactMap(\.number)).sorted()
      }
    } else {
      for case .partition(let partition, let disk) in targets {
        let number = try options.sourcePartition.map { try self.number($0, in: image) } ?? partition.number
        restore.partitions = (restore.partitions ?? []) + [number]
        restore.renumbering[number] = partition.number
        if !disks.contains(where: { $0.path == disk.path }) { disks.append(.disk(disk)) }
      }
      guard disks.count == 1 else { throw OcsSrError.severalDisks(disks.map(\.path.string)) }
    }
    // Every plan is made before the first disk is touched.
    var plans: [RestorePlan] = []
    for targets in options.work == .restoreDisks ? disks.map({ [$0] }) : [disks] {
      plans.append(try await RestorePlan(image, to: targets, options: restore, context: context))
      // What was read once need not be read again for the next disk.
      restore.isVerified = false
    }
    for plan in plans { _ = try await DiskRestorer(plan, context: context).restore() }
  }

  /// Takes the action of `-p`, unless this is part of a job of the live system: that has hooks to run and a log to save.
  private static func finish(_ action: ClonezillaOptions.FinalAction?, _ context: ImagingContext) async throws {
    guard let action, getenv("SLIPWAY_JOB") == nil else { return }
    switch action {
    case .nothing, .choose: break
    case .poweroff: try await context.commands.run(Command("systemctl", ["poweroff"]))
    case .reboot: try await context.commands.run(Command("systemctl", ["reboot"]))
    case .command(let line): try await context.commands.run(Command("/bin/bash", ["-c", line]))
    }
  }

  // MARK: Words

  /// Says which devices were found, where the line did not name them.
  private static func say(_ targets: [SelectedTarget], _ options: ClonezillaOptions, _ context: ImagingContext) {
    let words = options.devices.map(\.description).joined(separator: " ")
    let paths = targets.map(\.path.string).joined(separator: " ")
    if words != paths { context.reporter.note("\(words): \(paths)") }
  }

  private static func check(_ target: SelectedTarget, is kind: OcsSrError.Kind) throws(OcsSrError) {
    switch (target, kind) {
    case (.disk, .disk), (.file, .disk), (.partition, .partition): break
    default: throw .wrongKind(target.path.string, expected: kind)
    }
  }

  private static func number(_ name: String, in image: StoredImage) throws(OcsSrError) -> Int {
    let name = name.hasPrefix("/dev/") ? String(name.dropFirst("/dev/".count)) : name
    guard let number = image.volume(named: name)?.number else {
      throw .noSuchPartition(name, image: image.path.string, present: image.volumes.map(\.device))
    }
    return number
  }

  private static func imageName(_ options: ClonezillaOptions) throws(ClonezillaOptionError) -> String {
    try options.image.resolved(
      ClonezillaImageName.Facts(
        time: localTime, mac: hardwareAddress(), hostName: firstLine("/proc/sys/kernel/hostname") ?? "",
        vendorName: firstLine("/sys/class/dmi/id/sys_vendor"),
        productName: firstLine("/sys/class/dmi/id/product_name"), uuid: firstLine("/sys/class/dmi/id/product_uuid")))
  }

  /// The time now in a format of strftime(3); empty when that makes more than a name can hold.
  @Sendable private static func localTime(_ format: String) -> String {
    var now = time(nil)
    var local = tm()
    localtime_r(&now, &local)
    var text = [UInt8](repeating: 0, count: 256)
    let count = text.withUnsafeMutableBytes { bytes in
      bytes.withMemoryRebound(to: CChar.self) { characters in
        characters.baseAddress.map { strftime($0, characters.count, format, &local) } ?? 0
      }
    }
    return String(decoding: text[..<count], as: UTF8.self)
  }

  private static func variable(_ name: String) -> String { getenv(name).map { String(cString: $0) } ?? "" }

  /// Of the first network card, in the order of their names.
  private static func hardwareAddress() -> String? {
    guard let folder = opendir("/sys/class/net") else { return nil }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      names.append(
        withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }
    return names.filter { $0 != "lo" && !$0.hasPrefix(".") }.sorted().lazy
      .compactMap { firstLine("/sys/class/net/\($0)/address") }
      .first { $0.utf8.count == 17 && $0 != "00:00:00:00:00:00" }
  }

  private static func firstLine(_ path: String) -> String? {
    guard let descriptor = try? FileDescriptor.open(path, .readOnly) else { return nil }
    defer { try? descriptor.close() }
    var bytes = [UInt8](repeating: 0, count: 256)
    guard let count = try? bytes.withUnsafeMutableBytes({ try descriptor.read(into: $0) }) else { return nil }
    let line = String(decoding: bytes[..<count], as: UTF8.self).prefix { !$0.isNewline }
    return line.isEmpty ? nil : String(line)
  }
}

/// Why an `ocs-sr` line does not fit this machine or the image.
enum OcsSrError: Failure, Equatable {
  enum Kind: String, Sendable { case disk, partition }

  case wrongKind(String, expected: Kind)
  case noSuchPartition(String, image: String, present: [String])
  case severalDisks([String])

  var reason: String {
    switch self {
    case .wrongKind(let device, let expected): "\(device) is not a \(expected.rawValue)"
    case .noSuchPartition(let name, let image, let present):
      "\(image) has no partition \(name); it has \(present.joined(separator: ", "))"
    case .severalDisks(let disks):
      "the partitions to restore lie on several disks: \(disks.joined(separator: ", "))"
    }
  }

  var remedy: String? {
    switch self {
    case .wrongKind(_, .disk): "for partitions say saveparts or restoreparts"
    case .wrongKind(_, .partition): "for disks say savedisk or restoredisk"
    case .noSuchPartition: nil
    case .severalDisks: "restore those of one disk at a time"
    }
  }

  var exitCode: Reporting.ExitCode { .usage }
}
