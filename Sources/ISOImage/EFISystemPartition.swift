// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
public import Reporting

/// A small FAT16 file system for UEFI firmware, made in memory.
///
/// Sectors of 512 bytes, two FATs, 512 root entries, files without gaps in the order given. The same input gives the
/// same bytes.
/// Sources: Microsoft FAT32 File System Specification 1.03 (which covers FAT16), UEFI Specification 2.10 section 13.3.
public enum EFISystemPartition {
  /// A file of the partition.
  public struct File: Sendable {
    /// Absolute, with slashes: `/EFI/BOOT/BOOTX64.EFI`.
    public var path: String
    public var bytes: [UInt8]

    public init(path: String, bytes: [UInt8]) {
      self.path = path
      self.bytes = bytes
    }
  }

  /// The file system's bytes: a whole number of mebibytes, at least 4.
  ///
  /// - Parameters:
  ///   - files: the folders they are in are made. Names are matched without regard to case, as FAT does.
  ///   - volumeID: FAT's serial number of the volume.
  ///   - label: at most 11 upper-case letters, digits, spaces, `_` or `-`.
  ///   - modificationTime: seconds since 1970, UTC; FAT holds 1980 to 2107 in steps of two seconds.
  /// - Throws: ``EFISystemPartitionError``.
  public static func image(
    of files: [File], volumeID: UInt32, label: String = "EFI", modificationTime: Int64
  ) throws(EFISystemPartitionError) -> [UInt8] {
    guard (1...11).contains(label.utf8.count), label.utf8.allSatisfy(isLabelByte) else { throw .invalidLabel(label) }
    var root = FATFolder()
    for file in files { try root.add(file) }
    let geometry = try FATGeometry(content: root)
    return FATWriter(geometry: geometry, volumeID: volumeID, label: label, stamp: FATStamp(modificationTime)).image(
      of: root)
  }

  private static func isLabelByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: " "),
      UInt8(ascii: "_"), UInt8(ascii: "-"):
      true
    default: false
    }
  }
}

/// Why an EFI system partition can't be made.
public enum EFISystemPartitionError: Failure {
  case invalidLabel(String)
  case invalidPath(path: String, problem: String)
  case alreadyAdded(path: String)
  case tooLarge(bytes: Int)

  public var reason: String {
    switch self {
    case .invalidLabel(let label):
      "EFI system partition: the label \"\(label)\" must be 1 to 11 of A-Z, 0-9, space, _ and -"
    case .invalidPath(let path, let problem): "EFI system partition: the path \"\(path)\" \(problem)"
    case .alreadyAdded(let path): "EFI system partition: \"\(path)\" was added twice, or is both a file and a folder"
    case .tooLarge(let bytes):
      "EFI system partition: \(Quantity.bytes(UInt64(bytes))) of files; at most \(Quantity.bytes(UInt64(FATGeometry.largestContent))) are allowed"
    }
  }

  public var exitCode: ExitCode { .invalidData }
}

/// A folder while the file system is put together; entries in the order added.
struct FATFolder {
  struct Entry {
    let name: String
    var content: Content
  }

  enum Content {
    case file([UInt8])
    case folder(FATFolder)
  }

  private(set) var entries: [Entry] = []

  mutating func add(_ file: EFISystemPartition.File) throws(EFISystemPartitionError) {
    guard file.path.hasPrefix("/") else { throw .invalidPath(path: file.path, problem: "is not absolute") }
    let names = file.path.split(separator: "/").map(String.init)
    guard let name = names.last, !file.path.hasSuffix("/") else {
      throw .invalidPath(path: file.path, problem: "names no file")
    }
    for name in names {
      if let problem = FATName.problem(with: name) { throw .invalidPath(path: file.path, problem: problem) }
    }
    guard names.count <= 16 else { throw .invalidPath(path: file.path, problem: "is deeper than 16 folders") }
    try add(file, name: name, in: names.dropLast())
  }

