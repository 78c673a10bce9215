// SPDX-License-Identifier: GPL-3.0-or-later

public import Volumes

/// What the lists of an image say about one partition.
public struct VolumeDescription: Sendable {
  public var device: String
  /// `ext4`, `vfat`, `swap` …; empty when nothing known is on it.
  public var fileSystem: String
  public var byteCount: UInt64
  public var uuid: String?
  public var label: String?
  public var partition: Partition?
  /// `PARTUUID` as Linux makes it: the partition's GUID, or `SIGNATURE-NN`.
  public var partitionUUID: String?
  /// The name in /dev/mapper of a logical volume; nil for a partition.
  public var mapperName: String?
  /// What lies on a physical volume that is saved by logical volumes; nil for anything else.
  public var logicalVolumes: [VolumeDescription]?

  public init(
    device: String, fileSystem: String, byteCount: UInt64, uuid: String?, label: String?, partition: Partition?,
    partitionUUID: String?, mapperName: String? = nil, logicalVolumes: [VolumeDescription]? = nil
  ) {
    self.device = device
    self.fileSystem = fileSystem
    self.byteCount = byteCount
    self.uuid = uuid
    self.label = label
    self.partition = partition
    self.partitionUUID = partitionUUID
    self.mapperName = mapperName
    self.logicalVolumes = logicalVolumes
  }
}

/// What the lists of an image say about one disk.
public struct DiskDescription: Sendable {
  public var name: String
  public var byteCount: UInt64
  public var model: String
  /// Every partition, also extended and swap.
  public var volumes: [VolumeDescription]

  public init(name: String, byteCount: UInt64, model: String, volumes: [VolumeDescription]) {
    self.name = name
    self.byteCount = byteCount
    self.model = model
    self.volumes = volumes
  }
}

