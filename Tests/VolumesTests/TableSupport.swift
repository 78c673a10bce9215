// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Foundation
import SystemPackage
import TestSupport
import Volumes

/// A sparse file of `mebibytes`, ready to be written.
func diskFile(_ path: FilePath, mebibytes: Int) throws -> FileDevice {
  try path.write([])
  guard truncate(path.string, mebibytes << 20) == 0 else { throw Errno(rawValue: errno) }
  return try FileDevice(path: path, access: .readWrite)
}

/// A GPT with what is easily lost: gaps in the numbers, attributes, a name of all sorts.
func telltaleGPT(sectorSize: Int = 512, sectorCount: UInt64, entryCount: Int = 128) throws -> PartitionTable {
  let unit = UInt64((1 << 20) / sectorSize)
  let length = UInt64((entryCount * 128 + sectorSize - 1) / sectorSize)
  return PartitionTable(
    scheme: .gpt(
      PartitionTable.GPTParameters(
        diskGUID: GUID.random(), firstUsable: 2 + length, lastUsable: sectorCount - length - 2, entryCount: entryCount)),
    sectorSize: sectorSize, sectorCount: sectorCount,
    partitions: [
      Partition(
        number: 1, start: unit, count: unit * 8, type: .efiSystem, uuid: .random(), name: "a \"q\" b\\c $x `y é",
        attributes: 1 | 4 | 1 << 63 | 1 << 48),
      Partition(number: 3, start: unit * 9, count: unit * 2, type: .biosBoot, uuid: .random()),
      Partition(number: 7, start: unit * 12, count: unit * 4, type: .linuxSwap, uuid: .random(), attributes: 1 << 60),
      Partition(number: 128, start: unit * 20, count: unit * 12, type: .linux, uuid: .random(), name: "root →"),
    ])
}

/// Bytes of a device that several mutations of are tried.
struct Mutations {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }

  mutating func mutate(_ bytes: [UInt8], in ranges: [Range<Int>]) -> [UInt8] {
    var bytes = bytes
    for _ in 0...(next() % 6) {
      let range = ranges[Int(next() % UInt64(ranges.count))]
      bytes[range.lowerBound + Int(next() % UInt64(range.count))] = UInt8(truncatingIfNeeded: next())
    }
    return bytes
  }
}
