// SPDX-License-Identifier: GPL-3.0-or-later

private import Glibc
public import SystemPackage

/// Writes a squashfs 4.0 file system, zstd compressed, from entries as they come.
///
/// Data is compressed by worker threads while the caller reads on; only names, metadata and block lists stay in
/// memory. The writer blocks when the workers are behind, and is used from one thread at a time.
///
/// Paths are relative to the root (a leading `/` changes nothing); the empty path is the root. Directories on the way
/// that were not added are made: root's, mode 0755. What comes later under the same path wins, as when a tar archive is
/// extracted: a directory takes new metadata and keeps its contents, anything else is replaced, and only a directory
/// that is not empty cannot become something else.
///
/// The same entries give the same bytes, however many workers there are. Metadata does not depend on the order in which
/// entries come; data lies roughly in the order in which the files came.
///
/// The file appears under its name when ``finish()`` succeeds; a writer that is let go before removes what it wrote.
/// After an error the writer can only be let go.
public final class SquashfsWriter {
  /// The longest name of one entry, in bytes.
  public static let longestName = 256
  /// The longest path and symbolic link target, in bytes (Linux PATH_MAX without its NUL).
  public static let longestPath = 4095
  /// The largest value of an extended attribute, in bytes (Linux XATTR_SIZE_MAX).
  public static let largestAttribute = 64 << 10
  /// The most bytes that all different sets of extended attributes may have together: they are kept in memory.
  public static let mostAttributeBytes = 64 << 20

  private let options: SquashfsOptions
  private let image: ImageFile
  private var data: DataWriter
  private var tree: Tree
  private var attributeSets: [[ExtendedAttribute]] = []
  private var attributeIndices: [[ExtendedAttribute]: UInt32] = [:]
  private var attributeBytes = 0
  private var droppedAttributes = 0
  private var isWritingFile = false

  /// Begins a file system.
  /// - Throws: ``SquashfsError/invalidOption(name:value:allowed:)``, ``SquashfsError/cannotCreate(file:errno:)``.
  public init(path: FilePath, options: SquashfsOptions = SquashfsOptions()) throws(SquashfsError) {
    guard (1...22).contains(options.level) else {
      throw SquashfsError.invalidOption(name: "the zstd level", value: options.level, allowed: "1 to 22")
    }
    guard (4096...(1 << 20)).contains(options.blockSize), options.blockSize.nonzeroBitCount == 1 else {
      throw SquashfsError.invalidOption(
        name: "the block size", value: options.blockSize, allowed: "a power of two, 4096 to 1048576")
    }
    guard (1...1024).contains(options.workers) else {
      throw SquashfsError.invalidOption(name: "the number of workers", value: options.workers, allowed: "1 to 1024")
    }
    self.options = options
    image = try ImageFile(path, options)
    data = DataWriter(image, blockSize: options.blockSize)
    let time = min(options.modificationTime, options.latestTime)
    tree = Tree(
      root: Tree.Inode(
        mode: UInt16(S_IFDIR) | 0o755, owner: 0, group: 0, modificationTime: time, links: 2, attributes: Tree.none,
        payload: Tree.none))
  }

  /// Adds anything that has no data.
  /// - Throws: ``SquashfsError/invalidEntry(path:problem:)``, ``SquashfsError/tooMany(what:limit:)``.
  public func add(_ entry: SpecialEntry, at path: FilePath, _ metadata: Metadata) throws(SquashfsError) {
    precondition(!isWritingFile, "end the file first")
    switch entry {
    case .directory: try addDirectory(path, metadata)
    case .symbolicLink(let target):
      guard (1...Self.longestPath).contains(target.count), !target.contains(0) else {
        throw SquashfsError.invalidEntry(
          path: path, problem: "its target is empty, longer than 4095 bytes or has a NUL")
      }
      try put(S_IFLNK, at: path, metadata, payload: tree.keep(target: target))
    case .characterDevice(let major, let minor):
      try put(S_IFCHR, at: path, metadata, payload: Self.deviceNumber(major, minor, of: path))
    case .blockDevice(let major, let minor):
      try put(S_IFBLK, at: path, metadata, payload: Self.deviceNumber(major, minor, of: path))
    case .fifo: try put(S_IFIFO, at: path, metadata, payload: 0)
    case .socket: try put(S_IFSOCK, at: path, metadata, payload: 0)
    }
  }

