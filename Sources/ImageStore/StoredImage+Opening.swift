// SPDX-License-Identifier: GPL-3.0-or-later

public import SystemPackage
import Volumes

extension StoredImage {
  /// Looks through an image directory. Data files are found and their volumes counted, not read.
  ///
  /// - Throws: ``ImageError``: for what is no image, one that was not saved to its end, and one with a file missing.
  public init(opening path: FilePath) throws(ImageError) {
    guard StoreFiles.isFolder(path) else { throw .notFound(path: path.string) }
    if path.lastComponent?.string.hasSuffix(ImageWriter.partialSuffix) ?? false { throw .incomplete(path: path.string) }
    let sizes = try StoreFiles.sizes(in: path)
    if sizes["THIS_IMAGE_DIR_IS_BROKEN.txt"] != nil { throw .markedBroken(path: path.string) }
    guard let parts = try StoreFiles.words(path.appending("parts")) else {
      let isLocked = sizes["ecryptfs.info"] != nil || sizes["gocryptfs.info"] != nil
      throw isLocked ? .locked(path: path.string) : .notAnImage(path: path.string, missing: "parts")
    }
    let named = try StoreFiles.words(path.appending("disk"))
    // A saveparts image names no disk, but has the tables of those its partitions are on.
    let names = named ?? sizes.keys.filter { $0.hasSuffix("-pt.sf") }.map { String($0.dropLast(6)) }.sorted()
    for name in names + parts
    where name.hasPrefix(".") || name.utf8.contains(0) || name.split(separator: "/").contains("..") {
      throw .malformed(file: path.appending("parts").string, detail: "\"\(name)\" is no device")
    }
    guard !names.isEmpty || named == nil else { throw .notAnImage(path: path.string, missing: "disk") }
    self.path = path
    isOfDisks = named != nil
    var disks: [ImageDisk] = []
    for name in names { disks.append(try ImageDisk(opening: name, in: path, files: sizes)) }
    self.disks = disks
    var reader = VolumeReader(image: path, sizes: sizes, disks: names)
    try reader.readSpecialDevices()
    var volumes: [ImageVolume] = []
    for device in parts { volumes.append(try reader.volume(device)) }
    self.volumes = volumes
    groups = try reader.groups(of: volumes)
    let logicalSwaps = Set(groups.flatMap(\.swaps).map { ImageWriter.fileName(of: $0.device) })
    swaps = try reader.swaps().filter { !logicalSwaps.contains($0.device) }
    let log = try StoreFiles.text(path.appending("clonezilla-img")) ?? ""
    created = log.split(whereSeparator: \.isNewline).last { $0.hasPrefix("### Image created time: ") }
      .map { String($0.dropFirst(24)) }
    otherFiles = Self.others(among: sizes, disks: names, groups: groups, volumes: volumes)
    firmwareBootEntries = try StoreFiles.text(path.appending("efi-nvram.dat"))
  }

  /// The files that were not looked into: notes, listings, checksums, whatever else someone put there.
  private static func others(
    among sizes: [String: UInt64], disks: [String], groups: [ImageVolumeGroup], volumes: [ImageVolume]
  ) -> [String] {
    var known: Set<String> = [
      "parts", "disk", "clonezilla-img", "efi-nvram.dat", "lvm_vg_dev.list", "lvm_logv.list", "luks-dev.list",
    ]
    known.formUnion(groups.map { "lvm_\($0.group.name).conf" })
    known.formUnion((volumes + groups.flatMap(\.volumes)).flatMap(\.files).compactMap { $0.lastComponent?.string })
    for disk in disks { known.formUnion(ImageDisk.fileSuffixes.map { ImageWriter.fileName(of: disk) + $0 }) }
    return sizes.keys.filter { name in
      !known.contains(name) && !(name.hasPrefix("swappt-") && name.hasSuffix(".info")) && !name.hasSuffix("-ebr")
    }.sorted()
  }

