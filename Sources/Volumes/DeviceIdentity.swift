// SPDX-License-Identifier: GPL-3.0-or-later

/// What `blkid` calls a mark that a disk or partition carries; `PTUUID=…` and the like name a device by it.
public enum DeviceIdentity: String, Sendable, CaseIterable {
  /// GUID or signature of a partition table.
  case table = "PTUUID"
  /// GUID of a partition; signature and number on a disk with an MBR.
  case partition = "PARTUUID"
  case partitionLabel = "PARTLABEL"
  case fileSystem = "UUID"
  case label = "LABEL"

  /// The properties in which udev keeps it, the best first.
  private var properties: [String] {
    switch self {
    case .table: ["ID_PART_TABLE_UUID"]
    case .partition: ["ID_PART_ENTRY_UUID"]
    case .partitionLabel: ["ID_PART_ENTRY_NAME"]
    case .fileSystem: ["ID_FS_UUID_ENC", "ID_FS_UUID"]
    case .label: ["ID_FS_LABEL_ENC", "ID_FS_LABEL"]
    }
  }

  private var isText: Bool { self == .label || self == .partitionLabel }

  /// The devices that carry the mark, as udev knows them: `/run/udev/data/b8:1` holds what it found on device 8:1.
  ///
  /// The links in `/dev/disk/by-uuid` would show one of two devices with the same mark, as clones have.
  func devices(marked value: String, in inventory: DiskInventory, files: SystemFiles) -> [SelectedTarget] {
    func isMarked(_ folder: String) -> Bool {
      guard let number = files.attribute("\(folder)/dev") else { return false }
      let known = files.udevProperties(number)
      guard let mark = properties.lazy.compactMap({ known[$0] }).first else { return false }
      return isText ? Self.decoded(mark) == value : mark.lowercased() == value.lowercased()
    }
    var found: [SelectedTarget] = []
    for disk in inventory.disks {
      let folder = "sys/block/\(disk.name)"
      let isOfDisks = self == .table || self == .fileSystem || self == .label
      if isOfDisks, isMarked(folder) { found.append(.disk(disk)) }
      // A partition also has the properties of its disk, among them the mark of the table.
      guard self != .table else { continue }
      found += disk.partitions.filter { isMarked("\(folder)/\($0.name)") }.map { .partition($0, of: disk) }
    }
    return found
  }

  /// udev writes what could harm a name as `\x20`.
  private static func decoded(_ text: String) -> String {
    var bytes: [UInt8] = []
    var rest = Substring(text).utf8
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.first == UInt8(ascii: "x"),
        let value = UInt8(String(decoding: rest.dropFirst().prefix(2), as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension SystemFiles {
  /// What udev found out about a device, from its database (`E:NAME=value` lines).
  /// - Parameter number: `8:1`, as the attribute `dev` has it.
  func udevProperties(_ number: String) -> [String: String] {
    guard let text = text("run/udev/data/b\(number)") else { return [:] }
    var properties: [String: String] = [:]
    for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix("E:") {
      guard let equals = line.firstIndex(of: "=") else { continue }
      properties[String(line[line.index(line.startIndex, offsetBy: 2)..<equals])] =
        String(line[line.index(after: equals)...])
    }
    return properties
  }
}
