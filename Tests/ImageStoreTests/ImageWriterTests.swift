// SPDX-License-Identifier: GPL-3.0-or-later

import ImageStore
import SystemPackage
import TestSupport
import Testing
import Volumes

@Suite struct ImageWriterTests {
  /// Writes the texts of a disk and one raw volume, without the last step.
  private func fill(_ writer: ImageWriter, byte: UInt8 = 1) throws {
    try writer.write(
      "sda-pt.sf", "label: dos\nlabel-id: 0x00000001\nunit: sectors\n\n/dev/sda1 : start=2048, size=8, type=83\n")
    try writer.dataFile("sda1", content: "dd", compressionSuffix: "uncomp").write([byte])
  }

  @Test func anImageAppearsOnlyWhenComplete() async throws {
    try await withTemporaryDirectory { repository in
      let writer = try ImageWriter(repository: repository, name: "monday")
      try fill(writer)
      #expect(repository.names == ["monday.partial"])
      #expect(!writer.directory.names.contains("parts"))
      #expect(!writer.directory.names.contains("disk"))
      try writer.commit(disks: ["sda"], parts: ["sda1"])
      #expect(repository.names == ["monday"])
      let image = try StoredImage(opening: repository.appending("monday"))
      #expect(image.volumes.map(\.device) == ["sda1"])
      #expect(try text(repository.appending("monday/disk")) == "sda\n")
      #expect(try text(repository.appending("monday/parts")) == "sda1\n")
    }
  }

  @Test func theRemainsOfAnInterruptedSaveAreReplacedAndTold() async throws {
    try await withTemporaryDirectory { repository in
      try await tool("mkdir", repository.appending("monday.partial").string)
      try repository.appending("monday.partial/sda9.ext4-ptcl-img.zst").write([1, 2, 3])
      #expect(try StoredImage.list(repository).map(\.name) == ["monday.partial"])
      let writer = try ImageWriter(repository: repository, name: "monday")
      #expect(writer.replacedPartial)
      try fill(writer)
      try writer.commit(disks: ["sda"], parts: ["sda1"])
      #expect(repository.appending("monday").names == ["disk", "parts", "sda-pt.sf", "sda1.dd-ptcl-img.uncomp"])
    }
  }

  @Test func twoSavesOfOneNameDoNotMeet() async throws {
    try await withTemporaryDirectory { repository in
      let first = try ImageWriter(repository: repository, name: "monday")
      #expect(throws: ImageError.busy(path: repository.appending("monday.partial").string)) {
        try ImageWriter(repository: repository, name: "monday")
      }
      try first.discard()
      #expect(repository.names.isEmpty)
    }
  }

  @Test func anExistingImageStaysUntilTheNewOneIsComplete() async throws {
    try await withTemporaryDirectory { repository in
      let first = try ImageWriter(repository: repository, name: "monday")
      try fill(first, byte: 1)
      try first.commit(disks: ["sda"], parts: ["sda1"])
      #expect(throws: ImageError.alreadyExists(path: repository.appending("monday").string)) {
        try ImageWriter(repository: repository, name: "monday")
      }
      let second = try ImageWriter(repository: repository, name: "monday", replacesExisting: true)
      try fill(second, byte: 2)
      let data = repository.appending("monday/sda1.dd-ptcl-img.uncomp")
      #expect(try data.contents() == [1])
      try second.commit(disks: ["sda"], parts: ["sda1"])
      #expect(try data.contents() == [2])
      #expect(repository.names == ["monday"])
    }
  }

  @Test(arguments: ["", ".", "..", "a/b", "a b", "-x", ".x", "x.partial", "a\n"])
  func namesThatAreNone(_ name: String) async throws {
    try await withTemporaryDirectory { repository in
      #expect(throws: ImageError.notAName(name)) { try ImageWriter(repository: repository, name: name) }
      #expect(repository.names.isEmpty)
    }
  }

  @Test func aRepositoryThatIsNotThere() {
    #expect(throws: ImageError.notFound(path: "/nowhere")) { try ImageWriter(repository: "/nowhere", name: "x") }
  }
}

@Suite struct ImageTextsTests {
  private func volume(
    _ device: String, _ fileSystem: String, _ mebibytes: UInt64, uuid: String? = nil, label: String? = nil,
    partition: Partition? = nil
  ) -> VolumeDescription {
    VolumeDescription(
      device: device, fileSystem: fileSystem, byteCount: mebibytes << 20, uuid: uuid, label: label,
      partition: partition, partitionUUID: nil)
  }

  /// The disk of a real image.
  private func mbrDisk() -> DiskDescription {
    DiskDescription(
      name: "sda", byteCount: 520 << 20, model: "QEMU HARDDISK",
      volumes: [
        volume("sda1", "ext4", 200),
        volume("sda2", "", 300, partition: Partition(number: 2, start: 411648, count: 614400, type: .mbr(5))),
        volume("sda5", "ntfs", 150), volume("sda6", "ext3", 100),
      ])
  }

  @Test func listsHaveTheShapeOfTheRealOnes() throws {
    let images = golden.appending("images/b-mbr-z1p")
    #expect(ImageTexts.deviceFileSystems([mbrDisk()]) == (try text(images.appending("dev-fs.list"))))
    // The real machine had a CD drive besides.
    let real = try text(images.appending("blkdev.list")).split(separator: "\n").filter { !$0.hasPrefix("sr0") }
    let ours = ImageTexts.blockDevices([mbrDisk()]).split(separator: "\n")
    #expect(ours.map(String.init).map(\.words) == real.map(String.init).map(\.words))
    // The drive's longer size only moved the columns after it.
    #expect(ours.dropFirst().allSatisfy { ["disk", "part"].contains($0.dropFirst(18).prefix(4)) })
  }

  @Test func identitiesAreThoseBlkidPrints() throws {
    let images = golden.appending("images/a-gpt-z9p")
    let partition = Partition(
      number: 5, start: 1, count: 1, type: .linuxSwap, uuid: nil, name: "swap")
    var swap = volume(
      "sda5", "swap", 64, uuid: "aaaaaaaa-0000-4000-8000-000000000005", label: "swapgold", partition: partition)
    swap.partitionUUID = "a0000001-0000-4000-8000-000000000005"
    let line = ImageTexts.identities([DiskDescription(name: "sda", byteCount: 1, model: "", volumes: [swap])])
    #expect(try text(images.appending("blkid.list")).contains(line))
    #expect(
      ImageTexts.swap(uuid: "aaaaaaaa-0000-4000-8000-000000000005", label: "swapgold")
        == (try text(images.appending("swappt-sda5.info"))))
  }

  @Test func sizesAreThoseLsblkShows() async throws {
    for bytes: UInt64 in [0, 1, 1023, 1024, 1536, 225_651_712, 872_415_232, 1 << 40, 999_999_999_999, 1 << 60] {
      let theirs = try await tool("numfmt", "--to=iec", "--format=%.1f", "--round=nearest", "\(bytes)")
      let expected = theirs.split(whereSeparator: \.isWhitespace).first.map(String.init) ?? ""
      let trimmed = expected.replacing(".0", with: "")
      #expect(ImageTexts.size(bytes) == (bytes < 1024 ? "\(bytes)B" : trimmed))
    }
  }
}

extension String {
  fileprivate var words: [Substring] { split(separator: " ") }
}
