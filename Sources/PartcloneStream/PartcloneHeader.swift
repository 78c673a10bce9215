// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// What a stream says about itself.
///
/// Version 2: 110 bytes, packed, little-endian. Layout as in partclone's `src/partclone.h` (image_desc_v2): 0 magic[16], 16 partclone's version[14], 30 "0002",
/// 34 `u16` C0DE, 36 file system[16], 52 `u64` device size, 60 `u64` blocks, 68 `u64` used blocks by the superblock,
/// 76 `u64` used blocks by the bitmap, 84 `u32` block size, 88 `u32` size of the options (18), 92 `u16` 2,
/// 94 `u16` 32 or 64, 96 `u16` checksum mode, 98 `u16` checksum size, 100 `u32` blocks per checksum,
/// 104 `u8` reseed, 105 `u8` bitmap mode, 106 `u32` CRC-32 of what precedes.
///
/// Version 1 (`image_head_v1`): 4160 bytes, little-endian: 0 magic[15], 15 file system[15], 30 "0001", 36 `i32` block
/// size, 40 `u64` device size, 48 `u64` blocks, 56 `u64` used blocks (not to be trusted), 64 options[4096], unused.
/// For ntfsclone's see ``NTFSCloneParser``.
public struct PartcloneHeader: Sendable, Equatable {
  public let format: StreamFormat
  /// Of the program that wrote it, as it says; at most 14 bytes. Empty where it doesn't.
  public let partcloneVersion: String
  /// `EXTFS`, `NTFS`, `FAT32` …, or `raw`; at most 15 bytes.
  public let fileSystem: String
  /// Bytes of the volume that was saved.
  public let deviceSize: UInt64
  public let totalBlocks: UInt64
  /// As the file system's superblock counts them; may be 0.
  public let superblockUsedBlocks: UInt64
  /// As the writer counted them. Readers count the bitmap instead.
  public let usedBlocks: UInt64
  /// In bytes.
  public let blockSize: Int
  public let checksumMode: ChecksumMode
  /// How many used blocks each checksum covers; 0 only when there are none.
  public let blocksPerChecksum: Int
  /// Whether each checksum covers only the blocks since the one before, or all so far.
  public let reseedsChecksum: Bool
  public let bitmapMode: BitmapMode

  /// Bytes of version 2.
  public static let byteCount = 110
  /// Bytes of version 1.
  static let version1ByteCount = 4160
  /// As many bytes as tell the version.
  static let versionEnd = 34
  /// No block of any file system is larger, nor does partclone accept more.
  public static let maximumBlockSize = 64 << 20
  /// partclone's own limit.
  public static let maximumBlocks: UInt64 = 8 << 40

  static let magic = Array("partclone-image".utf8)
  private static let checksumOffset = 106

  /// The header of a stream we write: CRC-32, restarted after as many blocks as Clonezilla's buffer holds.
  public init(
    fileSystem: String, deviceSize: UInt64, blockSize: Int, totalBlocks: UInt64, usedBlocks: UInt64
  ) {
    format = .partclone2
    partcloneVersion = "slipway"
    self.fileSystem = fileSystem
    self.deviceSize = deviceSize
    self.totalBlocks = totalBlocks
    superblockUsedBlocks = usedBlocks
    self.usedBlocks = usedBlocks
    self.blockSize = blockSize
    checksumMode = .crc32
    blocksPerChecksum = max(1, 10_485_760 / blockSize)
    reseedsChecksum = true
    bitmapMode = .bit
  }

  /// The header of an ntfsclone stream, which ``NTFSCloneParser`` validates.
  init(ntfsclone deviceSize: UInt64, clusterSize: Int, clusters: UInt64, usedClusters: UInt64) {
    format = .ntfsclone
    partcloneVersion = ""
    fileSystem = "NTFS"
    self.deviceSize = deviceSize
    blockSize = clusterSize
    totalBlocks = clusters
    superblockUsedBlocks = usedClusters
    usedBlocks = usedClusters
    checksumMode = .none
    blocksPerChecksum = 0
    reseedsChecksum = false
    bitmapMode = .none
  }

