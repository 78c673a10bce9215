// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

/// XFS as a crash leaves it: its log is replayed in memory. Needs root and loop devices.
@Suite struct XFSCrashTests {
  struct Variant: CustomTestStringConvertible {
    let options: String
    var size = "500M"
    var mount = ""
    var stop = "shutdown -f"
    var changes = defaultChanges

    var testDescription: String { "\(options) \(mount) \(stop)" }
  }

  /// A log that has gone round a few times.
  static let manyChanges =
    "for r in {1..6}; do mkdir d; for i in {1..3000}; do : > d/a-long-name-to-fill-the-log-$i; done; sync; rm -r d; done\n"
    + defaultChanges

  static let variants = [
    Variant(options: ""),
    Variant(options: "", stop: "shutdown"),
    Variant(options: "", mount: "logbsize=256k"),
    Variant(options: "", mount: "wsync"),
    Variant(options: "-b size=1024"),
    Variant(options: "-b size=65536"),
    Variant(options: "-s size=4096"),
    Variant(options: "-m rmapbt=1,reflink=1,finobt=1 -i sparse=1"),
    Variant(options: "-m rmapbt=0,reflink=0,finobt=0,bigtime=0,inobtcount=0 -i sparse=0"),
    Variant(options: "-l su=4k"),
    Variant(options: "-l su=256k"),
    Variant(options: "-d agcount=24 -b size=1024", size: "2G"),
    Variant(options: "-l size=8m -b size=1024 --unsupported", changes: manyChanges),
    Variant(options: "-l size=8m --unsupported", stop: "shutdown", changes: manyChanges),
  ]

  @Test(.serialized, arguments: variants) func theFilesSurviveTheLossOfFreeBlocks(variant: Variant) async throws {
    try await withTemporaryDirectory { folder in
      let (volume, recovered, sums) = try await makeCrashedVolume(
        in: folder, "truncate -s \(variant.size) $volume; mkfs.xfs -q -f \(variant.options) $volume",
        options: variant.mount,
        changes: variant.changes, stop: variant.stop)
      try await expectSurvival(
        of: volume, in: folder, sums: sums, onDisk: try await used(volume), recovered: try await used(recovered),
        check: "xfs_repair -n")
    }
  }

  /// Grown while mounted: the new size is in the log only.
  @Test func crashAfterGrowing() async throws {
    try await withTemporaryDirectory { folder in
      let (volume, recovered, sums) = try await makeCrashedVolume(
        in: folder, "truncate -s 800M $volume; mkfs.xfs -q -f -d size=400m $volume",
        changes: "xfs_growfs .; \(defaultChanges)")
      try await expectSurvival(
        of: volume, in: folder, sums: sums, onDisk: try await used(volume), recovered: try await used(recovered),
        check: "xfs_repair -n")
    }
  }

  /// Records of the log that a crash has torn, or left out among those in flight, did not happen: as the kernel, the
  /// reader ends the log before the first of them.
  @Test func theLastRecordsMayBeTorn() async throws {
    try await withTemporaryDirectory { folder in
      let (volume, _, _) = try await makeCrashedVolume(
        in: folder, "truncate -s 500M $volume; mkfs.xfs -q -f $volume", options: "wsync",
        changes: defaultChanges + "\nfor i in {1..20}; do mkdir last$i; done")
      let block = try await xfsField("logstart", volume)
      let text = try await tool("xfs_db", "-r", "-c", "sb 0", "-c", "convert fsblock \(block) daddr", volume.string)
      let start = try #require(UInt64(text.split(separator: "(").last?.prefix { $0.isNumber } ?? "")) * 512
      let log = try FileDevice(path: volume).read(at: start, count: 32 << 20)
      let records = try stride(from: 0, to: log.count, by: 512).filter {
        try log.bigEndian(UInt32.self, at: $0) == 0xFEED_BABE
      }
      #expect(records.count > 10)
      for record in records.suffix(4) {
        let torn = folder.appending("torn")
        try await shell("cp --sparse=always \(volume) \(torn)")
        // The last word of its data; its cycle numbers are right.
        let end = record + 512 + Int(try log.bigEndian(UInt32.self, at: record + 12)) - 4
        let device = try FileDevice(path: torn, access: .readWrite)
        try device.write([0x5A, 0x5A, 0x5A, 0x5A].span.bytes, at: start + UInt64(end))
        let recovered = folder.appending("recovered")
        try await shell("cp --sparse=always \(torn) \(recovered)")
        let sums = try await withMount(recovered, in: folder) { try await contentSums($0) }
        try await expectSurvival(
          of: torn, in: folder, sums: sums, onDisk: try await used(torn), recovered: try await used(recovered),
          check: "xfs_repair -n")
      }
    }
  }

  /// What `xfs_db` does not list as free.
  private func used(_ volume: FilePath) async throws -> BlockBitmap {
    let free = try await xfsFreeBlocks(volume).free
    var used = BlockBitmap(count: free.count, used: true)
    free.forEachUsedRun { used.set($0, used: false) }
    return used
  }
}
