// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import SystemPackage
import TestSupport
import Testing
import Volumes

/// Two physical volumes of eight extents of 4 KiB; `data` is linear and then striped, `swap` fills a gap.
private let groupText = """
  contents = "Text Format Volume Group" # a comment
  version = 1
  description = "with \\"quotes\\" and \\\\"
  creation_host = "host"
  creation_time = 1700000000
  vg-x {
  id = "OU3CEB-uvNi-fSjj-5IHe-RA9a-uipG-uugzf3"
  seqno = 3
  format = "lvm2"
  status = ["RESIZEABLE", "READ", "WRITE"]
  flags = []
  extent_size = 8
  ratio = 0.5
  physical_volumes {
  pv0 {
  id = "b90XtJ-ISP2-CuuA-UtgH-vmvH-0u6F-LOdjKM"
  device = "/dev/sda2"
  status = ["ALLOCATABLE"]
  pe_start = 64
  pe_count = 8
  }
  pv1 {
  id = "EyrIzm-nbxy-raJ6-cnzE-0lc8-HGpu-iFrHUU"
  pe_start = 32
  pe_count = 8
  }
  }
  logical_volumes {
  data {
  id = "3gc0ds-Qjfm-M1Fq-cvLQ-K84r-78nr-fPFlSk"
  segment_count = 2
  segment1 {
  start_extent = 0
  extent_count = 3
  type = "striped"
  stripe_count = 1
  stripes = ["pv1", 5]
  }
  segment2 {
  start_extent = 3
  extent_count = 6
  type = "striped"
  stripe_count = 2
  stripe_size = 2
  stripes = [
  "pv0", 1,
  "pv1", 2
  ]
  }
  }
  swap {
  id = "kcPXm8-MGz8-QUJE-4l2g-L2RY-fVgS-7cDwzG"
  segment_count = 1
  segment1 {
  start_extent = 0
  extent_count = 2
  type = "linear"
  stripe_count = 1
  stripes = ["pv0", 4]
  }
  }
  }
  }

  """

@Suite struct LVMTests {
  private func sample(_ change: (String) -> String = { $0 }) throws(LVMError) -> VolumeGroup {
    try VolumeGroup(parsing: Array(change(groupText).utf8), source: "test")
  }

