// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import CIsofs
import Glibc
import Synchronization

/// libisofs itself. Its clock, character set and messages are global: one image at a time in a process.
enum Isofs {
  private static let isStarted = Mutex(false)

  /// Runs `body` while nobody else uses the library.
  static func exclusively<Value: Sendable>(_ body: () throws -> Value) throws -> Value {
    try isStarted.withLock { isStarted in
      if !isStarted {
        try check(slipway_iso_start(), "start libisofs")
        isStarted = true
      }
      _ = takeMessages()
      return try body()
    }
  }

  /// Turns a libisofs result into an error that says what was being done.
  static func check(_ result: Int32, _ operation: String) throws(ISOImageError) {
    guard result < 0 else { return }
    var messages = takeMessages()
    if messages.isEmpty, let text = iso_error_to_msg(result) { messages = [String(cString: text)] }
    throw .library(operation: operation, code: result, messages: messages)
  }

  /// What libisofs has to say about an error, oldest first.
  static func takeMessages() -> [String] {
    var messages: [String] = []
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(ISO_MSGS_MESSAGE_LEN)) { buffer in
      guard let text = buffer.baseAddress else { return }
      buffer.initialize(repeating: 0)
      while slipway_iso_next_message(text) == 1 { messages.append(String(cString: text)) }
    }
    return messages
  }
}

/// The tree and boot catalog of an image in libisofs's memory.
struct IsofsImage: ~Copyable {
  private let image: OpaquePointer
  /// By path; the root is "".
  private var directories: [String: OpaquePointer]
  /// libisofs would lay files out by inode number; weights keep the order they were added in.
  private var nextWeight = Int32.max

  init(_ writer: ISOImageWriter) throws(ISOImageError) {
    try Isofs.check(slipway_iso_set_now(writer.modificationTime), "set the time")
    var created: OpaquePointer?
    try Isofs.check(iso_image_new(writer.volumeID, &created), "make an image")
    guard let created, let root = iso_image_get_root(created) else {
      throw .library(operation: "make an image", code: 0, messages: ["no image"])
    }
    image = created
    directories = ["": root]
    // Neither access control lists nor extended attributes of the builder's files belong in the image.
    iso_image_set_ignore_aclea(image, 3)
    iso_image_set_application_id(image, writer.application)
    iso_image_set_publisher_id(image, writer.publisher)
  }

  deinit { iso_image_unref(image) }

  mutating func add(_ entry: ISOTree.Entry) throws(ISOImageError) {
    guard let parent = directories[entry.parent] else {
      throw .invalidPath(path: entry.path, problem: "has no folder to be in")
    }
    let operation = "add \(entry.path)"
    var node: OpaquePointer?
    switch entry.content {
    case .directory:
      try Isofs.check(iso_image_add_new_dir(image, parent, entry.name, &node), operation)
      directories[entry.path] = node
    case .file(let file):
      try Isofs.check(iso_tree_add_new_node(image, parent, entry.name, file.path, &node), operation)
      setNextWeight(of: node)
    case .bytes(let bytes):
      let stream = try Self.stream(of: bytes, operation)
      let result = iso_image_add_new_file(image, parent, entry.name, stream, &node)
      if result < 0 { iso_stream_unref(stream) }
      try Isofs.check(result, operation)
      setNextWeight(of: node)
    case .bootCatalog: break
    }
  }

  private mutating func setNextWeight(of node: OpaquePointer?) {
    guard let node else { return }
    iso_node_set_sort_weight(node, nextWeight)
    nextWeight -= 1
  }

  /// El Torito entries: ISOLINUX in the tree for BIOS, the appended partition for UEFI.
  func setBoot() throws(ISOImageError) {
    var bios: OpaquePointer?
    try Isofs.check(
      iso_image_set_boot_image(
        image, ISOImageWriter.isolinuxPath, ELTORITO_NO_EMUL, ISOImageWriter.bootCatalogPath, &bios),
      "make the image start on BIOS")
    el_torito_set_boot_platform_id(bios, 0)
    // Four sectors of 512 bytes; ISOLINUX loads its own rest by the boot information table.
    el_torito_set_load_size(bios, 4)
    let bootInformationTable: Int32 = 1
    try Isofs.check(el_torito_set_isolinux_options(bios, bootInformationTable, 0), "patch isolinux.bin")
    var uefi: OpaquePointer?
    try Isofs.check(
      iso_image_add_boot_image(image, "--interval:appended_partition_2:all::", ELTORITO_NO_EMUL, 0, &uefi),
      "make the image start on UEFI")
    el_torito_set_boot_platform_id(uefi, 0xEF)
  }

  /// Starts making the image; it is then read from the source.
  func source(_ options: borrowing IsofsOptions) throws(ISOImageError) -> IsofsSource {
    var source: UnsafeMutablePointer<burn_source>?
    try Isofs.check(iso_image_create_burn_source(image, options.options, &source), "lay out the image")
    guard let source else { throw .library(operation: "lay out the image", code: 0, messages: ["no image"]) }
    return IsofsSource(source: source)
  }

