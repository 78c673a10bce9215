// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage

/// One look at sysfs, the mount table and the swaps.
struct DeviceScan {
  private let files: SystemFiles
  private let mounts: MountTable
  /// Kernel names of the devices that are swap now.
  private let swaps: Set<String>
  /// Kernel names by `major:minor`.
  private let names: [String: String]
  /// The whole disk of each partition.
  private let parents: [String: String]
  /// Disks under the live medium.
  private let liveDisks: Set<String>

  init(files: SystemFiles) {
    self.files = files
    let mounts = MountTable(mountInfo: files.text("proc/self/mountinfo") ?? "")
    self.mounts = mounts
    swaps = Set(MountTable.swaps(files.text("proc/swaps") ?? "").map { files.deviceName(of: $0) })
    var names: [String: String] = [:]
    var parents: [String: String] = [:]
    for disk in files.names(in: "sys/block") {
      if let number = files.attribute("sys/block/\(disk)/dev") { names[number] = disk }
      for partition in files.names(in: "sys/block/\(disk)") {
        guard files.exists("sys/block/\(disk)/\(partition)/partition") else { continue }
        parents[partition] = disk
        if let number = files.attribute("sys/block/\(disk)/\(partition)/dev") { names[number] = partition }
      }
    }
    self.names = names
    self.parents = parents
    let follower = DeviceFollower(files: files, mounts: mounts, names: names, parents: parents)
    // live-boot mounts the medium on the first; the second is what older releases used, the third holds an ISO file.
    liveDisks = Set(
      ["/run/live/medium", "/lib/live/mount/medium", "/run/live/findiso", "/run/live/fromiso"].flatMap { point in
        mounts.mounts.filter { $0.mountPoint == point }.flatMap { follower.disks(of: $0) }
      })
  }

  func disks(holding path: String) -> Set<String> {
    guard let mount = mounts.mount(of: path) else { return [] }
    return DeviceFollower(files: files, mounts: mounts, names: names, parents: parents).disks(of: mount)
  }

  /// - Returns: nil for what is no disk (RAM, compressed RAM, optical and floppy drives) or holds nothing.
  func disk(_ name: String) -> Disk? {
    let base = "sys/block/\(name)"
    guard !["ram", "zram", "sr", "fd"].contains(where: { Self.isNumbered(name, $0) }),
      let sectors = files.number("\(base)/size"), sectors > 0, sectors <= UInt64.max / 512
    else { return nil }
    let udev = files.attribute("\(base)/dev").map { files.udevProperties($0) } ?? [:]
    var uses = self.uses(of: name, base: base)
    if liveDisks.contains(name) { uses.append(.liveMedium) }
    if files.attribute("\(base)/ro") == "1" { uses.append(.readOnly) }
    let partitions: [DiskPartition] = files.names(in: base).compactMap { partition in
      guard let number = files.number("\(base)/\(partition)/partition"), number <= 65536,
        let start = files.number("\(base)/\(partition)/start"), let size = files.number("\(base)/\(partition)/size"),
        start <= sectors, size <= sectors
      else { return nil }
      return DiskPartition(
        name: partition, number: Int(number), start: start * 512, byteCount: size * 512,
        uses: self.uses(of: partition, base: "\(base)/\(partition)"))
    }.sorted { $0.number < $1.number }
    return Disk(
      name: name, byteCount: sectors * 512,
      sectorSize: Int(clamping: files.number("\(base)/queue/logical_block_size") ?? 512),
      physicalSectorSize: Int(clamping: files.number("\(base)/queue/physical_block_size") ?? 512),
      model: model(base, udev), serial: serial(base, udev),
      wwn: udev["ID_WWN"] ?? files.attribute("\(base)/wwid") ?? files.attribute("\(base)/device/wwid") ?? "",
      transport: transport(name, udev), isRemovable: files.attribute("\(base)/removable") == "1",
      isPhysical: !["loop", "dm-", "md", "nbd"].contains { Self.isNumbered(name, $0) }, partitions: partitions,
      uses: uses + partitions.flatMap(\.uses))
  }