  /// Begins a regular file; its data follows by ``append(_:)``, and ``endFile()`` ends it.
  ///
  /// - Parameter compressed: false for data that is compressed already: it is stored as it is, and read back faster.
  /// - Throws: ``SquashfsError``.
  public func beginFile(_ path: FilePath, _ metadata: Metadata, compressed: Bool = true) throws(SquashfsError) {
    precondition(!isWritingFile, "end the file first")
    let slot = try data.begin(suffix: path.extension ?? "", compressed: compressed)
    isWritingFile = true
    try put(S_IFREG, at: path, metadata, payload: slot)
  }

  /// Appends to the file begun last. Blocks of zeros become holes.
  /// - Throws: ``SquashfsError/cannotWrite(file:errno:)`` when the disk is full or fails,
  ///   ``SquashfsError/library(file:step:code:)``.
  public func append(_ bytes: RawSpan) throws(SquashfsError) {
    precondition(isWritingFile, "begin a file first")
    try data.append(bytes)
  }

  /// Ends the file begun last.
  /// - Throws: as ``append(_:)``.
  public func endFile() throws(SquashfsError) {
    precondition(isWritingFile, "begin a file first")
    isWritingFile = false
    try data.end()
  }

  /// Gives an entry that is there already, and is no directory, one more name.
  /// - Throws: ``SquashfsError/missingHardLinkTarget(path:target:)``, ``SquashfsError/invalidEntry(path:problem:)``.
  public func addHardLink(_ path: FilePath, to target: FilePath) throws(SquashfsError) {
    precondition(!isWritingFile, "end the file first")
    guard let inode = inode(at: target), inode != Tree.root else {
      throw SquashfsError.missingHardLinkTarget(path: path, target: target)
    }
    guard !tree[inode].isDirectory else {
      throw SquashfsError.invalidEntry(path: path, problem: "it is a hard link to the directory \(target)")
    }
    guard self.inode(at: path) != inode else {
      throw SquashfsError.invalidEntry(path: path, problem: "it is a hard link to itself")
    }
    try link(inode, at: path)
  }

  /// Writes what is left, waits until all is on stable storage, and gives the file its name, over one that was there.
  /// - Throws: ``SquashfsError``; the file is then removed when the writer is let go.
  public func finish() throws(SquashfsError) -> SquashfsStatistics {
    precondition(!isWritingFile, "end the file first")
    try data.flush()
    try image.finishData()
    let order = TreeOrder(tree)
    try TableWriter(image).write(tree, in: order, attributeSets: attributeSets)
    try image.complete()
    return SquashfsStatistics(
      bytes: image.size, inodes: order.inodes.count, inputBytes: image.inputBytes, droppedAttributes: droppedAttributes)
  }

  private func addDirectory(_ path: FilePath, _ metadata: Metadata) throws(SquashfsError) {
    let old = inode(at: path)
    guard let old, tree[old].isDirectory else { return try put(S_IFDIR, at: path, metadata, payload: Tree.none) }
    var merged = try makeInode(S_IFDIR, path, metadata, payload: tree[old].payload)
    merged.links = tree[old].links
    tree[old] = merged
  }

  private func put(
    _ type: mode_t, at path: FilePath, _ metadata: Metadata, payload: UInt32
  ) throws(SquashfsError) {
    try link(tree.add(makeInode(type, path, metadata, payload: payload)), at: path)
  }

  private func makeInode(
    _ type: mode_t, _ path: FilePath, _ metadata: Metadata, payload: UInt32
  ) throws(SquashfsError) -> Tree.Inode {
    Tree.Inode(
      mode: UInt16(type) | metadata.permissions & 0o7777, owner: metadata.owner, group: metadata.group,
      modificationTime: min(UInt32(clamping: metadata.modificationTime), options.latestTime),
      links: type == S_IFDIR ? 2 : 0, attributes: try keep(metadata.extendedAttributes, of: path), payload: payload)
  }

