// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import SystemPackage
import TestSupport

/// A raw disk in a file.
struct Disk: Sendable {
  let path: FilePath

  init(_ path: FilePath) { self.path = path }

  /// - Parameter size: as truncate takes it.
  static func empty(_ path: FilePath, size: String) async throws -> Disk {
    try await tool("rm", "-f", path.string)
    try await tool("truncate", "-s", size, path.string)
    return Disk(path)
  }

  /// A disk with something on it that must not be lost.
  static func precious(_ path: FilePath, size: String) async throws -> Disk {
    let disk = try await empty(path, size: size)
    try await shell("head -c 5000000 /dev/urandom | dd of='\(path)' bs=64k conv=notrunc status=none")
    return disk
  }

  static func copy(of source: FilePath, to path: FilePath) async throws -> Disk {
    try await tool("cp", "--sparse=always", "--reflink=auto", source.string, path.string)
    return Disk(path)
  }

  /// A disk for images: one partition, ext4, label `images`.
  static func repository(_ path: FilePath) async throws -> Disk {
    let disk = try await empty(path, size: "1G")
    try await tool("sfdisk", "--quiet", path.string, input: "label: gpt\nname=images\n")
    try await disk.withPartitions { try await tool("mkfs.ext4", "-q", "-L", "images", $0[0].string) }
    return disk
  }

  /// SHA-256 of all of it.
  func sum() async throws -> String { String(try await tool("sha256sum", path.string).prefix(64)) }

  /// Gives the partitions, by number from 0, as loop devices.
  @discardableResult
  func withPartitions<Value>(_ body: ([FilePath]) async throws -> Value) async throws -> Value {
    let table = try await tool("sfdisk", "-d", path.string)
    var loops: [FilePath] = []
    let result: Result<Value, any Error>
    do {
      for line in table.matches(of: /start= *([0-9]+), size= *([0-9]+)/) {
        guard let start = Int(line.1), let size = Int(line.2) else { continue }
        let loop = try await tool(
          "losetup", "--find", "--show", "--offset", "\(start * 512)", "--sizelimit", "\(size * 512)", path.string)
        loops.append(FilePath(loop.trimmed))
      }
      result = .success(try await body(loops))
    } catch {
      result = .failure(error)
    }
    for loop in loops { try await tool("losetup", "-d", loop.string) }
    return try result.get()
  }

  /// Copies all files of a partition.
  func copyFiles(ofPartition index: Int, to folder: FilePath) async throws {
    try await withPartitions { partitions in
      try await shell(
        """
        mkdir -p '\(folder)' '\(folder).mount'
        mount -o ro,noload '\(partitions[index])' '\(folder).mount'
        cp -a '\(folder).mount/.' '\(folder)/' || { umount '\(folder).mount'; exit 1; }
        umount '\(folder).mount' && rmdir '\(folder).mount'
        """)
    }
  }
}

/// Compares two disks file by file, with the script of the demo.
func compare(_ source: FilePath, _ restored: FilePath) async throws {
  let script = Stage.package.appending("Demo/compare-disks.sh")
  say("[compare] \(try await tool("/bin/bash", script.string, source.string, restored.string).trimmed)")
}

/// Compares what the real partclone finds on two disks like the demo's: the maps of used blocks of its ext4 and its
/// FAT, and, unless a tool had leave to change the restored file systems, each used block.
func compareMaps(_ source: FilePath, _ restored: FilePath, withBlocks: Bool, in folder: FilePath) async throws {
  try await Disk(source).withPartitions { source in
    try await Disk(restored).withPartitions { restored in
      for (index, program) in [(1, "partclone.fat"), (3, "partclone.extfs")] {
        let said = try await shell(
          """
          cd '\(folder)'
          \(program) -c -F -L /dev/null -s '\(source[index])' -O a.ptcl
          \(program) -c -F -L /dev/null -s '\(restored[index])' -O b.ptcl
          # Total blocks lie at 60, the map begins behind the 110 bytes of the header (format 0002).
          blocks=$(od -An -t u8 -j 60 -N 8 a.ptcl | tr -d ' ')
          \(withBlocks ? "cmp a.ptcl b.ptcl" : "cmp -n $((110 + (blocks + 7) / 8)) a.ptcl b.ptcl")
          echo "$blocks blocks, $(od -An -t u8 -j 68 -N 8 a.ptcl | tr -d ' ') used"
          rm a.ptcl b.ptcl
          """)
        say("[compare] \(program) finds the same: \(said.trimmed.split(whereSeparator: \.isNewline).last ?? "")")
      }
    }
  }
}
