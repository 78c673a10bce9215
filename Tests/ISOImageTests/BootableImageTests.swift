// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import ISOImage
import SystemPackage
import TestSupport
import Testing

func efiSystemPartition() throws -> [UInt8] {
  let chain = EFIBootFiles(
    shim: try FilePath("/usr/lib/shim/shimx64.efi.signed").contents(),
    grub: try FilePath("/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed").contents(),
    mokManager: try FilePath("/usr/lib/shim/mmx64.efi.signed").contents())
  return try EFISystemPartition.image(
    of: chain.partitionFiles(marker: "/.disk/id/test"), volumeID: 0x1234_ABCD, modificationTime: buildTime)
}

func bootFiles() throws -> ISOBootFiles {
  ISOBootFiles(
    isolinux: try FilePath("/usr/lib/ISOLINUX/isolinux.bin").contents(),
    masterBootRecord: try FilePath("/usr/lib/ISOLINUX/isohdpfx.bin").contents(),
    efiSystemPartition: try efiSystemPartition())
}

/// The hybrid layout as xorriso, sfdisk and sgdisk see it. That it starts is shown by the guest tests.
@Suite struct BootableImageTests {
  private func write(to image: FilePath, diskIdentifier: GUID? = nil) throws {
    var writer = try ISOImageWriter(
      volumeID: "Slipway Test", modificationTime: buildTime, diskIdentifier: diskIdentifier)
    try writer.setBoot(bootFiles())
    try writer.add(bytes: seededBytes(3_000_000, seed: 7), at: "/live/vmlinuz")
    try writer.write(to: image)
  }

  private struct Partition: Equatable {
    let start: Int
    let sectors: Int
    let type: String
  }

