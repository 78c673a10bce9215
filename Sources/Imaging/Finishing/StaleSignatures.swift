// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO

/// Where signatures of an earlier content could survive in blocks that a restore leaves alone, and mislead whoever probes
/// the volume later: LVM, RAID and ZFS labels, old superblocks, Btrfs mirrors, a GPT's backup.
public enum StaleSignatures {
  private static let edge: UInt64 = 1 << 20
  /// The second and third superblock of Btrfs.
  private static let btrfsMirrors: [UInt64] = [64 << 20, 256 << 30]
  private static let btrfsSuperblock: UInt64 = 4096

  /// The ranges to be zeroed in a volume: its first and last MiB, and the places of Btrfs's mirrors.
  /// - Parameter byteCount: size of the volume in bytes.
  /// - Returns: byte ranges in rising order that lie inside the volume and do not overlap.
  public static func regions(byteCount: UInt64) -> [Range<UInt64>] {
    guard byteCount > 2 * edge else { return byteCount == 0 ? [] : [0..<byteCount] }
    let tail = byteCount - edge
    let mirrors = btrfsMirrors.filter { $0 < tail }.map { $0..<min($0 + btrfsSuperblock, tail) }
    return [0..<edge] + mirrors + [tail..<byteCount]
  }

  /// Zeroes the regions. To be done before the volume's data is written, so that it can't destroy any of it.
  public static func erase(on volume: some WritableBlockDevice) throws(DeviceError) {
    for region in regions(byteCount: volume.byteCount) {
      try volume.zero(at: region.lowerBound, count: region.upperBound - region.lowerBound)
    }
  }
}
