// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import SystemPackage

/// A regular file of the host by its real path.
struct HostFile: Sendable {
  let path: String
  private let state: State

  /// What changes when a file is replaced or written to.
  private struct State: Equatable, Sendable {
    let device: UInt64
    let inode: UInt64
    let size: Int64
    let seconds: Int
    let nanoseconds: Int

    init?(of path: String) {
      var status = stat()
      guard stat(path, &status) == 0 else { return nil }
      device = UInt64(status.st_dev)
      inode = UInt64(status.st_ino)
      size = Int64(status.st_size)
      seconds = status.st_mtim.tv_sec
      nanoseconds = status.st_mtim.tv_nsec
    }
  }

  init(resolving file: FilePath) throws(ISOImageError) {
    guard let resolved = realpath(file.string, nil) else { throw .unreadable(file: file.string, errno: errno) }
    path = String(cString: resolved)
    free(resolved)
    let kind = try FileKind(of: path)
    guard kind == .regular else { throw .wrongFileType(file: file.string, found: "\(kind)") }
    guard access(path, R_OK) == 0, let state = State(of: path) else {
      throw .unreadable(file: file.string, errno: errno)
    }
    self.state = state
  }

  /// libisofs puts zeros in the place of what it no longer finds, and says nothing.
  /// - Throws: ``ISOImageError/sourceChanged(file:)``.
  func checkUnchanged() throws(ISOImageError) {
    guard State(of: path) == state else { throw .sourceChanged(file: path) }
  }
}

/// What a path of the host leads to, links followed.
enum FileKind: CustomStringConvertible {
  case regular, directory, other

  init(of path: String) throws(ISOImageError) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw .unreadable(file: path, errno: errno) }
    switch status.st_mode & S_IFMT {
    case S_IFREG: self = .regular
    case S_IFDIR: self = .directory
    default: self = .other
    }
  }

  var description: String {
    switch self {
    case .regular: "a regular file"
    case .directory: "a folder"
    case .other: "a device, socket or pipe"
    }
  }
}

/// The paths of an image in the order they were added, folders before what is in them.
struct ISOTree: Sendable {
  enum Content: Sendable {
    case directory
    case file(HostFile)
    case bytes([UInt8])
    /// Reserved for the El Torito boot catalog, which libisofs makes.
    case bootCatalog

    var isDirectory: Bool { if case .directory = self { true } else { false } }
  }

  struct Entry: Sendable {
    let parent: String
    let name: String
    let content: Content
    var path: String { parent + "/" + name }
  }

  private(set) var entries: [Entry] = []
  /// Whether a path that is there is a folder; the root is "".
  private var isDirectory = ["": true]

  mutating func add(_ content: Content, at path: String) throws(ISOImageError) {
    let names = try Self.components(of: path)
    guard let name = names.last else { throw .invalidPath(path: path, problem: "names no file") }
    let parent = try addDirectories(names.dropLast())
    guard isDirectory.updateValue(content.isDirectory, forKey: parent + "/" + name) == nil else {
      throw .alreadyAdded(path: path)
    }
    entries.append(Entry(parent: parent, name: name, content: content))
  }

  mutating func addDirectory(_ path: String) throws(ISOImageError) {
    _ = try addDirectories(Self.components(of: path)[...])
  }

  mutating func addTree(_ directory: FilePath, at path: String) throws(ISOImageError) {
    try addDirectory(path)
    let prefix = path.hasSuffix("/") ? path : path + "/"
    for name in try Self.names(in: directory) {
      let source = directory.string + "/" + name
      switch try FileKind(of: source) {
      case .regular: try add(.file(HostFile(resolving: FilePath(source))), at: prefix + name)
      case .directory:
        // A link to a folder could lead round in a circle.
        var status = stat()
        guard lstat(source, &status) == 0 else { throw .unreadable(file: source, errno: errno) }
        guard status.st_mode & S_IFMT == S_IFDIR else {
          throw .wrongFileType(file: source, found: "a symbolic link to a folder")
        }
        try addTree(FilePath(source), at: prefix + name)
      case .other: throw .wrongFileType(file: source, found: "\(FileKind.other)")
      }
    }
  }

  private mutating func addDirectories(_ names: ArraySlice<String>) throws(ISOImageError) -> String {
    var path = ""
    for name in names {
      let parent = path
      path += "/" + name
      switch isDirectory[path] {
      case true: break
      case false: throw .invalidPath(path: path, problem: "is a file, not a folder")
      case nil:
        isDirectory[path] = true
        entries.append(Entry(parent: parent, name: name, content: .directory))
      }
    }
    return path
  }

  /// - Throws: ``ISOImageError/sourceChanged(file:)`` for a file of the host that isn't what it was when it was added.
  func checkSourcesUnchanged() throws(ISOImageError) {
    for case .file(let file) in entries.lazy.map(\.content) { try file.checkUnchanged() }
  }

  private static func components(of path: String) throws(ISOImageError) -> [String] {
    guard path.hasPrefix("/") else { throw .invalidPath(path: path, problem: "is not absolute") }
    guard path.utf8.count <= 1000 else { throw .invalidPath(path: path, problem: "is longer than 1000 bytes") }
    let names = path.split(separator: "/").map(String.init)
    for name in names {
      guard name != ".", name != ".." else { throw .invalidPath(path: path, problem: "has a step \"\(name)\"") }
      guard name.utf8.count <= 255 else { throw .invalidPath(path: path, problem: "has a name longer than 255 bytes") }
      guard !name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
        throw .invalidPath(path: path, problem: "has a control character")
      }
    }
    return names
  }

  /// The names in a folder of the host in byte order.
  private static func names(in directory: FilePath) throws(ISOImageError) -> [String] {
    guard let stream = opendir(directory.string) else { throw .unreadable(file: directory.string, errno: errno) }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else { break }
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(validating: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard let name else {
        throw .invalidPath(path: directory.string, problem: "has a file whose name is not UTF-8")
      }
      if name != ".", name != ".." { names.append(name) }
    }
    guard errno == 0 else { throw .unreadable(file: directory.string, errno: errno) }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }
}
