// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The clusters of an exFAT volume and the table that chains them.
struct ExFATClusters {
  let volume: Volume
  let boot: ExFATBootSector
  /// The part of the table that was looked at last: chains mostly stay near.
  private var window: [UInt8] = []
  private var windowStart: UInt64 = 0

  init(_ volume: Volume, _ boot: ExFATBootSector) {
    self.volume = volume
    self.boot = boot
  }

  /// A file's or directory's clusters, as its stream extension says.
  struct Chain {
    let firstCluster: UInt32
    /// Nil when only the table tells, as for the root directory.
    var byteCount: UInt64?
    /// The clusters follow one another, and the table says nothing about them.
    var isContiguous = false
  }

  /// Calls `body` with the runs of clusters of a chain, in order, until it returns false.
  ///
  /// - Parameter what: names it in the error.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` when the chain leaves the heap, is shorter than the size
  ///   says, or does not end.
  mutating func forEachRun(
    of chain: Chain, _ what: @autoclosure () -> String, _ body: (Range<UInt32>) throws -> Bool
  ) throws {
    let size = UInt64(boot.clusterSize)
    let wanted = chain.byteCount.map { $0 / size + ($0 % size == 0 ? 0 : 1) }
    guard wanted ?? 1 <= UInt64(boot.clusterCount) else {
      throw volume.damaged("\(what()) would have \(wanted ?? 0) of \(boot.clusterCount) clusters")
    }
    var left = wanted ?? UInt64(boot.clusterCount)
    guard left > 0 else { return }
    var next = chain.firstCluster
    func check(_ cluster: UInt32, _ count: UInt64) throws {
      guard cluster >= 2, UInt64(cluster) + count <= UInt64(boot.clusterCount) + 2 else {
        throw volume.damaged("\(what()) continues at cluster \(cluster) of \(boot.clusterCount)")
      }
    }
    if chain.isContiguous {
      try check(next, left)
      _ = try body(next..<(next + UInt32(left)))
      return
    }
    while true {
      try check(next, 1)
      var run = next..<(next + 1)
      left -= 1
      next = try entry(next)
      while left > 0, next == run.upperBound, next < boot.clusterCount + 2 {
        run = run.lowerBound..<(next + 1)
        left -= 1
        next = try entry(next)
      }
      guard try body(run) else { return }
      let endOfChain: UInt32 = 0xFFFF_FFFF
      if left == 0 {
        guard wanted != nil || next == endOfChain else { throw volume.damaged("\(what()) does not end") }
        return
      }
      if wanted == nil, next == endOfChain { return }
    }
  }

  /// The bytes of a run of clusters or of the first part of it.
  func read(_ run: Range<UInt32>, _ what: @autoclosure () -> String) throws -> [UInt8] {
    try volume.read(what(), at: offset(of: run.lowerBound), count: run.count * boot.clusterSize)
  }

  func offset(of cluster: UInt32) -> UInt64 { boot.heapOffset + UInt64(cluster - 2) * UInt64(boot.clusterSize) }

  /// The cluster after one of the heap, or a mark.
  private mutating func entry(_ cluster: UInt32) throws -> UInt32 {
    let offset = boot.tableOffset + UInt64(cluster) * 4
    if offset < windowStart || offset + 4 > windowStart + UInt64(window.count) {
      windowStart = offset & ~4095
      window = try volume.read("the FAT", at: windowStart, count: 4096)
    }
    return try window.littleEndian(UInt32.self, at: Int(offset - windowStart))
  }
}
