// SPDX-License-Identifier: GPL-3.0-or-later

public import SystemPackage

/// The bytes of all copies of all extents, by the tools' listing of the extent tree.
public func btrfsExtentCopies(_ image: FilePath) async throws -> Int {
  let nodeSize = try await btrfsSuperblockField("nodesize", image)
  var sum = 0
  var copies: [(range: Range<Int>, count: Int)] = []
  var groupStart: Int?
  var extents: [Range<Int>] = []
  let trees =
    try await tool("btrfs", "inspect-internal", "dump-tree", "-t", "extent", image.string)
    + tool("btrfs", "inspect-internal", "dump-tree", "-t", "chunk", image.string)
  for line in trees.split(separator: "\n") {
    let words = line.split(whereSeparator: { " ()".contains($0) || $0 == "\t" })
    if words.count > 5, words[0] == "item", words[2] == "key", let offset = Int(words[5]) {
      let start = Int(words[3]) ?? 0
      groupStart = words[4] == "CHUNK_ITEM" ? offset : nil
      if words[4] == "EXTENT_ITEM" { extents.append(start..<(start + offset)) }
      if words[4] == "METADATA_ITEM" { extents.append(start..<(start + nodeSize)) }
    } else if let start = groupStart, words.count > 5, words[0] == "length", let length = Int(words[1]) {
      copies.append((start..<(start + length), String(line).contains("DUP") ? 2 : 1))
      groupStart = nil
    }
  }
  for extent in extents {
    guard let group = copies.first(where: { $0.range.contains(extent.lowerBound) }) else { throw Errno.invalidArgument }
    sum += extent.count * group.count
  }
  return sum
}

/// A number of the first superblock, as the tools print it.
public func btrfsSuperblockField(_ field: String, _ image: FilePath) async throws -> Int {
  let text = try await tool("btrfs", "inspect-internal", "dump-super", image.string)
  guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("\(field)\t") }),
    let value = Int(line.split(separator: "\t").last ?? "")
  else { throw Errno.invalidArgument }
  return value
}
