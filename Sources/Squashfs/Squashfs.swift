// Squashfs: writes a squashfs file system from a stream of entries, by libsquashfs, on all cores.
// SPDX-License-Identifier: GPL-3.0-or-later

private import Glibc

/// How a file system is written.
public struct SquashfsOptions: Sendable, Equatable {
  /// zstd level, 1 to 22.
  public var level: Int
  /// Bytes of data compressed together: a power of two, 4 KiB to 1 MiB.
  public var blockSize: Int
  /// Threads that compress; the bytes written don't depend on it.
  public var workers: Int
  /// Seconds since 1970 that the file system itself and directories made on the way are stamped with.
  public var modificationTime: UInt32
  /// The latest time any entry may have, in seconds since 1970; later ones are set back to it.
  public var latestTime: UInt32

  public init(
    level: Int = 15, blockSize: Int = 128 << 10, workers: Int = availableCores, modificationTime: UInt32 = 0,
    latestTime: UInt32 = .max
  ) {
    self.level = level
    self.blockSize = blockSize
    self.workers = workers
    self.modificationTime = modificationTime
    self.latestTime = latestTime
  }

  /// How many processors are online.
  public static var availableCores: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}

/// A name and a value that a file carries beside its data. squashfs has room for `user.`, `trusted.` and `security.`.
public struct ExtendedAttribute: Sendable, Hashable {
  /// With its namespace: `security.capability`.
  public var name: String
  public var value: [UInt8]

  public init(name: String, value: [UInt8]) {
    self.name = name
    self.value = value
  }
}

/// What every entry has beside its kind and name.
public struct Metadata: Sendable, Equatable {
  /// The lower twelve bits of the mode: permissions, set-user-ID, set-group-ID, sticky.
  public var permissions: UInt16
  /// Numeric user id.
  public var owner: UInt32
  /// Numeric group id.
  public var group: UInt32
  /// Seconds since 1970; squashfs holds 0 to 4294967295, what lies outside is set to the nearer end.
  public var modificationTime: Int64
  /// A name that comes twice has its last value.
  public var extendedAttributes: [ExtendedAttribute]

  public init(
    permissions: UInt16, owner: UInt32 = 0, group: UInt32 = 0, modificationTime: Int64 = 0,
    extendedAttributes: [ExtendedAttribute] = []
  ) {
    self.permissions = permissions
    self.owner = owner
    self.group = group
    self.modificationTime = modificationTime
    self.extendedAttributes = extendedAttributes
  }
}

/// Anything but a regular file, which has data, or one more name for something.
public enum SpecialEntry: Sendable, Equatable {
  case directory
  /// 1 to 4095 bytes, kept as they are.
  case symbolicLink(target: [UInt8])
  /// Major number up to 4095, minor up to 1048575; 0:0 is the whiteout of overlayfs.
  case characterDevice(major: UInt32, minor: UInt32)
  case blockDevice(major: UInt32, minor: UInt32)
  case fifo
  case socket
}

/// What was written.
public struct SquashfsStatistics: Sendable, Equatable {
  /// Size of the file in bytes, padding included.
  public var bytes: UInt64
  public var inodes: Int
  /// Bytes of file data that came in, holes included.
  public var inputBytes: UInt64
  /// Extended attributes of the `system.` namespace (access control lists) that squashfs cannot hold.
  public var droppedAttributes: Int
}
