// SPDX-License-Identifier: GPL-3.0-or-later

extension PartedPrint {
  /// Reads what `parted -s DEVICE unit s print` wrote; sizes in another unit are an error.
  ///
  /// Which column a text stands in is told by the header line. What isn't a line of the format is passed over.
  /// - Parameter file: its name, for errors.
  /// - Throws: ``PartitionTableError/malformed(file:line:text:expected:)``.
  public init(parsing text: String, file: String) throws(PartitionTableError) {
    var disk: (device: String, sectorCount: UInt64)?
    model = ""
    sectorSize = 512
    physicalSectorSize = 512
    tableName = "unknown"
    diskFlags = []
    rows = []
    var columns: [(name: String, range: Range<Int>)] = []
    for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      func malformed(_ expected: String) -> PartitionTableError {
        .malformed(file: file, line: index + 1, text: String(line), expected: expected)
      }
      if let value = Self.value(line, after: "Model: ") {
        model = value
      } else if let value = Self.value(line, after: "Partition Table: ") {
        tableName = value
      } else if let value = Self.value(line, after: "Disk Flags: ") {
        diskFlags = value.split(separator: ",").map { Self.trimmed($0) }
      } else if let value = Self.value(line, after: "Sector size (logical/physical): ") {
        let sizes = value.split(separator: "/").map { Int(Self.trimmed($0).dropLast()) }
        guard sizes.count == 2, let logical = sizes[0], let physical = sizes[1], (512...4096).contains(logical) else {
          throw malformed("two sector sizes in bytes")
        }
        sectorSize = logical
        physicalSectorSize = physical
      } else if line.hasPrefix("Disk "), let colon = line.lastIndex(of: ":") {
        guard let sectors = Self.sectors(line[line.index(after: colon)...]) else {
          throw malformed("the size of the disk in sectors, as in \"Disk /dev/sda: 1703936s\"")
        }
        disk = (String(line[line.index(line.startIndex, offsetBy: 5)..<colon]), sectors)
      } else if line.hasPrefix("Number ") {
        columns = Self.columns(line)
      } else if !columns.isEmpty, line.contains(where: { !$0.isWhitespace }) {
        guard let row = Self.row(line, columns) else { throw malformed("a partition with sizes in sectors") }
        rows.append(row)
      }
    }
    guard let disk else {
      throw .malformed(file: file, line: 1, text: "", expected: "a line \"Disk /dev/NAME: SECTORSs\"")
    }
    device = disk.device
    sectorCount = disk.sectorCount
  }

  private static func value(_ line: Substring, after prefix: String) -> String? {
    line.hasPrefix(prefix) ? trimmed(line.dropFirst(prefix.count)) : nil
  }

  private static func sectors(_ text: Substring) -> UInt64? {
    let text = trimmed(text)
    return text.hasSuffix("s") ? UInt64(text.dropLast()) : nil
  }

  private static func trimmed(_ text: Substring) -> String {
    String(text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
  }

  /// Where each column begins: two blanks separate them, one blank belongs to a title such as `File system`.
  private static func columns(_ header: Substring) -> [(name: String, range: Range<Int>)] {
    let titles = ["Number", "Start", "End", "Size", "Type", "File system", "Name", "Flags"]
    let starts: [(name: String, start: Int)] = titles.compactMap { title in
      guard let range = header.firstRange(of: title) else { return nil }
      return (title, header.distance(from: header.startIndex, to: range.lowerBound))
    }.sorted { $0.start < $1.start }
    return starts.enumerated().map { index, column in
      (column.name, column.start..<(index + 1 < starts.count ? starts[index + 1].start : Int.max))
    }
  }

  private static func row(_ line: Substring, _ columns: [(name: String, range: Range<Int>)]) -> Row? {
    let characters = Array(line)
    var cells: [String: String] = [:]
    for column in columns where column.range.lowerBound < characters.count {
      let cell = characters[column.range.lowerBound..<min(column.range.upperBound, characters.count)]
      cells[column.name] = trimmed(Substring(String(cell)))
    }
    guard let number = Int(cells["Number"] ?? ""), number > 0, let start = sectors((cells["Start"] ?? "")[...]),
      let end = sectors((cells["End"] ?? "")[...]), end >= start
    else { return nil }
    return Row(
      number: number, start: start, end: end, type: cells["Type"] ?? "", fileSystem: cells["File system"] ?? "",
      name: cells["Name"] ?? "", flags: (cells["Flags"] ?? "").split(separator: ",").map { trimmed($0) })
  }
}