  /// - Parameter depth: how many more layers (LVM on LUKS on RAID) are followed to what is mounted.
  private func uses(of name: String, base: String, depth: Int = 8) -> [DeviceUse] {
    let points = mounts.mounts.filter { mount in
      names[mount.device] == name || (mount.source.hasPrefix("/dev/") && files.deviceName(of: mount.source) == name)
    }.map(\.mountPoint)
    var seen: Set<String> = []
    return points.filter { seen.insert($0).inserted }.map { .mounted(device: name, at: $0) }
      + (swaps.contains(name) ? [.swap(device: name)] : [])
      + files.names(in: "\(base)/holders").flatMap { holder in
        let above = depth > 0 ? uses(of: holder, base: "sys/block/\(holder)", depth: depth - 1) : []
        return [.held(device: name, by: holder)] + above
      }
  }

  private func model(_ base: String, _ udev: [String: String]) -> String {
    let vendor = files.attribute("\(base)/device/vendor") ?? ""
    let model =
      files.attribute("\(base)/device/model") ?? files.attribute("\(base)/device/name") ?? udev["ID_MODEL"] ?? ""
    // A vendor that is a PCI number (virtio) or the ATA layer's stand-in says nothing.
    let isTelling = !vendor.isEmpty && !vendor.hasPrefix("0x") && vendor != "ATA" && !model.hasPrefix(vendor)
    return isTelling && !model.isEmpty ? "\(vendor) \(model)" : model
  }

  private func serial(_ base: String, _ udev: [String: String]) -> String {
    if let known = udev["ID_SERIAL_SHORT"] ?? udev["ID_SCSI_SERIAL"] { return known }
    if let serial = files.attribute("\(base)/serial") ?? files.attribute("\(base)/device/serial") { return serial }
    // Vital product data page 80: four bytes of header, then the serial number.
    guard let page = files.bytes("\(base)/device/vpd_pg80"), page.count > 4 else { return "" }
    return String(decoding: page.dropFirst(4), as: UTF8.self).filter { !$0.isWhitespace && $0 != "\0" }
  }

  private func transport(_ name: String, _ udev: [String: String]) -> String {
    if let bus = udev["ID_BUS"], bus != "scsi" { return bus == "ata" ? "sata" : bus }
    let place = files.link("sys/block/\(name)") ?? ""
    let signs = [
      ("/usb", "usb"), ("/ata", "sata"), ("/nvme", "nvme"), ("/session", "iscsi"), ("/mmc", "mmc"),
      ("/virtual/block/loop", "loop"), ("/target", "scsi"), ("/virtio", "virtio"),
    ]
    return signs.first { place.contains($0.0) }?.1 ?? ""
  }

  private static func isNumbered(_ name: String, _ prefix: String) -> Bool {
    name.hasPrefix(prefix) && name.dropFirst(prefix.count).allSatisfy { $0.isASCII && $0.isNumber }
  }
}

/// Follows what is mounted down to the disks it lies on.
struct DeviceFollower {
  let files: SystemFiles
  let mounts: MountTable
  let names: [String: String]
  let parents: [String: String]

  func disks(of mount: MountTable.Mount) -> Set<String> {
    var disks: Set<String> = []
    var visited: Set<String> = []
    if mount.fileSystem == "overlay" { return disks }
    let byNumber = names[mount.device]
    let byPath = mount.source.hasPrefix("/dev/") ? files.deviceName(of: mount.source) : nil
    for name in [byNumber, byPath].compactMap({ $0 }) { follow(name, into: &disks, visited: &visited) }
    return disks
  }

  /// From a partition to its disk, from a loop device to the file behind it, from a mapping to its parts.
  private func follow(_ name: String, into disks: inout Set<String>, visited: inout Set<String>) {
    guard visited.insert(name).inserted, visited.count < 64 else { return }
    if let parent = parents[name] {
      follow(parent, into: &disks, visited: &visited)
      return
    }
    guard files.exists("sys/block/\(name)") else { return }
    disks.insert(name)
    for part in files.names(in: "sys/block/\(name)/slaves") { follow(part, into: &disks, visited: &visited) }
    if let file = files.attribute("sys/block/\(name)/loop/backing_file"), let mount = mounts.mount(of: file) {
      if let device = names[mount.device] { follow(device, into: &disks, visited: &visited) }
      if mount.source.hasPrefix("/dev/") {
        follow(files.deviceName(of: mount.source), into: &disks, visited: &visited)
      }
    }
  }
}
