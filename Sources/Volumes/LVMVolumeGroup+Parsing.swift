// SPDX-License-Identifier: GPL-3.0-or-later

extension VolumeGroup {
  /// Reads the metadata of a group, from a disk or from `vgcfgbackup`.
  ///
  /// - Parameter source: file or device, for messages.
  /// - Throws: ``LVMError/malformed(source:line:expected:found:)``, ``LVMError/inconsistent(source:detail:)``: also
  ///   when two volumes would share an extent, or one would lie outside its physical volume.
  public init(parsing text: [UInt8], source: String) throws(LVMError) {
    let metadata = try LVMSection(parsing: text, source: source)
    let reader = GroupReader(source: source)
    let groups = metadata.sections
    guard let (name, group) = groups.first, groups.count == 1 else {
      throw reader.failure("it describes \(groups.count) volume groups, not one")
    }
    guard metadata.text("contents") == "Text Format Volume Group", metadata.integer("version") == 1 else {
      throw reader.failure("it is not marked as version 1 of \"Text Format Volume Group\"")
    }
    // Groups from before LVM 2.02.16 have no format told.
    guard ["lvm2", nil].contains(group.text("format")) else {
      throw reader.failure("the volume group \(name) is of the format \(group.text("format") ?? "")")
    }
    try reader.check(name: name)
    self.name = name
    id = try reader.identifier(group, of: "the volume group \(name)")
    sequenceNumber = try reader.number(group, "seqno", of: name)
    let extent = try reader.bytes(group, "extent_size", of: name)
    guard extent > 0 else { throw reader.failure("the extents of \(name) have no size") }
    extentByteCount = extent
    let physical = try (group.section("physical_volumes")?.sections ?? []).map { key, section throws(LVMError) in
      try reader.physicalVolume(key, section, extent: extent)
    }
    guard Set(physical.map(\.id)).count == physical.count else {
      throw reader.failure("two physical volumes have the same identifier")
    }
    physicalVolumes = physical
    logicalVolumes = try (group.section("logical_volumes")?.sections ?? []).map { name, section throws(LVMError) in
      try reader.logicalVolume(name, section, extent: extent, on: physical)
    }
    self.metadata = metadata
    try reader.checkOverlaps(of: logicalVolumes, on: physical)
  }
}

private struct GroupReader {
  let source: String

  func failure(_ detail: String) -> LVMError { .inconsistent(source: source, detail: detail) }

