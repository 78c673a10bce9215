// ISOImage: one hybrid ISO 9660 image, started by BIOS or UEFI, from CD or from disk, written by libisofs in-process.
// SPDX-License-Identifier: GPL-3.0-or-later

public import Bytes
public import SystemPackage

/// What makes an image start: from CD by El Torito, from a stick or disk by the master boot record and the GPT.
public struct ISOBootFiles: Sendable {
  /// ISOLINUX for BIOS (Debian's `isolinux.bin`). It becomes `/isolinux/isolinux.bin` with a boot information table;
  /// its modules and `isolinux.cfg` belong into the same folder.
  public var isolinux: [UInt8]
  /// Boot code for BIOS from disk (Debian's `isohdpfx.bin`), at most 440 bytes.
  public var masterBootRecord: [UInt8]
  /// A FAT file system for UEFI, see ``EFISystemPartition``. It is appended behind the ISO file system.
  public var efiSystemPartition: [UInt8]

  public init(isolinux: [UInt8], masterBootRecord: [UInt8], efiSystemPartition: [UInt8]) {
    self.isolinux = isolinux
    self.masterBootRecord = masterBootRecord
    self.efiSystemPartition = efiSystemPartition
  }
}

/// Collects what goes into an image, and writes it.
///
/// The image is ISO 9660 level 3 (files beyond 4 GiB) with Rock Ridge and Joliet names. Every file belongs to root, is
/// `r--r--r--` (folders `r-xr-xr-x`) and carries the one modification time, so that the same input gives the same
/// bytes. Files lie in the image in the order they were added.
///
/// With ``setBoot(_:)`` the layout is that of a disk with a valid GPT: the ISO file system is partition 1 from sector
/// 64 on (and readable from sector 0, as on a CD), the EFI system partition is partition 2 behind it. The protective
/// MBR carries ISOLINUX's hybrid boot code and an empty entry flagged active, which some BIOSes insist on.
/// Sources: ECMA-119, El Torito 1.0, UEFI Specification 2.10 sections 5 and 13.3.2, libisofs.h.
public struct ISOImageWriter: Sendable {
  /// Volume name: 1 to 32 printable ASCII characters.
  public let volumeID: String
  /// Time of everything in the image, in seconds since 1970, UTC.
  public let modificationTime: Int64
  /// What made the image, at most 128 printable ASCII characters.
  public let application: String
  /// Who made the image, at most 128 printable ASCII characters.
  public let publisher: String
  /// The GPT's disk identifier; when nil it is derived from the modification time. Partition identifiers follow it.
  public let diskIdentifier: GUID?

  private(set) var boot: ISOBootFiles?
  private(set) var tree = ISOTree()

  /// - Throws: ``ISOImageError/invalidText(field:text:limit:)`` or ``ISOImageError/invalidTime(seconds:)``.
  public init(
    volumeID: String, modificationTime: Int64, application: String = "", publisher: String = "",
    diskIdentifier: GUID? = nil
  ) throws(ISOImageError) {
    try Self.check(volumeID, "volume name", limit: 32)
    try Self.check(application, "application", limit: 128)
    try Self.check(publisher, "publisher", limit: 128)
    guard !volumeID.isEmpty else { throw .invalidText(field: "volume name", text: volumeID, limit: 32) }
    // The volume descriptor has four digits for the year, a directory record one byte of years since 1900.
    guard (0..<CalendarTime.endOf2155).contains(modificationTime) else { throw .invalidTime(seconds: modificationTime) }
    self.volumeID = volumeID
    self.modificationTime = modificationTime
    self.application = application
    self.publisher = publisher
    self.diskIdentifier = diskIdentifier
  }

  /// Adds a regular file of the host, read when the image is written; a symbolic link is followed now.
  /// - Parameter path: absolute path in the image; missing folders are added.
  /// - Throws: ``ISOImageError``: the path is no good or taken, or the file is missing or not a regular file.
  public mutating func add(file: FilePath, at path: String) throws(ISOImageError) {
    try tree.add(.file(HostFile(resolving: file)), at: path)
  }

  /// Adds a file of the given content.
  /// - Throws: ``ISOImageError``: the path is no good or taken.
  public mutating func add(bytes: [UInt8], at path: String) throws(ISOImageError) {
    try tree.add(.bytes(bytes), at: path)
  }

  /// Adds an empty folder and those above it; one that is there already is left as it is.
  /// - Throws: ``ISOImageError``: the path is no good or taken by a file.
  public mutating func addDirectory(_ path: String) throws(ISOImageError) {
    try tree.addDirectory(path)
  }

  /// Adds a folder of the host with all in it, sorted by name. Symbolic links to files become those files.
  /// - Throws: ``ISOImageError``: also for a link to a folder, a device, a socket or a pipe in it.
  public mutating func addTree(_ directory: FilePath, at path: String) throws(ISOImageError) {
    try tree.addTree(directory, at: path)
  }

  /// Makes the image start on BIOS and UEFI. May be called once.
  /// - Throws: ``ISOImageError``: a boot file can't be what it should be, or `/isolinux/isolinux.bin` is taken.
  public mutating func setBoot(_ files: ISOBootFiles) throws(ISOImageError) {
    // A boot information table and at least the four sectors the BIOS loads.
    guard files.isolinux.count >= 2048 else {
      throw .invalidBootFile(name: "isolinux.bin", problem: "is only \(files.isolinux.count) bytes long")
    }
    guard (1...440).contains(files.masterBootRecord.count) else {
      throw .invalidBootFile(
        name: "the master boot record", problem: "has \(files.masterBootRecord.count) bytes, not 1 to 440")
    }
    guard files.efiSystemPartition.count >= 512, files.efiSystemPartition[510...511] == [0x55, 0xAA] else {
      throw .invalidBootFile(name: "the EFI system partition", problem: "has no boot sector")
    }
    try tree.add(.bytes(files.isolinux), at: Self.isolinuxPath)
    try tree.add(.bootCatalog, at: Self.bootCatalogPath)
    boot = files
  }

  static let isolinuxPath = "/isolinux/isolinux.bin"
  static let bootCatalogPath = "/isolinux/boot.cat"

  private static func check(_ text: String, _ field: String, limit: Int) throws(ISOImageError) {
    guard text.utf8.count <= limit, text.utf8.allSatisfy({ (0x20..<0x7F).contains($0) }) else {
      throw .invalidText(field: field, text: text, limit: limit)
    }
  }
}
