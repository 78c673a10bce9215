// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

extension SfdiskDump {
  /// Reads a dump.
  ///
  /// Lines that are neither a header, a comment nor a partition (warnings that ended up in old dumps) are passed over.
  /// - Parameters:
  ///   - text: the dump.
  ///   - file: its name, for errors.
  /// - Throws: ``PartitionTableError/malformed(file:line:text:expected:)``.
  public init(parsing text: String, file: String) throws(PartitionTableError) {
    var headers: [String: (value: String, line: Int)] = [:]
    var rows: [(line: Int, node: String, fields: String)] = []
    var device = ""
    for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      if line.hasPrefix("#") {
        if let range = line.firstRange(of: "partition table of ") { device = String(line[range.upperBound...]) }
        continue
      }
      if line.hasPrefix("/") || line.contains("start=") {
        guard let separator = line.firstRange(of: " : ") else { continue }
        rows.append((index + 1, String(line[..<separator.lowerBound]), String(line[separator.upperBound...])))
      } else if let colon = line.firstIndex(of: ":"), !line[..<colon].contains(" ") {
        headers[String(line[..<colon])] = (Self.trimmed(line[line.index(after: colon)...]), index + 1)
      }
    }
    func number(_ key: String) throws(PartitionTableError) -> UInt64? {
      guard let (value, line) = headers[key] else { return nil }
      guard let number = UInt64(value) else {
        throw .malformed(file: file, line: line, text: value, expected: "a number as \(key)")
      }
      return number
    }
    if let named = headers["device"]?.value { device = named }
    if let (unit, line) = headers["unit"], unit != "sectors" {
      throw .malformed(file: file, line: line, text: unit, expected: "the unit \"sectors\"")
    }
    let labelID = headers["label-id"]
    switch headers["label"]?.value {
    case "gpt":
      guard let guid = GUID(labelID?.value ?? "") else {
        throw .malformed(
          file: file, line: labelID?.line ?? 1, text: labelID?.value ?? "", expected: "a GUID as label-id")
      }
      label = .gpt(diskGUID: guid)
    case "dos", nil:
      let digits = labelID.map { $0.value.hasPrefix("0x") ? String($0.value.dropFirst(2)) : $0.value } ?? "0"
      guard let signature = UInt32(digits, radix: 16), !rows.isEmpty || headers["unit"] != nil else {
        throw .malformed(
          file: file, line: labelID?.line ?? 1, text: labelID?.value ?? "", expected: "an `sfdisk -d` dump")
      }
      label = .dos(diskSignature: signature)
    case .some(let other):
      throw .malformed(
        file: file, line: headers["label"]?.line ?? 1, text: other, expected: "a label of kind gpt or dos")
    }
    self.device = device
    firstLBA = try number("first-lba")
    lastLBA = try number("last-lba")
    tableLength = Int(clamping: try number("table-length") ?? 128)
    if tableLength == 128 { tableLength = nil }
    sectorSize = try number("sector-size").map { Int(clamping: $0) }
    partitions = []
    for row in rows {
      if let partition = try Self.partition(row, label: label, file: file) { partitions.append(partition) }
    }
  }

  /// - Returns: nil for the empty slots that old dumps list.
  private static func partition(
    _ row: (line: Int, node: String, fields: String), label: Label, file: String
  ) throws(PartitionTableError) -> Partition? {
    func malformed(_ text: String, _ expected: String) -> PartitionTableError {
      .malformed(file: file, line: row.line, text: text, expected: expected)
    }
    let digits = trimmed(row.node[...]).reversed().prefix { $0.isASCII && $0.isNumber }.reversed()
    guard let number = Int(String(digits)), number > 0, number <= 65536 else {
      throw malformed(row.node, "the path of a partition, which ends in its number")
    }
    var partition = Partition(number: number, start: 0, count: 0, type: .mbr(0))
    for (key, value) in fields(of: row.fields) {
      switch key {
      case "start", "size":
        guard let sectors = UInt64(value) else { throw malformed(value, "a number of sectors as \(key)") }
        if key == "start" { partition.start = sectors } else { partition.count = sectors }
      case "type", "Id":
        switch label {
        case .gpt:
          guard let guid = GUID(value) else { throw malformed(value, "a GUID as type") }
          partition.type = .gpt(guid)
        case .dos:
          guard let code = UInt8(value, radix: 16) else { throw malformed(value, "two hexadecimal digits as type") }
          partition.type = .mbr(code)
        }
      case "uuid":
        guard let guid = GUID(value) else { throw malformed(value, "a GUID as uuid") }
        partition.uuid = guid
      case "name": partition.name = value
      case "attrs":
        guard let attributes = GPTAttributes.parse(value) else { throw malformed(value, "GPT attributes") }
        partition.attributes = attributes
      case "bootable": partition.isBootable = true
      default: break
      }
    }
    if case .dos = label, partition.type == .mbr(0) || partition.count == 0 { return nil }
    if case .gpt = label, case .mbr = partition.type { throw malformed(row.fields, "a type") }
    return partition
  }

  /// `start= 2048, name="a, b", bootable` as pairs of key and value.
  private static func fields(of text: String) -> [(key: String, value: String)] {
    var fields: [(String, String)] = []
    var rest = text[...]
    while !rest.isEmpty {
      let keyEnd = rest.firstIndex { $0 == "=" || $0 == "," } ?? rest.endIndex
      let key = trimmed(rest[..<keyEnd])
      guard keyEnd < rest.endIndex, rest[keyEnd] == "=" else {
        fields.append((key, ""))
        rest = keyEnd < rest.endIndex ? rest[rest.index(after: keyEnd)...] : ""
        continue
      }
      rest = rest[rest.index(after: keyEnd)...].drop { $0 == " " }
      let value: Substring
      if rest.first == "\"" {
        rest = rest.dropFirst()
        let end = rest.firstIndex(of: "\"") ?? rest.endIndex
        value = rest[..<end]
        rest = rest[end...]
        rest = rest[(rest.firstIndex(of: ",") ?? rest.endIndex)...]
      } else {
        let end = rest.firstIndex(of: ",") ?? rest.endIndex
        value = rest[..<end]
        rest = rest[end...]
      }
      fields.append((key, unescaped(trimmed(value))))
      rest = rest.dropFirst()
    }
    return fields
  }

  /// Resolves `\x22`.
  private static func unescaped(_ text: String) -> String {
    guard text.contains("\\x") else { return text }
    let bytes = Array(text.utf8)
    var result: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if bytes[index] == UInt8(ascii: "\\"), index + 3 < bytes.count, bytes[index + 1] == UInt8(ascii: "x"),
        let byte = UInt8(String(decoding: bytes[(index + 2)..<(index + 4)], as: UTF8.self), radix: 16)
      {
        result.append(byte)
        index += 4
      } else {
        result.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  private static func trimmed(_ text: Substring) -> String {
    var text = text.drop { $0 == " " || $0 == "\t" }
    while let last = text.last, last == " " || last == "\t" { text = text.dropLast() }
    return String(text)
  }
}