  /// How many bytes the header has that begins with these, at least ``versionEnd`` ones.
  static func byteCount(of start: [UInt8]) -> Int {
    start[30..<versionEnd].elementsEqual("0001".utf8) ? version1ByteCount : byteCount
  }

  /// Reads and validates a header of version 1 or 2.
  /// - Parameters:
  ///   - bytes: all of it.
  ///   - image: what errors call the stream.
  public init(_ bytes: RawSpan, image: String) throws(PartcloneError) {
    do {
      try self.init(checking: bytes, image: image)
    } catch let error as PartcloneError {
      throw error
    } catch {
      throw .truncated(image: image, offset: UInt64(bytes.byteCount), missing: "inside its header")
    }
  }

  private init(checking bytes: RawSpan, image: String) throws {
    guard try bytes.array(at: 0, count: Self.magic.count) == Self.magic else {
      throw PartcloneError.notPartclone(image: image)
    }
    switch try bytes.text(at: 30, count: 4) {
    case "0001": try self.init(version1: bytes)
    case "0002": try self.init(version2: bytes, image: image)
    case let version: throw PartcloneError.unsupported(image: image, feature: "format \"\(version)\"")
    }
    try validate(image: image)
  }

  private init(version1 bytes: RawSpan) throws {
    format = .partclone1
    partcloneVersion = ""
    fileSystem = try bytes.text(at: 15, count: 15)
    blockSize = Int(try bytes.littleEndian(UInt32.self, at: 36))
    deviceSize = try bytes.littleEndian(UInt64.self, at: 40)
    totalBlocks = try bytes.littleEndian(UInt64.self, at: 48)
    superblockUsedBlocks = 0
    usedBlocks = try bytes.littleEndian(UInt64.self, at: 56)
    checksumMode = .firstByteCRC32
    blocksPerChecksum = 1
    reseedsChecksum = false
    bitmapMode = .byte
  }

  private init(version2 bytes: RawSpan, image: String) throws {
    guard try bytes.littleEndian(UInt16.self, at: 34) == 0xC0DE else {
      throw PartcloneError.unsupported(image: image, feature: "big-endian byte order")
    }
    let stored = try bytes.littleEndian(UInt32.self, at: Self.checksumOffset)
    let computed = ~CRC32.checksum(try bytes.slice(0, Self.checksumOffset))
    guard stored == computed else {
      throw PartcloneError.wrongHeaderChecksum(image: image, expected: stored, found: computed)
    }

    format = .partclone2
    partcloneVersion = try bytes.text(at: 16, count: 14)
    fileSystem = try bytes.text(at: 36, count: 16)
    deviceSize = try bytes.littleEndian(UInt64.self, at: 52)
    totalBlocks = try bytes.littleEndian(UInt64.self, at: 60)
    superblockUsedBlocks = try bytes.littleEndian(UInt64.self, at: 68)
    usedBlocks = try bytes.littleEndian(UInt64.self, at: 76)
    blockSize = Int(try bytes.littleEndian(UInt32.self, at: 84))
    blocksPerChecksum = Int(try bytes.littleEndian(UInt32.self, at: 100))
    reseedsChecksum = try bytes.byte(at: 104) != 0

    let optionsSize = try bytes.littleEndian(UInt32.self, at: 88)
    guard optionsSize == 18 else {
      throw PartcloneError.unsupported(image: image, feature: "an options field of \(optionsSize) bytes")
    }
    let mode = try bytes.littleEndian(UInt16.self, at: 96)
    guard let checksumMode = ChecksumMode(rawValue: mode), checksumMode != .firstByteCRC32 else {
      throw PartcloneError.unsupported(image: image, feature: "checksum mode 0x\(String(mode, radix: 16))")
    }
    self.checksumMode = checksumMode
    let bitmapCode = try bytes.byte(at: 105)
    guard let bitmapMode = BitmapMode(rawValue: bitmapCode) else {
      throw PartcloneError.unsupported(image: image, feature: "bitmap mode \(bitmapCode)")
    }
    self.bitmapMode = bitmapMode

    let checksumSize = try bytes.littleEndian(UInt16.self, at: 98)
    guard Int(checksumSize) == checksumMode.byteCount else {
      throw PartcloneError.invalidHeader(
        image: image,
        detail: "a \(checksumMode.name) checksum has \(checksumMode.byteCount) bytes, not \(checksumSize)")
    }
  }

