// SPDX-License-Identifier: GPL-3.0-or-later

internal import CArchive
private import Glibc
public import SystemPackage

/// A name and a value that a file carries beside its data.
public struct ExtendedAttribute: Sendable, Hashable {
  /// With its namespace: `security.capability`.
  public var name: String
  public var value: [UInt8]

  public init(name: String, value: [UInt8]) {
    self.name = name
    self.value = value
  }
}

/// One file, directory, link or device of a tar archive.
public struct TarEntry: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    case file
    case directory
    /// The target is kept byte for byte.
    case symbolicLink(target: [UInt8])
    /// One more name of an earlier entry, whose path is normalised like ``TarEntry/path``.
    case hardLink(target: FilePath)
    case characterDevice(major: UInt32, minor: UInt32)
    case blockDevice(major: UInt32, minor: UInt32)
    case fifo
  }

  /// Relative to the root, without `.` and empty components; the empty path is the root itself.
  public var path: FilePath
  public var kind: Kind
  /// The lower twelve bits of the mode: permissions, set-user-ID, set-group-ID, sticky.
  public var permissions: UInt16
  /// Numeric user and group id; names are not looked at.
  public var owner: UInt32
  public var group: UInt32
  /// Seconds since 1970.
  public var modificationTime: Int64
  /// Bytes of data, holes included; 0 for all but files.
  public var size: UInt64
  public var extendedAttributes: [ExtendedAttribute]
  /// Whether it has a POSIX access control list, which is not read further.
  public var hasAccessControlList: Bool
}

extension TarEntry {
  init(_ header: OpaquePointer) throws(TarError) {
    guard let name = archive_entry_pathname(header) else {
      throw TarError.malformed(entry: nil, problem: "an entry has no name")
    }
    path = try Self.normalised(name)
    let shown = String(cString: name)
    kind = try Self.kind(of: header, name: shown)

    guard let owner = UInt32(exactly: archive_entry_uid(header)),
      let group = UInt32(exactly: archive_entry_gid(header))
    else { throw TarError.malformed(entry: shown, problem: "its owner or group does not fit 32 bits") }
    self.owner = owner
    self.group = group
    permissions = UInt16(archive_entry_mode(header) & 0o7777)
    modificationTime = Int64(archive_entry_mtime(header))

    size = 0
    if kind == .file {
      guard let size = UInt64(exactly: archive_entry_size(header)), size <= TarReader.largestFile else {
        throw TarError.tooLarge(entry: shown, size: archive_entry_size(header))
      }
      self.size = size
    }

    extendedAttributes = []
    archive_entry_xattr_reset(header)
    var attribute: UnsafePointer<CChar>?
    var value: UnsafeRawPointer?
    var count = 0
    while archive_entry_xattr_next(header, &attribute, &value, &count) == ARCHIVE_OK {
      guard let attribute else { continue }
      extendedAttributes.append(
        ExtendedAttribute(
          name: String(cString: attribute), value: [UInt8](UnsafeRawBufferPointer(start: value, count: count))))
    }
    hasAccessControlList = archive_entry_acl_types(header) != 0
  }

  private static func kind(of header: OpaquePointer, name: String) throws(TarError) -> Kind {
    if let target = archive_entry_hardlink(header) { return .hardLink(target: try normalised(target)) }
    let major = UInt32(truncatingIfNeeded: archive_entry_rdevmajor(header))
    let minor = UInt32(truncatingIfNeeded: archive_entry_rdevminor(header))
    switch archive_entry_filetype(header) {
    case S_IFREG: return .file
    case S_IFDIR: return .directory
    case S_IFCHR: return .characterDevice(major: major, minor: minor)
    case S_IFBLK: return .blockDevice(major: major, minor: minor)
    case S_IFIFO: return .fifo
    case S_IFLNK:
      guard let target = archive_entry_symlink(header) else {
        throw TarError.malformed(entry: name, problem: "a symbolic link without a target")
      }
      return .symbolicLink(target: [UInt8](UnsafeRawBufferPointer(start: target, count: strlen(target))))
    case let type:
      throw TarError.malformed(entry: name, problem: "its file type is unknown (\(String(type, radix: 8)))")
    }
  }

  /// A member's name as a path below the root: no leading `/` or `./`, and nothing that leads out of the tree.
  private static func normalised(_ name: UnsafePointer<CChar>) throws(TarError) -> FilePath {
    guard strlen(name) <= TarReader.longestPath else {
      throw TarError.unsafeName(name: "\(String(cString: name).prefix(60))...", problem: "it is longer than 4095 bytes")
    }
    var path = FilePath()
    for component in FilePath(platformString: name).components where component.kind != .currentDirectory {
      guard component.kind == .regular else {
        throw TarError.unsafeName(name: String(cString: name), problem: "it leads out of the tree")
      }
      path.append(component)
    }
    return path
  }
}
