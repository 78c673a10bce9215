// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// HFS Plus and HFSX: a bit an allocation block in the allocation file, also when the volume is wrapped in one of HFS.
///
/// A copy of the volume header stands 1024 bytes before the end of the volume, often behind the last allocation block,
/// so outside the map. The journal is not replayed: with changes in it the volume needs recovery.
/// Source: Apple, Technical Note TN1150, HFS Plus Volume Format.
struct HFSPlus: FileSystemReader {
  static let signature = Array("H+".utf8)
  static let caseSensitiveSignature = Array("HX".utf8)

  private let volume: Volume
  private let files: HFSPlusFiles
  let identity: FileSystemIdentity

  private var header: HFSPlusHeader { files.header }

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .hfsplus)
    guard let base = try Self.base(device) else { return nil }
    files = HFSPlusFiles(volume: volume, base: base, header: try HFSPlusHeader(volume, base: base))
    // A broken catalog is no reason not to know the file system.
    let label: String?
    do { label = try files.label() } catch is FileSystemError { label = nil }
    identity = FileSystemIdentity(
      kind: .hfsplus, uuid: files.header.uuid, label: label, byteCount: files.header.byteCount)
  }

  /// Where the volume begins: not at the start when an HFS volume is put around it, which says where.
  /// - Returns: nil for anything else, plain HFS included.
  private static func base(_ device: any BlockDevice) throws -> UInt64? {
    guard device.byteCount >= HFSPlusHeader.offset + 512 else { return nil }
    let bytes = try device.read(at: HFSPlusHeader.offset, count: 512)
    func isHeader(_ bytes: ArraySlice<UInt8>) -> Bool {
      bytes.elementsEqual(signature) || bytes.elementsEqual(caseSensitiveSignature)
    }
    if isHeader(bytes[0..<2]) { return 0 }
    guard bytes.starts(with: "BD".utf8), isHeader(bytes[124..<126]) else { return nil }
    let blockSize = UInt64(try bytes.bigEndian(UInt32.self, at: 20))
    let firstSector = UInt64(try bytes.bigEndian(UInt16.self, at: 28))
    let start = UInt64(try bytes.bigEndian(UInt16.self, at: 126))
    let base = firstSector * 512 + start * blockSize
    guard base.isMultiple(of: 512), base <= device.byteCount,
      device.byteCount - base >= HFSPlusHeader.offset + UInt64(HFSPlusHeader.byteCount),
      isHeader(try device.read(at: base + HFSPlusHeader.offset, count: 2)[...])
    else { return nil }
    return base
  }

  func allocationMap() throws -> AllocationMap {
    try refuseUnclean()
    let extents = try files.allocationExtents()
    let needed = (header.blockCount + 7) / 8
    guard header.allocationFile.byteCount >= UInt64(needed) else {
      throw volume.damaged(
        "the allocation file has \(header.allocationFile.byteCount) bytes for \(header.blockCount) blocks")
    }
    var bitmap = BlockBitmap(count: header.blockCount)
    var done = 0
    try files.forEachPart(of: extents, byteCount: needed, "the allocation file") { part in
      // Block 0 is the most significant bit of the first byte.
      for index in part.indices { part[index] = part[index].bitReversed }
      let count = min(part.count * 8, header.blockCount - done)
      try bitmap.formUnion(at: done, count: count, leastSignificantBitFirst: part.span.bytes)
      done += count
    }
    let free = bitmap.count - bitmap.usedCount
    guard free == header.freeBlockCount else {
      throw volume.damaged(
        "the allocation file has \(free) free blocks, the volume header counts \(header.freeBlockCount)")
    }
    markMetadata(in: &bitmap, extents)
    return AllocationMap(identity: identity, blockSize: blockSize, bitmap: placed(bitmap))
  }

  /// The largest unit that the allocation blocks are made of and aligned to.
  private var blockSize: Int {
    files.base == 0 ? header.blockSize : min(header.blockSize, 1 << files.base.trailingZeroBitCount)
  }

  /// The volume header, its copy, and the special files, whatever the bitmap says of them.
  private func markMetadata(in bitmap: inout BlockBitmap, _ allocationExtents: [Range<Int>]) {
    let headerEnd = Int(HFSPlusHeader.offset) + HFSPlusHeader.byteCount
    bitmap.set(0..<((headerEnd + header.blockSize - 1) / header.blockSize))
    // The copy is mostly behind the last block, which is then left alone.
    let copyOffset = max(0, Int(volume.device.byteCount - files.base) - Int(HFSPlusHeader.offset))
    bitmap.set(min(copyOffset / header.blockSize, bitmap.count)..<bitmap.count)
    let others = [header.extentsFile, header.catalogFile, header.attributesFile, header.startupFile]
    for extent in allocationExtents + others.flatMap(\.extents) { bitmap.set(extent) }
    if header.attributes.contains(.journaled) {
      bitmap.set(Int(header.journalInfoBlock)..<(Int(header.journalInfoBlock) + 1))
    }
  }

  /// The map of the device: what lies around the volume is used.
  private func placed(_ blocks: BlockBitmap) -> BlockBitmap {
    if files.base == 0 { return blocks }
    let start = Int(files.base) / blockSize
    let factor = header.blockSize / blockSize
    var map = BlockBitmap(count: start + blocks.count * factor)
    map.set(0..<start)
    blocks.forEachUsedRun { map.set((start + $0.lowerBound * factor)..<(start + $0.upperBound * factor)) }
    return map
  }

  // MARK: Clean or not

  private func refuseUnclean() throws {
    guard !header.attributes.contains(.inconsistent) else {
      throw volume.needsRecovery("it is marked as inconsistent, so it means to be checked")
    }
    // Who does not know the journal leaves another mark: then the journal says nothing.
    let journalingVersion: UInt32 = 0x4846_534A  // HFSJ
    if header.attributes.contains(.journaled) {
      guard try isJournalEmpty() else { throw volume.needsRecovery("its journal holds changes") }
      if header.lastMountedVersion == journalingVersion { return }
    }
    guard header.attributes.contains(.unmounted) else {
      throw volume.needsRecovery("it is not marked as unmounted")
    }
  }

  /// Whether all that the journal holds has reached its place.
  private func isJournalEmpty() throws -> Bool {
    let infoOffset = UInt64(header.journalInfoBlock) * UInt64(header.blockSize)
    guard header.journalInfoBlock > 0, Int(header.journalInfoBlock) < header.blockCount else {
      throw volume.damaged("its journal is described in block \(header.journalInfoBlock) of \(header.blockCount)")
    }
    let info = try volume.read("the journal's description", at: files.base + infoOffset, count: 52)
    let flags = try info.bigEndian(UInt32.self, at: 0)
    let (inFileSystem, onOtherDevice, needsInitialisation): (UInt32, UInt32, UInt32) = (1, 2, 4)
    guard flags & onOtherDevice == 0, flags & inFileSystem != 0 else {
      throw volume.unsupported("a journal on another device")
    }
    if flags & needsInitialisation != 0 { return true }
    let offset = try info.bigEndian(UInt64.self, at: 36)
    guard offset < header.byteCount else { throw volume.damaged("its journal begins at byte \(offset)") }
    let bytes = try volume.read("the journal", at: files.base + offset, count: 44)
    // Written in the byte order of the machine.
    let isLittleEndian = bytes.starts(with: "xLNJ".utf8)
    guard isLittleEndian || bytes.starts(with: "JNLx".utf8) else {
      throw volume.damaged("the journal has no header")
    }
    return bytes[8..<16] == bytes[16..<24]
  }
}

extension UInt8 {
  /// The bits in the opposite order.
  fileprivate var bitReversed: UInt8 {
    let nibbles = self >> 4 | self << 4
    let pairs = nibbles >> 2 & 0x33 | (nibbles & 0x33) << 2
    return pairs >> 1 & 0x55 | (pairs & 0x55) << 1
  }
}