  private mutating func add(
    _ file: EFISystemPartition.File, name: String, in folders: ArraySlice<String>
  ) throws(EFISystemPartitionError) {
    guard let first = folders.first else {
      guard index(of: name) == nil else { throw .alreadyAdded(path: file.path) }
      entries.append(Entry(name: name, content: .file(file.bytes)))
      return
    }
    let position: Int
    if let found = index(of: first) {
      position = found
    } else {
      position = entries.count
      entries.append(Entry(name: first, content: .folder(FATFolder())))
    }
    guard case .folder(var folder) = entries[position].content else { throw .alreadyAdded(path: file.path) }
    try folder.add(file, name: name, in: folders.dropFirst())
    entries[position].content = .folder(folder)
  }

  private func index(of name: String) -> Int? {
    entries.firstIndex { $0.name.uppercased() == name.uppercased() }
  }

  /// Directory entries needed, of 32 bytes each; without `.` and `..`.
  var slotCount: Int { entries.reduce(0) { $0 + FATName.slotCount(of: $1.name) } }

  /// Bytes in clusters of `clusterSize`, as a subfolder's content and that of all in it.
  func byteCount(clusterSize: Int) -> Int {
    entries.reduce(0) { sum, entry in
      switch entry.content {
      case .file(let bytes): sum + bytes.count.rounded(up: clusterSize)
      case .folder(let folder):
        sum + ((folder.slotCount + 2) * 32).rounded(up: clusterSize) + folder.byteCount(clusterSize: clusterSize)
      }
    }
  }
}

extension Int {
  /// The next multiple of a positive `step`.
  func rounded(up step: Int) -> Int { (self + step - 1) / step * step }
}

/// Sizes of the file system: always FAT16, so at least 4085 clusters and fewer than 65525.
struct FATGeometry {
  static let sectorSize = 512
  static let rootSlots = 512
  static let reservedSectors = 1
  static let largestContent = 256 << 20
  private static let mebibyte = 1 << 20

  let sectorsPerCluster: Int
  let sectorCount: Int
  /// Of one FAT.
  let fatSectors: Int

  var clusterSize: Int { sectorsPerCluster * Self.sectorSize }
  var rootSector: Int { Self.reservedSectors + 2 * fatSectors }
  var dataSector: Int { rootSector + Self.rootSlots * 32 / Self.sectorSize }
  var clusterCount: Int { (sectorCount - dataSector) / sectorsPerCluster }

  init(content root: FATFolder) throws(EFISystemPartitionError) {
    // With the volume label in the first slot.
    guard root.slotCount + 1 <= Self.rootSlots else {
      throw .invalidPath(path: "/", problem: "has more than \(Self.rootSlots - 1) directory entries")
    }
    var sectorsPerCluster = 1
    while true {
      let content = root.byteCount(clusterSize: sectorsPerCluster * Self.sectorSize)
      guard content <= Self.largestContent else { throw .tooLarge(bytes: content) }
      var size = max(4 * Self.mebibyte, content.rounded(up: Self.mebibyte))
      var geometry = FATGeometry(sectorsPerCluster: sectorsPerCluster, byteCount: size)
      while geometry.clusterCount * geometry.clusterSize < content {
        size += Self.mebibyte
        geometry = FATGeometry(sectorsPerCluster: sectorsPerCluster, byteCount: size)
      }
      // Some drivers take the limit for a few clusters less.
      if geometry.clusterCount < 65525 - 16 {
        self = geometry
        return
      }
      sectorsPerCluster *= 2
    }
  }

  private init(sectorsPerCluster: Int, byteCount: Int) {
    self.sectorsPerCluster = sectorsPerCluster
    sectorCount = byteCount / Self.sectorSize
    // Two bytes a cluster and the two reserved entries; the FATs' own sectors are counted too, which is at most one
    // sector too many.
    fatSectors = ((sectorCount / sectorsPerCluster + 2) * 2).rounded(up: Self.sectorSize) / Self.sectorSize
  }
}
