// SPDX-License-Identifier: GPL-3.0-or-later

internal import CSquashfs
private import Glibc
internal import SystemPackage

/// The file being written and libsquashfs' objects around it, in the order the library's own `tar2sqfs` makes them.
///
/// It is written beside its final name and removed again unless it was completed.
final class ImageFile {
  let path: FilePath
  private let temporaryPath: FilePath
  private var descriptor: FileDescriptor?
  private var isComplete = false

  private(set) var file: UnsafeMutablePointer<sqfs_file_t>?
  private(set) var compressor: UnsafeMutablePointer<sqfs_compressor_t>?
  private var decompressor: UnsafeMutablePointer<sqfs_compressor_t>?
  private var blockWriter: UnsafeMutablePointer<sqfs_block_writer_t>?
  private(set) var fragments: OpaquePointer?
  private(set) var processor: OpaquePointer?
  var superBlock = sqfs_super_t()

  /// Where libsquashfs keeps the inodes of files; it writes to these places until all data is processed.
  private var slots: [UnsafeMutablePointer<UnsafeMutablePointer<sqfs_inode_generic_t>?>] = []
  private var slotCount = 0
  private static let slotsAtATime = 1024

  init(_ path: FilePath, _ options: SquashfsOptions) throws(SquashfsError) {
    self.path = path
    temporaryPath = path.removingLastComponent().appending(
      ".\(path.lastComponent?.string ?? "squashfs").\(UInt64.random(in: .min ... .max)).partial")
    do {
      descriptor = try FileDescriptor.open(
        temporaryPath, .readWrite, options: [.create, .exclusiveCreate, .closeOnExec],
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
    } catch {
      throw SquashfsError.cannotCreate(file: path, errno: (error as? Errno)?.rawValue ?? EIO)
    }
    file = slipway_squashfs_file_create(descriptor?.rawValue ?? -1)
    try check(file != nil ? 0 : SQFS_ERROR_ALLOC.rawValue, "preparing the file")

    let blockSize = UInt32(options.blockSize)
    var configuration = sqfs_compressor_config_t()
    try check(
      sqfs_compressor_config_init(&configuration, SQFS_COMP_ZSTD, options.blockSize, 0), "setting up zstd")
    configuration.level = UInt32(options.level)
    try check(sqfs_compressor_create(&configuration, &compressor), "setting up zstd")
    configuration.flags = UInt16(SQFS_COMP_FLAG_UNCOMPRESS.rawValue)
    try check(sqfs_compressor_create(&configuration, &decompressor), "setting up zstd")

    try check(
      sqfs_super_init(&superBlock, options.blockSize, options.modificationTime, SQFS_COMP_ZSTD),
      "making the super block")
    try check(sqfs_super_write(&superBlock, file), "writing the super block")
    let optionBytes = compressor?.pointee.write_options(compressor, file) ?? 0
    try check(min(0, optionBytes), "writing the compressor's options")
    if optionBytes > 0 { superBlock.flags |= UInt16(SQFS_FLAG_COMPRESSOR_OPTIONS.rawValue) }

    blockWriter = sqfs_block_writer_create(file, Int(Self.deviceBlockSize), 0)
    fragments = sqfs_frag_table_create(0)
    try check(
      blockWriter != nil && fragments != nil ? 0 : SQFS_ERROR_ALLOC.rawValue, "making the block writer")
    var description = sqfs_block_processor_desc_t()
    description.size = UInt32(MemoryLayout<sqfs_block_processor_desc_t>.size)
    description.max_block_size = blockSize
    description.num_workers = UInt32(options.workers)
    description.max_backlog = UInt32(Self.backlog(options))
    description.cmp = compressor
    description.wr = blockWriter
    description.tbl = fragments
    description.file = file
    description.uncmp = decompressor
    try check(sqfs_block_processor_create_ex(&description, &processor), "starting the compressors")
  }

  deinit {
    // The processor's threads come first: they use all the others.
    sqfs_destroy(processor.map(UnsafeMutableRawPointer.init))
    for chunk in slots {
      for index in 0..<Self.slotsAtATime { sqfs_free(chunk[index]) }
      chunk.deallocate()
    }
    sqfs_destroy(fragments.map(UnsafeMutableRawPointer.init))
    sqfs_destroy(blockWriter)
    sqfs_destroy(decompressor)
    sqfs_destroy(compressor)
    sqfs_destroy(file)
    try? descriptor?.close()
    if !isComplete { _ = temporaryPath.withPlatformString { unlink($0) } }
  }

  /// Bytes written so far.
  var size: UInt64 { file?.pointee.get_size(file) ?? 0 }

  /// Makes room for the inode of a file.
  func makeSlot() -> UInt32 {
    if slotCount == slots.count * Self.slotsAtATime {
      let chunk = UnsafeMutablePointer<UnsafeMutablePointer<sqfs_inode_generic_t>?>.allocate(
        capacity: Self.slotsAtATime)
      chunk.initialize(repeating: nil, count: Self.slotsAtATime)
      slots.append(chunk)
    }
    slotCount += 1
    return UInt32(slotCount - 1)
  }

  /// Begins the data of the file whose inode has a slot.
  func beginFile(_ slot: UInt32, flags: UInt32) throws(SquashfsError) {
    try check(
      sqfs_block_processor_begin_file(processor, place(of: slot), nil, flags), "beginning a file")
  }

  func append(_ bytes: RawSpan) throws(SquashfsError) {
    // libsquashfs 1.2 looks at a block it doesn't have when asked to append nothing.
    guard !bytes.isEmpty else { return }
    let status = bytes.withUnsafeBytes { sqfs_block_processor_append(processor, $0.baseAddress, $0.count) }
    try check(status, "compressing data")
  }

  func endFile() throws(SquashfsError) {
    try check(sqfs_block_processor_end_file(processor), "compressing data")
  }

  /// The inode of a file; complete once all data is processed.
  func inode(at slot: UInt32) -> UnsafeMutablePointer<sqfs_inode_generic_t>? { place(of: slot).pointee }

  /// Waits for all data to be compressed and written.
  func finishData() throws(SquashfsError) {
    try check(sqfs_block_processor_finish(processor), "compressing data")
  }

  /// Bytes of file data that came in.
  var inputBytes: UInt64 { sqfs_block_processor_get_stats(processor)?.pointee.input_bytes_read ?? 0 }

  /// Writes the super block and the padding, waits until all is on stable storage, and gives the file its name.
  func complete() throws(SquashfsError) {
    superBlock.bytes_used = size
    try check(sqfs_super_write(&superBlock, file), "writing the super block")
    let excess = Int(size % Self.deviceBlockSize)
    if excess > 0 {
      let padding = [UInt8](repeating: 0, count: Int(Self.deviceBlockSize) - excess)
      try check(file?.pointee.write_at(file, size, padding, padding.count) ?? 0, "padding")
    }
    let renamed = { [path, temporaryPath] in
      temporaryPath.withPlatformString { old in path.withPlatformString { rename(old, $0) } }
    }
    guard let descriptor, fsync(descriptor.rawValue) == 0, renamed() == 0 else {
      throw SquashfsError.cannotWrite(file: path, errno: errno)
    }
    isComplete = true
  }

  /// Throws unless a status of libsquashfs' is 0; names the system's error where there was one.
  func check(_ status: CInt, _ step: String) throws(SquashfsError) {
    guard status != 0 else { return }
    if let file, case let errno = slipway_squashfs_file_error(file), errno != 0 {
      throw SquashfsError.cannotWrite(file: path, errno: errno)
    }
    throw SquashfsError.library(file: path, step: step, code: status)
  }

  private func place(of slot: UInt32) -> UnsafeMutablePointer<UnsafeMutablePointer<sqfs_inode_generic_t>?> {
    slots[Int(slot) / Self.slotsAtATime] + Int(slot) % Self.slotsAtATime
  }

  /// Loop devices want whole pages.
  private static let deviceBlockSize: UInt64 = 4096

  /// Blocks in flight: enough that no worker waits for a slow one, within 64 MiB unless there are very many workers.
  private static func backlog(_ options: SquashfsOptions) -> Int {
    max(options.workers + 3, min(options.workers * 10, (64 << 20) / options.blockSize))
  }
}
