// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import Imaging
import SystemPackage
import TestSupport
import Testing
import Volumes

/// The words of Clonezilla for devices, on a machine that consists of files.
@Suite struct ClonezillaDeviceTests {
  /// sda with two partitions, of which the first is mounted; sdb, unused; sdc, the live medium on USB; sdd on USB.
  private func machine(_ root: FilePath) throws {
    func write(_ path: String, _ text: String) throws {
      let file = root.appending(path)
      try FileManager.default.createDirectory(
        atPath: file.removingLastComponent().string, withIntermediateDirectories: true)
      try file.write(text.utf8)
    }
    func device(_ folder: String, _ number: String, sectors: Int, _ properties: [String]) throws {
      try write("\(folder)/size", "\(sectors)\n")
      try write("\(folder)/dev", "\(number)\n")
      try write("run/udev/data/b\(number)", properties.map { "E:\($0)\n" }.joined())
    }
    for (index, name) in ["sda", "sdb", "sdc", "sdd"].enumerated() {
      try device(
        "sys/block/\(name)", "8:\(index * 16)", sectors: 100_000_000,
        [
          "ID_SERIAL_SHORT=\(name.uppercased())_1 x", "ID_BUS=\(index < 2 ? "ata" : "usb")",
          "ID_PART_TABLE_UUID=0000000\(index < 2 ? index : 9)-aaaa",
        ])
      for number in 1...2 {
        let folder = "sys/block/\(name)/\(name)\(number)"
        try device(
          folder, "8:\(index * 16 + number)", sectors: 40_000_000,
          [
            "ID_PART_TABLE_UUID=0000000\(index < 2 ? index : 9)-aaaa", "ID_PART_ENTRY_UUID=\(name)-0\(number)",
            "ID_PART_ENTRY_NAME=EFI\\x20\(name)\(number)", "ID_FS_UUID=beef-\(index < 2 ? "\(index)\(number)" : "99")",
            "ID_FS_LABEL=root_\(name)\(number)", "ID_FS_LABEL_ENC=root\\x20\(name)\(number)",
          ])
        try write("\(folder)/partition", "\(number)\n")
        try write("\(folder)/start", "\(2048 + (number - 1) * 40_000_000)\n")
      }
    }
    try write(
      "proc/self/mountinfo",
      "30 1 8:1 / /mnt rw - ext4 /dev/sda1 rw\n31 1 8:33 / /run/live/medium ro - vfat /dev/sdc1 ro\n")
    try write("proc/swaps", "")
  }

  private func targets(
    _ line: String, disks: [String] = [], parts: [String] = [], excluding: Set<String> = [], _ root: FilePath
  ) throws -> [String] {
    try ClonezillaOptions(line.split(separator: " ").map(String.init)).targets(
      in: DiskInventory(root: root), imageDisks: disks, imageParts: parts, excluding: excluding, root: root
    ).map(\.path.string)
  }

  @Test func devicesToSave() async throws {
    try await withTemporaryDirectory { root in
      try machine(root)
      #expect(try targets("savedisk i all", root) == ["/dev/sdb", "/dev/sdd"])
      #expect(try targets("savedisk i all", excluding: ["sdd"], root) == ["/dev/sdb"])
      #expect(try targets("savedisk i all-but-usb", root) == ["/dev/sdb"])
      #expect(try targets("saveparts i all-but-usb", root) == ["/dev/sda2", "/dev/sdb1", "/dev/sdb2"])
      #expect(
        try targets("saveparts i unmounted_parts", root)
          == ["/dev/sda2", "/dev/sdb1", "/dev/sdb2", "/dev/sdd1", "/dev/sdd2"])
      #expect(try targets("savedisk i 1st-disk", root) == ["/dev/sda"])
      #expect(try targets("savedisk i sdb sdb SERIALNO=sdb_1_X PTUUID=00000001-AAAA", root) == ["/dev/sdb"])
      #expect(throws: TargetError.self) { try targets("savedisk i all", excluding: ["sdb", "sdd"], root) }
    }
  }

  @Test func devicesByTheirMarks() async throws {
    try await withTemporaryDirectory { root in
      try machine(root)
      #expect(try targets("savedisk i PTUUID=00000000-aaaa", root) == ["/dev/sda"])
      #expect(try targets("saveparts i UUID=BEEF-12", root) == ["/dev/sdb2"])
      #expect(try targets("saveparts i partuuid=sda-02 PARTUUID=SDB-01", root) == ["/dev/sda2", "/dev/sdb1"])
      #expect(try targets("saveparts i SERIALNO=SDA_1_x", root) == ["/dev/sda"])
      let inventory = DiskInventory(root: root)
      #expect(
        try TargetSelector("LABEL=root sda1").resolve(in: inventory, root: root).path == "/dev/sda1")
      #expect(
        try TargetSelector("PARTLABEL=EFI sdd2").resolve(in: inventory, root: root).path == "/dev/sdd2")
      // Clones carry the same marks.
      for word in ["PTUUID=00000009-aaaa", "UUID=beef-99"] {
        #expect {
          try targets("savedisk i \(word)", root)
        } throws: { error in
          guard case TargetError.ambiguous(_, let matching, _) = error else { return false }
          return matching.allSatisfy { $0.hasPrefix("sdc") || $0.hasPrefix("sdd") } && matching.count > 1
        }
      }
      for word in ["PTUUID=1", "UUID=sda", "PARTUUID=00000000-aaaa", "SERIALNO=nobody", "sdz"] {
        #expect {
          try targets("savedisk i \(word)", root)
        } throws: {
          if case TargetError.notFound = $0 { true } else { false }
        }
      }
    }
  }

  @Test func devicesToRestoreAreThoseOfTheImage() async throws {
    try await withTemporaryDirectory { root in
      try machine(root)
      #expect(try targets("restoredisk i all", disks: ["sdb"], root) == ["/dev/sdb"])
      #expect(try targets("restoredisk i all", disks: ["sdb", "sdd"], root) == ["/dev/sdb", "/dev/sdd"])
      #expect(try targets("restoredisk i all-but-usb", disks: ["sdb", "sdd"], root) == ["/dev/sdb"])
      #expect(try targets("restoreparts i all", parts: ["sda2", "sdb1"], root) == ["/dev/sda2", "/dev/sdb1"])
      #expect(throws: TargetError.self) { try targets("restoredisk i all", disks: ["vda"], root) }
      #expect(try targets("restoredisk i 1st-disk", disks: ["vda"], excluding: ["sda"], root) == ["/dev/sdb"])
      #expect(try targets("1-2-mdisks i sda sdb", disks: ["vda"], root) == ["/dev/sda", "/dev/sdb"])
    }
  }
}
