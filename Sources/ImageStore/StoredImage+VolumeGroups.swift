// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage
import Volumes

extension VolumeReader {
  /// The volume groups whose physical volumes have no data files of their own: `lvm_GROUP.conf` describes each,
  /// `lvm_vg_dev.list` tells the places of its physical volumes, and `lvm_logv.list` (`/dev/GROUP/VOLUME WHAT`) the
  /// logical volumes that were saved.
  func groups(of volumes: [ImageVolume]) throws(ImageError) -> [ImageVolumeGroup] {
    var names: [String] = []
    for volume in volumes {
      guard case .physicalVolume(let name) = volume.content, name != ImageVolumeGroup.none, !names.contains(name)
      else { continue }
      names.append(name)
    }
    var groups: [ImageVolumeGroup] = []
    for name in names { groups.append(try group(name)) }
    return groups
  }

  private func group(_ name: String) throws(ImageError) -> ImageVolumeGroup {
    let file = "lvm_\(name).conf"
    guard sizes[file] != nil, let text = try StoreFiles.bytes(image.appending(file)) else {
      throw .missingFile(image: image.string, file: file, purpose: "the metadata of the LVM volume group \(name)")
    }
    let group: VolumeGroup
    do {
      group = try VolumeGroup(parsing: text, source: image.appending(file).string)
    } catch {
      throw .malformed(file: image.appending(file).string, detail: error.detail)
    }
    guard group.name == name else {
      throw .malformed(
        file: image.appending(file).string, detail: "expected the volume group \(name), found \(group.name)")
    }
    var places: [ImageVolumeGroup.PhysicalVolume] = []
    for words in physicalVolumes where words[0] == name {
      let device = String(words[1].dropFirst(5))
      guard words.count >= 3, let id = LVMIdentifier(words[2]),
        let index = group.physicalVolumes.firstIndex(where: { $0.id == id }),
        !places.contains(where: { $0.index == index })
      else {
        throw .malformed(
          file: image.appending("lvm_vg_dev.list").string,
          detail: "the identifier of /dev/\(device) is none of a physical volume of \(name), or there twice")
      }
      places.append(ImageVolumeGroup.PhysicalVolume(index: index, device: device))
    }
    let (volumes, swaps) = try logicalVolumes(of: group)
    return ImageVolumeGroup(group: group, physicalVolumes: places, volumes: volumes, swaps: swaps)
  }

  private func logicalVolumes(of group: VolumeGroup) throws(ImageError) -> ([ImageVolume], [ImageSwap]) {
    let list = "lvm_logv.list"
    guard sizes[list] != nil else {
      throw .missingFile(image: image.string, file: list, purpose: "the logical volumes that were saved")
    }
    var volumes: [ImageVolume] = []
    var swaps: [ImageSwap] = []
    for line in try lines(list) where line.hasPrefix("/dev/\(group.name)/") {
      let device = String(line.dropFirst(5).prefix { !$0.isWhitespace })
      guard group.logicalVolumes.contains(where: { group.path(of: $0) == device }) else {
        throw .malformed(
          file: image.appending(list).string, detail: "\(device) is no logical volume of lvm_\(group.name).conf")
      }
      guard !(volumes.map(\.device) + swaps.map(\.device)).contains(device) else {
        throw .malformed(file: image.appending(list).string, detail: "\(device) is there twice")
      }
      // Clonezilla decides by this word; a label with it in it makes no swap of a volume that has data.
      if line.dropFirst(5 + device.count).lowercased().contains("swap"), !hasData(device) {
        swaps.append(try swap(device))
      } else {
        volumes.append(try volume(device))
      }
    }
    return (volumes, swaps)
  }

  private func hasData(_ device: String) -> Bool {
    let file = ImageWriter.fileName(of: device)
    return sizes.keys.contains { DataFileName($0, device: file, isThere: { sizes[$0] != nil }) != nil }
  }
}
