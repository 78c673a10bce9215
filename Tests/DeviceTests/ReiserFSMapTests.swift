// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of ReiserFS volumes that Linux has filled, emptied, and left without unmounting, in a guest: newer kernels have
/// no ReiserFS.
@Suite(.serialized) struct ReiserFSMapTests {
  @Test func fragmentedVolumesSurviveTheLossOfTheirFreeBlocks() async throws {
    try await withTemporaryDirectory { folder in
      // Linux does not mount what mkreiserfs makes of 3.5: it takes the root for broken.
      let layouts = [("", "300001792"), ("-b 1024", "200000512"), ("-s 700", "320M")]
      var images: [FilePath] = []
      for (index, layout) in layouts.enumerated() {
        images.append(try await makeVolume(folder.appending("volume\(index)"), layout.0, size: layout.1))
      }
      let sums = try await useAll(images, script: guestFragmentation)
      for image in images {
        let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
        #expect(map.warnings == [])
        #expect(try await map.bitmap.count - map.bitmap.usedCount == freeBlocks(image))
        #expect(map.bitmap.usedCount < map.bitmap.count * 3 / 4)
        try poisonFreeBlocks(of: image, map)
        try await tool("reiserfsck", "-y", "-q", "--check", image.string)
      }
      #expect(sums.count == images.count)
      #expect(try await useAll(images) == sums)
    }
  }

  /// One volume is full, the others are left by a power cut: in their first mount, after which the journal's header says
  /// nothing, and in a later one.
  @Test func fullAndCrashedVolumes() async throws {
    try await withTemporaryDirectory { folder in
      let full = try await makeVolume(folder.appending("full"), "", size: "80M")
      let first = try await makeVolume(folder.appending("first"), "", size: "300M")
      let later = try await makeVolume(folder.appending("later"), "-s 4000", size: "300M")
      let changes = """
        mkdir new; for i in $(seq 40); do head -c $((i * 40000)) /dev/urandom > new/s$i; sync new/s$i; done
        rm -f a/f2*; for i in $(seq 30); do head -c $((i * 3000)) /dev/urandom > new/t$i; sync new/t$i; done
        head -c 2000000 /dev/urandom > lost
        """
      try await runInGuest(
        modules: ["reiserfs"], disks: [full, first, later],
        script: """
          mount -t reiserfs /dev/vda /mnt; cd /mnt; dd if=/dev/urandom of=all bs=64k 2>/dev/null || true
          cd /; umount /mnt; mount -t reiserfs /dev/vdc /mnt; cd /mnt
          \(guestFragmentation)
          cd /; umount /mnt; mkdir /first; mount -t reiserfs /dev/vdb /first; mount -t reiserfs /dev/vdc /mnt
          cd /first
          \(changes)
          cd /mnt
          \(changes)
          crash
          """)
      let fullMap = try #require(try FileSystems.allocationMap(of: FileDevice(path: full)))
      #expect(fullMap.bitmap.usedCount > fullMap.bitmap.count * 99 / 100)

      var copies: [FilePath] = []
      for image in [full, first, later] {
        let copy = FilePath("\(image).copy")
        try await tool("cp", "--sparse=always", image.string, copy.string)
        copies.append(copy)
        let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
        #expect(map.warnings.isEmpty == (image == full))
        if image != full {
          // What the bitmaps on the disk lack.
          #expect(try await map.bitmap.usedCount - busyBlocks(image) > 100)
        }
        try poisonFreeBlocks(of: image, map)
      }
      let before = try copies.map { try #require(try FileSystems.allocationMap(of: FileDevice(path: $0))) }
      let sums = try await useAll(copies)
      #expect(sums[1].contains("./new/t30") && sums[2].contains("./new/t30"))
      #expect(try await useAll([full, first, later]) == sums)
      for (copy, map) in zip(copies, before) {
        try await tool("reiserfsck", "-y", "-q", "--check", copy.string)
        let after = try #require(try FileSystems.allocationMap(of: FileDevice(path: copy)))
        #expect(after.warnings == [])
        var either = map.bitmap
        either.formUnion(after.bitmap)
        #expect(either.usedCount == map.bitmap.usedCount)
      }
      for image in [full, first, later] { try await tool("reiserfsck", "-y", "-q", "--check", image.string) }
    }
  }

  private func makeVolume(_ image: FilePath, _ options: String, size: String) async throws -> FilePath {
    try await shell("truncate -s \(size) \(image); mkfs.reiserfs -f -f -q \(options) \(image)")
    return image
  }

  /// Mounts each volume in one guest and runs a script in its root folder.
  /// - Returns: the checksums of all files of each.
  private func useAll(_ images: [FilePath], script: String = "") async throws -> [Substring] {
    let printed = try await runInGuest(
      modules: ["reiserfs"], disks: images,
      script: """
        for disk in /dev/vd?; do
        mount -t reiserfs $disk /mnt; cd /mnt
        \(script)
        echo '#'; find . -type f | sort | xargs sha256sum
        cd /; umount /mnt
        done
        """)
    return printed.split(separator: "#").dropFirst(printed.hasPrefix("#") ? 0 : 1).map { $0 }
  }

  private func freeBlocks(_ image: FilePath) async throws -> Int {
    let text = try await shell("debugreiserfs \(image) 2>/dev/null | sed -n 's/^Free blocks.*: //p'")
    return try #require(Int(text.filter(\.isNumber)))
  }

  /// The blocks in use by the bitmaps on the disk, whatever the journal holds.
  private func busyBlocks(_ image: FilePath) async throws -> Int {
    let text = try await shell(
      "debugreiserfs -m \(image) 2>/dev/null | sed -n 's/^used [0-9]*, free \\([0-9]*\\)/\\1/p'")
    let count = try await shell("debugreiserfs \(image) 2>/dev/null | sed -n 's/^Count of blocks on the device: //p'")
    let free = text.split(separator: "\n").compactMap { Int($0) }.reduce(0, +)
    return try #require(Int(count.filter(\.isNumber))) - free
  }
}