  /// The images of a repository: folders that hold a file `parts` or Clonezilla's tag file. Those that can't be opened
  /// come with the reason.
  /// - Throws: ``ImageError/cannotRead(file:errno:)``.
  public static func list(
    _ repository: FilePath
  ) throws(ImageError) -> [(name: String, image: Result<StoredImage, ImageError>)] {
    var found: [(String, Result<StoredImage, ImageError>)] = []
    for name in try StoreFiles.folders(in: repository) {
      let path = repository.appending(name)
      let isImage = ["parts", "disk", "clonezilla-img"].contains { StoreFiles.exists(path.appending($0)) }
      guard isImage || name.hasSuffix(ImageWriter.partialSuffix) else { continue }
      found.append((name, Result { () throws(ImageError) in try StoredImage(opening: path) }))
    }
    return found
  }
}

extension ImageDisk {
  /// Of the files with a disk's table and boot code, after the disk's name.
  fileprivate static let fileSuffixes = [
    "-mbr", "-pt.sf", "-pt.parted", "-gpt.gdisk", "-gpt-1st", "-gpt-2nd", "-hidden-data-after-mbr",
  ]

  /// Reads the files of one disk.
  init(opening name: String, in path: FilePath, files: [String: UInt64]) throws(ImageError) {
    let prefix = ImageWriter.fileName(of: name)
    func bytes(_ suffix: String) throws(ImageError) -> [UInt8]? {
      files[prefix + suffix] == nil ? nil : try StoreFiles.bytes(path.appending(prefix + suffix))
    }
    let bootSector = try bytes("-mbr")
    if let bootSector, bootSector.count != 512 {
      throw .malformed(
        file: path.appending("\(prefix)-mbr").string, detail: "expected 512 bytes, found \(bootSector.count)")
    }
    var warnings: [String] = []
    var parted: PartedPrint?
    if let text = try bytes("-pt.parted") {
      do {
        parted = try PartedPrint(
          parsing: String(decoding: text, as: UTF8.self), file: path.appending("\(prefix)-pt.parted").string)
      } catch {
        warnings.append(error.reason)
      }
    }
    var records: [Int: [UInt8]] = [:]
    for file in files.keys where file.hasPrefix(prefix) && file.hasSuffix("-ebr") {
      guard let number = PartitionNaming.number(of: String(file.dropLast(4)), disk: prefix) else { continue }
      guard let record = try StoreFiles.bytes(path.appending(file)), record.count == 512 else {
        throw .malformed(file: path.appending(file).string, detail: "expected 512 bytes")
      }
      records[number] = record
    }
    let reader = TableReader(
      dump: try bytes("-pt.sf"), parted: parted, bootSector: bootSector, gdisk: try bytes("-gpt.gdisk"),
      gptFirst: try bytes("-gpt-1st"), gptSecond: try bytes("-gpt-2nd"), prefix: path.appending(prefix).string)
    let table = try reader.table(&warnings)
    let hidden = "\(prefix)-hidden-data-after-mbr"
    self.init(
      name: name, table: table, byteCount: reader.byteCount(table), warnings: warnings, bootSector: bootSector,
      hiddenData: files[hidden] == nil ? nil : path.appending(hidden), extendedBootRecords: records)
  }
}

/// Gets the partition table out of the several files that hold it.
private struct TableReader {
  var dump: [UInt8]?
  var parted: PartedPrint?
  var bootSector: [UInt8]?
  var gdisk: [UInt8]?
  var gptFirst: [UInt8]?
  var gptSecond: [UInt8]?
  /// Path of the files up to the disk's name.
  var prefix: String

  func byteCount(_ table: PartitionTable?) -> UInt64? {
    guard let parted else { return table?.byteCount }
    let (bytes, overflow) = parted.sectorCount.multipliedReportingOverflow(by: UInt64(parted.sectorSize))
    return overflow ? nil : bytes
  }

  /// - Returns: nil when the disk had no table.
  func table(_ warnings: inout [String]) throws(ImageError) -> PartitionTable? {
    if let parted, parted.tableName == "loop" || parted.tableName == "unknown" { return nil }
    guard let dump, !dump.isEmpty else { return try fromGPT(nil, &warnings) }
    do {
      let dump = try SfdiskDump(parsing: String(decoding: dump, as: UTF8.self), file: "\(prefix)-pt.sf")
      return try dump.table(sectorCount: sectorCount(dump), bootSector: bootSector ?? [])
    } catch {
      return try fromGPT(error, &warnings)
    }
  }

