// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import SystemPackage
import Testing

/// Writes transactions into the journal of a ReiserFS volume with blocks of 4096 bytes, as the kernel does.
struct ReiserFSLog {
  enum Story: CaseIterable, Sendable {
    /// Nothing has been flushed yet: the header does not say where to begin.
    case aFreshJournal
    case aJournalWithHeader
    case severalTransactions
    case aTransactionRoundTheRing
    /// More blocks than the description block can name.
    case aLongTransaction
    case noCommitBlock
    case anotherMount
    case anOldTransaction
  }

  private static let blockSize = 4096
  private let device: FileDevice
  private let first: Int
  private let ringSize: Int
  private var position = 0
  private var id: UInt32 = 10
  private var mount: UInt32 = 10

  init(_ image: FilePath) throws {
    device = try FileDevice(path: image, access: .readWrite)
    let superblock = try device.read(at: 65536, count: 204)
    first = Int(try superblock.littleEndian(UInt32.self, at: 12))
    ringSize = Int(try superblock.littleEndian(UInt32.self, at: 20))
  }

  var headerBlock: Int { first + ringSize }

  /// - Returns: whether the next mount would replay something.
  mutating func write(_ story: Story) throws -> Bool {
    switch story {
    case .aFreshJournal:
      try writeHeader(flushed: 0)
      try append(allocation(of: 30_000..<30_100))
    case .aJournalWithHeader:
      position = 100
      try writeHeader()
      try append(allocation(of: 33_000..<33_007))
    case .severalTransactions:
      try writeHeader(flushed: 0)
      try append(allocation(of: 20_000..<20_100))
      try append(allocation(of: 20_000..<20_050, and: 9_000..<9_500))
      try append(allocation(of: 25_000..<25_001))
    case .aTransactionRoundTheRing:
      position = ringSize - 2
      try writeHeader()
      try append(allocation(of: 31_000..<31_009))
      try append(allocation(of: 31_000..<31_010))
    case .aLongTransaction:
      try writeHeader(flushed: 0)
      let data = (0..<1017).map { (10_000 + $0, [UInt8](repeating: 7, count: Self.blockSize)) }
      try append(data + allocation(of: 10_000..<11_017))
    case .noCommitBlock:
      try writeHeader(flushed: 0)
      try append(allocation(of: 20_000..<20_100), isCommitted: false)
      return false
    case .anotherMount:
      try writeHeader()
      mount += 1
      try append(allocation(of: 20_000..<20_100))
      return false
    case .anOldTransaction:
      try writeHeader()
      id -= 1
      try append(allocation(of: 20_000..<20_100))
      return false
    }
    return true
  }

  /// Writes a transaction behind the last one.
  mutating func append(_ blocks: [(number: Int, bytes: [UInt8])], isCommitted: Bool = true) throws {
    let named = (Self.blockSize - 24) / 4
    var description = [UInt8](repeating: 0, count: Self.blockSize)
    description.store(mount, at: 8)
    description.store(bytes: "ReIsErLB".utf8, at: Self.blockSize - 12)
    var commit = [UInt8](repeating: 0, count: Self.blockSize)
    for (index, block) in blocks.enumerated() {
      if index < named {
        description.store(UInt32(block.number), at: 12 + index * 4)
      } else {
        commit.store(UInt32(block.number), at: 8 + (index - named) * 4)
      }
      try write(block.bytes, at: position + 1 + index)
    }
    for part in [0, 1] {
      let value = part == 0 ? id : UInt32(blocks.count)
      description.store(value, at: part * 4)
      commit.store(value, at: part * 4)
    }
    try write(description, at: position)
    if isCommitted { try write(commit, at: position + blocks.count + 1) }
    position += blocks.count + 2
    id += 1
  }

  /// The header as after a flush: the next transaction will be the one at ``position``.
  /// - Parameter flushed: the last transaction that is in place; 0 as long as none has been flushed since mkreiserfs.
  private func writeHeader(flushed: UInt32? = nil) throws {
    var header = try device.read(at: UInt64(headerBlock * Self.blockSize), count: Self.blockSize)
    header.store(flushed ?? id - 1, at: 0)
    header.store(UInt32(position), at: 4)
    header.store(mount, at: 8)
    try device.write(header.span.bytes, at: UInt64(headerBlock * Self.blockSize))
  }

  /// The superblock and the bitmaps with more blocks in use than there are now.
  private func allocation(of ranges: Range<Int>..., and more: Range<Int> = 0..<0) throws -> [(Int, [UInt8])] {
    var changed: [Int: [UInt8]] = [16: try device.read(at: 65536, count: Self.blockSize)]
    var count: UInt32 = 0
    for block in (ranges + [more]).joined() {
      let number = block / 32768
      let place = number == 0 ? 17 : number * 32768
      var bitmap =
        try changed[place] ?? device.read(at: UInt64(place * Self.blockSize), count: Self.blockSize)
      try #require(bitmap[block % 32768 / 8] >> UInt8(block & 7) & 1 == 0, "block \(block) is in use already")
      bitmap[block % 32768 / 8] |= 1 << UInt8(block & 7)
      changed[place] = bitmap
      count += 1
    }
    var superblock = try #require(changed[16])
    superblock.store(try superblock.littleEndian(UInt32.self, at: 4) - count, at: 4)
    changed[16] = superblock
    return changed.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  private func write(_ bytes: [UInt8], at position: Int) throws {
    try device.write(bytes.span.bytes, at: UInt64((first + position % ringSize) * Self.blockSize))
  }
}

/// Makes a volume as mkreiserfs did before 3.5.10: superblock at 8 KiB, bitmaps, journal, one behind the other.
/// - Returns: the blocks in use: those told and the structures.
func writeOldReiserFS(to image: FilePath, used: [Range<Int>]) throws -> BlockBitmap {
  let device = try FileDevice(path: image, access: .readWrite)
  let blockSize = 4096
  let count = Int(device.byteCount) / blockSize
  let bitmapCount = (count - 1) / (blockSize * 8) + 1
  let journal = 3 + bitmapCount
  var bitmap = BlockBitmap(count: count)
  for range in used { bitmap.set(range) }
  bitmap.set(0..<(journal + 8193))

  var superblock = [UInt8](repeating: 0, count: 204)
  let fields: [(Int, Int)] = [
    (0, count), (4, count - bitmap.usedCount), (8, journal + 8193), (12, journal), (20, 8192), (24, 1024), (32, 900),
    (36, 30), (40, 30),
  ]
  for (offset, value) in fields { superblock.store(UInt32(value), at: offset) }
  for (offset, value) in [(44, blockSize), (50, 1), (68, 2), (70, bitmapCount)] {
    superblock.store(UInt16(value), at: offset)
  }
  superblock.store(bytes: "ReIsErFs".utf8, at: 52)
  try device.write(superblock.span.bytes, at: 8192)
  // The bits behind the last block are set.
  let bytes = bitmap.extended(to: bitmapCount * blockSize * 8, used: true).leastSignificantBitFirstBytes()
  try device.write(bytes.span.bytes, at: UInt64(3 * blockSize))
  return bitmap
}
