// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// Why a job is refused before anything was written, or what went wrong in it beyond reading and writing.
public enum ImagingError: Failure, Equatable {
  /// The image has content that a later version will restore.
  case notYetSupported(image: String, device: String, what: String)
  /// It was made of single partitions, so that it can't make a whole disk.
  case imageOfPartitions(image: String, numbers: [Int])
  /// Some of a volume group's physical volumes are not to be restored, or not in the image.
  case incompleteGroup(image: String, group: String, missing: String)
  case noSuchPartition(of: String, number: Int, present: [Int])
  case wrongTargetCount(image: String, disks: [String], targets: Int)
  case sameTargetTwice(String)
  /// Sizes in bytes.
  case partitionTooSmall(target: String, number: Int?, needed: UInt64, available: UInt64)
  case noTable(String)
  case existingFile(String)
  case isMounted(source: String, uses: [String])
  case toolMissing(program: String, purpose: String, package: String)
  case notADisk(String)
  case verificationFailed(image: String, volumes: [String])

  public var reason: String {
    switch self {
    case .notYetSupported(let image, let device, let what):
      "\(image): \(device) \(what), which this version does not restore yet; nothing was written"
    case .imageOfPartitions(let image, let numbers):
      "\(image) holds no whole disk, only the partitions \(numbers.map(String.init).joined(separator: ", "))"
    case .incompleteGroup(let image, let group, let missing):
      "\(image): the LVM volume group \(group) also lies on \(missing), which is not to be restored; nothing was written"
    case .noSuchPartition(let disk, let number, let present):
      "\(disk) has no partition \(number); it has \(present.map(String.init).joined(separator: ", "))"
    case .wrongTargetCount(let image, let disks, let targets):
      "\(image) holds \(disks.count) disks (\(disks.joined(separator: ", "))), but \(targets) targets were named"
    case .sameTargetTwice(let target): "\(target) is named twice"
    case .partitionTooSmall(let target, let number, let needed, let available):
      (number.map { "partition \($0) of \(target)" } ?? target)
        + " has \(Quantity.bytes(available)) (\(available) bytes), "
        + "but the image needs \(Quantity.bytes(needed)) (\(needed) bytes)"
    case .noTable(let disk): "\(disk) has no partition table"
    case .existingFile(let path): "\(path) exists already"
    case .isMounted(let source, let uses):
      "\(source) is in use, so that its image would not be consistent: \(uses.joined(separator: "; "))"
    case .toolMissing(let program, let purpose, let package):
      "the program `\(program)` (Debian package \(package)) is missing, which \(purpose) needs; nothing was written"
    case .notADisk(let name): "\(name) is a partition, not a disk"
    case .verificationFailed(let image, let volumes):
      "\(image) cannot be restored; these volumes are damaged:\n" + volumes.map { "  | \($0)" }.joined(separator: "\n")
    }
  }

  public var remedy: String? {
    switch self {
    case .notYetSupported: "restore it with Clonezilla"
    case .imageOfPartitions: "say which ones are to be restored (--parts)"
    case .incompleteGroup: "restore all of its physical volumes, or none"
    case .noSuchPartition, .notADisk: "`reimage info IMAGE` shows what an image holds"
    case .wrongTargetCount: "name one target for each disk, in their order"
    case .partitionTooSmall: "restore to a larger partition or disk"
    case .noTable: "restore the whole disk, which makes the table too"
    case .existingFile: "say --overwrite to replace it"
    case .isMounted: "unmount it first"
    case .toolMissing(_, _, let package): "install \(package)"
    case .verificationFailed: "save it again, or fetch the files from another copy"
    case .sameTargetTwice: nil
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .notYetSupported, .verificationFailed: .invalidData
    case .imageOfPartitions, .incompleteGroup, .noSuchPartition, .wrongTargetCount, .sameTargetTwice, .notADisk: .usage
    case .partitionTooSmall, .noTable, .existingFile, .isMounted: .refused
    case .toolMissing: .unavailable
    }
  }
}
