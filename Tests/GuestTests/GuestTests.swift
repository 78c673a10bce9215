// GuestTests: boots what was built in QEMU, on BIOS and on UEFI, beside disks, servers and the real Clonezilla. Root.
// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage
import TestSupport
import Testing

/// The main job, start to end, and what else its medium has to do.
@Suite(.serialized) struct GuestTests {
  /// `make demo`: make a disk, save it, build the ISO, restore on BIOS (as CD) and UEFI (as stick), compare, boot.
  @Test(.timeLimit(.minutes(30))) func theDemo() async throws {
    let demo = try await Stage.shared.demo()
    // What the demo says of itself.
    let log = String(decoding: try demo.log.contents(), as: UTF8.self)
    let equal = log.split(separator: "\n").filter { $0.hasPrefix("equal: 4 partitions") }
    #expect(equal.count == 2, "both restored disks were compared")
    for firmware in ["bios", "uefi"] {
      #expect(log.contains("on \(firmware): the ISO restored a larger, empty disk unattended"))
    }
    // And what tools we did not write say of its disks.
    for disk in demo.restored {
      let table = try await tool("sgdisk", "--verify", disk.string)
      #expect(table.contains("No problems found"), "\(disk): \(table)")
      try await Disk(disk).withPartitions { partitions in
        try await tool("e2fsck", "-fn", partitions[3].string)
        try await tool("fsck.vfat", "-n", partitions[1].string)
        let grown = try await tool("blockdev", "--getsize64", partitions[3].string)
        #expect(Int(grown.trimmed) ?? 0 > 1800 << 20, "the last partition has the rest of the larger disk")
      }
    }
  }

  /// Debian's signed shim, GRUB and kernel start what we built where Secure Boot is on; and where it is off, the job that
  /// looks for it fails.
  @Test(.timeLimit(.minutes(20))) func startsUnderSecureBoot() async throws {
    let iso = try await Stage.shared.medium(starting: "secure")
    try await withScene("secure-boot") { folder in
      let (on, off) = (folder.appending("on"), folder.appending("off"))
      try await tool("mkdir", on.string, off.string)
      async let secured = Machine.boot(iso, firmware: "secure", in: on)
      async let plain = Machine.boot(iso, firmware: "uefi", in: off)
      let (with, without) = try await (secured, plain)
      #expect(with.status == 0, "\(with.said)")
      #expect(without.status == 10, "\(without.said)")
    }
  }
}
