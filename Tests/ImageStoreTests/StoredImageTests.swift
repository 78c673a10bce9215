// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import ImageStore
import SystemPackage
import TestSupport
import Testing
import Volumes

/// The folder of images made by the real Clonezilla.
let golden = FilePath(#filePath).appending("../../../../shared/golden").lexicallyNormalized()

func text(_ path: FilePath) throws -> String { String(decoding: try path.contents(), as: UTF8.self) }

/// A copy of a real image that a test may break.
func copy(_ image: String, to directory: FilePath) async throws -> FilePath {
  let path = directory.appending(image)
  try await tool("cp", "-r", golden.appending("images").appending(image).string, path.string)
  try await tool("chmod", "-R", "u+w", path.string)
  return path
}

extension FilePath {
  func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: appending(name).string) }
  func move(_ name: String, to other: String) throws {
    try FileManager.default.moveItem(atPath: appending(name).string, toPath: appending(other).string)
  }
  var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: string).sorted()) ?? [] }
}

@Suite struct StoredImageTests {
  private struct Truth: Decodable {
    var sfdisk_dump: String
    var disk: Disk
    var partitions: [Partition]
    struct Disk: Decodable { var size_bytes: UInt64 }
    struct Partition: Decodable {
      var device: String
      var image_files: [String]?
      var blkid: [String: String]?
    }
  }

  @Test(arguments: ["a-gpt-z9p", "b-mbr-z1p", "e-raw-z0"])
  func realImagesAreUnderstood(_ name: String) throws {
    let truth = try JSONDecoder().decode(
      Truth.self, from: Data(try golden.appending("truth/\(name).json").contents()))
    let image = try StoredImage(opening: golden.appending("images").appending(name))
    #expect(image.isOfDisks)
    let disk = try #require(image.disks.first)
    #expect(disk.name == "sda")
    #expect(disk.warnings.isEmpty)
    #expect(disk.byteCount == truth.disk.size_bytes)
    let table = try #require(disk.table)
    #expect(SfdiskDump(table, device: "/dev/sda").text == truth.sfdisk_dump)
    #expect(table.byteCount == truth.disk.size_bytes)
    #expect(disk.bootSector?.count == 512)
    let withData = truth.partitions.filter { !($0.image_files ?? []).isEmpty }
    #expect(image.volumes.map(\.device) == withData.map(\.device))
    for (volume, partition) in zip(image.volumes, withData) {
      #expect(volume.files.compactMap { $0.lastComponent?.string } == partition.image_files)
      #expect(volume.disk == "sda")
      #expect(volume.number == PartitionNaming.number(of: partition.device, disk: "sda"))
    }
    let swaps = truth.partitions.filter { $0.blkid?["TYPE"] == "swap" }
    #expect(image.swaps.map(\.uuid) == swaps.map { $0.blkid?["UUID"] })
    #expect(image.swaps.map(\.label) == swaps.map { $0.blkid?["LABEL"] })
    #expect(image.created?.hasPrefix("2026-1122-") == true)
  }

  @Test func contentsAreTold() throws {
    let images = golden.appending("images")
    let gpt = try StoredImage(opening: images.appending("a-gpt-z9p"))
    #expect(gpt.volumes.map(\.contentName) == ["vfat", "ext4", "xfs", "btrfs"])
    #expect(gpt.volumes.allSatisfy { $0.compressionSuffix == "zst" && $0.content.isPartclone })
    #expect(gpt.volumes.map(\.storedByteCount) == [2_608_364, 1_507_399, 1_582_339, 1_449_816])
    let mbr = try StoredImage(opening: images.appending("b-mbr-z1p"))
    #expect(mbr.volumes.map(\.contentName) == ["ext4", "ntfs", "ext3"])
    #expect(mbr.disks[0].hiddenData?.lastComponent?.string == "sda-hidden-data-after-mbr")
    #expect(mbr.disks[0].extendedBootRecords.keys.sorted() == [2])
    let raw = try StoredImage(opening: images.appending("e-raw-z0"))
    #expect(raw.volumes.allSatisfy { $0.content == .raw && $0.compressionSuffix == "uncomp" })
    let lvm = try StoredImage(opening: images.appending("d-lvm-z9p"))
    #expect(lvm.volumes.map(\.content) == [.partclone(fileSystem: "ext2"), .physicalVolume(group: "ubuntu-vg")])
  }

  @Test func volumesAreTakenInOrder() async throws {
    try await withTemporaryDirectory { directory in
      let image = try await copy("b-mbr-z1p", to: directory)
      for suffix in ["ab", "ac", "ad"] { try image.appending("sda1.ext4-ptcl-img.gz.\(suffix)").write([1, 2]) }
      let volume = try #require(try StoredImage(opening: image).volume(named: "sda1"))
      #expect(volume.files.map { $0.extension } == ["aa", "ab", "ac", "ad"])
      #expect(volume.storedByteCount == 4_579_807 + 6)
    }
  }

