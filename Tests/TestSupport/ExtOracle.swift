// SPDX-License-Identifier: GPL-3.0-or-later

public import Bytes
public import SystemPackage

/// The map of an ext volume as `dumpe2fs` lists its free blocks group by group; bigalloc's clusters as the blocks they
/// hold.
public func dumpe2fsMap(_ image: FilePath) async throws -> (blockSize: Int, bitmap: BlockBitmap) {
  let listing = try await tool("dumpe2fs", image.string)
  let blockSize = try dumpe2fsNumber("Block size", of: listing)
  let count = try dumpe2fsNumber("Block count", of: listing)
  let clusterBlocks =
    listing.contains("Cluster size:") ? try dumpe2fsNumber("Cluster size", of: listing) / blockSize : 1
  var bitmap = BlockBitmap(count: count, used: true)
  for line in listing.split(separator: "\n") where line.hasPrefix("  Free blocks: ") {
    for range in line.dropFirst(15).split(separator: ",") {
      let ends = range.split(separator: "-").compactMap { Int($0.filter(\.isNumber)) }
      guard let first = ends.first, let last = ends.last else { throw Errno.invalidArgument }
      // A single free cluster is listed by its first block, a run up to the last one's first or last block.
      bitmap.set(first..<(last / clusterBlocks * clusterBlocks + clusterBlocks), used: false)
    }
  }
  return (blockSize, bitmap)
}

/// A number of the superblock by the name `dumpe2fs` gives it.
public func dumpe2fsNumber(_ name: String, of listing: String) throws -> Int {
  guard let line = listing.split(separator: "\n").first(where: { $0.hasPrefix(name + ":") }),
    let number = Int(line.dropFirst(name.count + 1).filter { $0 != " " })
  else { throw Errno.invalidArgument }
  return number
}
