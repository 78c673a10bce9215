// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// Makes the image of an F2FS file system with three segments, for block sizes that Debian's mkfs.f2fs does not offer.
///
/// It has what a map is made from; Linux would want a root folder and more. Source: Linux, include/linux/f2fs_fs.h.
struct F2FSImage {
  let blockSizeExponent: Int

  private static let seed: UInt32 = 0xF2F5_2010

  /// - Returns: the image, and which of its blocks are used.
  func make() -> (bytes: [UInt8], used: BlockBitmap) {
    let size = 1 << blockSizeExponent
    let segmentCount = 3
    let areas: [(segments: Int, start: Int)] = [(2, 512), (2, 1536), (2, 2560), (1, 3584), (segmentCount, 4096)]
    let blockCount = 4096 + segmentCount * 512
    var used = BlockBitmap(count: blockCount, used: true)
    used.set(4096..<blockCount, used: false)
    var bytes = [UInt8](repeating: 0, count: blockCount * size)

    var superblock = [UInt8](repeating: 0, count: 3072)
    superblock.store(Self.seed, at: 0)
    superblock.store(UInt32(blockSizeExponent), at: 16)
    superblock.store(9 as UInt32, at: 20)
    superblock.store(UInt64(blockCount), at: 36)
    superblock.store(512 as UInt32, at: 72)
    for (index, area) in areas.enumerated() {
      superblock.store(UInt32(area.segments), at: 52 + 4 * index)
      superblock.store(UInt32(area.start), at: 76 + 4 * index)
    }
    // Only the second one is there.
    bytes.store(bytes: superblock, at: size + 1024)

    // Segment 0: nodes, in the table's first area, where segment 1 is wrong. Segment 1: data, in the journal. Segment 2:
    // free.
    func entry(type: Int, blocks: [Int]) -> [UInt8] {
      var entry = [UInt8](repeating: 0, count: 74)
      entry.store(UInt16(type << 10 | blocks.count), at: 0)
      for block in blocks { entry[2 + block / 8] |= 1 << UInt8(7 - block % 8) }
      return entry
    }
    let nodes = [0, 1, 7, 8, 63, 64, 200]
    let data = [5] + Array(100..<400) + [511]
    for block in nodes { used[4096 + block] = true }
    for block in data { used[4096 + 512 + block] = true }
    bytes.store(bytes: entry(type: 4, blocks: nodes), at: 1536 * size)
    bytes.store(bytes: entry(type: 0, blocks: [3]), at: 1536 * size + 74)
    // The next node's place, where the chain ends.
    used[4096 + 201] = true

    // The second pack: itself, summaries of hot, warm and cold data and of the three kinds of nodes, itself.
    var pack = [UInt8](repeating: 0, count: size)
    pack.store(7 as UInt64, at: 0)
    pack.store(UInt64(nodes.count + data.count), at: 16)
    pack.store(0 as UInt32, at: 40)
    pack.store(201 as UInt16, at: 70)
    pack.store(0x1 as UInt32, at: 132)
    pack.store(8 as UInt32, at: 136)
    pack.store(1 as UInt32, at: 140)
    pack.store(UInt32(nodes.count), at: 144)
    pack.store(64 as UInt32, at: 156)
    pack.store(64 as UInt32, at: 160)
    pack.store(UInt32(size - 4), at: 164)
    let checked = Array(pack[..<(size - 4)])
    pack.store(CRC32.shiftRegister(seed: Self.seed, checked.span.bytes), at: size - 4)
    for block in [0, 7] { bytes.store(bytes: pack, at: (1024 + block) * size) }
    let journal = (1024 + 3) * size + size / 8 * 7
    bytes.store(1 as UInt16, at: journal)
    bytes.store(1 as UInt32, at: journal + 2)
    bytes.store(bytes: entry(type: 0, blocks: data), at: journal + 6)
    return (bytes, used)
  }
}
