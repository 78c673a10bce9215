// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO

/// Finds out what a volume holds.
public enum FileSystems {
  /// The readers, in the order of probing: the more telling signatures first.
  private static let readers: [any FileSystemReader.Type] = [
    Ext.self, XFS.self, Btrfs.self, NTFS.self, FAT.self, Swap.self,
    ExFAT.self, HFSPlus.self, JFS.self, APFS.self, Minix.self,
    F2FS.self, NILFS2.self,
    ReiserFS.self, Reiser4.self, UFS.self,
  ]

  /// What the volume holds, or nil when no known signature is there.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` for a superblock that contradicts itself, `DeviceError`.
  public static func identify(_ device: any BlockDevice) throws -> FileSystemIdentity? {
    try reader(for: device)?.identity
  }

  /// The used blocks of the volume, or nil when it holds no file system known here.
  /// - Throws: ``FileSystemError`` when the map cannot be trusted, `DeviceError`.
  public static func allocationMap(of device: any BlockDevice) throws -> AllocationMap? {
    try reader(for: device)?.allocationMap()
  }

  private static func reader(for device: any BlockDevice) throws -> (any FileSystemReader)? {
    for type in readers {
      if let reader = try type.init(device) { return reader }
    }
    return nil
  }
}
