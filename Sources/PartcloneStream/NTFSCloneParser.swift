// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// ntfsclone's "special image format" (`--save-image`), as `ntfsprogs/ntfsclone.c` of NTFS-3G writes and reads it.
///
/// Header, little-endian, packed: 0 NUL and "ntfsclone-image", 16 `u8` major version, 17 `u8` minor version,
/// 18 `u32` cluster size, 22 `u64` device size, 30 `u64` clusters, 38 `u64` clusters in use, and from version 10 on
/// 46 `u32` offset of the image data (56 as ntfsclone writes it); before, the data begins there. Then commands: 0 and an `i64`: so
/// many clusters are not in use; 1: the bytes of a cluster follow. From version 10.1 on the last cluster is the one
/// after those of the volume, with the backup boot sector; it ends where the device does.
///
/// There are no checksums. Version 9 and before are in the byte order of their writer; big-endian ones are refused.
final class NTFSCloneParser: FormatParser {
  private let image: String
  private var state = State.header([])
  /// Where the next byte stands in the stream.
  private var offset: UInt64 = 0
  /// The cluster the next command is about.
  private var cluster: UInt64 = 0
  /// Clusters of the volume that came in.
  private var stored: UInt64 = 0

  private static let magic: [UInt8] = [0] + Array("ntfsclone-image".utf8)
  /// Bytes up to version 9; from 10 on four more.
  private static let headerByteCount = 46
  /// ntfsclone's own limit; NTFS has no clusters larger than 2 MiB.
  private static let clusterSizes = 512...2 << 20
  private static let maximumDataOffset = 64 << 10

  private struct Header {
    let header: PartcloneHeader
    let hasBackupBootSector: Bool
  }

  private enum State {
    case header([UInt8])
    /// Bytes between the header and the data.
    case gap(Header, left: Int)
    case command(Header)
    case skip(Header, [UInt8])
    case data(Header, left: Int)
  }

  init(image: String) { self.image = image }

  func parse(_ bytes: RawSpan, _ handle: (VolumeStreamParser.Event) throws -> Void) throws {
    var position = 0
    while position < bytes.byteCount {
      let before = offset
      let rest = bytes.extracting(position..<bytes.byteCount)
      switch state {
      case .header(let collected): try parseHeader(collected, rest, handle)
      case .gap(let header, let left):
        let count = min(left, rest.byteCount)
        offset += UInt64(count)
        state = count == left ? .command(header) : .gap(header, left: left - count)
      case .command(let header): try parseCommand(header, rest)
      case .skip(let header, let collected): try parseSkip(header, collected, rest)
      case .data(let header, let left): try parseData(header, left, rest, at: position, handle)
      }
      position += Int(offset - before)
    }
    if case .header = state { return }
    try handle(.verified)
  }

  func finish() throws(PartcloneError) -> String? {
    let missing: String
    switch state {
    case .header(let collected):
      guard Self.magic.starts(with: collected.prefix(Self.magic.count)) else { throw .notPartclone(image: image) }
      missing = "inside its header"
    case .gap: missing = "before its first cluster"
    case .skip: missing = "inside a command"
    case .data: missing = "inside cluster \(cluster)"
    case .command(let header):
      let used = header.header.usedBlocks
      guard stored >= used, !header.hasBackupBootSector || cluster > header.header.totalBlocks else {
        missing = "with \(stored) of \(used) clusters and the backup boot sector"
        break
      }
      return nil
    }
    throw .truncated(image: image, offset: offset, missing: missing)
  }

