// SPDX-License-Identifier: GPL-3.0-or-later

import ImageStore
import Reporting
import SystemPackage
import Volumes

extension RestorePlan {
  /// Where the volume groups go: to the places of their physical volumes, which must all be there and large enough.
  static func groupSteps(
    of image: StoredImage, on disks: [DiskStep], _ options: RestoreOptions, _ warnings: inout [String]
  ) async throws -> [GroupStep] {
    var steps: [GroupStep] = []
    for group in image.groups {
      guard let places = try places(of: group, image: image, on: disks, options) else { continue }
      var volumes: [LogicalVolumeStep] = []
      for (index, logical) in group.group.logicalVolumes.enumerated() {
        let path = group.group.path(of: logical)
        if let volume = group.volumes.first(where: { $0.device == path }) {
          volumes.append(try await step(volume, to: logical, index: index, image: image))
        } else if !group.swaps.contains(where: { $0.device == path }) {
          warnings.append("\(path) was not saved: it is made anew without content")
        }
      }
      steps.append(GroupStep(group: group, physicalVolumes: places, volumes: volumes))
    }
    return steps
  }

  /// - Returns: nil when none of the group's physical volumes is to be restored.
  private static func places(
    of group: ImageVolumeGroup, image: StoredImage, on disks: [DiskStep], _ options: RestoreOptions
  ) throws -> [PhysicalVolumeStep]? {
    let wanted = group.physicalVolumes.filter { place in
      image.volume(named: place.device).map { isWanted($0, options) } ?? false
    }
    guard !wanted.isEmpty else { return nil }
    var steps: [PhysicalVolumeStep] = []
    for (index, physical) in group.group.physicalVolumes.enumerated() {
      let listed = group.physicalVolumes.first { $0.index == index }
      guard let device = wanted.first(where: { $0.index == index })?.device,
        let volume = image.volume(named: device), let disk = disks.firstIndex(where: { $0.disk.name == volume.disk })
      else {
        throw ImagingError.incompleteGroup(
          image: image.path.string, group: group.group.name,
          missing: listed?.device ?? "the physical volume \(physical.id)")
      }
      let target = disks[disk]
      let place = try place(
        of: volume, table: target.table, target: target.path, targetByteCount: target.targetByteCount, options)
      guard physical.end <= place.byteCount else {
        throw ImagingError.partitionTooSmall(
          target: target.path.string, number: place.number, needed: physical.end, available: place.byteCount)
      }
      try LVMPhysicalVolume.checkRoom(for: group.group, on: physical)
      steps.append(
        PhysicalVolumeStep(
          device: device, disk: disk, targetNumber: place.number, start: place.start, byteCount: place.byteCount))
    }
    return steps
  }

  private static func step(
    _ volume: ImageVolume, to logical: VolumeGroup.LogicalVolume, index: Int, image: StoredImage
  ) async throws -> LogicalVolumeStep {
    switch volume.content {
    case .partclone, .raw: break
    case .legacy, .physicalVolume, .encrypted:
      throw ImagingError.notYetSupported(
        image: image.path.string, device: volume.device, what: "was saved as \(volume.contentName)")
    }
    let stream = try await stream(of: volume)
    if let needed = stream.byteCount, needed > logical.byteCount {
      throw ImagingError.partitionTooSmall(
        target: volume.device, number: nil, needed: needed, available: logical.byteCount)
    }
    return LogicalVolumeStep(volume: volume, index: index, volumeByteCount: stream.byteCount, image: stream.image)
  }
}
