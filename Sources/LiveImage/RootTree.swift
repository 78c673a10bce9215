// SPDX-License-Identifier: GPL-3.0-or-later

private import Glibc
public import Reporting
public import Squashfs
public import SystemPackage
public import TarStream

/// What becomes of one entry of the root tree's tar stream.
public enum ExtractDecision: Sendable, Equatable {
  /// It goes into the squashfs.
  case keep
  /// It is passed over.
  case drop
  /// It is taken out of the stream: a file's contents go to a file of their own, and not into the squashfs.
  case divert
}

/// Why a root tree cannot be copied.
public enum RootTreeError: Failure, Equatable {
  /// A hard link whose first name is not in the squashfs any more.
  case hardLinkToDiverted(path: FilePath, target: FilePath)
  case cannotDivert(path: FilePath, errno: CInt)

  public var reason: String {
    switch self {
    case .hardLinkToDiverted(let path, let target):
      "\(path) is a hard link to \(target), which was taken out of the root file system"
    case .cannotDivert(let path, let errno): "cannot write \(path): \(String(cString: strerror(errno)))"
    }
  }

  public var remedy: String? {
    switch self {
    case .hardLinkToDiverted: "make it a file of its own in a hook"
    case .cannotDivert: "check the free space and the permissions of its folder"
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .hardLinkToDiverted: .invalidData
    case .cannotDivert: .cannotCreate
    }
  }
}

/// The root file system on its way from mmdebstrap's tar stream into a squashfs.
public enum RootTree {
  /// What a copy came to.
  public struct Summary: Sendable, Equatable {
    /// Entries that went into the squashfs.
    public var kept = 0
    /// Entries that were passed over.
    public var dropped = 0
    /// Where the contents of each diverted file are, by its path in the tree.
    public var diverted: [FilePath: FilePath] = [:]
    /// Entries that had an access control list, which squashfs cannot hold.
    public var lostAccessControlLists = 0
  }

  /// Copies all entries of a tar stream into a squashfs, which the caller finishes.
  ///
  /// It blocks while the stream or the compressors do, so it belongs on a thread of its own.
  ///
  /// - Parameters:
  ///   - directory: exists; a diverted file appears below it under its own path.
  ///   - progress: set to the bytes of the stream read so far.
  ///   - extract: asked about each entry, in the order of the stream.
  /// - Throws: `TarError`, `SquashfsError`, ``RootTreeError``, and `CancellationError` when the task was cancelled.
  public static func copy(
    tar: TarReader, into squashfs: SquashfsWriter, divertingTo directory: FilePath, progress: ProgressMeter? = nil,
    extract: (TarEntry) -> ExtractDecision = defaultDecision
  ) throws -> Summary {
    var summary = Summary()
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while let entry = try tar.next() {
      try Task.checkCancellation()
      switch extract(entry) {
      case .keep:
        try add(entry, from: tar, to: squashfs, diverted: summary.diverted, &buffer, progress)
        summary.kept += 1
        if entry.hasAccessControlList { summary.lostAccessControlLists += 1 }
      case .divert:
        if let file = try divert(entry, from: tar, to: directory, diverted: summary.diverted, &buffer) {
          summary.diverted[entry.path] = file
        }
      case .drop: summary.dropped += 1
      }
      progress?.set(completed: tar.bytesRead)
    }
    return summary
  }

  /// What a live system has no use for in its root, and what the boot loader needs outside of it.
  ///
  /// Diverted: kernels (`boot/vmlinuz-*`), initial RAM disks (`boot/initrd.img-*`) and all below `slipway-boot`, where
  /// the build leaves files for the medium. Dropped: links to the former in `boot`, all below `dev`, which is a file
  /// system of its own once booted, and the dynamic linker's auxiliary cache, which differs from build to build.
  public static func defaultDecision(_ entry: TarEntry) -> ExtractDecision {
    let path = entry.path.string
    if path == "slipway-boot" || path.hasPrefix("slipway-boot/") { return .divert }
    if path.hasPrefix("boot/vmlinuz") || path.hasPrefix("boot/initrd.img") {
      return entry.kind == .file ? .divert : .drop
    }
    if path.hasPrefix("dev/") || path == "var/cache/ldconfig/aux-cache" { return .drop }
    return .keep
  }

