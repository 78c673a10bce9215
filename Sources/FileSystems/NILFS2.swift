// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// NILFS2: the segments that the segment usage file of the newest checkpoint has in use, and those that mounting looks
/// at for newer logs.
///
/// The map's block is the file system's, but a segment is used or free as a whole. The second superblock stands behind
/// the segments, so outside the map.
/// Source: Linux, include/uapi/linux/nilfs2_ondisk.h and Documentation/filesystems/nilfs2.rst.
struct NILFS2: FileSystemReader {
  private let volume: Volume
  /// The one to use first.
  private let superblocks: [NILFS2Superblock]
  private let superblock: NILFS2Superblock

  init?(_ device: any BlockDevice) throws {
    let volume = Volume(device: device, kind: .nilfs2)
    guard let found = try volume.parsing("a superblock", { try NILFS2Superblock.all(volume) }), let first = found.first
    else { return nil }
    self.volume = volume
    superblocks = found
    superblock = first
  }

  var identity: FileSystemIdentity {
    FileSystemIdentity(
      kind: .nilfs2, uuid: UUIDText.text(of: superblock.uuid[...]), label: superblock.label,
      byteCount: superblock.deviceByteCount)
  }

  func allocationMap() throws -> AllocationMap {
    try superblock.refuseUnknownFeatures(volume)
    return try volume.parsing("a log") {
      let (superblock, logs) = try newestLogs()
      let files = try NILFS2Files(volume, superblock, superRoot: logs.superRoot)
      // The superblock was checked to count no more blocks than the volume has.
      var bitmap = BlockBitmap(count: Int(superblock.segmentCount * superblock.blocksPerSegment))
      func mark(_ segment: UInt64) {
        let blocks = superblock.blocks(ofSegment: segment)
        bitmap.set(Int(blocks.lowerBound)..<Int(blocks.upperBound))
      }
      bitmap.set(0..<Int(superblock.firstDataBlock))
      var used: UInt64 = 0
      let counts = try files.forEachUsedSegment {
        used += 1
        mark($0)
      }
      // Bad segments count as neither.
      guard used + counts.clean == superblock.segmentCount, counts.dirty <= used else {
        throw volume.damaged(
          "\(used) of \(superblock.segmentCount) segments are in use, but \(counts.clean) are counted as clean")
      }
      for segment in logs.segments { mark(segment) }
      return AllocationMap(
        identity: identity, blockSize: superblock.blockSize, bitmap: bitmap, warnings: warnings(logs))
    }
  }

  /// Starts from the first superblock; when that leads nowhere from the other, like Linux.
  private func newestLogs() throws -> (NILFS2Superblock, NILFS2Logs) {
    do {
      return (superblock, try NILFS2Logs(volume, superblock))
    } catch let error as FileSystemError {
      guard let other = superblocks.dropFirst().first, let logs = try? NILFS2Logs(volume, other) else { throw error }
      return (other, logs)
    }
  }

  private func warnings(_ logs: NILFS2Logs) -> [String] {
    var warnings: [String] = []
    if !superblock.isCleanlyUnmounted {
      warnings.append(
        "\(volume.device.name): was not cleanly unmounted; \(logs.newerLogCount) logs written since its last checkpoint "
          + "are saved along")
    }
    if superblock.hasErrors { warnings.append("\(volume.device.name): the kernel has met errors on it") }
    return warnings
  }
}