  private static func stream(of bytes: [UInt8], _ operation: String) throws(ISOImageError) -> UnsafeMutablePointer<
    IsoStream
  >? {
    // The stream frees what it was given, so it must come from malloc.
    guard let copy = malloc(max(1, bytes.count)) else {
      throw .library(operation: operation, code: 0, messages: ["out of memory"])
    }
    bytes.withUnsafeBytes { if let base = $0.baseAddress { copy.copyMemory(from: base, byteCount: $0.count) } }
    var stream: UnsafeMutablePointer<IsoStream>?
    let result = iso_memory_stream_new(copy.assumingMemoryBound(to: UInt8.self), bytes.count, &stream)
    if result < 0 { free(copy) }
    try Isofs.check(result, operation)
    return stream
  }
}

/// How the image is written.
struct IsofsOptions: ~Copyable {
  fileprivate let options: OpaquePointer

  init() throws(ISOImageError) {
    var created: OpaquePointer?
    // Profile 1: level 3 with Rock Ridge.
    try Isofs.check(iso_write_opts_new(&created, 1), "set up the image")
    guard let created else { throw .library(operation: "set up the image", code: 0, messages: ["no options"]) }
    options = created
  }

  deinit { iso_write_opts_free(options) }

  /// Names, owners, modes and times.
  func setFormat(_ writer: ISOImageWriter) throws(ISOImageError) {
    for result in [
      iso_write_opts_set_iso_level(options, 3),
      iso_write_opts_set_rockridge(options, 1),
      // Version 1.12 would record numbers that follow the inode numbers of the builder's files.
      iso_write_opts_set_rrip_version_1_10(options, 1),
      iso_write_opts_set_joliet(options, 1),
      iso_write_opts_set_joliet_long_names(options, 1),
      iso_write_opts_set_joliet_longer_paths(options, 1),
      iso_write_opts_set_allow_deep_paths(options, 1),
      iso_write_opts_set_allow_longer_paths(options, 1),
      iso_write_opts_set_relaxed_vol_atts(options, 1),
      iso_write_opts_set_sort_files(options, 1),
      // 2: take the values set here.
      iso_write_opts_set_replace_mode(options, 2, 2, 2, 2),
      iso_write_opts_set_default_dir_mode(options, 0o555),
      iso_write_opts_set_default_file_mode(options, 0o444),
      iso_write_opts_set_default_uid(options, 0),
      iso_write_opts_set_default_gid(options, 0),
      iso_write_opts_set_replace_timestamps(options, 2),
      iso_write_opts_set_default_timestamp(options, time_t(writer.modificationTime)),
      iso_write_opts_set_always_gmt(options, 1),
      slipway_iso_set_volume_times(
        options, writer.modificationTime, CalendarTime(seconds: writer.modificationTime).stamp),
      // In blocks of 2048 bytes.
      iso_write_opts_set_fifo_size(options, 4096),
    ] {
      try Isofs.check(result, "set up the image")
    }
  }

  /// The disk view: hybrid MBR, GPT, and the EFI system partition read from a path that must outlive the source.
  func setDiskLayout(_ writer: ISOImageWriter, masterBootRecord: [UInt8], efiPath: String) throws(ISOImageError) {
    let isohybrid: Int32 = 1 << 1
    let neverAlignToCylinders: Int32 = 2 << 8
    let forceActiveFlag: Int32 = 1 << 15
    var systemArea = masterBootRecord.map { CChar(bitPattern: $0) }
    systemArea += [CChar](repeating: 0, count: 32768 - systemArea.count)
    var diskIdentifier = writer.diskIdentifier?.bytes ?? [UInt8](repeating: 0, count: 16)
    let fromVolumeTime: Int32 = 2
    for result in [
      iso_write_opts_set_system_area(
        options, &systemArea, isohybrid | neverAlignToCylinders | forceActiveFlag, 0),
      // Partition 1 begins at block 16, with a volume descriptor of its own; geometry 32 sectors, 64 heads.
      iso_write_opts_set_part_offset(options, 16, 32, 64),
      slipway_iso_append_partition(options, 2, 0xEF, Self.efiSystemPartitionType, efiPath),
      iso_write_opts_set_gpt_guid(options, &diskIdentifier, writer.diskIdentifier == nil ? fromVolumeTime : 1),
    ] {
      try Isofs.check(result, "set up the partitions")
    }
  }

  /// C12A7328-F81F-11D2-BA4B-00A0C93EC93B as on disk (UEFI Specification 2.10, table 5.7).
  private static let efiSystemPartitionType: [UInt8] = [
    0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B,
  ]
}

/// The image as libisofs's own thread makes it.
struct IsofsSource: ~Copyable {
  fileprivate let source: UnsafeMutablePointer<burn_source>

  deinit { slipway_iso_source_free(source) }

  /// In bytes.
  var byteCount: UInt64 { UInt64(max(0, slipway_iso_source_size(source))) }

  /// Fills the buffer, which must not be larger than what is left of the image.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws(ISOImageError) {
    let count = Int32(clamping: buffer.count)
    let taken = slipway_iso_source_read(source, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), count)
    guard taken == count else {
      throw .library(operation: "make the image", code: taken, messages: Isofs.takeMessages())
    }
  }
}