  private func parseHeader(
    _ collected: [UInt8], _ bytes: RawSpan, _ handle: (VolumeStreamParser.Event) throws -> Void
  ) throws {
    let isLong = collected.count > 16 && collected[16] >= 10
    let wanted = collected.count < 17 ? 17 : Self.headerByteCount + (isLong ? 4 : 0)
    let more = try bytes.array(at: 0, count: min(bytes.byteCount, wanted - collected.count))
    offset += UInt64(more.count)
    let collected = collected + more
    state = .header(collected)
    guard collected.count >= Self.magic.count else { return }
    guard collected.starts(with: Self.magic) else { throw PartcloneError.notPartclone(image: image) }
    guard collected.count > 17, collected.count == Self.headerByteCount + (collected[16] >= 10 ? 4 : 0) else { return }

    let (major, minor) = (collected[16], collected[17])
    guard major <= 10 else {
      throw PartcloneError.unsupported(image: image, feature: "version \(major).\(minor) of ntfsclone's format")
    }
    let header = PartcloneHeader(
      ntfsclone: try collected.littleEndian(UInt64.self, at: 22),
      clusterSize: Int(try collected.littleEndian(UInt32.self, at: 18)),
      clusters: try collected.littleEndian(UInt64.self, at: 30),
      usedClusters: try collected.littleEndian(UInt64.self, at: 38))
    let dataOffset = major < 10 ? collected.count : Int(try collected.littleEndian(UInt32.self, at: 46))
    try validate(header, dataOffset: dataOffset)
    try handle(.header(header))
    try handle(.bitmap(usedBlocks: header.usedBlocks))
    let found = Header(header: header, hasBackupBootSector: (major, minor) >= (10, 1))
    state = dataOffset == collected.count ? .command(found) : .gap(found, left: dataOffset - collected.count)
  }

  private func validate(_ header: PartcloneHeader, dataOffset: Int) throws(PartcloneError) {
    func require(_ condition: Bool, _ detail: @autoclosure () -> String) throws(PartcloneError) {
      guard condition else { throw .invalidHeader(image: image, detail: detail()) }
    }
    let (size, blockSize) = (header.deviceSize, header.blockSize)
    try require(
      Self.clusterSizes.contains(blockSize) && blockSize.nonzeroBitCount == 1, "a cluster has \(blockSize) bytes")
    try require(size <= UInt64(Int64.max), "a device has no \(size) bytes")
    try require(
      header.totalBlocks <= size / UInt64(blockSize),
      "\(header.totalBlocks) clusters of \(blockSize) bytes are more than the device's \(size) bytes")
    try require(
      header.usedBlocks <= header.totalBlocks, "\(header.usedBlocks) of \(header.totalBlocks) clusters are in use")
    try require(
      dataOffset >= Int(offset) && dataOffset <= Self.maximumDataOffset, "its data begins at offset \(dataOffset)")
  }

  private func parseCommand(_ header: Header, _ bytes: RawSpan) throws {
    let limit = header.header.totalBlocks + (header.hasBackupBootSector ? 1 : 0)
    let command = try bytes.byte(at: 0)
    switch command {
    case _ where cluster >= limit: throw PartcloneError.trailingData(image: image, offset: offset)
    case 0: state = .skip(header, [])
    case 1:
      let start = cluster * UInt64(header.header.blockSize)
      let size = Int(min(UInt64(header.header.blockSize), header.header.deviceSize - start))
      if size > 0 { state = .data(header, left: size) } else { passCluster(of: header) }
    default:
      throw PartcloneError.invalidCommand(image: image, offset: offset, detail: "\(command) is no command")
    }
    offset += 1
  }

  private func parseSkip(_ header: Header, _ collected: [UInt8], _ bytes: RawSpan) throws {
    let more = try bytes.array(at: 0, count: min(bytes.byteCount, 8 - collected.count))
    offset += UInt64(more.count)
    let collected = collected + more
    state = .skip(header, collected)
    guard collected.count == 8 else { return }
    let count = try collected.littleEndian(UInt64.self, at: 0)
    // Images of metadata alone skip backwards too.
    guard count > 0, count <= header.header.totalBlocks + 1 - cluster else {
      throw PartcloneError.invalidCommand(
        image: image, offset: offset - 8, detail: "\(Int64(bitPattern: count)) clusters to be skipped at \(cluster)")
    }
    cluster += count
    state = .command(header)
  }

  private func parseData(
    _ header: Header, _ left: Int, _ bytes: RawSpan, at position: Int,
    _ handle: (VolumeStreamParser.Event) throws -> Void
  ) throws {
    let blockSize = UInt64(header.header.blockSize)
    let start = cluster * blockSize
    let size = min(blockSize, header.header.deviceSize - start)
    let count = min(left, bytes.byteCount)
    try handle(.data(position..<(position + count), deviceOffset: start + size - UInt64(left)))
    offset += UInt64(count)
    state = .data(header, left: left - count)
    if count == left {
      passCluster(of: header)
      state = .command(header)
    }
  }

  private func passCluster(of header: Header) {
    if cluster < header.header.totalBlocks { stored += 1 }
    cluster += 1
  }
}