  /// The size of the disk; without parted's text as much as the table needs.
  private func sectorCount(_ dump: SfdiskDump) -> UInt64 {
    if let parted { return parted.sectorCount }
    let end = dump.partitions.map(\.end).max() ?? 0
    let entries = UInt64((dump.tableLength ?? 128) * 128 / (dump.sectorSize ?? 512)) &+ 1
    return max(end, dump.lastLBA ?? 0) &+ entries &+ 1
  }

  /// The binary copies, when the text can't be used.
  private func fromGPT(_ cause: PartitionTableError?, _ warnings: inout [String]) throws(ImageError) -> PartitionTable?
  {
    let sectorSize = parted?.sectorSize ?? 512
    let sectorCount = parted?.sectorCount ?? UInt64(Int64.max) / UInt64(sectorSize)
    var table: PartitionTable?
    if let gdisk, table == nil {
      table = try? PartitionTable(
        gdiskBackup: gdisk, sectorSize: sectorSize, sectorCount: sectorCount, name: "\(prefix)-gpt.gdisk")
    }
    if let gptFirst, table == nil {
      table = try? PartitionTable(
        gptFirst: gptFirst, sectorSize: sectorSize, sectorCount: sectorCount, name: "\(prefix)-gpt-1st")
    }
    if let gptSecond, let gptFirst, table == nil {
      table = try? PartitionTable(
        gptSecond: gptSecond, first: gptFirst, sectorCount: sectorCount, name: "\(prefix)-gpt-2nd")
    }
    if table != nil {
      warnings.append("\(cause?.reason ?? "there is no \(prefix)-pt.sf"); the binary copy of the GPT is used")
      return table
    }
    if let cause { throw .malformed(file: "\(prefix)-pt.sf", detail: cause.reason) }
    throw .missingFile(
      image: FilePath(prefix).removingLastComponent().string,
      file: "\(FilePath(prefix).lastComponent?.string ?? "")-pt.sf",
      purpose: "which is the partition table")
  }
}

/// Finds the data files of each partition and logical volume.
struct VolumeReader {
  let image: FilePath
  let sizes: [String: UInt64]
  let disks: [String]
  /// The volume group by the name of its physical volume.
  private var groups: [String: String] = [:]
  /// The lines of `lvm_vg_dev.list`, in words.
  private(set) var physicalVolumes: [[Substring]] = []
  private var encrypted: Set<String> = []

  init(image: FilePath, sizes: [String: UInt64], disks: [String]) {
    self.image = image
    self.sizes = sizes
    self.disks = disks
  }

  /// `lvm_vg_dev.list` (`VG /dev/PV UUID`) and `luks-dev.list` (`/dev/P UUID NAME`).
  mutating func readSpecialDevices() throws(ImageError) {
    for line in try lines("lvm_vg_dev.list") {
      let words = line.split(separator: " ")
      guard words.count >= 2, words[1].hasPrefix("/dev/") else { continue }
      groups[String(words[1].dropFirst(5))] = String(words[0])
      physicalVolumes.append(words)
    }
    for line in try lines("luks-dev.list") where line.hasPrefix("/dev/") {
      encrypted.insert(String(line.dropFirst(5).prefix { !$0.isWhitespace }))
    }
  }

  func lines(_ name: String) throws(ImageError) -> [Substring] {
    guard sizes[name] != nil, let text = try StoreFiles.text(image.appending(name)) else { return [] }
    return text.split(whereSeparator: \.isNewline)
  }

  /// The disk and number of a partition.
  func place(_ device: String) -> (disk: String?, number: Int?) {
    for disk in disks {
      if device == disk { return (disk, nil) }
      if let number = PartitionNaming.number(of: device, disk: disk) { return (disk, number) }
    }
    return (nil, nil)
  }