  /// Names become names of files: LVM allows nothing in them that could lead elsewhere, and neither does this.
  func check(name: String) throws(LVMError) {
    let isAllowed = name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "+"),
        UInt8(ascii: "-"):
        true
      default: false
      }
    }
    guard isAllowed, !name.isEmpty, name.utf8.count < 128, name != ".", name != "..", !name.hasPrefix("-") else {
      throw failure("\"\(name.prefix(128))\" can't be the name of a volume")
    }
  }

  func identifier(_ section: LVMSection, of what: String) throws(LVMError) -> LVMIdentifier {
    guard let id = section.text("id").flatMap({ LVMIdentifier($0) }) else {
      throw failure("\(what) has no valid identifier")
    }
    return id
  }

  func number(_ section: LVMSection, _ key: String, of what: String) throws(LVMError) -> Int64 {
    guard let number = section.integer(key), number >= 0 else {
      throw failure("\(what) has no valid number \"\(key)\"")
    }
    return number
  }

  /// A number of sectors, in bytes.
  func bytes(_ section: LVMSection, _ key: String, of what: String) throws(LVMError) -> UInt64 {
    try product(UInt64(number(section, key, of: what)), 512, "\"\(key)\" of \(what)")
  }

  private func product(_ one: UInt64, _ other: UInt64, _ what: String) throws(LVMError) -> UInt64 {
    let (result, overflow) = one.multipliedReportingOverflow(by: other)
    guard !overflow, result <= UInt64(Int64.max) else { throw failure("\(what) is too large") }
    return result
  }

  private func sum(_ one: UInt64, _ other: UInt64, _ what: String) throws(LVMError) -> UInt64 {
    let (result, overflow) = one.addingReportingOverflow(other)
    guard !overflow, result <= UInt64(Int64.max) else { throw failure("\(what) is too large") }
    return result
  }

  func physicalVolume(
    _ key: String, _ section: LVMSection, extent: UInt64
  ) throws(LVMError) -> VolumeGroup.PhysicalVolume {
    let start = try bytes(section, "pe_start", of: key)
    let count = try UInt64(number(section, "pe_count", of: key))
    let end = try sum(start, product(count, extent, "pe_count of \(key)"), "the end of \(key)")
    var obstacle: String?
    if (section.texts("status") + section.texts("flags")).contains("MISSING") { obstacle = "gone missing" }
    if (section.integer("ba_size") ?? 0) > 0 { obstacle = "a bootloader area" }
    return VolumeGroup.PhysicalVolume(
      key: key, id: try identifier(section, of: "the physical volume \(key)"), extentStart: start, extentCount: count,
      end: end, obstacle: obstacle)
  }

  func logicalVolume(
    _ name: String, _ section: LVMSection, extent: UInt64, on physical: [VolumeGroup.PhysicalVolume]
  ) throws(LVMError) -> VolumeGroup.LogicalVolume {
    try check(name: name)
    let found = section.sections.filter { $0.key.hasPrefix("segment") }
    guard try number(section, "segment_count", of: name) == found.count else {
      throw failure("\(name) has \(found.count) segments, but counts others")
    }
    let places = Dictionary(physical.enumerated().map { ($1.key, $0) }) { first, _ in first }
    var segments = try found.map { key, section throws(LVMError) in
      try segment(section, name: "\(key) of \(name)", extent: extent, places: places, on: physical)
    }
    segments.sort { $0.start < $1.start }
    var end: UInt64 = 0
    for segment in segments {
      guard segment.start == end else { throw failure("the segments of \(name) leave a gap or overlap at byte \(end)") }
      end = try sum(end, segment.byteCount, "the size of \(name)")
    }
    return VolumeGroup.LogicalVolume(
      name: name, id: try identifier(section, of: "the logical volume \(name)"), byteCount: end, segments: segments)
  }

  private func segment(
    _ section: LVMSection, name: String, extent: UInt64, places: [String: Int],
    on physical: [VolumeGroup.PhysicalVolume]
  ) throws(LVMError) -> VolumeGroup.Segment {
    let count = try UInt64(number(section, "extent_count", of: name))
    guard count > 0 else { throw failure("\(name) is empty") }
    let start = try product(UInt64(number(section, "start_extent", of: name)), extent, "the start of \(name)")
    let byteCount = try product(count, extent, "the size of \(name)")
    guard let type = section.text("type") else { throw failure("\(name) has no type") }
    guard type == "striped" || type == "linear" else {
      return VolumeGroup.Segment(start: start, byteCount: byteCount, layout: .other(type: type))
    }
    guard case .list(let stripes)? = section["stripes"], !stripes.isEmpty, stripes.count.isMultiple(of: 2),
      try number(section, "stripe_count", of: name) == stripes.count / 2,
      count.isMultiple(of: UInt64(stripes.count / 2))
    else { throw failure("the stripes of \(name) do not fit its size or their count") }
    var areas: [VolumeGroup.Area] = []
    for index in stride(from: 0, to: stripes.count, by: 2) {
      guard case .text(let key) = stripes[index], case .integer(let first) = stripes[index + 1], first >= 0 else {
        throw failure("\(name) has a stripe without a place")
      }
      guard let place = places[key] else { throw failure("\(name) lies on \"\(key)\", which is no physical volume") }
      let length = count / UInt64(stripes.count / 2)
      guard UInt64(first) <= physical[place].extentCount, length <= physical[place].extentCount - UInt64(first) else {
        throw failure("\(name) lies outside of \(key)")
      }
      // Below the end of the physical volume, which was checked.
      areas.append(
        VolumeGroup.Area(physicalVolume: place, start: physical[place].extentStart + UInt64(first) * extent))
    }
    var stripe = byteCount
    if areas.count > 1 {
      stripe = try bytes(section, "stripe_size", of: name)
      guard stripe > 0, (byteCount / UInt64(areas.count)).isMultiple(of: stripe) else {
        throw failure("the stripes of \(name) do not fill its extents")
      }
    }
    return VolumeGroup.Segment(
      start: start, byteCount: byteCount, layout: .striped(stripeByteCount: stripe, areas: areas))
  }

  func checkOverlaps(
    of volumes: [VolumeGroup.LogicalVolume], on physical: [VolumeGroup.PhysicalVolume]
  ) throws(LVMError) {
    var ranges = [[(start: UInt64, end: UInt64, name: String)]](repeating: [], count: physical.count)
    for volume in volumes {
      for segment in volume.segments {
        guard case .striped(_, let areas) = segment.layout else { continue }
        for area in areas {
          let end = area.start + segment.byteCount / UInt64(areas.count)
          ranges[area.physicalVolume].append((area.start, end, volume.name))
        }
      }
    }
    for (volume, ranges) in zip(physical, ranges) {
      let sorted = ranges.sorted { $0.start < $1.start }
      for (one, next) in zip(sorted, sorted.dropFirst()) where one.end > next.start {
        throw failure("\(one.name) and \(next.name) share extents of \(volume.key)")
      }
    }
  }
}
