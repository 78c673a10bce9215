// SPDX-License-Identifier: GPL-3.0-or-later

public import SystemPackage
public import Volumes

/// A device of an `ocs-sr` line: one that is named, or a word that stands for some.
public enum ClonezillaDevice: Sendable, Equatable, CustomStringConvertible {
  /// `sda`, `/dev/sda1`, `SERIALNO=…`, `PTUUID=…` …
  case chosen(TargetSelector)
  /// `all`: when saving, everything that is not in use; when restoring, the devices named in the image.
  case all
  /// `all-but-usb`: the same without disks on USB.
  case allButUSB
  /// `1st-disk`.
  case first

  init(_ word: String) throws(ClonezillaOptionError) {
    switch word {
    case "ask_user": throw .badDevice(word)
    // `unmounted_…` are older words for it.
    case "all", "unmounted_disk", "unmounted_disks", "unmounted_part", "unmounted_parts": self = .all
    case "all-but-usb": self = .allButUSB
    case "1st-disk": self = .first
    default: self = .chosen(try Self.selector(word))
    }
  }

  private static func selector(_ word: String) throws(ClonezillaOptionError) -> TargetSelector {
    do {
      if let equals = word.firstIndex(of: "=") {
        let (key, value) = (word[..<equals].uppercased(), word[word.index(after: equals)...])
        guard key == "SERIALNO" || DeviceIdentity(rawValue: key) != nil, !value.isEmpty else {
          throw TargetError.notASelector(word)
        }
        return try TargetSelector(key == "SERIALNO" ? "serial:\(value)" : "\(key)=\(value)")
      }
      let name = word.hasPrefix("/dev/") ? word.dropFirst("/dev/".count) : word[...]
      // A path says which device is meant; a bare word must look like the kernel's names.
      let isPlain =
        !name.isEmpty && name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) } && name.first?.isLetter == true
      guard isPlain || word.hasPrefix("/") else { throw TargetError.notASelector(word) }
      return try TargetSelector(word)
    } catch {
      throw .badDevice(word)
    }
  }

  /// Whether it may stand for several devices.
  var isCollective: Bool { self == .all || self == .allButUSB }

  public var description: String {
    switch self {
    case .chosen(let selector): "\(selector)"
    case .all: "all"
    case .allButUSB: "all-but-usb"
    case .first: "1st-disk"
    }
  }
}

extension ClonezillaOptions {
  /// The devices that the line means, each once, in its order.
  ///
  /// Words that choose do so among physical disks that do not carry the live medium; saving passes over what is in use.
  /// - Parameters:
  ///   - imageDisks: names of the disks in the image to restore: `sda`.
  ///   - imageParts: names of its partitions: `sda1`.
  ///   - excluded: names of the disks that hold the repository.
  ///   - root: where `dev`, `sys` and `run` are; `/` except in tests.
  /// - Throws: `TargetError`.
  public func targets(
    in inventory: DiskInventory, imageDisks: [String] = [], imageParts: [String] = [],
    excluding excluded: Set<String> = [], root: FilePath = "/"
  ) throws(TargetError) -> [SelectedTarget] {
    var targets: [SelectedTarget] = []
    for device in devices {
      let found: [SelectedTarget]
      switch device {
      case .chosen(let selector): found = [try selector.resolve(in: inventory, excluding: excluded, root: root)]
      case .first:
        found =
          inventory.disks.first { $0.isPhysical && !$0.carriesLiveMedium && !excluded.contains($0.name) }
          .map { [.disk($0)] } ?? []
      case .all where work.isSaving: found = unused(in: inventory, excluding: excluded)
      case .allButUSB where work.isSaving:
        found = unused(in: inventory, excluding: excluded).filter { $0.disk?.transport != "usb" }
      case .all, .allButUSB:
        let named = try (work.isOfDisks ? imageDisks : imageParts).map { (name) throws(TargetError) in
          try TargetSelector.device(FilePath("/dev/\(name)")).resolve(in: inventory, excluding: excluded, root: root)
        }
        found = device == .all ? named : named.filter { $0.disk?.transport != "usb" }
      }
      guard !found.isEmpty else {
        throw .notFound(selector: "\(device)", seen: inventory.disks.map(\.summary))
      }
      for target in found where !targets.contains(where: { $0.path == target.path }) { targets.append(target) }
    }
    return targets
  }

  private func unused(in inventory: DiskInventory, excluding excluded: Set<String>) -> [SelectedTarget] {
    let disks = inventory.disks.filter { $0.isPhysical && !$0.carriesLiveMedium }
    guard work.isOfDisks else {
      return disks.flatMap { disk in disk.partitions.filter(\.uses.isEmpty).map { .partition($0, of: disk) } }
    }
    return disks.filter { disk in
      !excluded.contains(disk.name) && disk.uses.allSatisfy { $0 == .readOnly }
    }.map { .disk($0) }
  }
}

extension SelectedTarget {
  fileprivate var disk: Disk? {
    switch self {
    case .disk(let disk), .partition(_, let disk): disk
    case .file: nil
    }
  }
}