  func volume(_ device: String) throws(ImageError) -> ImageVolume {
    let (disk, number) = place(device)
    let file = ImageWriter.fileName(of: device)
    var candidates = sizes.keys.compactMap { name in
      DataFileName(name, device: file) { sizes[$0] != nil }.map { (name: name, parsed: $0) }
    }
    // Beside a stream that is there from its start, `….log` or `….old` is no volume of another.
    let started = candidates.filter { $0.parsed.firstVolume.map { sizes[$0] != nil } ?? true }
    if !started.isEmpty { candidates = started }
    guard let first = candidates.first else {
      let content: ImageVolume.Content
      if let group = groups[device] {
        content = .physicalVolume(group: group)
      } else if encrypted.contains(device) {
        content = .encrypted
      } else {
        throw .missingFile(
          image: image.string, file: "\(file).<file system>-ptcl-img.<compression>",
          purpose: "the content of \(device), which \"parts\" names")
      }
      return ImageVolume(
        device: device, disk: disk, number: number, content: content, compressionSuffix: nil, files: [],
        storedByteCount: 0)
    }
    guard candidates.allSatisfy({ $0.parsed.stem == first.parsed.stem }) else {
      let names = candidates.map(\.name).sorted().prefix(6).joined(separator: ", ")
      throw .malformed(file: image.string, detail: "there is more than one content for \(device): \(names)")
    }
    let names = try ordered(candidates, device: device)
    return ImageVolume(
      device: device, disk: disk, number: number, content: first.parsed.content,
      compressionSuffix: first.parsed.compressionSuffix, files: names.map { image.appending($0) },
      storedByteCount: names.reduce(0) { $0 &+ (sizes[$1] ?? 0) })
  }

  /// The volumes in order; a gap is an error, since the stream would be cut there without a sign.
  private func ordered(
    _ candidates: [(name: String, parsed: DataFileName)], device: String
  ) throws(ImageError) -> [String] {
    let volumes = candidates.compactMap { candidate in
      candidate.parsed.volume.map { (index: $0, length: candidate.parsed.suffixLength, name: candidate.name) }
    }.sorted { ($0.index, $0.length) < ($1.index, $1.length) }
    guard let last = volumes.last else { return candidates.map(\.name) }
    guard volumes.count == candidates.count, volumes.allSatisfy({ $0.length == last.length }) else {
      throw .malformed(file: image.string, detail: "the content of \(device) is there both split and whole")
    }
    for (index, volume) in volumes.enumerated() where volume.index != index {
      let stem = String(volume.name.dropLast(volume.length))
      let isNumbered = volume.name.utf8.last.map { $0 < UInt8(ascii: "a") } ?? false
      let digits = "00\(index)"
      let suffix = isNumbered ? String(digits.suffix(3)) : DataFileName.volumeSuffix(index, length: volume.length)
      throw .missingVolume(image: image.string, file: stem + suffix, present: last.name)
    }
    return volumes.map(\.name)
  }

  func swaps() throws(ImageError) -> [ImageSwap] {
    var swaps: [ImageSwap] = []
    for name in sizes.keys.sorted(by: { ($0.utf8.count, $0) < ($1.utf8.count, $1) })
    where name.hasPrefix("swappt-") && name.hasSuffix(".info") {
      swaps.append(try swap(String(name.dropFirst(7).dropLast(5))))
    }
    return swaps
  }

  /// From `swappt-sda5.info`: `UUID="…"` and `LABEL="…"`.
  func swap(_ device: String) throws(ImageError) -> ImageSwap {
    let (disk, number) = place(device)
    var values: [String: String] = [:]
    for line in try lines("swappt-\(ImageWriter.fileName(of: device)).info") {
      guard let equals = line.firstIndex(of: "=") else { continue }
      let value = line[line.index(after: equals)...].drop { $0 == "\"" || $0 == " " }
      values[String(line[..<equals])] = String(value.prefix { $0 != "\"" })
    }
    func value(_ key: String) -> String? { values[key].flatMap { $0.isEmpty ? nil : $0 } }
    return ImageSwap(device: device, disk: disk, number: number, uuid: value("UUID"), label: value("LABEL"))
  }
}
