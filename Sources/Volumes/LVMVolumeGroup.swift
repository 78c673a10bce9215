// SPDX-License-Identifier: GPL-3.0-or-later

/// A volume group of LVM2 as its metadata describes it: which extents of which physical volumes make up each logical
/// volume. All sizes are in bytes; the metadata counts sectors of 512 bytes.
///
/// Source: lvm2, lib/format_text/import_vsn1.c, lib/striped/striped.c.
public struct VolumeGroup: Sendable, Equatable {
  public struct PhysicalVolume: Sendable, Equatable {
    /// What segments call it: `pv0`.
    public let key: String
    public let id: LVMIdentifier
    /// Where its first extent begins.
    public let extentStart: UInt64
    public let extentCount: UInt64
    /// Where its last extent ends: as much as a device must have.
    public let end: UInt64
    /// Why it can't be made anew with what is in it, as `a bootloader area`.
    public let obstacle: String?
  }

  public struct LogicalVolume: Sendable, Equatable {
    public let name: String
    public let id: LVMIdentifier
    public let byteCount: UInt64
    /// In order and without gaps.
    public let segments: [Segment]

    /// A type of segment whose place on the physical volumes isn't known here; nil when all of them are.
    public var unknownType: String? {
      segments.lazy.compactMap { if case .other(let type) = $0.layout { type } else { nil } }.first
    }
  }

  public struct Segment: Sendable, Equatable {
    public let start: UInt64
    public let byteCount: UInt64
    public let layout: Layout
  }

  public enum Layout: Sendable, Equatable {
    /// Chunks of `stripeByteCount` bytes go to the areas in turn. One area: all of it lies there in a row.
    case striped(stripeByteCount: UInt64, areas: [Area])
    /// `thin-pool`, `raid1`, `snapshot` …
    case other(type: String)
  }

  /// A range of a physical volume, as long as its segment divided by the number of areas.
  public struct Area: Sendable, Equatable {
    /// Index in ``VolumeGroup/physicalVolumes``.
    public let physicalVolume: Int
    public let start: UInt64
  }

  public let name: String
  public let id: LVMIdentifier
  /// Counts the changes: of several copies of the metadata the one with the highest number holds.
  public let sequenceNumber: Int64
  public let extentByteCount: UInt64
  public let physicalVolumes: [PhysicalVolume]
  public let logicalVolumes: [LogicalVolume]
  /// The section of the group and what stands beside it, as they were read.
  public let metadata: LVMSection

  /// Why the group can't be saved or made anew volume by volume; nil when it can.
  public var obstacle: String? {
    for volume in logicalVolumes {
      if let type = volume.unknownType { return "its logical volume \(volume.name) is of the type \(type)" }
    }
    for volume in physicalVolumes {
      if let obstacle = volume.obstacle { return "its physical volume \(volume.id) has \(obstacle)" }
    }
    return nil
  }

  /// What a file of an image and a message call a logical volume: `GROUP/VOLUME`.
  public func path(of volume: LogicalVolume) -> String { "\(name)/\(volume.name)" }

  /// The name of the volume's node in /dev/mapper, where a dash in a name is doubled.
  public func mapperName(of volume: LogicalVolume) -> String {
    "\(name.replacing("-", with: "--"))-\(volume.name.replacing("-", with: "--"))"
  }

  // MARK: The text

  /// The metadata as `vgcfgbackup` writes it, which `vgcfgrestore` reads.
  ///
  /// - Parameters:
  ///   - description: what made it.
  ///   - host: name of the machine.
  ///   - time: seconds since 1970.
  public func backupText(description: String, host: String, time: Int64) -> String {
    let header = LVMSection([
      LVMSection.Entry("contents", .text("Text Format Volume Group")), LVMSection.Entry("version", .integer(1)),
      LVMSection.Entry("description", .text(description)), LVMSection.Entry("creation_host", .text(host)),
      LVMSection.Entry("creation_time", .integer(time)),
    ])
    return header.description + "\n" + LVMSection(metadata.entries.filter(Self.isAGroup)).description
  }

  /// The metadata as it stands on a disk: LVM takes the group's name from the first bytes. A NUL ends it.
  public var diskText: [UInt8] {
    let group = LVMSection(metadata.entries.filter(Self.isAGroup))
    let header = LVMSection(metadata.entries.filter { !Self.isAGroup($0) })
    return Array("\(group.description)\n\(header.description)\n".utf8) + [0]
  }

  private static func isAGroup(_ entry: LVMSection.Entry) -> Bool {
    if case .section = entry.value { true } else { false }
  }
}