  private static func add(
    _ entry: TarEntry, from tar: TarReader, to squashfs: SquashfsWriter, diverted: [FilePath: FilePath],
    _ buffer: inout [UInt8], _ progress: ProgressMeter?
  ) throws {
    let metadata = Metadata(
      permissions: entry.permissions, owner: entry.owner, group: entry.group,
      modificationTime: entry.modificationTime,
      extendedAttributes: entry.extendedAttributes.map { .init(name: $0.name, value: $0.value) })
    switch entry.kind {
    case .file:
      try squashfs.beginFile(entry.path, metadata)
      try forEachPart(of: tar, &buffer) { part in
        try squashfs.append(part)
        progress?.set(completed: tar.bytesRead)
      }
      try squashfs.endFile()
    case .hardLink(let target):
      guard diverted[target] == nil else {
        throw RootTreeError.hardLinkToDiverted(path: entry.path, target: target)
      }
      try squashfs.addHardLink(entry.path, to: target)
    case .directory: try squashfs.add(.directory, at: entry.path, metadata)
    case .symbolicLink(let target): try squashfs.add(.symbolicLink(target: target), at: entry.path, metadata)
    case .characterDevice(let major, let minor):
      try squashfs.add(.characterDevice(major: major, minor: minor), at: entry.path, metadata)
    case .blockDevice(let major, let minor):
      try squashfs.add(.blockDevice(major: major, minor: minor), at: entry.path, metadata)
    case .fifo: try squashfs.add(.fifo, at: entry.path, metadata)
    }
  }

  /// Writes a file's contents, or one more name of a diverted file; nil for other kinds, which have no contents.
  private static func divert(
    _ entry: TarEntry, from tar: TarReader, to directory: FilePath, diverted: [FilePath: FilePath],
    _ buffer: inout [UInt8]
  ) throws -> FilePath? {
    let file = directory.pushing(entry.path)
    switch entry.kind {
    case .file:
      try makeDirectories(from: directory, to: entry.path.removingLastComponent())
      let descriptor = try cannotDivert(file) {
        try FileDescriptor.open(
          file, .writeOnly, options: [.create, .truncate, .closeOnExec],
          permissions: [.ownerReadWrite, .groupRead, .otherRead])
      }
      try descriptor.closeAfter {
        try forEachPart(of: tar, &buffer) { part in
          try cannotDivert(file) { _ = try part.withUnsafeBytes { try descriptor.writeAll($0) } }
        }
      }
      return file
    case .hardLink(let target): return diverted[target]
    case .directory, .symbolicLink, .characterDevice, .blockDevice, .fifo: return nil
    }
  }

  private static func makeDirectories(from directory: FilePath, to relative: FilePath) throws {
    var path = directory
    for component in relative.components {
      path.append(component)
      guard path.withPlatformString({ mkdir($0, 0o755) }) == 0 || errno == EEXIST else {
        throw RootTreeError.cannotDivert(path: path, errno: errno)
      }
    }
  }

  private static func forEachPart(
    of tar: TarReader, _ buffer: inout [UInt8], _ body: (RawSpan) throws -> Void
  ) throws {
    while true {
      let count = try {
        var span = buffer.mutableSpan
        var bytes = span.mutableBytes
        return try tar.read(into: &bytes)
      }()
      guard count > 0 else { return }
      try body(buffer.span.bytes.extracting(first: count))
    }
  }

  private static func cannotDivert<Value>(_ path: FilePath, _ body: () throws -> Value) throws -> Value {
    do {
      return try body()
    } catch let error as Errno {
      throw RootTreeError.cannotDivert(path: path, errno: error.rawValue)
    }
  }
}
