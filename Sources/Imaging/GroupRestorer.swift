// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import FileSystems
import Glibc
import ImageStore
import Reporting
import SystemPackage
import Volumes

/// Makes an LVM volume group anew and restores its logical volumes, without device-mapper.
///
/// Label and metadata are written last, so that an interrupted restore leaves no group that looks complete.
struct GroupRestorer {
  private let step: RestorePlan.GroupStep
  private let places: [DeviceSlice<FileDevice>]
  /// Whether the targets are files that were just created.
  private let isZeroed: Bool
  private let context: ImagingContext

  private var group: VolumeGroup { step.group.group }

  /// - Parameter devices: of the plan's disks, in their order.
  init(
    _ step: RestorePlan.GroupStep, of plan: RestorePlan, on devices: [FileDevice], context: ImagingContext
  ) throws(DeviceError) {
    self.step = step
    self.context = context
    isZeroed = step.physicalVolumes.allSatisfy { plan.disks[$0.disk].createsFile }
    places = try step.physicalVolumes.map { place throws(DeviceError) in
      let path = plan.disks[place.disk].path.string
      return try DeviceSlice(
        devices[place.disk], start: place.start, byteCount: place.byteCount,
        name: place.targetNumber.map { PartitionNaming.name(disk: path, partition: $0) } ?? path)
    }
  }

  func restore() async throws -> [RestoreReport.Volume] {
    if !isZeroed { for place in places { try StaleSignatures.erase(on: place) } }
    var volumes: [RestoreReport.Volume] = []
    for volume in step.volumes { volumes.append(try await restore(volume)) }
    for swap in step.group.swaps { try restore(swap) }
    for (place, physical) in zip(places, group.physicalVolumes) {
      try LVMPhysicalVolume.write(physical, of: group, to: place)
      context.reporter.note("\(place.name): LVM physical volume \(physical.id) of the volume group \(group.name)")
    }
    return volumes
  }

  /// The plan was refused if the group had a volume whose extents aren't known.
  private func device(_ volume: VolumeGroup.LogicalVolume) throws -> LogicalVolumeDevice<DeviceSlice<FileDevice>> {
    let name = group.path(of: volume)
    guard let device = try LogicalVolumeDevice(volume, of: group, on: places, name: name) else {
      throw DeviceError.notADevice(device: name)
    }
    return device
  }

  private func restore(_ step: RestorePlan.LogicalVolumeStep) async throws -> RestoreReport.Volume {
    let target = try device(group.logicalVolumes[step.index])
    if !isZeroed { try StaleSignatures.erase(on: target) }
    let restorer = VolumeRestorer(
      step.image, target: target, targetIsZeroed: isZeroed, expectedByteCount: target.byteCount)
    let restored = try await context.reporter.step("restoring \(target.name) (\(step.volume.contentName))") { meter in
      try await restorer.restore(progress: meter)
    }
    for warning in restored.warnings { context.reporter.warning("\(target.name): \(warning)") }
    return RestoreReport.Volume(
      device: step.volume.device, target: target.name, content: step.volume.contentName,
      deviceBytes: restored.deviceBytes, grown: false)
  }

  private func restore(_ swap: ImageSwap) throws {
    guard let volume = group.logicalVolumes.first(where: { group.path(of: $0) == swap.device }) else { return }
    let target = try device(volume)
    let header = try SwapHeader.write(
      uuid: swap.uuid, label: swap.label, byteCount: target.byteCount, pageSize: sysconf(Int32(_SC_PAGESIZE)))
    try StaleSignatures.erase(on: target)
    try target.write(header.span.bytes, at: 0)
    context.reporter.note("\(target.name): swap made anew, UUID \(swap.uuid ?? "none")")
  }
}
