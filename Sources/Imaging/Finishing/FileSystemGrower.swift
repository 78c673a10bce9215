// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
public import Commands
public import FileSystems
import Glibc
import Reporting
public import SystemPackage
import Volumes

/// Where one volume lies, for programs that want a device of its own.
public struct VolumePlace: Sendable, Equatable {
  /// The whole disk: a block device or a file.
  public let disk: FilePath
  /// The partition's number; nil when the volume is the whole disk.
  public let number: Int?
  /// Where it begins on the disk, and its size, in bytes.
  public let start: UInt64
  public let byteCount: UInt64
  /// The kernel's device for the partition: `/dev/vda4`. Nil when there is none; a loop device is made then.
  public let node: FilePath?

  public init(disk: FilePath, number: Int?, start: UInt64, byteCount: UInt64, node: FilePath?) {
    self.disk = disk
    self.number = number
    self.start = start
    self.byteCount = byteCount
    self.node = node
  }

  /// What people call it.
  var name: String { node?.string ?? number.map { "partition \($0) of \(disk)" } ?? disk.string }
}

/// What became of a file system that was to be grown.
public enum GrowOutcome: Sendable, Equatable {
  case grown
  /// Its kind is not grown; the note says why that is right.
  case unchanged(note: String)
  /// The file system is as it was restored.
  case failed(FinishingError)
}

/// Grows a file system to the size of its partition, with the program its own developers keep for it.
public struct FileSystemGrower: Sendable {
  private let run: CommandRun

  public init(commands: CommandRunner) {
    run = { try await commands.output(of: $0) }
  }

  package init(run: @escaping CommandRun) { self.run = run }

  /// What has to be installed to grow a file system, the program that grows it last; empty when its kind is not grown.
  public static func programs(for kind: FileSystemKind) -> [(program: String, package: String)] {
    switch kind {
    case .ext2, .ext3, .ext4: [("e2fsck", "e2fsprogs"), ("resize2fs", "e2fsprogs")]
    case .xfs: [("xfs_growfs", "xfsprogs")]
    case .btrfs: [("btrfs", "btrfs-progs")]
    case .ntfs: [("ntfsfix", "ntfs-3g"), ("ntfsresize", "ntfs-3g")]
    case .fat16, .fat32: [("fatresize", "fatresize")]
    case .fat12, .exfat, .f2fs, .nilfs2, .hfsplus, .apfs, .jfs, .reiserfs, .reiser4, .ufs, .minix, .swap: []
    }
  }

  /// Grows the file system of one volume. Loop devices and mounts made for it are gone afterwards, whatever happened.
  ///
  /// Whoever wrote the volume must have synchronized it and must not hold the disk open exclusively.
  /// - Throws: only `CancellationError`; everything else is an outcome, because the restored data stays right.
  public func grow(_ kind: FileSystemKind, on place: VolumePlace) async throws -> GrowOutcome {
    do {
      switch kind {
      case .swap: return .unchanged(note: "swap has its size from mkswap")
      case .fat12, .exfat, .f2fs, .nilfs2, .hfsplus, .apfs, .jfs, .reiserfs, .reiser4, .ufs, .minix:
        return .unchanged(note: "nothing here grows \(kind.rawValue)")
      case .ext2, .ext3, .ext4:
        try await withDevice(of: place) { device in
          // 1: it found something and put it right.
          try await must(Command("e2fsck", ["-f", "-y", device.string]), accepting: [0, 1])
          try await must(Command("resize2fs", [device.string]))
        }
      case .xfs:
        try await withDevice(of: place) { device in
          // The disk this one is a copy of may be attached too.
          try await withMount(of: device, type: "xfs", options: "nouuid") {
            try await must(Command("xfs_growfs", [$0]))
          }
        }
      case .btrfs:
        try await withDevice(of: place) { device in
          try await withMount(of: device, type: "btrfs") {
            try await must(Command("btrfs", ["filesystem", "resize", "max", $0]))
          }
        }
      case .ntfs: try await withDevice(of: place, growNTFS)
      case .fat16, .fat32: try await growFAT(place)
      }
      return .grown
    } catch let error as CancellationError {
      throw error
    } catch {
      try Task.checkCancellation()
      let cause = (error as? any Failure)?.reason ?? "\(error)"
      return .failed(.notGrown(volume: place.name, kind: kind, cause: cause))
    }
  }

