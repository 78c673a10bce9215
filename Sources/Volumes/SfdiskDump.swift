// SPDX-License-Identifier: GPL-3.0-or-later

public import Bytes

/// A partition table as the text of `sfdisk -d`, which is what restores the table of a Clonezilla image (`sda-pt.sf`).
///
/// Source: what sfdisk 2.38 prints and, for the older shape (`# partition table of`, `Id=`), what it still reads.
public struct SfdiskDump: Sendable, Equatable {
  public enum Label: Sendable, Equatable {
    case gpt(diskGUID: GUID)
    case dos(diskSignature: UInt32)
  }

  public var label: Label
  /// The disk's path when the dump was made; the partitions' paths begin with it.
  public var device: String
  public var firstLBA: UInt64?
  public var lastLBA: UInt64?
  /// Number of GPT entries when it isn't 128.
  public var tableLength: Int?
  /// Bytes; dumps from before util-linux 2.35 don't say.
  public var sectorSize: Int?
  public var partitions: [Partition]

  /// The dump of a table.
  /// - Parameter device: the disk's path.
  public init(_ table: PartitionTable, device: String) {
    self.device = device
    sectorSize = table.sectorSize
    partitions = table.partitions
    switch table.scheme {
    case .gpt(let parameters):
      label = .gpt(diskGUID: parameters.diskGUID)
      firstLBA = parameters.firstUsable
      lastLBA = parameters.lastUsable
      tableLength = parameters.entryCount == 128 ? nil : parameters.entryCount
    case .mbr(let signature):
      label = .dos(diskSignature: signature)
    }
  }

  /// The table described, for a disk of `sectorCount` sectors.
  ///
  /// - Parameters:
  ///   - sectorCount: size of the source disk in its logical sectors.
  ///   - bootSector: its sector 0, which a dump doesn't have; empty for none.
  /// - Throws: ``PartitionTableError/inconsistent(detail:)``.
  public func table(sectorCount: UInt64, bootSector: [UInt8] = []) throws(PartitionTableError) -> PartitionTable {
    let size = sectorSize ?? 512
    let scheme: PartitionTable.Scheme
    switch label {
    case .gpt(let diskGUID):
      let entries = tableLength ?? 128
      guard entries > 0, entries <= GUIDPartitionTable.maximumArrayBytes / 128, size >= 512, size <= 4096 else {
        throw .inconsistent(detail: "\(entries) entries in sectors of \(size) bytes")
      }
      let length = UInt64((entries * 128 + size - 1) / size)
      guard sectorCount > 2 * (length + 2) else {
        throw .inconsistent(detail: "a disk of \(sectorCount) sectors has no room for a GPT")
      }
      scheme = .gpt(
        PartitionTable.GPTParameters(
          diskGUID: diskGUID, firstUsable: firstLBA ?? length + 2, lastUsable: lastLBA ?? sectorCount - length - 2,
          entryCount: entries))
    case .dos(let signature):
      scheme = .mbr(diskSignature: signature)
    }
    var table = PartitionTable(scheme: scheme, sectorSize: size, sectorCount: sectorCount, partitions: partitions)
    if bootSector.count == MasterBootRecord.byteCount { table.bootSector = bootSector }
    try table.validate()
    return table
  }

  /// The text, byte for byte as sfdisk 2.38 prints it in the C locale.
  public var text: String {
    var lines: [String] = []
    switch label {
    case .gpt(let guid): lines += ["label: gpt", "label-id: \(guid)"]
    case .dos(let signature): lines += ["label: dos", "label-id: 0x\(Self.padded(String(signature, radix: 16)))"]
    }
    lines += ["device: \(device)", "unit: sectors"]
    if let firstLBA { lines.append("first-lba: \(firstLBA)") }
    if let lastLBA { lines.append("last-lba: \(lastLBA)") }
    if let tableLength { lines.append("table-length: \(tableLength)") }
    if let sectorSize { lines.append("sector-size: \(sectorSize)") }
    lines.append("")
    for partition in partitions {
      var fields = [
        "start=\(Self.column(partition.start))", "size=\(Self.column(partition.count))",
        "type=\(partition.type.sfdiskText)",
      ]
      if let uuid = partition.uuid { fields.append("uuid=\(uuid)") }
      if !partition.name.isEmpty { fields.append("name=\"\(Self.escaped(partition.name))\"") }
      if partition.attributes != 0 { fields.append("attrs=\"\(GPTAttributes.text(partition.attributes))\"") }
      if partition.isBootable { fields.append("bootable") }
      let node = PartitionNaming.name(disk: device, partition: partition.number)
      lines.append("\(node) : \(fields.joined(separator: ", "))")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func padded(_ digits: String) -> String {
    String(repeating: "0", count: max(0, 8 - digits.count)) + digits
  }

  private static func column(_ number: UInt64) -> String {
    let text = "\(number)"
    return String(repeating: " ", count: max(0, 12 - text.count)) + text
  }

  /// Quotes, backslashes, backticks, dollars and all that isn't printable ASCII as `\x22`.
  private static func escaped(_ name: String) -> String {
    name.utf8.map { byte in
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "`"), UInt8(ascii: "$"), 0..<32, 127...:
        "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      default: String(UnicodeScalar(byte))
      }
    }.joined()
  }
}

/// The names sfdisk has for GPT attribute bits.
enum GPTAttributes {
  private static let names: [(bit: Int, name: String)] = [
    (0, "RequiredPartition"), (1, "NoBlockIOProtocol"), (2, "LegacyBIOSBootable"),
  ]

  static func text(_ attributes: UInt64) -> String {
    var words = names.filter { attributes >> UInt64($0.bit) & 1 == 1 }.map(\.name)
    let others = (48..<64).filter { attributes >> UInt64($0) & 1 == 1 }
    if !others.isEmpty { words.append("GUID:" + others.map { "\($0)" }.joined(separator: ",")) }
    return words.joined(separator: " ")
  }

  /// - Returns: nil for text that names no attribute.
  static func parse(_ text: some StringProtocol) -> UInt64? {
    var attributes: UInt64 = 0
    var bits: Substring = ""
    for word in text.split(whereSeparator: { $0 == " " || $0 == "," }) {
      if let known = names.first(where: { $0.name == word }) {
        attributes |= 1 << UInt64(known.bit)
        continue
      }
      bits = word.hasPrefix("GUID:") ? Substring(word.dropFirst(5)) : Substring(word)
      guard let bit = Int(bits), (0..<64).contains(bit) else { return nil }
      attributes |= 1 << UInt64(bit)
    }
    return attributes
  }
}
