// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting
public import SystemPackage

/// How a person says which disk is meant.
public enum TargetSelector: Sendable, Equatable {
  /// `sda`, `/dev/sda`, `/dev/disk/by-id/…`: a device, or a partition of one.
  case device(FilePath)
  /// A path outside `/dev`: a regular file.
  case file(FilePath)
  /// `serial:X`; the case of letters does not matter, and an underscore stands for a blank too.
  case serial(String)
  /// `PTUUID=X`, `PARTUUID=X`, `PARTLABEL=X`, `UUID=X`, `LABEL=X`: what carries that mark.
  case identity(DeviceIdentity, String)
  /// `path:X`: where the disk is plugged in: the name below `/dev/disk/by-path`, or the whole path of such a link.
  case connection(String)
  /// `size>=X`, in bytes.
  case atLeast(UInt64)
  /// `size<=X`, in bytes.
  case atMost(UInt64)
  /// `largest`.
  case largest
  /// `only`: the one disk beside the live medium.
  case only

  /// - Parameter text: as a person writes it; sizes in `kB MB GB TB` (powers of 1000) or `KiB MiB GiB TiB`.
  /// - Throws: ``TargetError/notASelector(_:)``.
  public init(_ text: String) throws(TargetError) {
    if text == "only" {
      self = .only
    } else if text == "largest" {
      self = .largest
    } else if text.hasPrefix("serial:"), text.count > 7 {
      self = .serial(String(text.dropFirst(7)))
    } else if let equals = text.firstIndex(of: "="), let identity = DeviceIdentity(rawValue: String(text[..<equals])),
      text.index(after: equals) < text.endIndex
    {
      self = .identity(identity, String(text[text.index(after: equals)...]))
    } else if text.hasPrefix("path:"), text.count > 5 {
      self = .connection(String(text.dropFirst(5)))
    } else if text.hasPrefix("size") {
      let rule = text.dropFirst(4).drop { $0 == " " }
      guard rule.hasPrefix(">=") || rule.hasPrefix("<="), let size = Self.bytes(rule.dropFirst(2)) else {
        throw .notASelector(text)
      }
      self = rule.hasPrefix(">=") ? .atLeast(size) : .atMost(size)
    } else if text.hasPrefix("/dev/") {
      self = .device(FilePath(text))
    } else if text.contains("/") {
      self = .file(FilePath(text))
    } else if !text.isEmpty, text.utf8.allSatisfy({ Self.isNameByte($0) }), !text.contains(".") {
      self = .device(FilePath("/dev/\(text)"))
    } else if text.contains(".") {
      self = .file(FilePath(text))
    } else {
      throw .notASelector(text)
    }
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
      true
    default: false
    }
  }

  private static func bytes(_ text: Substring) -> UInt64? {
    let text = text.filter { $0 != " " }
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let factors: [String: UInt64] = [
      "": 1, "B": 1, "kB": 1000, "KB": 1000, "MB": 1_000_000, "GB": 1_000_000_000, "TB": 1_000_000_000_000,
      "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
    ]
    guard let number = UInt64(digits), let factor = factors[String(text.dropFirst(digits.count))] else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow ? nil : product
  }
}

/// What a selector was resolved to.
public enum SelectedTarget: Sendable, Equatable {
  case disk(Disk)
  case partition(DiskPartition, of: Disk)
  case file(FilePath)

  public var path: FilePath {
    switch self {
    case .disk(let disk): disk.path
    case .partition(let partition, _): partition.path
    case .file(let path): path
    }
  }
}

extension TargetSelector {
  /// What the selector means for the disks of an inventory.
  ///
  /// Rules (`serial:`, sizes, `largest`, `only`) choose among physical disks that are writable and neither the live
  /// medium nor among `excluded`; a disk in use still counts, so that a rule never slips to another one.
  /// - Parameters:
  ///   - inventory: the disks seen.
  ///   - excluded: names of disks that can't be meant: those of the repository.
  ///   - root: where `dev` is; `/` except in tests.
  /// - Throws: ``TargetError/notFound(selector:seen:)`` or ``TargetError/ambiguous(selector:matching:seen:)``.
  public func resolve(
    in inventory: DiskInventory, excluding excluded: Set<String> = [], root: FilePath = "/"
  ) throws(TargetError) -> SelectedTarget {
    switch self {
    case .file(let path): return .file(path)
    case .device(let path): return try Self.device(path, in: inventory, root: root)
    case .connection(let name):
      // A whole path stands for itself.
      return try Self.device(FilePath("/dev/disk/by-path").pushing(FilePath(name)), in: inventory, root: root)
    case .identity(let identity, let value):
      let marked = identity.devices(marked: value, in: inventory, files: SystemFiles(root: root))
      return try chosen(marked, seen: inventory)
    case .serial, .atLeast, .atMost, .largest, .only: break
    }
    let candidates = inventory.disks.filter {
      $0.isPhysical && !$0.carriesLiveMedium && !$0.isReadOnly && !excluded.contains($0.name)
    }
    let matching =
      switch self {
      case .serial(let serial): candidates.filter { Self.plain($0.serial) == Self.plain(serial) }
      case .atLeast(let size): candidates.filter { $0.byteCount >= size }
      case .atMost(let size): candidates.filter { $0.byteCount <= size }
      case .largest: candidates.filter { $0.byteCount == candidates.map(\.byteCount).max() }
      case .only, .device, .file, .connection, .identity: candidates
      }
    return try chosen(matching.map { .disk($0) }, seen: inventory)
  }