  private func partitions(of image: FilePath) async throws -> (header: [String: String], partitions: [Partition]) {
    let dump = try await shell("sfdisk -d '\(image.string)'")
    var header: [String: String] = [:]
    var partitions: [Partition] = []
    for line in dump.split(separator: "\n") {
      let halves = line.split(separator: ":", maxSplits: 1).map { $0.trimming(" ") }
      guard halves.count == 2 else { continue }
      guard halves[1].hasPrefix("start=") else {
        header[halves[0]] = halves[1]
        continue
      }
      var fields: [String: String] = [:]
      for field in halves[1].split(separator: ",") {
        let pair = field.split(separator: "=", maxSplits: 1).map { $0.trimming(" ") }
        fields[pair[0]] = pair[1]
      }
      partitions.append(
        Partition(
          start: try #require(Int(fields["start"] ?? "")), sectors: try #require(Int(fields["size"] ?? "")),
          type: try #require(fields["type"])))
    }
    return (header, partitions)
  }

  @Test func layoutIsAValidGPTWithTheSystemPartitionBehind() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("test.iso")
      try write(to: image)
      let bytes = try image.contents()
      let partition = try efiSystemPartition()

      #expect(try await shell("sgdisk -v '\(image.string)'").contains("No problems found"))
      let table = try await partitions(of: image)
      #expect(table.header["label"] == "gpt")
      #expect(
        table.partitions.map(\.type) == [
          "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        ])
      let iso = try #require(table.partitions.first)
      let esp = try #require(table.partitions.last)
      #expect(iso.start == 64)
      #expect(esp.sectors * 512 == partition.count)
      let isThere = Array(bytes[(esp.start * 512)..<((esp.start + esp.sectors) * 512)]) == partition
      #expect(isThere)
      // An ISO file system of its own begins with the partition.
      #expect(try bytes.text(at: 64 * 512 + 16 * 2048 + 1, count: 5) == "CD001")

      let report = try await shell(
        "xorriso -indev '\(image.string)' -report_system_area plain -report_el_torito plain 2>/dev/null")
      let lines = report.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
      #expect(lines.contains("System area summary: MBR isohybrid cyl-align-off GPT"))
      #expect(lines.contains("MBR partition : 1 0x00 0xee 1 \(bytes.count / 512 - 1)"))
      #expect(lines.contains("MBR partition : 2 0x80 0x00 0 1"))
      #expect(lines.contains { $0.hasPrefix("El Torito boot img : 1 BIOS y none 0x0000 0x00 4 ") })
      #expect(lines.contains("El Torito boot img : 2 UEFI y none 0x0000 0x00 \(esp.sectors) \(esp.start / 4)"))
      #expect(lines.contains("El Torito img path : 1 /isolinux/isolinux.bin"))
      #expect(lines.contains("El Torito img opts : 1 boot-info-table isohybrid-suitable"))
    }
  }

  /// The hybrid boot code finds ISOLINUX, and ISOLINUX itself, by addresses patched into them.
  @Test func bootCodeIsPatchedWithTheAddressesOfISOLINUX() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("test.iso")
      try write(to: image)
      let bytes = try image.contents()
      let files = try bootFiles()
      #expect(Array(bytes[..<files.masterBootRecord.count]) == files.masterBootRecord)
      #expect(bytes[510...511] == [0x55, 0xAA])

      let report = try await shell(
        "xorriso -indev '\(image.string)' -find /isolinux/isolinux.bin -exec report_lba 2>/dev/null")
      let block = try #require(
        report.split(separator: "\n").last?.split(separator: ",").dropFirst().first.flatMap { Int($0.trimming(" ")) })
      #expect(try bytes.littleEndian(UInt64.self, at: 432) == UInt64(block) * 4)
      let start = block * 2048
      // Boot information table: volume descriptor, file, length, sum of the words from byte 64 on.
      #expect(try bytes.littleEndian(UInt32.self, at: start + 8) == 16)
      #expect(try bytes.littleEndian(UInt32.self, at: start + 12) == UInt32(block))
      #expect(try bytes.littleEndian(UInt32.self, at: start + 16) == UInt32(files.isolinux.count))
      let padded = files.isolinux + [UInt8](repeating: 0, count: 3)
      let sum = try stride(from: 64, to: files.isolinux.count, by: 4).reduce(UInt32(0)) {
        $0 &+ (try padded.littleEndian(UInt32.self, at: $1))
      }
      #expect(try bytes.littleEndian(UInt32.self, at: start + 20) == sum)
      let isRestUnchanged = Array(bytes[(start + 64)..<(start + files.isolinux.count)]) == Array(files.isolinux[64...])
      #expect(isRestUnchanged)
    }
  }

  @Test func diskIdentifierIsTheOneGivenOrThatOfTheTime() async throws {
    try await withTemporaryDirectory { folder in
      let given = try #require(GUID("0B6A5F7E-2A1C-4A9E-9D0E-1F2A3B4C5D6E"))
      try write(to: folder.appending("given.iso"), diskIdentifier: given)
      #expect(try await partitions(of: folder.appending("given.iso")).header["label-id"] == "\(given)")
      try write(to: folder.appending("time.iso"))
      let derived = try await partitions(of: folder.appending("time.iso")).header["label-id"]
      // "20231114…" as bytes.
      #expect(derived?.hasPrefix("33323032-3131-") == true)
    }
  }

  @Test func bootFilesThatCannotBeAreRefused() throws {
    let good = try bootFiles()
    for break_ in [
      { (files: inout ISOBootFiles) in files.isolinux = [1, 2, 3] },
      { $0.masterBootRecord = [UInt8](repeating: 0, count: 512) },
      { $0.masterBootRecord = [] },
      { $0.efiSystemPartition = [UInt8](repeating: 0, count: 4 << 20) },
    ] {
      var files = good
      break_(&files)
      var writer = try ISOImageWriter(volumeID: "T", modificationTime: buildTime)
      #expect {
        try writer.setBoot(files)
      } throws: { error in
        if case .invalidBootFile = error as? ISOImageError { true } else { false }
      }
    }
    var writer = try ISOImageWriter(volumeID: "T", modificationTime: buildTime)
    try writer.setBoot(good)
    #expect(throws: ISOImageError.self) { try writer.setBoot(good) }
  }
}

extension StringProtocol {
  func trimming(_ character: Character) -> String {
    String(drop { $0 == character }.reversed().drop { $0 == character }.reversed())
  }
}
