// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials
import Glibc
import Recipe
import Reporting
import Squashfs
import SystemPackage

/// The small upper layer: our programs, the overlays, hooks, settings and jobs. Rebuilt on every build.
struct SiteLayer {
  private let squashfs: SquashfsWriter
  /// Nothing in the layer is newer.
  private let time: Int64
  private var buffer = [UInt8](repeating: 0, count: 1 << 20)

  /// Writes the layer for a recipe.
  /// - Throws: `SquashfsError`, ``BuildError``.
  static func write(
    to path: FilePath, recipe: Recipe, installation: Installation, options: SquashfsOptions
  ) throws -> SquashfsStatistics {
    var layer = SiteLayer(
      squashfs: try SquashfsWriter(path: path, options: options), time: Int64(options.modificationTime))
    try layer.addTree(installation.overlay, at: FilePath())
    for program in ["reimage", "livejob"] {
      try layer.addFile(
        installation.programs.appending(program), at: FilePath("usr/bin/\(program)"), permissions: 0o755)
    }
    for (path, contents) in LiveSystem.settings(for: recipe) {
      try layer.addFile(Array(contents.utf8), at: path, permissions: 0o644)
    }
    for (path, target) in LiveSystem.links(for: recipe) {
      try layer.squashfs.add(.symbolicLink(target: Array(target.utf8)), at: path, layer.metadata(0o777))
    }
    for job in recipe.jobs where !job.isClonezillaKernelLine {
      // A repository's password may be in it.
      try layer.addFile(
        try job.json() + [UInt8(ascii: "\n")], at: FilePath("etc/slipway/jobs/\(job.name).json"), permissions: 0o600)
    }
    let hooks = [
      ("prerun", recipe.hooks.prerun), ("postrun", recipe.hooks.postrun), ("failure", recipe.hooks.failure),
    ]
    for (kind, files) in hooks {
      for (index, hook) in files.enumerated() {
        // The number keeps the recipe's order, whatever the files are called.
        let name = "\(index / 10)\(index % 10)-\(hook.path.lastComponent?.string ?? "hook")"
        try layer.addFile(hook.path, at: FilePath("etc/slipway/hooks/\(kind).d/\(name)"), permissions: 0o755)
      }
    }
    // Last, so that a recipe can replace anything.
    for overlay in recipe.overlays { try layer.addTree(overlay.path, at: FilePath()) }
    return try layer.squashfs.finish()
  }

  /// Root owns everything: the folder's own owners are the builder's, which mean nothing on the live system.
  private func metadata(_ permissions: UInt16) -> Metadata {
    Metadata(permissions: permissions, owner: 0, group: 0, modificationTime: time)
  }

  /// Copies a folder of the host, in the order of names; only files, folders and symbolic links.
  private mutating func addTree(_ folder: FilePath, at path: FilePath) throws {
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: folder.string)
    } catch {
      throw BuildError.cannotRead(path: folder, cause: "\(error)")
    }
    for name in names.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
      let source = folder.appending(name)
      let target = path.appending(name)
      var status = stat()
      guard lstat(source.string, &status) == 0 else {
        throw BuildError.cannotRead(path: source, cause: Errno(rawValue: errno).description)
      }
      let permissions = UInt16(status.st_mode & 0o7777)
      switch status.st_mode & S_IFMT {
      case S_IFDIR:
        // Group-writable folders of a work tree should not be so in the live system.
        try squashfs.add(.directory, at: target, metadata(permissions & ~0o022))
        try addTree(source, at: target)
      case S_IFREG: try addFile(source, at: target, permissions: permissions & ~0o022)
      case S_IFLNK:
        let link = try FileManager.default.destinationOfSymbolicLink(atPath: source.string)
        try squashfs.add(.symbolicLink(target: Array(link.utf8)), at: target, metadata(0o777))
      default:
        throw BuildError.cannotRead(path: source, cause: "an overlay may have files, folders and symbolic links only")
      }
    }
  }

  private mutating func addFile(_ source: FilePath, at path: FilePath, permissions: UInt16) throws {
    do {
      let file = try FileDescriptor.open(source, .readOnly)
      try file.closeAfter {
        try squashfs.beginFile(path, metadata(permissions))
        while true {
          let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
          if count == 0 { break }
          try squashfs.append(buffer.span.bytes.extracting(0..<count))
        }
        try squashfs.endFile()
      }
    } catch let error as Errno {
      throw BuildError.cannotRead(path: source, cause: error.description)
    }
  }

  private func addFile(_ contents: [UInt8], at path: FilePath, permissions: UInt16) throws {
    try squashfs.beginFile(path, metadata(permissions))
    try squashfs.append(contents.span.bytes)
    try squashfs.endFile()
  }
}
