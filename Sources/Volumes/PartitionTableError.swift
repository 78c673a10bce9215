// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// Why a partition table can't be read or written.
public enum PartitionTableError: Failure, Equatable {
  case damaged(device: String, detail: String)
  /// The table contradicts itself; nothing was written.
  case inconsistent(detail: String)
  case sectorSizeDiffers(table: Int, device: Int)
  /// The last partition ends behind the end of the disk. Sizes in bytes.
  case doesNotFit(needed: UInt64, available: UInt64)
  /// A text file that describes a table can't be understood.
  case malformed(file: String, line: Int, text: String, expected: String)

  public var reason: String {
    switch self {
    case .damaged(let device, let detail): "the partition table of \(device) is damaged: \(detail)"
    case .inconsistent(let detail): "the partition table contradicts itself: \(detail)"
    case .sectorSizeDiffers(let table, let device):
      "the partition table counts in sectors of \(table) bytes, but the disk has sectors of \(device) bytes"
    case .doesNotFit(let needed, let available):
      "the partitions need a disk of \(Quantity.bytes(needed)) (\(needed) bytes), "
        + "but it has \(Quantity.bytes(available)) (\(available) bytes)"
    case .malformed(let file, let line, let text, let expected):
      "\(file):\(line): expected \(expected), found \"\(text)\""
    }
  }

  public var remedy: String? {
    switch self {
    case .damaged: "repair it with `gdisk` or `fdisk`"
    case .doesNotFit: "choose a larger disk"
    case .sectorSizeDiffers: "choose a disk with the same logical sector size"
    case .inconsistent, .malformed: nil
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .doesNotFit, .sectorSizeDiffers: .refused
    case .damaged, .inconsistent, .malformed: .invalidData
    }
  }
}
