// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
import FoundationEssentials
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
    if arguments.contains("-h") || arguments.contains("--help") {
      _ = try? FileDescriptor.standardOutput.writeAll(OcsSrOptions.help.utf8)
      return .success
    }
    let options: OcsSrOptions
    do {
      options = try OcsSrOptions(arguments)
    } catch {
      reporter.failure(error)
      return error.exitCode
    }
    for note in options.notes { reporter.note(note) }
    return await Work.perform(reporter: reporter, isVerbose: options.isVerbose) { context in
      switch options.type {
      case .savedisk, .saveparts: try await save(options, context)
      case .restoredisk, .restoreparts: try await restore(options, context)
      case .check:
        let image = try StoredImage(opening: options.repository.appending(options.image))
        try await ImageVerifier(image, context: context).verify()
        context.reporter.note("\(image.path) can be restored")
      }
    }
  }

  // MARK: Saving

  private static func save(_ options: OcsSrOptions, _ context: ImagingContext) async throws {
    let holding = DiskInventory.disks(holding: Paths.absolute(options.repository))
    var sources: [SaveSource] = []
    for device in options.devices {
      for target in try targets(device, options, context, excluding: holding) {
        switch (options.type, target) {
        case (.savedisk, .partition(let partition, _)): throw ImagingError.notADisk(partition.name)
        case (.saveparts, .disk(let disk)) where device == "all":
          sources.append(SaveSource(target, partitions: disk.partitions.map(\.number)))
        default: sources.append(SaveSource(target))
        }
      }
    }
    var save = options.save
    save.commandLine = options.commandLine
    let name = try imageName(options.image)
    let plan = try SavePlan(
      sources, repository: options.repository, name: name, options: save, isMeasured: false, context: context)
    _ = try await DiskSaver(plan, context: context).save()
  }

  /// Clonezilla's words for names that are made up.
  private static func imageName(_ word: String) throws(OcsSrError) -> String {
    switch word {
    case "autoname":
      var calendar = Calendar(identifier: .gregorian)
      calendar.timeZone = TimeZone(secondsFromGMT: 0) ?? calendar.timeZone
      let now = calendar.dateComponents([.year, .month, .day, .hour, .minute], from: Date())
      func two(_ number: Int?) -> String { "\(100 + (number ?? 0))".suffix(2).description }
      let day = "\(now.year ?? 1970)-\(two(now.month))-\(two(now.day))-\(two(now.hour))\(two(now.minute))"
      return hardwareAddress().map { "\(day)-\($0)" } ?? day
    case "autohostname": return plainName(line("/proc/sys/kernel/hostname"))
    case "autoproductname": return plainName(line("/sys/class/dmi/id/product_name"))
    case "ask_user": throw .asks("IMAGE")
    default:
      guard !word.hasPrefix("autoname-") else { throw .notYetSupported(option: word) }
      return word
    }
  }

  private static func line(_ path: String) -> String? {
    guard let descriptor = try? FileDescriptor.open(path, .readOnly) else { return nil }
    defer { try? descriptor.close() }
    var bytes = [UInt8](repeating: 0, count: 256)
    guard let count = try? bytes.withUnsafeMutableBytes({ try descriptor.read(into: $0) }) else { return nil }
    let text = String(decoding: bytes[..<count], as: UTF8.self).prefix { !$0.isNewline }
    return text.isEmpty ? nil : String(text)
  }

  private static func plainName(_ text: String?) -> String {
    let name = (text ?? "image").map { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) ? $0 : "-" }
    return String(name)
  }

  /// Twelve digits of the first network card that has an address.
  private static func hardwareAddress() -> String? {
    guard let stream = opendir("/sys/class/net") else { return nil }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      names.append(
        withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }
    return names.filter { $0 != "lo" && !$0.hasPrefix(".") }.sorted().lazy
      .compactMap { line("/sys/class/net/\($0)/address") }.first { $0.count == 17 && $0 != "00:00:00:00:00:00" }
      .map { $0.filter { $0 != ":" } }
  }

  // MARK: Restoring

  private static func restore(_ options: OcsSrOptions, _ context: ImagingContext) async throws {
    let image = try StoredImage(opening: options.repository.appending(options.image))
    let holding = DiskInventory.disks(holding: Paths.absolute(image.path))
    var restore = options.restore
    var targets: [SelectedTarget] = []
    if options.type == .restoredisk {
      if options.keepsTable {
        restore.partitions = (image.volumes.compactMap(\.number) + image.swaps.compactMap(\.number)).sorted()
      }
      for device in options.devices { targets += try self.targets(device, options, context, excluding: holding) }
      // "all" on a machine with more disks than the image has means the disks of the same names.
      if options.devices == ["all"], targets.count != image.disks.count {
        let names = Set(image.disks.map(\.name))
        targets = targets.filter { if case .disk(let disk) = $0 { names.contains(disk.name) } else { false } }
      }
    } else {
      let chosen = try partitions(of: image, options, context, holding)
      restore.partitions = chosen.map(\.source)
      restore.renumbering = Dictionary(chosen.map { ($0.source, $0.target) }) { first, _ in first }
      targets = chosen.first.map { [$0.disk] } ?? []
    }
    let plan = try await RestorePlan(image, to: targets, options: restore, context: context)
    _ = try await DiskRestorer(plan, context: context).restore()
  }

  /// For each partition named, which of the image goes there.
  private static func partitions(
    of image: StoredImage, _ options: OcsSrOptions, _ context: ImagingContext, _ holding: Set<String>
  ) throws -> [(source: Int, target: Int, disk: SelectedTarget)] {
    var chosen: [(source: Int, target: Int, disk: SelectedTarget)] = []
    for device in options.devices {
      guard device != "all" else {
        let disk = try targets(image.disks.first?.name ?? "", options, context, excluding: holding)
        for number in image.volumes.compactMap(\.number) { for disk in disk { chosen.append((number, number, disk)) } }
        continue
      }
      let found = try targets(device, options, context, excluding: holding)
      guard case .partition(let partition, let disk)? = found.first else {
        throw OcsSrError.unexpected(word: device, expected: "a partition, such as sda1")
      }
      var source = partition.number
      if let from = options.fromPartition {
        let name = from.hasPrefix("/dev/") ? String(from.dropFirst(5)) : from
        guard let number = image.volume(named: name)?.number else {
          throw OcsSrError.unexpected(word: from, expected: "a partition of the image after -f")
        }
        source = number
      }
      chosen.append((source, partition.number, .disk(disk)))
    }
    guard Set(chosen.map(\.disk.path)).count <= 1 else {
      throw OcsSrError.unexpected(word: options.devices.joined(separator: " "), expected: "partitions of one disk")
    }
    return chosen
  }

  /// The devices that one of Clonezilla's words means.
  private static func targets(
    _ word: String, _ options: OcsSrOptions, _ context: ImagingContext, excluding: Set<String>
  ) throws -> [SelectedTarget] {
    let candidates = context.inventory.disks.filter {
      $0.isPhysical && !$0.carriesLiveMedium && !$0.isReadOnly && !excluding.contains($0.name)
    }
    switch word {
    case "ask_user": throw OcsSrError.asks("DEVICE")
    case "all": return candidates.map { .disk($0) }
    case "all-but-usb": return candidates.filter { $0.transport != "usb" }.map { .disk($0) }
    case "unmounted_disk": return candidates.filter(\.uses.isEmpty).map { .disk($0) }
    case "1st-disk": return candidates.first.map { [.disk($0)] } ?? []
    default: break
    }
    let identities = [
      "SERIALNO=": "serial:", "PARTUUID=": "/dev/disk/by-partuuid/", "UUID=": "/dev/disk/by-uuid/",
    ]
    guard !word.hasPrefix("PTUUID=") else { throw OcsSrError.notYetSupported(option: word) }
    let identity = identities.first { word.hasPrefix($0.key) }
    let text = identity.map { $0.value + word.dropFirst($0.key.count) } ?? word
    return [try TargetSelector(text).resolve(in: context.inventory, excluding: excluding)]
  }
}
