// SPDX-License-Identifier: GPL-3.0-or-later

/// How Linux names the partitions of a disk.
public enum PartitionNaming {
  /// `sda` and 1 make `sda1`; `nvme0n1`, `mmcblk0`, `loop0` and 1 make `nvme0n1p1`, `mmcblk0p1`, `loop0p1`.
  /// - Parameter disk: a name or a path.
  public static func name(disk: String, partition: Int) -> String {
    let endsInDigit = disk.utf8.last.map { isDigit($0) } ?? false
    return endsInDigit ? "\(disk)p\(partition)" : "\(disk)\(partition)"
  }

  /// The number of a partition of `disk`: 3 for `nvme0n1p3` of `nvme0n1`; nil for the name of anything else.
  public static func number(of partition: String, disk: String) -> Int? {
    guard partition.hasPrefix(disk) else { return nil }
    var rest = partition.dropFirst(disk.count)
    if disk.utf8.last.map({ isDigit($0) }) ?? false {
      guard rest.first == "p" else { return nil }
      rest = rest.dropFirst()
    }
    guard !rest.isEmpty, rest.utf8.allSatisfy({ isDigit($0) }), rest.first != "0" else { return nil }
    return Int(rest)
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
}
