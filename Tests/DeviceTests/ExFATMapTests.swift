// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// Maps of exFAT volumes that were filled, fragmented and emptied, and of one that was never unmounted.
@Suite(.serialized) struct ExFATMapTests {
  @Test(arguments: [("-c 512", 150_001), ("-c 4K", 200_000), ("-c 32K", 200_003), ("-c 512K", 400_000)])
  func aFragmentedVolumeSurvivesTheLossOfItsFreeBlocks(options: String, kibibytes: Int) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("exfat")
      try await shell("truncate -s \(kibibytes)K \(image); mkfs.exfat \(options) \(image)")
      let sums = try await withExFAT(image, in: folder) { mount in
        try await fragment(mount)
        return try await contentSums(mount)
      }
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.warnings == [])
      let theirs = try await partcloneMap("partclone.exfat", of: image, in: folder)
      #expect(theirs.fileSystem == map.identity.kind.partcloneName)
      #expect(theirs.bitmap.usedCount * theirs.blockSize <= map.bitmap.usedCount * map.blockSize)
      // partclone counts what lies between the FAT and the clusters, and behind them, as free.
      let heap = try await dumped("Cluster Heap Offset (sector offset)", image) * 512 / theirs.blockSize
      let heapEnd = heap + (try await dumped("Total Clusters", image)) * (try await dumped("Cluster size", image)) / 512
      let ours = map.bitmap.refined(by: map.blockSize / theirs.blockSize)
      #expect(ours.usedCount(in: heap..<heapEnd) == theirs.bitmap.usedCount(in: heap..<heapEnd))
      for sector in heap..<heapEnd where ours[sector] != theirs.bitmap[sector] {
        Issue.record("sector \(sector)")
        break
      }
      #expect(ours.usedCount(in: 0..<heap) == heap)

      try poisonFreeBlocks(of: image, map)
      try await tool("fsck.exfat", "-n", image.string)
      #expect(try await withExFAT(image, in: folder, options: "-o ro") { try await contentSums($0) } == sums)
    }
  }

  @Test func aFullVolume() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("exfat")
      try await shell("truncate -s 40M \(image); mkfs.exfat -c 4K \(image)")
      let sums = try await withExFAT(image, in: folder) { mount in
        try await shell(
          """
          cd \(mount); head -c 9000 /dev/urandom > a
          for size in 64k 4k; do dd if=/dev/urandom of=all-$size bs=$size 2>/dev/null || true; done
          """)
        return try await contentSums(mount)
      }
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.bitmap.usedCount == map.bitmap.count)
      #expect(try await withExFAT(image, in: folder, options: "-o ro") { try await contentSums($0) } == sums)
    }
  }

  /// After a power cut the bitmap on disk may not know the clusters of files that are there.
  @Test func aVolumeThatWasPulledOutKeepsItsFiles() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("exfat")
      try await shell("truncate -s 64M \(image); mkfs.exfat -c 4K \(image)")
      try await runInGuest(
        modules: ["exfat", "nls_utf8"], disks: [image],
        script: """
          mount -t exfat /dev/vda /mnt
          mkdir /mnt/a; for i in $(seq 30); do head -c $((i * 9000)) /dev/urandom > /mnt/a/f$i; done; sync
          for i in $(seq 3 3 30); do rm /mnt/a/f$i; done
          for i in $(seq 10); do dd if=/dev/urandom of=/mnt/g$i bs=7000 count=$i conv=fsync 2>/dev/null; done
          crash
          """)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.warnings.count == 1)
      #expect(map.warnings[0].contains("not cleanly unmounted"))
      let copy = folder.appending("copy")
      try await shell("cp \(image) \(copy)")
      try poisonFreeBlocks(of: copy, map)
      let before = try await withExFAT(image, in: folder, options: "-o ro") { try await contentSums($0) }
      #expect(before.split(separator: "\n").count > 20)
      #expect(try await withExFAT(copy, in: folder, options: "-o ro") { try await contentSums($0) } == before)

      // The same with a bitmap that has forgotten every file: all of them are found by their directory entries.
      let root = try device.read(at: 96, count: 4).littleEndian(UInt32.self, at: 0)
      let heap = UInt64(try await dumped("Cluster Heap Offset (sector offset)", image)) * 512
      let forgetful = try FileDevice(path: copy, access: .readWrite)
      let size = Int(try await dumped("Bitmap size", image))
      var bitmap = [UInt8](repeating: 0, count: size)
      for bit in 0...Int(root - 2) { bitmap[bit / 8] |= 1 << UInt8(bit % 8) }
      try forgetful.write(bitmap.span.bytes, at: heap)
      let found = try #require(try FileSystems.allocationMap(of: forgetful))
      #expect(found.warnings[0].contains("clusters of its files"))
      try poisonFreeBlocks(of: copy, found)
      #expect(try await withExFAT(copy, in: folder, options: "-o ro") { try await contentSums($0) } == before)
    }
  }

  private func dumped(_ name: String, _ image: FilePath) async throws -> Int {
    for line in try await tool("dump.exfat", image.string).split(separator: "\n") where line.hasPrefix("\(name):") {
      if let value = Int(line.dropFirst(name.count + 1).filter(\.isNumber)) { return value }
    }
    throw Errno.invalidArgument
  }

  /// exfat-fuse wants a block device, and goes on writing to it for a moment after it was unmounted.
  private func withExFAT<Value>(
    _ image: FilePath, in folder: FilePath, options: String = "", _ body: (FilePath) async throws -> Value
  ) async throws -> Value {
    let loop = FilePath(String(try await shell("losetup -f --show \(image)").filter { $0 != "\n" }))
    let release = "losetup -d \(loop); while losetup -j \(image) | grep -q \(loop):; do sleep 0.1; done"
    do {
      let value = try await withMount(loop, in: folder, with: "mount.exfat-fuse \(options)", body)
      try await shell(release)
      return value
    } catch {
      try await shell(release)
      throw error
    }
  }
}
