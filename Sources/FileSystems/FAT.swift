// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// FAT12, FAT16 and FAT32: an entry a cluster in the file allocation table, zero when it is free.
///
/// The map's block is a sector, as partclone has it: clusters need not be aligned to their size. Sectors marked as bad
/// count as used. There is no journal: what the table says holds, even when the volume was not unmounted.
struct FAT: FileSystemReader {
  private let volume: Volume
  private let boot: FATBootSector
  let identity: FileSystemIdentity

  init?(_ device: any BlockDevice) throws {
    guard device.byteCount >= UInt64(FATBootSector.byteCount) else { return nil }
    guard let boot = try FATBootSector(device.read(at: 0, count: FATBootSector.byteCount)) else { return nil }
    volume = Volume(device: device, kind: boot.kind)
    self.boot = boot
    identity = FileSystemIdentity(
      kind: boot.kind, uuid: boot.uuid, label: try FATLabel(device, boot).text ?? boot.label,
      byteCount: UInt64(boot.sectorCount) * UInt64(boot.sectorSize))
  }

  func allocationMap() throws -> AllocationMap {
    guard identity.byteCount <= volume.device.byteCount else {
      throw volume.damaged(
        "\(boot.sectorCount) sectors of \(boot.sectorSize) bytes do not fit the volume's \(volume.device.byteCount) bytes"
      )
    }
    guard boot.activeFAT < boot.fatCount else {
      throw volume.damaged("the active FAT is number \(boot.activeFAT), but there are only \(boot.fatCount)")
    }
    var warnings: [String] = []
    let bitsPerEntry = boot.kind == .fat12 ? 12 : boot.kind == .fat16 ? 16 : 32
    let capacity = boot.sectorsPerFAT * boot.sectorSize * 8 / bitsPerEntry
    if boot.clusterCount > capacity - 2 {
      warnings.append("its FAT describes only \(max(0, capacity - 2)) of \(boot.clusterCount) clusters")
    }
    var free = FreeClusters(boot)
    let entryCount = min(boot.clusterCount + 2, capacity)
    let secondEntry =
      switch boot.kind {
      case .fat12: try scan12(entryCount, into: &free)
      case .fat16: try scan(UInt16.self, mask: .max, entryCount, into: &free)
      default: try scan(UInt32.self, mask: 0x0FFF_FFFF, entryCount, into: &free)
      }
    // The second entry holds flags: closed cleanly, and no read error met. FAT12 has no room for them.
    let flags = secondEntry >> UInt32(boot.kind == .fat32 ? 26 : 14)
    if boot.isMarkedDirty || boot.kind != .fat12 && flags & 2 == 0 { warnings.append("it was not cleanly unmounted") }
    if boot.kind != .fat12 && flags & 1 == 0 { warnings.append("an operating system met read errors on it") }
    return AllocationMap(
      identity: identity, blockSize: boot.sectorSize, bitmap: free.finished(), warnings: warnings)
  }

  private var fatOffset: UInt64 {
    UInt64(boot.firstFATSector + boot.activeFAT * boot.sectorsPerFAT) * UInt64(boot.sectorSize)
  }

  /// Notes the free clusters of a FAT whose entries are whole integers.
  /// - Returns: the second entry.
  private func scan<Entry: FixedWidthInteger & BitwiseCopyable>(
    _ type: Entry.Type, mask: Entry, _ count: Int, into free: inout FreeClusters
  ) throws -> UInt32 {
    let width = MemoryLayout<Entry>.size
    var part = [UInt8](repeating: 0, count: min(count * width, 1 << 20))
    var second: UInt32 = 0
    var done = 0
    while done < count {
      let entries = min(part.count / width, count - done)
      var span = part.mutableSpan
      var bytes = span.mutableBytes
      var wanted = bytes._mutatingExtracting(0..<(entries * width))
      try volume.device.read(at: fatOffset + UInt64(done * width), into: &wanted)
      let table = part.span.bytes
      for index in 0..<entries {
        let entry = Entry(littleEndian: table.unsafeLoadUnaligned(fromByteOffset: index * width, as: Entry.self))
        if entry & mask == 0 { free.append(done + index) }
        if done + index == 1 { second = UInt32(truncatingIfNeeded: entry) }
      }
      done += entries
    }
    return second
  }

