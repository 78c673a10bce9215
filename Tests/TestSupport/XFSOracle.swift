// SPDX-License-Identifier: GPL-3.0-or-later

public import Bytes
public import SystemPackage

/// A number of the primary superblock, as `xfs_db` reads it.
public func xfsField(_ name: String, _ volume: FilePath) async throws -> Int {
  let text = try await tool("xfs_db", "-r", "-c", "sb 0", "-c", "print \(name)", volume.string)
  guard let value = text.split(separator: "=").last, let number = Int(value.filter(\.isNumber)) else {
    throw Errno.invalidArgument
  }
  return number
}

/// The free extents that `xfs_db` lists, which include the blocks on the free lists; and how many these are.
public func xfsFreeBlocks(_ volume: FilePath) async throws -> (free: BlockBitmap, freeList: Int, blockSize: Int) {
  var free = BlockBitmap(count: try await xfsField("dblocks", volume))
  let groupBlocks = try await xfsField("agblocks", volume)
  let groupCount = try await xfsField("agcount", volume)
  for line in try await tool("xfs_db", "-r", "-c", "freesp -d", volume.string).split(separator: "\n") {
    let numbers = line.split(separator: " ").compactMap { Int($0) }
    // Up to the headings of the histogram, whose lines have fractions.
    guard numbers.count == 3, line.split(separator: " ").count == 3 else {
      guard line.contains("from") else { continue }
      break
    }
    let first = numbers[0] * groupBlocks + numbers[1]
    free.set(first..<(first + numbers[2]))
  }
  var freeList = 0
  for group in 0..<groupCount {
    let text = try await tool("xfs_db", "-r", "-c", "agf \(group)", "-c", "print flcount", volume.string)
    freeList += Int(text.filter(\.isNumber)) ?? 0
  }
  return (free, freeList, try await xfsField("blocksize", volume))
}
