// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// What the directory entries of exFAT refer to.
///
/// Source: Microsoft, exFAT file system specification, section 7.
extension ExFATClusters {
  /// A directory entry has 32 bytes.
  private static var entrySize: Int { 32 }
  /// No directory may be larger.
  private static var directoryByteLimit: UInt64 { 256 << 20 }

  private var rootDirectory: Chain { Chain(firstCluster: boot.rootCluster) }

  /// The entries that stand in the root directory alone.
  struct Root {
    /// The bitmap that goes with the active FAT.
    var bitmap: Chain?
    var upcaseTable: Chain?
    var label: String?
    /// The clusters of the directory itself.
    var runs: [Range<UInt32>] = []
  }

  mutating func root() throws -> Root {
    var root = Root()
    let activeTable = boot.activeTable
    try forEachEntry(of: rootDirectory, "the root directory", onRun: { root.runs.append($0) }) { entry in
      switch entry[0] {
      case 0x81 where entry[1] & 1 == activeTable: if root.bitmap == nil { root.bitmap = try Self.chain(entry) }
      case 0x82: if root.upcaseTable == nil { root.upcaseTable = try Self.chain(entry) }
      case 0x83: if root.label == nil { root.label = try Self.label(entry) }
      default: break
      }
    }
    return root
  }

  /// Calls `body` with every run of clusters that a file or directory of the volume refers to.
  ///
  /// No cluster belongs to two files, so it comes to an end even when directories form a ring.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` when one of them is not whole.
  mutating func forEachRunInUse(_ body: (Range<UInt32>) -> Void) throws {
    let volume = volume
    var left = Int(boot.clusterCount)
    func count(_ run: Range<UInt32>) throws {
      left -= run.count
      guard left >= 0 else { throw volume.damaged("its files have more clusters than there are") }
      body(run)
    }
    var directories = [rootDirectory]
    var seen: Set<UInt32> = [boot.rootCluster]
    while let directory = directories.popLast() {
      var isDirectory = false
      var streams: [(chain: Chain, isDirectory: Bool)] = []
      try forEachEntry(of: directory, "a directory", onRun: count) { entry in
        switch entry[0] {
        case 0x85: isDirectory = try entry.littleEndian(UInt16.self, at: 4) & 0x10 != 0
        case 0xC0: streams.append((try Self.stream(entry), isDirectory))
        case 0x81, 0x82: streams.append((try Self.chain(entry), false))
        default: break
        }
      }
      for (chain, isDirectory) in streams where chain.byteCount != 0 {
        if isDirectory {
          guard seen.insert(chain.firstCluster).inserted else {
            throw volume.damaged("two directories begin at cluster \(chain.firstCluster)")
          }
          directories.append(chain)
        } else {
          try forEachRun(of: chain, "a file") { run in
            try count(run)
            return true
          }
        }
      }
    }
  }

  /// Calls `body` with each entry of 32 bytes up to the mark of the directory's end, and `onRun` with all its clusters.
  private mutating func forEachEntry(
    of directory: Chain, _ what: String, onRun: (Range<UInt32>) throws -> Void,
    _ body: ([UInt8]) throws -> Void
  ) throws {
    var runs: [Range<UInt32>] = []
    let (volume, clusterSize) = (volume, UInt64(boot.clusterSize))
    var byteCount: UInt64 = 0
    try forEachRun(of: directory, what) { run in
      byteCount += UInt64(run.count) * clusterSize
      guard byteCount <= max(Self.directoryByteLimit, clusterSize) else {
        throw volume.damaged("\(what) has more than \(Self.directoryByteLimit) bytes")
      }
      try onRun(run)
      runs.append(run)
      return true
    }
    for cluster in runs.joined() {
      let bytes = try read(cluster..<(cluster + 1), what)
      for start in stride(from: 0, to: bytes.count, by: Self.entrySize) {
        let entry = Array(bytes[start..<(start + Self.entrySize)])
        guard entry[0] != 0 else { return }
        try body(entry)
      }
    }
  }

  /// The clusters of an entry of the bitmap or the up-case table.
  private static func chain(_ entry: [UInt8]) throws -> Chain {
    Chain(
      firstCluster: try entry.littleEndian(UInt32.self, at: 20), byteCount: try entry.littleEndian(UInt64.self, at: 24))
  }

  /// The clusters of a file or directory.
  private static func stream(_ entry: [UInt8]) throws -> Chain {
    var chain = try chain(entry)
    let (allocationPossible, noFATChain): (UInt8, UInt8) = (1, 2)
    chain.isContiguous = entry[1] & noFATChain != 0
    if entry[1] & allocationPossible == 0 { chain.byteCount = 0 }
    return chain
  }

  private static func label(_ entry: [UInt8]) throws -> String? {
    let characters = try (0..<min(Int(entry[1]), 11)).map { try entry.littleEndian(UInt16.self, at: 2 + 2 * $0) }
    return labelText(of: Array(String(decoding: characters, as: UTF16.self).utf8)[...])
  }
}