  /// Gives an inode a name, in place of what has it now.
  private func link(_ inode: UInt32, at path: FilePath) throws(SquashfsError) {
    guard path.length <= Self.longestPath else {
      throw SquashfsError.invalidEntry(path: path, problem: "its path is longer than 4095 bytes")
    }
    guard let last = path.lastComponent else {
      throw SquashfsError.invalidEntry(path: "/", problem: "the root can only be a directory")
    }
    var directory = Tree.root
    for component in path.removingLastComponent().components {
      let parent = directory
      directory = try withBytes(of: component, path) { name throws(SquashfsError) in
        if let existing = tree.find(name, in: parent) { return tree.names[existing].inode }
        let made = try tree.add(
          makeInode(
            S_IFDIR, path, Metadata(permissions: 0o755, modificationTime: Int64(options.modificationTime)),
            payload: Tree.none))
        try tree.link(made, as: name, in: parent)
        return made
      }
      guard tree[directory].isDirectory else {
        throw SquashfsError.invalidEntry(path: path, problem: "\(component) on its way is not a directory")
      }
    }
    try withBytes(of: last, path) { name throws(SquashfsError) in
      guard let existing = tree.find(name, in: directory) else {
        return try tree.link(inode, as: name, in: directory)
      }
      let old = tree[tree.names[existing].inode]
      guard !old.isDirectory || old.payload == Tree.none else {
        throw SquashfsError.invalidEntry(path: path, problem: "it would replace a directory that is not empty")
      }
      tree.relink(existing, to: inode)
    }
  }

  /// What has a path now, or nil.
  private func inode(at path: FilePath) -> UInt32? {
    var inode = Tree.root
    for component in path.components {
      guard tree[inode].isDirectory,
        let name = component.withPlatformString({ name in
          tree.find(UnsafeRawBufferPointer(start: name, count: strlen(name)), in: inode)
        })
      else { return nil }
      inode = tree.names[name].inode
    }
    return inode
  }

  /// Calls `body` with a name of 1 to 256 bytes that is neither `.` nor `..`.
  private func withBytes<Value>(
    of component: FilePath.Component, _ path: FilePath,
    _ body: (UnsafeRawBufferPointer) throws(SquashfsError) -> Value
  ) throws(SquashfsError) -> Value {
    guard component.kind == .regular else {
      throw SquashfsError.invalidEntry(path: path, problem: "`.` and `..` are no names")
    }
    let result = component.withPlatformString { name -> Result<Value, SquashfsError> in
      let count = strlen(name)
      guard count <= Self.longestName else {
        return .failure(.invalidEntry(path: path, problem: "a name in it is longer than 256 bytes"))
      }
      do throws(SquashfsError) {
        return .success(try body(UnsafeRawBufferPointer(start: name, count: count)))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// Keeps a set of extended attributes once and returns its index.
  private func keep(_ attributes: [ExtendedAttribute], of path: FilePath) throws(SquashfsError) -> UInt32 {
    guard !attributes.isEmpty else { return Tree.none }
    var values: [String: [UInt8]] = [:]
    for attribute in attributes {
      if attribute.name.hasPrefix("system.") {
        droppedAttributes += 1
        continue
      }
      let isKnown = ["user.", "trusted.", "security."].contains {
        attribute.name.hasPrefix($0) && attribute.name.utf8.count > $0.utf8.count
      }
      guard isKnown, attribute.name.utf8.count <= 255, !attribute.name.utf8.contains(0) else {
        throw SquashfsError.invalidEntry(
          path: path, problem: "its extended attribute `\(attribute.name.prefix(80))` has no place there")
      }
      guard attribute.value.count <= Self.largestAttribute else {
        throw SquashfsError.invalidEntry(
          path: path, problem: "its extended attribute `\(attribute.name)` has more than 65536 bytes")
      }
      values[attribute.name] = attribute.value
    }
    guard !values.isEmpty else { return Tree.none }
    let set = values.map(ExtendedAttribute.init).sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    if let index = attributeIndices[set] { return index }
    attributeBytes += set.reduce(0) { $0 + $1.name.utf8.count + $1.value.count }
    guard attributeBytes <= Self.mostAttributeBytes else {
      throw SquashfsError.tooMany(what: "bytes of extended attributes", limit: Self.mostAttributeBytes)
    }
    attributeSets.append(set)
    let index = UInt32(attributeSets.count - 1)
    attributeIndices[set] = index
    return index
  }

  /// A device number as the kernel stores it (`new_encode_dev`): the minor number around the major one.
  private static func deviceNumber(
    _ major: UInt32, _ minor: UInt32, of path: FilePath
  ) throws(SquashfsError) -> UInt32 {
    guard major < 1 << 12, minor < 1 << 20 else {
      throw SquashfsError.invalidEntry(path: path, problem: "its device number \(major):\(minor) is too large")
    }
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
  }
}
