// SPDX-License-Identifier: GPL-3.0-or-later

public import Bytes
public import Commands
import Glibc
import Reporting
public import SystemPackage
public import Volumes

/// What became of the firmware's boot entries.
public enum EFIBootOutcome: Sendable, Equatable {
  /// Labels; the first one is booted first.
  case created([String])
  /// There is nothing to make; the loader in `\EFI\BOOT`, if the disk has one, starts without an entry.
  case unchanged(note: String)
  case failed(FinishingError)
}

/// Makes the boot entries that a restored disk had in its old machine's firmware.
public struct EFIBootEntries: Sendable {
  private let run: CommandRun

  public init(commands: CommandRunner) {
    run = { try await commands.output(of: $0) }
  }

  package init(run: @escaping CommandRun) { self.run = run }

  /// Makes the saved entries anew, in their order and before all others, and removes what they replace: entries of the
  /// same label and loader for the same partition, or for one that no longer exists. Those of other disks stay.
  ///
  /// For machines that were booted by EFI firmware.
  /// - Parameters:
  ///   - saved: the image's `efi-nvram.dat`; nil when it has none.
  ///   - table: the disk's table as it is now.
  ///   - disk: the restored disk.
  ///   - present: unique GUIDs of all partitions of the machine.
  /// - Throws: only `CancellationError`.
  public func restore(
    _ saved: String?, table: PartitionTable, disk: FilePath, present: Set<GUID> = EFIBootEntries.partitionsPresent()
  ) async throws -> EFIBootOutcome {
    guard table.isGPT else { return .unchanged(note: "boot entries need a GPT") }
    guard let saved else { return .unchanged(note: "the image holds no boot entries of a firmware") }
    var wanted: [(entry: FirmwareBootEntry, loader: String, partition: Partition)] = []
    for entry in FirmwareBootList(saved).entries where entry.isActive {
      guard let loader = entry.loader, let guid = entry.partition,
        let partition = table.partitions.first(where: { $0.uuid == guid }),
        !wanted.contains(where: { entry.isSame(as: $0.entry) && $0.entry.partition == guid })
      else { continue }
      wanted.append((entry, loader, partition))
    }
    guard !wanted.isEmpty else { return .unchanged(note: "none of the saved boot entries is for this disk") }
    do {
      let current = FirmwareBootList(try await must(Command("efibootmgr", ["-v"]))).entries
      for (entry, loader, partition) in wanted.reversed() {
        try await must(
          Command(
            "efibootmgr",
            [
              "--quiet", "--create", "--disk", disk.string, "--part", "\(partition.number)", "--label", entry.label,
              "--loader", loader,
            ]))
      }
      // The new entry is there before the old one goes.
      for old in current where wanted.contains(where: { old.isSame(as: $0.entry) }) {
        guard let guid = old.partition, !present.contains(guid) || table.partitions.contains(where: { $0.uuid == guid })
        else { continue }
        try await must(Command("efibootmgr", ["--quiet", "--bootnum", old.digits, "--delete-bootnum"]))
      }
      return .created(wanted.map(\.entry.label))
    } catch let error as CancellationError {
      throw error
    } catch {
      try Task.checkCancellation()
      return .failed(.noBootEntry(disk: disk.string, cause: (error as? any Failure)?.reason ?? "\(error)"))
    }
  }

  /// The unique GUIDs of all GPT partitions the kernel sees.
  public static func partitionsPresent() -> Set<GUID> {
    guard let folder = opendir("/dev/disk/by-partuuid") else { return [] }
    defer { closedir(folder) }
    var present: Set<GUID> = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if let guid = GUID(name) { present.insert(guid) }
    }
    return present
  }

  @discardableResult
  private func must(_ command: Command) async throws -> String {
    let output = try await run(command)
    guard output.succeeded else {
      throw CommandError.failed(command: "\(command)", status: output.status, standardError: output.standardError)
    }
    return output.standardOutput
  }
}

extension FirmwareBootEntry {
  /// Whether people and the firmware could not tell the two apart but for the partition; FAT ignores case.
  fileprivate func isSame(as other: FirmwareBootEntry) -> Bool {
    label == other.label && loader?.lowercased() == other.loader?.lowercased()
  }

  /// The number as efibootmgr writes it.
  fileprivate var digits: String {
    let digits = String(number, radix: 16, uppercase: true)
    return String(repeating: "0", count: 4 - digits.count) + digits
  }
}
