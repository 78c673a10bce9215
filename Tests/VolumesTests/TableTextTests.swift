// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

/// The folder of images made by the real Clonezilla.
private let golden = FilePath(#filePath).appending("../../../../shared/golden/images").lexicallyNormalized()

@Suite struct TableTextTests {
  @Test(arguments: ["a-gpt-z9p", "b-mbr-z1p", "d-lvm-z9p", "e-raw-z0"])
  func dumpsOfRealImagesComeOutAsTheyWere(_ image: String) throws {
    let text = String(decoding: try golden.appending(image).appending("sda-pt.sf").contents(), as: UTF8.self)
    let dump = try SfdiskDump(parsing: text, file: "sda-pt.sf")
    #expect(dump.text == text)
  }

  @Test(arguments: ["a-gpt-z9p", "b-mbr-z1p", "d-lvm-z9p", "e-raw-z0"])
  func partedTextsOfRealImagesComeOutAsTheyWere(_ image: String) throws {
    let folder = golden.appending(image)
    let sectors = String(decoding: try folder.appending("sda-pt.parted").contents(), as: UTF8.self)
    let compact = String(decoding: try folder.appending("sda-pt.parted.compact").contents(), as: UTF8.self)
    let parsed = try PartedPrint(parsing: sectors, file: "sda-pt.parted")
    #expect(parsed.text(.sectors) == sectors)
    #expect(parsed.text(.compact) == compact)
    // The same from the table alone.
    let dump = try SfdiskDump(
      parsing: String(decoding: try folder.appending("sda-pt.sf").contents(), as: UTF8.self), file: "sda-pt.sf")
    let table = try dump.table(
      sectorCount: parsed.sectorCount, bootSector: try folder.appending("sda-mbr").contents())
    let made = PartedPrint(
      table, device: "/dev/sda", model: "QEMU QEMU HARDDISK (scsi)", physicalSectorSize: 512,
      fileSystems: Dictionary(uniqueKeysWithValues: parsed.rows.map { ($0.number, $0.fileSystem) }))
    #expect(made.text(.sectors) == sectors)
    #expect(made.text(.compact) == compact)
  }

  @Test(arguments: ["a-gpt-z9p", "d-lvm-z9p", "e-raw-z0"])
  func binaryCopiesOfRealImagesHoldTheSameTable(_ image: String) throws {
    let folder = golden.appending(image)
    let parted = try PartedPrint(
      parsing: String(decoding: try folder.appending("sda-pt.parted").contents(), as: UTF8.self), file: "sda-pt.parted")
    let dump = try SfdiskDump(
      parsing: String(decoding: try folder.appending("sda-pt.sf").contents(), as: UTF8.self), file: "sda-pt.sf")
    let mbr = try folder.appending("sda-mbr").contents()
    let table = try dump.table(sectorCount: parted.sectorCount, bootSector: mbr)
    let backup = try folder.appending("sda-gpt.gdisk").contents()
    #expect(
      try PartitionTable(gdiskBackup: backup, sectorSize: 512, sectorCount: parted.sectorCount, name: "gdisk") == table)
    #expect(table.gdiskBackup() == backup)
    var first = try folder.appending("sda-gpt-1st").contents()
    #expect(try PartitionTable(gptFirst: first, sectorSize: 512, sectorCount: parted.sectorCount, name: "1st") == table)
    // What Clonezilla's late copy lacks comes from the first one, whose own header may be gone.
    first.store(bytes: [UInt8](repeating: 0, count: 512), at: 512)
    let second = try folder.appending("sda-gpt-2nd").contents()
    #expect(second.count == 32 * 512)
    #expect(
      try PartitionTable(gptSecond: second, first: first, sectorCount: parted.sectorCount, name: "2nd") == table)
    #expect(throws: PartitionTableError.self) {
      try PartitionTable(gptFirst: first, sectorSize: 512, sectorCount: parted.sectorCount, name: "1st")
    }
  }

  @Test func sgdiskReadsOurBackup() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      let table = try telltaleGPT(sectorCount: device.byteCount / 512)
      let file = directory.appending("gpt.gdisk")
      try file.write(try #require(table.gdiskBackup()))
      try await tool("sgdisk", "-l", file.string, path.string)
      #expect(try await tool("sfdisk", "-d", path.string) == SfdiskDump(table, device: path.string).text)
      let theirs = directory.appending("theirs.gdisk")
      try await tool("sgdisk", "-b", theirs.string, path.string)
      let read = try #require(try PartitionTable.read(from: device))
      #expect(try theirs.contents() == read.gdiskBackup())
    }
  }

  @Test func partedShowsTheSame() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("disk.raw")
      let device = try diskFile(path, mebibytes: 64)
      try telltaleGPT(sectorCount: device.byteCount / 512).write(to: device)
      try await expectPartedAgrees(path, device)
      try await tool(
        "sfdisk", "-q", path.string,
        input: "label: dos\nstart=2048,size=20480,type=c,bootable\nstart=22528,size=100000,type=f\n"
          + "start=24576,size=4096,type=7\nstart=30720,size=4096,type=82\nstart=40000,size=20000,type=8e\n")
      try await expectPartedAgrees(path, device)
    }
  }

  private func expectPartedAgrees(_ path: FilePath, _ device: FileDevice) async throws {
    let table = try #require(try PartitionTable.read(from: device))
    let ours = PartedPrint(table, device: path.string, model: " (file)", physicalSectorSize: 512, fileSystems: [:])
    // parted's columns are as wide as the terminal shows the text; the tests run it in the C locale.
    let locale = ["env", "LC_ALL=C.UTF-8", "parted", "-s", path.string, "unit"]
    let sectors = try await shell((locale + ["s", "print"]).joined(separator: " "))
    let compact = try await shell((locale + ["compact", "print"]).joined(separator: " "))
    #expect(ours.text(.sectors) == sectors)
    #expect(ours.text(.compact) == compact)
    let parsed = try PartedPrint(parsing: sectors, file: "parted")
    #expect(parsed.rows.map(\.start) == table.partitions.map(\.start))
    #expect(parsed.rows.map(\.end) == table.partitions.map { $0.end - 1 })
    #expect(parsed.sectorCount == table.sectorCount)
  }

  @Test func theOldShapeIsRead() throws {
    let text = """
      Warning: extended partition does not start at a cylinder boundary.
      DOS and Linux will interpret the contents differently.
      # partition table of /dev/sda
      unit: sectors

      /dev/sda1 : start=       63, size=   208782, Id=83, bootable
      /dev/sda2 : start=   208845, size= 16562070, Id= 5
      /dev/sda3 : start=        0, size=        0, Id= 0
      /dev/sda4 : start=        0, size=        0, Id= 0
      /dev/sda5 : start=   208908, size=  1052163, Id=82
      /dev/sda6 : start=  1261134, size= 15509781, Id=8e

      """
    let dump = try SfdiskDump(parsing: text, file: "sda-pt.sf")
    #expect(dump.device == "/dev/sda")
    #expect(dump.sectorSize == nil)
    #expect(dump.partitions.map(\.number) == [1, 2, 5, 6])
    #expect(dump.partitions.map(\.type) == [.mbr(0x83), .mbr(5), .mbr(0x82), .mbr(0x8E)])
    #expect(dump.partitions[0].isBootable)
    let table = try dump.table(sectorCount: 16_777_216)
    #expect(table.partition(6)?.end == 1_261_134 + 15_509_781)
    #expect(try !table.encoded().isEmpty)
  }

  @Test(arguments: [
    ("label: gpt\nlabel-id: 123\nunit: sectors\n", "a GUID as label-id"),
    ("label: dos\nlabel-id: 0x1\nunit: sectors\n\n/dev/sda1 : start= x, size=1, type=83\n", "sectors as start"),
    ("label: dos\nlabel-id: 0x1\nunit: sectors\n\n/dev/sda1 : start=1, size=1, type=zz\n", "hexadecimal"),
    ("label: sun\nunit: sectors\n", "gpt or dos"), ("", "sfdisk -d"), ("hello\n", "sfdisk -d"),
  ])
  func badDumpsAreNamed(_ text: String, _ expected: String) {
    #expect {
      try SfdiskDump(parsing: text, file: "sda-pt.sf")
    } throws: { error in
      "\(error)".contains(expected) && "\(error)".contains("sda-pt.sf:")
    }
  }

  @Test func mutatedTextsNeverTrap() throws {
    let folder = golden.appending("a-gpt-z9p")
    var mutations = Mutations(seed: 4711)
    for name in ["sda-pt.sf", "sda-pt.parted"] {
      let whole = try folder.appending(name).contents()
      var refused = 0
      for _ in 0..<1500 {
        let text = String(decoding: mutations.mutate(whole, in: [0..<whole.count]), as: UTF8.self)
        do {
          if name.hasSuffix("sf") {
            let dump = try SfdiskDump(parsing: text, file: name)
            _ = try dump.table(sectorCount: 1_703_936).encoded()
          } else {
            _ = try PartedPrint(parsing: text, file: name).text(.compact)
          }
        } catch is any Failure {
          refused += 1
        }
      }
      #expect(refused > 100)
    }
  }

  @Test func partitionNames() {
    #expect(PartitionNaming.name(disk: "sda", partition: 1) == "sda1")
    #expect(PartitionNaming.name(disk: "/dev/nvme0n1", partition: 12) == "/dev/nvme0n1p12")
    #expect(PartitionNaming.name(disk: "mmcblk0", partition: 2) == "mmcblk0p2")
    #expect(PartitionNaming.name(disk: "loop0", partition: 2) == "loop0p2")
    #expect(PartitionNaming.number(of: "sda12", disk: "sda") == 12)
    #expect(PartitionNaming.number(of: "nvme0n1p3", disk: "nvme0n1") == 3)
    #expect(PartitionNaming.number(of: "nvme0n13", disk: "nvme0n1") == nil)
    #expect(PartitionNaming.number(of: "sdab1", disk: "sda") == nil)
    #expect(PartitionNaming.number(of: "sda", disk: "sda") == nil)
  }
}