  /// Like Clonezilla, takes back the mark by which ntfsresize has Windows check the volume at its next start; a volume
  /// that Windows itself had left to be checked is not touched.
  private func growNTFS(_ device: FilePath) async throws {
    _ = try FileSystems.allocationMap(of: FileDevice(path: device))
    try await must(Command("ntfsresize", ["--force", "--force", "--no-progress-bar", device.string]))
    try await must(Command("ntfsfix", ["--clear-dirty", device.string]))
  }

  /// fatresize finds the partition in the disk's table; the last byte has to be left out
  /// (https://github.com/ya-mouse/fatresize/issues/18). It writes the table too, and makes an EFI system partition one of
  /// Microsoft's (fatresize 1.1.0), so the table is put back.
  private func growFAT(_ place: VolumePlace) async throws {
    place.dropCaches()
    defer { place.dropCaches() }
    let disk = try FileDevice(path: place.disk, access: .readWrite)
    guard let number = place.number, place.byteCount > 0, let table = try PartitionTable.read(from: disk) else {
      throw Refusal(reason: "fatresize needs a partition table")
    }
    let grown: Result<Void, any Error>
    do {
      try await must(
        Command(
          "fatresize",
          ["--force-yes", "--size", "\(place.byteCount - 1)", "--partition", "\(number)", place.disk.string]))
      grown = .success(())
    } catch {
      grown = .failure(error)
    }
    disk.dropCaches()
    if try PartitionTable.read(from: disk) != table {
      try table.write(to: disk)
      try disk.synchronize()
    }
    try grown.get()
  }

  // MARK: Devices and mounts

  private func withDevice(of place: VolumePlace, _ body: (FilePath) async throws -> Void) async throws {
    place.dropCaches()
    defer { place.dropCaches() }
    if let node = place.node { return try await body(node) }
    let loop = try await uninterrupted(
      Command(
        "losetup",
        [
          "--find", "--show", "--offset", "\(place.start)", "--sizelimit", "\(place.byteCount)", place.disk.string,
        ]))
    let device = FilePath(String(loop.filter { !$0.isWhitespace }))
    try await undoing(Command("losetup", ["--detach", device.string])) { try await body(device) }
  }

  private func withMount(
    of device: FilePath, type: String, options: String? = nil, _ body: (String) async throws -> Void
  ) async throws {
    var template = Array("/run/slipway-grow-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw Refusal(reason: "cannot make a folder in /run: \(Errno(rawValue: errno))")
    }
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { rmdir(folder) }
    let flags = ["nosuid", "nodev", "noexec"] + (options.map { [$0] } ?? [])
    try await uninterrupted(Command("mount", ["-t", type, "-o", flags.joined(separator: ","), device.string, folder]))
    try await undoing(Command("umount", [folder])) { try await body(folder) }
  }

  // MARK: Programs

  private func must(_ command: Command, accepting accepted: Set<Int32> = [0]) async throws {
    try Task.checkCancellation()
    let output = try await run(command)
    guard accepted.contains(output.status) else {
      throw Refusal(reason: "`\(command)` ended with \(output.complaint)")
    }
  }

  /// Runs `undo` after `body`, whatever became of it.
  private func undoing(_ undo: Command, _ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch {
      // The first error tells more.
      _ = try? await uninterrupted(undo)
      throw error
    }
    try await uninterrupted(undo)
  }

  /// Runs a command that a cancelled task must not end half-way.
  @discardableResult
  private func uninterrupted(_ command: Command) async throws -> String {
    let output = try await Task { [run] in try await run(command) }.value
    guard output.succeeded else { throw Refusal(reason: "`\(command)` ended with \(output.complaint)") }
    return output.standardOutput
  }
}

/// A step that did not work; it becomes the cause in a ``FinishingError``.
private struct Refusal: Failure { let reason: String }

extension VolumePlace {
  /// A disk and its partitions are cached apart.
  fileprivate func dropCaches() {
    for path in [disk, node].compactMap({ $0 }) { (try? FileDevice(path: path))?.dropCaches() }
  }
}