/// The lists of an image, in the shapes Clonezilla reads with grep and awk.
public enum ImageTexts {
  /// `dev-fs.list`: device, file system, size; swap too, extended partitions not, and logical volumes in place of the
  /// physical ones.
  public static func deviceFileSystems(_ disks: [DiskDescription]) -> String {
    var lines = [
      "# <Device name>   <File system>   <Size>",
      "# File system is got from ocs-get-dev-info. It might be different from that of blkid or parted.",
    ]
    let volumes = disks.flatMap(\.volumes).flatMap { $0.logicalVolumes ?? [$0] }
    for volume in once(volumes) where !(volume.partition?.type.isExtended ?? false) {
      let fileSystem = volume.fileSystem.isEmpty ? "unknown" : volume.fileSystem
      lines.append("/dev/\(volume.device) \(fileSystem) \(size(volume.byteCount))")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// `blkdev.list`, as `lsblk -o KNAME,NAME,SIZE,TYPE,FSTYPE,MOUNTPOINT,MODEL` prints it.
  public static func blockDevices(_ disks: [DiskDescription]) -> String {
    var rows = [["KNAME", "NAME", "SIZE", "TYPE", "FSTYPE", "MOUNTPOINT", "MODEL"]]
    var mapped: [String] = []
    func add(_ volumes: [VolumeDescription]?, below indentation: String) {
      let volumes = volumes ?? []
      for (index, volume) in volumes.enumerated() {
        let name = volume.mapperName ?? volume.device
        if !mapped.contains(name) { mapped.append(name) }
        let number = mapped.firstIndex(of: name) ?? 0
        let branch = index == volumes.count - 1 ? "`-" : "|-"
        rows.append([
          "dm-\(number)", indentation + branch + name, size(volume.byteCount), "lvm", volume.fileSystem, "", "",
        ])
      }
    }
    for disk in disks {
      let whole = disk.volumes.first { $0.device == disk.name }
      rows.append([disk.name, disk.name, size(disk.byteCount), "disk", whole?.fileSystem ?? "", "", disk.model])
      let parts = disk.volumes.filter { $0.device != disk.name }
      for (index, volume) in parts.enumerated() {
        let branch = index == parts.count - 1 ? "`-" : "|-"
        // Linux lets an extended partition be 1 KiB long, so that nobody takes it for a volume.
        let bytes = volume.partition?.type.isExtended ?? false ? 1024 : volume.byteCount
        rows.append([volume.device, branch + volume.device, size(bytes), "part", volume.fileSystem, "", ""])
        add(volume.logicalVolumes, below: index == parts.count - 1 ? "  " : "| ")
      }
      add(whole?.logicalVolumes, below: "")
    }
    let widths = (0..<7).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      row.indices.map { column in
        let padding = String(repeating: " ", count: widths[column] - row[column].count)
        if column == row.count - 1 { return row[column] }
        return column == 2 ? padding + row[column] : row[column] + padding
      }.joined(separator: " ") + "\n"
    }.joined()
  }

  /// `blkid.list`, as `blkid` prints it.
  public static func identities(_ disks: [DiskDescription]) -> String {
    var lines: [String] = []
    let partitions = disks.flatMap(\.volumes)
    for volume in once(partitions.flatMap { $0.logicalVolumes ?? [] }) + partitions
    where !(volume.partition?.type.isExtended ?? false) {
      var fields: [String] = []
      func add(_ key: String, _ value: String?) {
        guard let value, !value.isEmpty else { return }
        fields.append("\(key)=\"\(escaped(value))\"")
      }
      add("LABEL", volume.label)
      add("UUID", volume.uuid)
      add("TYPE", volume.fileSystem)
      add("PARTLABEL", volume.partition?.name)
      add("PARTUUID", volume.partitionUUID)
      let node = volume.mapperName.map { "mapper/\($0)" } ?? volume.device
      if !fields.isEmpty { lines.append("/dev/\(node): \(fields.joined(separator: " "))\n") }
    }
    return lines.joined()
  }

  /// A logical volume on several physical ones is told once.
  private static func once(_ volumes: [VolumeDescription]) -> [VolumeDescription] {
    var seen: Set<String> = []
    return volumes.filter { seen.insert($0.device).inserted }
  }

  /// `lvm_vg_dev.list`: the group, its physical volumes and their identifiers.
  ///
  /// - Parameter devices: of the group's physical volumes, in their order.
  public static func physicalVolumes(of group: VolumeGroup, on devices: [String]) -> String {
    zip(group.physicalVolumes, devices).map { "\(group.name) /dev/\($1) \($0.id)\n" }.joined()
  }

  /// `lvm_logv.list`: the logical volumes and what is on them, in the manner of `file`. Clonezilla takes what has `swap`
  /// in its line for swap, so that a label is not among it.
  public static func logicalVolume(_ device: String, fileSystem: String, uuid: String?, isSwap: Bool) -> String {
    let identity = uuid.map { ", UUID=\($0)" } ?? ""
    let what = fileSystem.isEmpty || fileSystem == "swap" ? "data" : "\(fileSystem) filesystem data\(identity)"
    return "/dev/\(device)  \(isSwap ? "Linux swap file, version 1\(identity)" : what)\n"
  }

  /// `swappt-sda5.info`.
  public static func swap(uuid: String?, label: String?) -> String {
    "UUID=\"\(uuid ?? "")\"\nLABEL=\"\(label ?? "")\"\n"
  }

  /// A size as `lsblk` shows it: one digit after the point, if that isn't zero, and a binary unit of one letter.
  public static func size(_ bytes: UInt64) -> String {
    var exponent = 0
    while exponent < 60, bytes >> UInt64(exponent + 10) > 0 { exponent += 10 }
    let units = ["B", "K", "M", "G", "T", "P", "E"]
    var whole = bytes >> UInt64(exponent)
    // A wrapping product is harmless here: the remainder of an exabyte times ten fits in 64 bits.
    let remainder = exponent == 0 ? 0 : bytes & ((1 << UInt64(exponent)) - 1)
    var tenths = exponent == 0 ? 0 : (remainder * 10 + (1 << UInt64(exponent - 1))) >> UInt64(exponent)
    if tenths == 10 {
      whole += 1
      tenths = 0
    }
    return "\(whole)" + (tenths == 0 ? "" : ".\(tenths)") + units[exponent / 10]
  }

  /// blkid puts a backslash before quotes and backslashes.
  private static func escaped(_ text: String) -> String {
    String(text.flatMap { $0 == "\"" || $0 == "\\" ? ["\\", $0] : [$0] })
  }
}
