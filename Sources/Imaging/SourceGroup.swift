// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import ImageStore
import Reporting
public import Volumes

/// An LVM volume group that lies wholly on the disks to be saved, so that each of its logical volumes is saved.
public struct SourceGroup: Sendable {
  public let group: VolumeGroup
  /// The partitions or disks that are its physical volumes, as the image calls them, in the group's order.
  public let physicalVolumes: [String]
  /// Its logical volumes, in the group's order.
  public let volumes: [SourceVolume]

  /// A physical volume: where it is among the disks, and what its label says.
  private struct Member {
    let disk: Int
    let volume: Int
    let label: LVMPhysicalVolume
  }

  /// Finds the groups, and takes note of them in the disks. The physical volumes of the others are copied whole, and the
  /// disk's warnings say why.
  static func find(in disks: inout [SourceDisk], isMapped: Bool, isMeasured: Bool) throws -> [SourceGroup] {
    var members: [Member] = []
    for (disk, source) in disks.enumerated() {
      for (volume, found) in source.volumes.enumerated() {
        guard let label = found.physicalVolume else { continue }
        for warning in label.warnings { disks[disk].warnings.append(warning) }
        members.append(Member(disk: disk, volume: volume, label: label))
      }
    }
    // The copies of one group's metadata: the newest holds.
    var newest: [VolumeGroup] = []
    for group in members.compactMap(\.label.group) {
      if let index = newest.firstIndex(where: { $0.id == group.id }) {
        if newest[index].sequenceNumber < group.sequenceNumber { newest[index] = group }
      } else {
        newest.append(group)
      }
    }
    var groups: [SourceGroup] = []
    for group in newest {
      let parts = group.physicalVolumes.map { volume in members.filter { $0.label.id == volume.id } }
      var reason = obstacle(to: group, parts: parts, in: disks, beside: groups)
      if !isMapped { reason = "a copy of every sector was asked for" }
      for part in parts.joined() {
        let device = disks[part.disk].volumes[part.volume].device
        if let reason {
          let reason = "the LVM volume group \(group.name) is not saved by logical volumes: \(reason)"
          disks[part.disk].volumes[part.volume].treatment = .everyByte(reason: reason)
          if isMapped { disks[part.disk].warnings.append("\(device) is copied whole: \(reason)") }
        } else {
          disks[part.disk].volumes[part.volume].treatment = .physicalVolume(group: group.name)
          disks[part.disk].volumes[part.volume].usedByteCount = 0
        }
      }
      guard reason == nil else { continue }
      let places = parts.compactMap(\.first)
      let found = places.map { disks[$0.disk].volumes[$0.volume] }
      let slices = found.compactMap { $0.source as? DeviceSlice<FileDevice> }
      let volumes = try group.logicalVolumes.compactMap { volume in
        let name = group.path(of: volume)
        return try LogicalVolumeDevice(volume, of: group, on: slices, name: name).map { device in
          try SourceVolume(device: name, partition: nil, source: device, isMapped: true, isMeasured: isMeasured)
        }
      }
      groups.append(SourceGroup(group: group, physicalVolumes: found.map(\.device), volumes: volumes))
    }
    return groups
  }

  /// Why a group can't be saved by logical volumes; nil when it can.
  private static func obstacle(
    to group: VolumeGroup, parts: [[Member]], in disks: [SourceDisk], beside others: [SourceGroup]
  ) -> String? {
    if let obstacle = group.obstacle { return obstacle }
    for (volume, found) in zip(group.physicalVolumes, parts) {
      guard let member = found.first else {
        return "its physical volume \(volume.id) is not on what is to be saved"
      }
      guard found.count == 1 else { return "its physical volume \(volume.id) is there more than once" }
      let source = disks[member.disk].volumes[member.volume]
      guard source.byteCount >= volume.end else {
        return "its physical volume on \(source.device) has \(source.byteCount) of \(volume.end) bytes"
      }
      do {
        try LVMPhysicalVolume.checkRoom(for: group, on: volume)
      } catch {
        return error.reason
      }
    }
    let names = others.flatMap(\.files) + files(group)
    guard Set(names).count == names.count, !others.contains(where: { $0.group.name == group.name }) else {
      return "its volumes would have the same names in the image as those of another group"
    }
    return nil
  }

  private var files: [String] { Self.files(group) }

  private static func files(_ group: VolumeGroup) -> [String] {
    group.logicalVolumes.map { ImageWriter.fileName(of: group.path(of: $0)) }
  }

  /// The lists' view of the logical volumes that lie at least in part on a physical volume.
  func descriptions(on device: String) -> [VolumeDescription] {
    guard let place = physicalVolumes.firstIndex(of: device) else { return [] }
    return zip(group.logicalVolumes, volumes).compactMap { logical, volume in
      let isThere = logical.segments.contains { segment in
        guard case .striped(_, let areas) = segment.layout else { return false }
        return areas.contains { $0.physicalVolume == place }
      }
      guard isThere else { return nil }
      return VolumeDescription(
        device: volume.device, fileSystem: volume.fileSystem, byteCount: volume.byteCount, uuid: volume.uuid,
        label: volume.label, partition: nil, partitionUUID: nil, mapperName: group.mapperName(of: logical))
    }
  }
}