  @Test func metadataOfARealGroup() throws {
    let text = try FilePath(#filePath).appending("../../../../shared/golden/images/d-lvm-z9p/lvm_ubuntu-vg.conf")
      .lexicallyNormalized().contents()
    let group = try VolumeGroup(parsing: text, source: "conf")
    #expect(group.name == "ubuntu-vg")
    #expect(group.sequenceNumber == 3)
    #expect(group.extentByteCount == 4 << 20)
    #expect(group.physicalVolumes.map(\.id.description) == ["b90XtJ-ISP2-CuuA-UtgH-vmvH-0u6F-LOdjKM"])
    #expect(group.physicalVolumes.map(\.end) == [(1 << 20) + 149 * (4 << 20)])
    #expect(group.logicalVolumes.map(\.byteCount) == [167_772_160, 318_767_104])
    #expect(group.logicalVolumes.map { group.mapperName(of: $0) } == ["ubuntu--vg-ubuntu--lv", "ubuntu--vg-data"])
    #expect(group.obstacle == nil)
    #expect(group.metadata.sections.map(\.key) == ["ubuntu-vg"])
    // Written in the layout of vgcfgbackup, comments apart.
    let backup = group.backupText(description: "x", host: "y", time: 1)
    let reread = try VolumeGroup(parsing: Array(backup.utf8), source: "backup")
    #expect(reread.metadata["ubuntu-vg"] == group.metadata["ubuntu-vg"])
    let onDisk = try VolumeGroup(parsing: group.diskText, source: "disk")
    #expect(onDisk.metadata["ubuntu-vg"] == group.metadata["ubuntu-vg"])
    #expect(group.diskText.starts(with: "ubuntu-vg {".utf8))
  }

  @Test func whatIsWrittenAgainIsTheSame() throws {
    let section = try LVMSection(parsing: Array(groupText.utf8), source: "test")
    #expect(try LVMSection(parsing: Array(section.description.utf8), source: "again") == section)
    #expect(section["description"] == .text("with \"quotes\" and \\"))
    #expect(section["creation_time"] == .integer(1_700_000_000))
  }

  /// Every byte of a volume is where the arithmetic of the format puts it: chunk by chunk, the stripes in turn.
  @Test func bytesLieWhereTheMetadataSays() async throws {
    let group = try sample()
    try await withTemporaryDirectory { directory in
      var devices: [FileDevice] = []
      for (index, physical) in group.physicalVolumes.enumerated() {
        let path = directory.appending("pv\(index)")
        try await tool("truncate", "-s", "\(physical.end)", path.string)
        devices.append(try FileDevice(path: path, access: .readWrite))
      }
      let volume = try #require(
        try LogicalVolumeDevice(group.logicalVolumes[0], of: group, on: devices, name: "data"))
      #expect(volume.byteCount == 9 * 4096)
      var random = Mutations(seed: 5)
      let content = (0..<(9 * 4096)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      // In pieces of odd sizes.
      var done = 0
      while done < content.count {
        let count = min(content.count - done, 1 + Int(random.next() % 5000))
        try volume.write(content.span.bytes.extracting(done..<(done + count)), at: UInt64(done))
        done += count
      }
      var expected = group.physicalVolumes.map { [UInt8](repeating: 0, count: Int($0.end)) }
      for sector in 0..<72 {
        let bytes = content[(sector * 512)..<((sector + 1) * 512)]
        if sector < 24 {
          expected[1].replaceSubrange(((32 + 40 + sector) * 512)..<((32 + 40 + sector + 1) * 512), with: bytes)
        } else {
          let chunk = (sector - 24) / 2
          let place = (chunk % 2 == 0 ? 64 + 8 : 32 + 16) + chunk / 2 * 2 + sector % 2
          expected[chunk % 2].replaceSubrange((place * 512)..<((place + 1) * 512), with: bytes)
        }
      }
      for (device, expected) in zip(devices, expected) {
        #expect(try device.read(at: 0, count: expected.count) == expected)
      }
      #expect(try volume.read(at: 0, count: content.count) == content)
      #expect(try volume.read(at: 12_000, count: 9000) == Array(content[12_000..<21_000]))
      try volume.zero(at: 12_000, count: 9000)
      let zeroed = Array(content[..<12_000]) + [UInt8](repeating: 0, count: 9000) + Array(content[21_000...])
      #expect(try volume.read(at: 0, count: content.count) == zeroed)
      #expect(throws: DeviceError.self) { try volume.read(at: volume.byteCount - 1, count: 2) }
      #expect(throws: DeviceError.self) {
        try LogicalVolumeDevice(group.logicalVolumes[0], of: group, on: [devices[0]], name: "data")
      }
    }
  }

  @Test func whatIsWrittenIsFoundAgain() async throws {
    let group = try sample()
    try await withTemporaryDirectory { directory in
      for (index, physical) in group.physicalVolumes.enumerated() {
        let path = directory.appending("pv\(index)")
        // Full of other things, and larger than it was.
        try path.write([UInt8](repeating: 0xA5, count: Int(physical.end) + 8192))
        let device = try FileDevice(path: path, access: .readWrite)
        #expect(try LVMPhysicalVolume(device) == nil)
        try LVMPhysicalVolume.write(physical, of: group, to: device)
        let found = try #require(try LVMPhysicalVolume(device))
        #expect(found.id == physical.id)
        #expect(found.group?.metadata["vg-x"] == group.metadata["vg-x"])
        #expect(found.warnings.isEmpty)
        #expect(try device.read(at: physical.extentStart, count: 512).allSatisfy { $0 == 0xA5 })
      }
    }
  }