  private func validate(image: String) throws(PartcloneError) {
    func require(_ condition: Bool, _ detail: @autoclosure () -> String) throws(PartcloneError) {
      guard condition else { throw .invalidHeader(image: image, detail: detail()) }
    }
    try require(
      blockSize > 0 && blockSize <= Self.maximumBlockSize && blockSize.isMultiple(of: 512),
      "a block has \(blockSize) bytes, not a multiple of 512 up to \(Self.maximumBlockSize)")
    try require(totalBlocks <= Self.maximumBlocks, "\(totalBlocks) blocks are more than \(Self.maximumBlocks)")
    try require(
      usedBlocks <= totalBlocks || format == .partclone1, "\(usedBlocks) of \(totalBlocks) blocks are used")
    let (size, overflow) = totalBlocks.multipliedReportingOverflow(by: UInt64(blockSize))
    try require(
      !overflow && size <= deviceSize,
      "\(totalBlocks) blocks of \(blockSize) bytes are more than the device's \(deviceSize) bytes")
    try require(deviceSize <= UInt64(Int64.max), "a device has no \(deviceSize) bytes")
    try require(
      blocksPerChecksum > 0 || checksumMode == .none, "\(checksumMode.name) checksums that cover no block")
  }

  /// The header as it stands in a version 2 stream.
  public func encoded() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.byteCount)
    bytes.store(bytes: Self.magic, at: 0)
    bytes.store(bytes: partcloneVersion.utf8.prefix(13), at: 16)
    bytes.store(bytes: "0002".utf8, at: 30)
    bytes.store(UInt16(0xC0DE), at: 34)
    bytes.store(bytes: fileSystem.utf8.prefix(15), at: 36)
    bytes.store(deviceSize, at: 52)
    bytes.store(totalBlocks, at: 60)
    bytes.store(superblockUsedBlocks, at: 68)
    bytes.store(usedBlocks, at: 76)
    bytes.store(UInt32(blockSize), at: 84)
    bytes.store(UInt32(18), at: 88)
    bytes.store(UInt16(2), at: 92)
    bytes.store(UInt16(64), at: 94)
    bytes.store(checksumMode.rawValue, at: 96)
    bytes.store(UInt16(checksumMode.byteCount), at: 98)
    bytes.store(UInt32(blocksPerChecksum), at: 100)
    bytes.store(UInt8(reseedsChecksum ? 1 : 0), at: 104)
    bytes.store(bitmapMode.rawValue, at: 105)
    bytes.store(~CRC32.checksum(bytes.span.bytes.extracting(0..<Self.checksumOffset)), at: Self.checksumOffset)
    return bytes
  }

  /// Bytes of the bitmap, without its checksum or end mark.
  public var bitmapByteCount: UInt64 {
    switch bitmapMode {
    case .none: 0
    case .bit: (totalBlocks + 7) / 8
    case .byte: totalBlocks
    }
  }

  /// Bytes a checksum covers; nil when there are none.
  var bytesPerChecksum: UInt64? {
    checksumMode == .none ? nil : UInt64(blocksPerChecksum) * UInt64(blockSize)
  }
}