  /// The same for FAT12, which packs two entries into three bytes and has few enough to be read whole.
  private func scan12(_ count: Int, into free: inout FreeClusters) throws -> UInt32 {
    // One byte more than the entries need: each is read as a pair of bytes.
    let table = try volume.device.read(at: fatOffset, count: (count * 3 + 1) / 2) + [0]
    func entry(_ cluster: Int) throws(OutOfBounds) -> UInt16 {
      let pair = try table.littleEndian(UInt16.self, at: cluster * 3 / 2)
      return cluster.isMultiple(of: 2) ? pair & 0xFFF : pair >> 4
    }
    for cluster in 0..<count where try entry(cluster) == 0 { free.append(cluster) }
    return count > 1 ? UInt32(try entry(1)) : 0
  }
}

/// The map, all used at first, from which free clusters are taken away run by run.
private struct FreeClusters {
  private let boot: FATBootSector
  private var bitmap: BlockBitmap
  private var run = 2..<2

  init(_ boot: FATBootSector) {
    self.boot = boot
    bitmap = BlockBitmap(count: boot.sectorCount, used: true)
  }

  /// - Parameter cluster: larger than any before; numbers below 2 stand for no cluster.
  mutating func append(_ cluster: Int) {
    guard cluster >= 2 else { return }
    if cluster != run.upperBound {
      clear()
      run = cluster..<cluster
    }
    run = run.lowerBound..<(cluster + 1)
  }

  mutating func finished() -> BlockBitmap {
    clear()
    return bitmap
  }

  private mutating func clear() {
    let start = boot.firstDataSector + (run.lowerBound - 2) * boot.sectorsPerCluster
    bitmap.set(start..<(start + run.count * boot.sectorsPerCluster), used: false)
  }
}

/// The volume label in the root directory, which counts before the one in the boot sector.
private struct FATLabel {
  private(set) var text: String?

  /// Directories have at most 65536 entries of 32 bytes; a chain that goes on for longer is broken.
  private static let directoryLimit = 65536 * 32

  init(_ device: any BlockDevice, _ boot: FATBootSector) throws {
    let sector = UInt64(boot.sectorSize)
    if boot.kind != .fat32 {
      _ = try look(in: device, at: UInt64(boot.rootSector) * sector, count: boot.rootEntryCount * 32)
      return
    }
    let clusterSize = boot.sectorsPerCluster * boot.sectorSize
    let fat = UInt64(boot.firstFATSector + boot.activeFAT * boot.sectorsPerFAT) * sector
    var cluster = boot.rootCluster & 0x0FFF_FFFF
    var seen = 0
    while cluster >= 2, Int(cluster) < boot.clusterCount + 2, seen < Self.directoryLimit {
      let start = UInt64(boot.firstDataSector + (Int(cluster) - 2) * boot.sectorsPerCluster) * sector
      guard try look(in: device, at: start, count: clusterSize) else { return }
      seen += clusterSize
      let entry = fat + UInt64(cluster) * 4
      guard entry + 4 <= device.byteCount else { return }
      cluster = try device.read(at: entry, count: 4).littleEndian(UInt32.self, at: 0) & 0x0FFF_FFFF
    }
  }

  /// Looks for the label in a part of the directory.
  /// - Returns: whether the search should go on behind it.
  private mutating func look(in device: any BlockDevice, at offset: UInt64, count: Int) throws -> Bool {
    guard offset <= device.byteCount, UInt64(count) <= device.byteCount - offset else { return false }
    let entries = try device.read(at: offset, count: count)
    for start in stride(from: 0, to: count, by: 32) {
      let first = entries[start]
      let attributes = entries[start + 11]
      let cluster =
        UInt32(try entries.littleEndian(UInt16.self, at: start + 20)) << 16
        | UInt32(try entries.littleEndian(UInt16.self, at: start + 26))
      if first == 0 { return false }
      // A label, but neither deleted nor a part of a long file name.
      guard first != 0xE5, attributes & 0x3F != 0x0F, attributes & 0x18 == 0x08, cluster == 0 else { continue }
      var name = entries[start..<(start + 11)]
      if first == 0x05 { name[start] = 0xE5 }
      text = labelText(of: name)
      return false
    }
    return true
  }
}