  /// LVM writes its metadata round and round: text that reaches the end of the area goes on behind its header.
  @Test func metadataThatGoesRound() async throws {
    let image = try await physicalVolume()
    let header = Array(image[4096..<4608])
    let count = Int(try header.littleEndian(UInt64.self, at: 48))
    let size = Int(try header.littleEndian(UInt64.self, at: 32))
    let text = Array(image[4608..<(4608 + count)])
    var round = image
    let offset = size - 1000
    for index in 512..<size { round[4096 + index] = 0x55 }
    for (index, byte) in text.enumerated() {
      round[4096 + (offset + index < size ? offset + index : 512 + offset + index - size)] = byte
    }
    round.store(UInt64(offset), at: 4096 + 40)
    Self.seal(&round)
    let found = try #require(try LVMPhysicalVolume(MemoryDevice(round)))
    #expect(found.group == (try LVMPhysicalVolume(MemoryDevice(image)))?.group)
    #expect(found.group != nil)
  }

  @Test(arguments: [
    ("extent_size = 8\n", "extent_size = 0\n", "have no size"),
    ("extent_size = 8\n", "extent_size = 9223372036854775807\n", "is too large"),
    ("pe_start = 64", "pe_start = -1", "no valid number \"pe_start\""),
    ("pe_count = 8\n}\n}", "pe_count = 1\n}\n}", "lies outside of pv1"),
    ("stripes = [\"pv0\", 4]", "stripes = [\"pv9\", 4]", "which is no physical volume"),
    ("stripes = [\"pv0\", 4]", "stripes = [\"pv0\", 3]", "share extents of pv0"),
    ("stripes = [\"pv0\", 4]", "stripes = [\"pv0\", 9223372036854775807]", "lies outside of pv0"),
    ("stripe_size = 2", "stripe_size = 0", "do not fill its extents"),
    ("start_extent = 3", "start_extent = 4", "leave a gap or overlap"),
    ("segment_count = 2", "segment_count = 1", "has 2 segments"),
    ("swap {", "../swap {", "can't be the name"),
    ("vg-x {", "-x {", "can't be the name"),
    ("fPFlSk", "fPFl*k", "no valid identifier"),
    ("iFrHUU", "LOdjKMx", "no valid identifier"),
    ("format = \"lvm2\"", "format = \"lvm1\"", "of the format lvm1"),
    ("version = 1", "version = 2", "not marked as version 1"),
    ("contents =", "x {}\ncontents =", "describes 2 volume groups"),
    ("seqno = 3", "seqno = 3\nseqno = 4", "a second \"seqno\""),
    ("seqno = 3", "seqno = three", "a number, a string or a list"),
    ("seqno = 3", "seqno 3", "\"=\" or \"{\" after \"seqno\""),
    ("\"host\"", "\"host", "\"=\" or \"{\""),
    ("[\"pv0\", 4]", "[\"pv0\", 4", "\",\" or \"]\""),
  ])
  func contradictionsAreNamed(_ text: String, _ other: String, _ expected: String) {
    #expect {
      _ = try sample { $0.replacing(text, with: other) }
    } throws: { error in
      (error as? LVMError)?.reason.contains(expected) ?? false
    }
  }

  @Test(arguments: ["thin-pool", "thin", "raid1", "mirror", "snapshot", "cache", "vdo", "error"])
  func otherTypesAreNamed(_ type: String) throws {
    let group = try sample { $0.replacing("\"linear\"", with: "\"\(type)\"") }
    #expect(group.obstacle == "its logical volume swap is of the type \(type)")
    #expect(group.logicalVolumes.map(\.unknownType) == [nil, type])
  }

  @Test func deepNestingEnds() {
    for text in [String(repeating: "a {", count: 100_000), "a = " + String(repeating: "[", count: 100_000)] {
      #expect(throws: LVMError.self) { try LVMSection(parsing: Array(text.utf8), source: "test") }
    }
  }

  @Test func mutatedTextNeverTraps() throws {
    var random = Mutations(seed: 41)
    let original = Array(groupText.utf8)
    var accepted = 0
    for round in 0..<6000 {
      var bytes = original
      for _ in 0...Int(random.next() % 4) {
        let position = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 4 {
        case 0: bytes[position] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.remove(at: position)
        case 2: bytes.insert(Array("{}[]=\"#,\\0-9.".utf8)[Int(random.next() % 13)], at: position)
        default: bytes[position] = UInt8(ascii: "0") + UInt8(random.next() % 10)
        }
      }
      if round.isMultiple(of: 7) { bytes = Array(bytes.prefix(Int(random.next() % UInt64(bytes.count)))) }
      do {
        let group = try VolumeGroup(parsing: bytes, source: "test")
        accepted += 1
        // What is accepted stays inside its physical volumes.
        for volume in group.logicalVolumes {
          for segment in volume.segments {
            guard case .striped(_, let areas) = segment.layout else { continue }
            for area in areas {
              let physical = group.physicalVolumes[area.physicalVolume]
              #expect(area.start >= physical.extentStart)
              #expect(area.start + segment.byteCount / UInt64(areas.count) <= physical.end)
            }
          }
        }
      } catch {
        // Only an LVMError can be thrown.
      }
    }
    #expect(accepted > 100)
  }

  @Test func mutatedLabelsAndAreasNeverTrap() async throws {
    var random = Mutations(seed: 43)
    let image = try await physicalVolume()
    var outcomes: [String: Int] = [:]
    for round in 0..<4000 {
      var bytes = image
      for _ in 0...Int(random.next() % 3) {
        // Label, header of the area, its text.
        let places = [512..<660, 4096..<4170, 4608..<6200]
        let place = places[Int(random.next() % 3)]
        let position = place.lowerBound + Int(random.next() % UInt64(place.count))
        bytes[position] = random.next() % 2 == 0 ? UInt8(truncatingIfNeeded: random.next()) : 0xFF
      }
      // With right checksums what they protect is reached too.
      if !round.isMultiple(of: 4) { Self.seal(&bytes) }
      if round.isMultiple(of: 9) { bytes = Array(bytes.prefix(Int(random.next() % UInt64(bytes.count)))) }
      do {
        let found = try LVMPhysicalVolume(MemoryDevice(bytes))
        outcomes[found == nil ? "none" : found?.group == nil ? "no group" : "group", default: 0] += 1
      } catch is LVMError {
        outcomes["error", default: 0] += 1
      }
    }
    #expect(Set(outcomes.keys) == ["none", "no group", "group", "error"])
  }

  /// A physical volume in memory.
  private func physicalVolume() async throws -> [UInt8] {
    let group = try sample()
    return try await withTemporaryDirectory { directory in
      let path = directory.appending("pv")
      try await tool("truncate", "-s", "\(group.physicalVolumes[0].end)", path.string)
      try LVMPhysicalVolume.write(
        group.physicalVolumes[0], of: group, to: try FileDevice(path: path, access: .readWrite))
      return try path.contents()
    }
  }

  /// Makes the checksums of label, area and text right.
  private static func seal(_ bytes: inout [UInt8]) {
    let offset = (try? bytes.littleEndian(UInt64.self, at: 4096 + 40)) ?? 0
    let count = (try? bytes.littleEndian(UInt64.self, at: 4096 + 48)) ?? 0
    let size = 32768 - 4096
    if offset >= 512, offset < size, count <= size - 512 {
      let straight = min(Int(count), size - Int(offset))
      let start = 4096 + Int(offset)
      let text = Array(bytes[start..<(start + straight)]) + Array(bytes[4608..<(4608 + Int(count) - straight)])
      bytes.store(checksum(text), at: 4096 + 56)
    }
    bytes.store(checksum(Array(bytes[4100..<4608])), at: 4096)
    bytes.store(checksum(Array(bytes[532..<1024])), at: 528)
  }

  /// The format's CRC-32, bit by bit.
  private static func checksum(_ bytes: [UInt8]) -> UInt32 {
    var crc: UInt32 = 0xF597_A6CF
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
    }
    return crc
  }
}