  @Test func aGapInTheVolumesIsNamed() async throws {
    try await withTemporaryDirectory { directory in
      let image = try await copy("b-mbr-z1p", to: directory)
      try image.appending("sda1.ext4-ptcl-img.gz.ac").write([1])
      #expect(
        throws: ImageError.missingVolume(
          image: image.string, file: "sda1.ext4-ptcl-img.gz.ab", present: "sda1.ext4-ptcl-img.gz.ac")
      ) { try StoredImage(opening: image) }
      try image.move("sda1.ext4-ptcl-img.gz.aa", to: "sda1.ext4-ptcl-img.gz.ab")
      #expect(
        throws: ImageError.missingVolume(
          image: image.string, file: "sda1.ext4-ptcl-img.gz.aa", present: "sda1.ext4-ptcl-img.gz.ac")
      ) { try StoredImage(opening: image) }
    }
  }

  @Test(arguments: ["parts", "sda5.ntfs-ptcl-img.gz.aa", "sda-pt.sf", "disk"])
  func aMissingFileIsNamed(_ name: String) async throws {
    try await withTemporaryDirectory { directory in
      let image = try await copy("b-mbr-z1p", to: directory)
      try image.remove(name)
      guard name != "disk" else {
        // Without it the image is one of partitions.
        #expect(try !StoredImage(opening: image).isOfDisks)
        return
      }
      let expected = name.split(separator: ".").first.map(String.init) ?? name
      #expect {
        try StoredImage(opening: image)
      } throws: { error in
        "\(error)".contains(expected) && "\(error)".contains(image.string)
      }
    }
  }

  @Test func brokenLockedAndPartialImagesAreRefused() async throws {
    try await withTemporaryDirectory { directory in
      let image = try await copy("e-raw-z0", to: directory)
      try directory.move("e-raw-z0", to: "e-raw-z0.partial")
      let partial = directory.appending("e-raw-z0.partial")
      #expect(throws: ImageError.incomplete(path: partial.string)) { try StoredImage(opening: partial) }
      try directory.move("e-raw-z0.partial", to: "e-raw-z0")
      try image.appending("THIS_IMAGE_DIR_IS_BROKEN.txt").write([])
      #expect(throws: ImageError.markedBroken(path: image.string)) { try StoredImage(opening: image) }
      try image.remove("THIS_IMAGE_DIR_IS_BROKEN.txt")
      try image.remove("parts")
      try image.appending("gocryptfs.info").write([])
      #expect(throws: ImageError.locked(path: image.string)) { try StoredImage(opening: image) }
      #expect(throws: ImageError.notFound(path: "/nowhere/x")) { try StoredImage(opening: "/nowhere/x") }
    }
  }

  @Test func theBinaryTableServesWhenTheTextIsGone() async throws {
    try await withTemporaryDirectory { directory in
      let image = try await copy("a-gpt-z9p", to: directory)
      let table = try #require(try StoredImage(opening: image).disks[0].table)
      for name in ["sda-pt.sf", "sda-gpt.gdisk", "sda-gpt-1st"] {
        let disk = try StoredImage(opening: image).disks[0]
        #expect(disk.table == table)
        if name == "sda-gpt-1st" {
          // Its header is overwritten; the late second copy and the first one's entries still make the table.
          var first = try image.appending(name).contents()
          for index in 512..<1024 { first[index] = 0xA5 }
          try image.appending(name).write(first)
        } else {
          try image.appending(name).write(Array("nonsense".utf8))
        }
      }
      let disk = try StoredImage(opening: image).disks[0]
      #expect(disk.table == table)
      #expect(disk.warnings.count == 1)
    }
  }

  @Test func namesFromBeforeCompressionWasTold() async throws {
    try await withTemporaryDirectory { directory in
      let image = try await copy("b-mbr-z1p", to: directory)
      try image.move("sda1.ext4-ptcl-img.gz.aa", to: "sda1.ext4-img")
      try image.move("sda5.ntfs-ptcl-img.gz.aa", to: "sda5.ntfs-img.aa")
      try image.move("sda6.ext3-ptcl-img.gz.aa", to: "sda6.000")
      try image.appending("sda6.dd-img.info").write([])
      let volumes = try StoredImage(opening: image).volumes
      #expect(
        volumes.map(\.content) == [
          .partclone(fileSystem: "ext4"), .partclone(fileSystem: "ntfs"), .legacy(program: "partimage"),
        ])
      #expect(volumes.allSatisfy { $0.compressionSuffix == nil && $0.files.count == 1 })
    }
  }

  /// Old names, and old names with a compression in them, whole and split.
  @Test func everyFormOfNameIsFound() async throws {
    try await withTemporaryDirectory { directory in
      let image = try await copy("b-mbr-z1p", to: directory)
      try image.remove("sda1.ext4-ptcl-img.gz.aa")
      func expect(
        _ names: [String], _ content: ImageVolume.Content, _ suffix: String?, besides others: [String] = []
      ) throws {
        for name in names + others { try image.appending(name).write([1]) }
        let stored = try StoredImage(opening: image)
        let volume = try #require(stored.volume(named: "sda1"))
        #expect(volume.content == content && volume.compressionSuffix == suffix, "\(names)")
        #expect(volume.files.map { $0.lastComponent?.string } == names)
        #expect(others.allSatisfy(stored.otherFiles.contains), "\(stored.otherFiles)")
        #expect(!names.contains(where: stored.otherFiles.contains))
        for name in names + others { try image.remove(name) }
      }
      let letters = Array("abcdefghijklmnopqrstuvwxyz").map(String.init)
      let many = letters.flatMap { first in letters.map { first + $0 } }
      try expect(["sda1.dd-img"], .raw, nil, besides: ["sda1.dd-img.info", "sda1-size"])
      try expect(["sda1.dd-img.aa", "sda1.dd-img.ab"], .raw, nil)
      try expect(["sda1.ntfs-img.aaa", "sda1.ntfs-img.aab"], .partclone(fileSystem: "ntfs"), nil)
      for suffix in ["gz", "bz2", "lzo", "lzma", "xz", "lzip", "lz4", "zst", "uncomp"] {
        try expect(["sda1.ext3-img.\(suffix)"], .partclone(fileSystem: "ext3"), suffix)
        try expect(["sda1.dd-img.\(suffix).aa", "sda1.dd-img.\(suffix).ab"], .raw, suffix)
        try expect(["sda1.dd-ptcl-img.\(suffix)"], .raw, suffix)
        try expect(
          ["sda1.ext4-ptcl-img.\(suffix).aa"], .partclone(fileSystem: "ext4"), suffix,
          besides: ["sda1.ext4-ptcl-img.\(suffix).aa.md5", "sda1.ext4-ptcl-img.\(suffix).log"])
      }
      // The 182nd volume is no gzip file.
      try expect(many[...181].map { "sda1.ext4-img.\($0)" }, .partclone(fileSystem: "ext4"), nil)
      // What other names may mean is left alone.
      try expect(["sda1.ext4-img"], .partclone(fileSystem: "ext4"), nil, besides: ["sda1.ext4-img.md5", "sda1.txt"])
    }
  }

  @Test func filesThatSayNothingToUsAreListed() async throws {
    try await withTemporaryDirectory { directory in
      let image = try await copy("a-gpt-z9p", to: directory)
      let before = try StoredImage(opening: image).otherFiles
      #expect(before.contains("blkdev.list") && before.contains("sda-pt.parted.compact"))
      #expect(!before.contains { $0.contains("-ptcl-img") || $0 == "sda-pt.sf" || $0 == "sda-mbr" || $0 == "parts" })
      for name in ["notes from Ann.txt", "sda1.files-b3sum.info.gz", "MD5SUMS"] { try image.appending(name).write([1]) }
      let after = try StoredImage(opening: image).otherFiles
      #expect(Set(after).subtracting(before) == ["notes from Ann.txt", "sda1.files-b3sum.info.gz", "MD5SUMS"])
    }
  }

  @Test func twoContentsForAPartitionAreRefused() async throws {
    try await withTemporaryDirectory { directory in
      let image = try await copy("b-mbr-z1p", to: directory)
      try image.appending("sda1.dd-ptcl-img.zst").write([1])
      #expect {
        try StoredImage(opening: image)
      } throws: {
        "\($0)".contains("more than one content for sda1")
      }
      try image.remove("sda1.dd-ptcl-img.zst")
      // A partition whose name begins like another's is no second content.
      try image.appending("sda11.ext4-ptcl-img.gz").write([1])
      #expect(try StoredImage(opening: image).volumes.count == 3)
    }
  }

  @Test func brokenFilesNeverTrap() async throws {
    try await withTemporaryDirectory { directory in
      var seed: UInt64 = 88
      func random() -> UInt64 {
        seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return seed >> 33
      }
      var refused = 0
      for name in ["a-gpt-z9p", "b-mbr-z1p", "d-lvm-z9p"] {
        let image = try await copy(name, to: directory)
        let small = image.names.filter { !$0.contains("-img.") && !$0.hasPrefix("Info-") }
        for _ in 0..<400 {
          let file = image.appending(small[Int(random()) % small.count])
          let original = try file.contents()
          var bytes = original
          if random() % 4 == 0 { bytes = Array(bytes.prefix(Int(random()) % (bytes.count + 1))) }
          for _ in 0...(random() % 8) where !bytes.isEmpty {
            bytes[Int(random()) % bytes.count] = UInt8(truncatingIfNeeded: random())
          }
          try file.write(bytes)
          do { _ = try StoredImage(opening: image) } catch is ImageError { refused += 1 }
          try file.write(original)
        }
      }
      #expect(refused > 100)
    }
  }
}