  /// The one that fits.
  private func chosen(
    _ matching: [SelectedTarget], seen inventory: DiskInventory
  ) throws(TargetError) -> SelectedTarget {
    guard let target = matching.first else {
      throw .notFound(selector: "\(self)", seen: inventory.disks.map(\.summary))
    }
    guard matching.count == 1 else {
      throw .ambiguous(
        selector: "\(self)", matching: matching.compactMap(\.path.lastComponent?.string),
        seen: inventory.disks.map(\.summary))
    }
    return target
  }

  private static func plain(_ serial: String) -> String {
    String(serial.lowercased().map { $0.isWhitespace ? "_" : $0 })
  }

  private static func device(
    _ path: FilePath, in inventory: DiskInventory, root: FilePath
  ) throws(TargetError) -> SelectedTarget {
    let name = SystemFiles(root: root).deviceName(of: path.string)
    if let disk = inventory.disk(named: name) { return .disk(disk) }
    for disk in inventory.disks {
      if let partition = disk.partitions.first(where: { $0.name == name }) { return .partition(partition, of: disk) }
    }
    throw .notFound(selector: path.string, seen: inventory.disks.map(\.summary))
  }
}

extension TargetSelector: CustomStringConvertible {
  public var description: String {
    switch self {
    case .device(let path), .file(let path): path.string
    case .serial(let serial): "serial:\(serial)"
    case .identity(let identity, let value): "\(identity.rawValue)=\(value)"
    case .connection(let name): "path:\(name)"
    case .atLeast(let size): "size>=\(size)"
    case .atMost(let size): "size<=\(size)"
    case .largest: "largest"
    case .only: "only"
    }
  }
}

extension SelectedTarget {
  /// Throws unless it may be overwritten: not mounted, no swap, not held, not read-only, not the live medium, not among
  /// the disks of the repository.
  ///
  /// A partition is judged by itself, apart from what makes its whole disk read-only.
  /// - Throws: ``TargetError/inUse(target:uses:seen:)``.
  public func checkWritable(in inventory: DiskInventory, excluding excluded: Set<String> = []) throws(TargetError) {
    var uses: [String]
    let disk: Disk
    switch self {
    case .file: return
    case .disk(let whole):
      disk = whole
      uses = whole.uses.map(\.description)
      if excluded.contains(whole.name) { uses.append("it holds the image") }
    case .partition(let partition, let whole):
      disk = whole
      uses = partition.uses.map(\.description)
      if whole.isReadOnly { uses.append("its disk is read-only") }
    }
    guard uses.isEmpty else {
      throw .inUse(
        target: path.string, uses: uses, seen: inventory.disks.filter { $0.name != disk.name }.map(\.summary))
    }
  }
}

/// Why a disk is not chosen; each lists every disk that was seen.
public enum TargetError: Failure, Equatable {
  case notASelector(String)
  case notFound(selector: String, seen: [String])
  case ambiguous(selector: String, matching: [String], seen: [String])
  case inUse(target: String, uses: [String], seen: [String])
  /// Sizes in bytes.
  case tooSmall(target: String, needed: UInt64, available: UInt64)

  public var reason: String {
    switch self {
    case .notASelector(let text): "\"\(text)\" does not name a disk"
    case .notFound(let selector, let seen) where seen.isEmpty: "no disk fits \"\(selector)\": none was seen at all"
    case .notFound(let selector, let seen): "no disk fits \"\(selector)\"\(Self.list(seen))"
    case .ambiguous(let selector, let matching, let seen):
      "\"\(selector)\" is ambiguous: \(matching.joined(separator: ", "))\(Self.list(seen))"
    case .inUse(let target, let uses, let seen):
      "\(target) is not overwritten: \(uses.joined(separator: "; "))\(Self.list(seen, "the other disks"))"
    case .tooSmall(let target, let needed, let available):
      "\(target) is too small: \(Quantity.bytes(needed)) (\(needed) bytes) are needed, "
        + "it has \(Quantity.bytes(available)) (\(available) bytes)"
    }
  }

  public var remedy: String? {
    switch self {
    case .notASelector:
      "say sda, /dev/disk/by-id/NAME, serial:NUMBER, path:CONNECTION, size>=10GB, size<=2TB, largest or only"
    case .notFound, .ambiguous: "name one disk, best by its serial number (serial:NUMBER)"
    case .inUse: "unmount it, or choose another disk"
    case .tooSmall: "choose a larger disk"
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .notASelector: .usage
    case .notFound: .noInput
    case .ambiguous, .inUse, .tooSmall: .refused
    }
  }

  private static func list(_ seen: [String], _ title: String = "the disks seen") -> String {
    seen.isEmpty ? "" : "; \(title):\n" + seen.map { "  | \($0)" }.joined(separator: "\n")
  }
}
