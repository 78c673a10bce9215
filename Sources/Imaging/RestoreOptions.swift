// SPDX-License-Identifier: GPL-3.0-or-later

/// How an image is to be restored.
public struct RestoreOptions: Sendable {
  public enum Growth: Sendable {
    /// Partitions and file systems as in the image.
    case none
    /// Each file system grows to the end of its partition, where that is larger.
    case fileSystems
    /// The last partition grows to the end of the disk, and its file system with it.
    case last
    /// All partitions share what a larger disk has more of, in proportion to their sizes, and their file systems grow
    /// with them (``PartitionTable/proportional(toByteCount:sectorSize:)``).
    case proportional
  }

  /// Numbers of the partitions to restore, leaving the rest of the disk and its table as they are; nil for all.
  public var partitions: [Int]?
  /// By number of a partition of the image: the number of the partition that takes it instead.
  public var renumbering: [Int: Int] = [:]
  public var growth = Growth.none
  /// Whether all of the image is read and checked before the target is touched.
  public var isVerified = true
  /// Whether boot entries are made in the firmware when the machine was started by EFI.
  public var makesBootEntry = true
  /// Whether a target that is an existing file may be overwritten. A device is, once it was named.
  public var overwritesFiles = false
  /// Whether the boot code in sector 0 and behind it, and that of extended partitions, is restored.
  public var restoresBootCode = true
  public var restoresExtendedBootCode = true
  public var restoresHiddenData = true

  public init() {}
}
