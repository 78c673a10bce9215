// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// exFAT: a bit a cluster in the allocation bitmap, which is a file of the root directory and may lie in pieces.
///
/// There is no journal. What is marked as dirty has often only been pulled out while nothing was written; but it can
/// also have files whose clusters the bitmap does not know yet. So all that the directories refer to counts as used too.
/// Source: Microsoft, exFAT file system specification, section 7.1.
struct ExFAT: FileSystemReader {
  private let volume: Volume
  private let boot: ExFATBootSector
  let identity: FileSystemIdentity

  init?(_ device: any BlockDevice) throws {
    volume = Volume(device: device, kind: .exfat)
    guard device.byteCount >= 512, try device.read(at: 3, count: 8) == ExFATBootSector.signature else { return nil }
    boot = try ExFATBootSector(volume)
    var clusters = ExFATClusters(volume, boot)
    // A broken root directory is no reason not to know the file system; its map will be refused by name.
    let label: String?
    do { label = try clusters.root().label } catch is FileSystemError { label = nil }
    identity = FileSystemIdentity(kind: .exfat, uuid: boot.uuid, label: label, byteCount: boot.byteCount)
  }

  func allocationMap() throws -> AllocationMap {
    var clusters = ExFATClusters(volume, boot)
    let root = try clusters.root()
    guard let bitmapFile = root.bitmap, let upcaseTable = root.upcaseTable else {
      throw volume.damaged("the root directory lacks the allocation bitmap or the up-case table")
    }
    var metadata = root.runs
    for (chain, what) in [(bitmapFile, "the allocation bitmap"), (upcaseTable, "the up-case table")] {
      try clusters.forEachRun(of: chain, what) { run in
        metadata.append(run)
        return true
      }
    }
    var used = try bitmap(bitmapFile, &clusters)
    // Where the bitmap says that its own clusters are free, it cannot be believed elsewhere.
    for run in metadata where used.usedCount(in: bits(run)) < run.count {
      throw volume.damaged("the allocation bitmap marks clusters of its own or of the root directory as free")
    }
    var warnings: [String] = []
    if boot.isDirty { warnings.append(try addFiles(to: &used, &clusters)) }
    if boot.hasMediaFailure { warnings.append("an operating system met read errors on it") }
    return AllocationMap(
      identity: identity, blockSize: blockSize, bitmap: placed(used), warnings: warnings)
  }

  /// Clusters need not be aligned to their size; this is the largest unit that they are made of and aligned to.
  private var blockSize: Int {
    min(boot.clusterSize, 1 << min(boot.heapOffset.trailingZeroBitCount, 25))
  }

  private func bits(_ run: Range<UInt32>) -> Range<Int> { Int(run.lowerBound) - 2..<Int(run.upperBound) - 2 }

  /// One bit a cluster, as the file has it.
  private func bitmap(_ file: ExFATClusters.Chain, _ clusters: inout ExFATClusters) throws -> BlockBitmap {
    let count = Int(boot.clusterCount)
    let needed = (count + 7) / 8
    guard let byteCount = file.byteCount, byteCount >= UInt64(needed) else {
      throw volume.damaged("the allocation bitmap has \(file.byteCount ?? 0) bytes for \(count) clusters")
    }
    var bitmap = BlockBitmap(count: count)
    var done = 0
    let reader = clusters
    try clusters.forEachRun(of: file, "the allocation bitmap") { run in
      for cluster in run where done < count {
        let bytes = try reader.read(cluster..<(cluster + 1), "the allocation bitmap")
        let part = min(bytes.count * 8, count - done)
        try bitmap.formUnion(at: done, count: part, leastSignificantBitFirst: bytes.span.bytes)
        done += part
      }
      return done < count
    }
    return bitmap
  }

  /// Marks what the files and directories refer to.
  /// - Returns: what to tell of it.
  private func addFiles(to bitmap: inout BlockBitmap, _ clusters: inout ExFATClusters) throws -> String {
    let before = bitmap.usedCount
    do {
      try clusters.forEachRunInUse { bitmap.set(bits($0)) }
    } catch FileSystemError.damaged(_, _, let detail) {
      throw volume.needsRecovery("it is marked as dirty, and \(detail)")
    }
    let added = bitmap.usedCount - before
    return added == 0
      ? "it is marked as not cleanly unmounted"
      : "it was not cleanly unmounted; \(added) clusters of its files, which its bitmap has as free, are saved along"
  }

  /// The map of the volume: what lies before and behind the clusters is used.
  private func placed(_ clusters: BlockBitmap) -> BlockBitmap {
    let start = Int(boot.heapOffset) / blockSize
    let factor = boot.clusterSize / blockSize
    var map = BlockBitmap(count: Int(boot.byteCount) / blockSize)
    map.set(0..<start)
    clusters.forEachUsedRun { map.set((start + $0.lowerBound * factor)..<(start + $0.upperBound * factor)) }
    map.set((start + clusters.count * factor)..<map.count)
    return map
  }
}
