// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// Writes streams byte by byte as `reference/clonezilla.md`, section 3, describes them: slow, and independent of the
/// encoder that is tested with it. Every combination an old writer could make can be made.
struct StreamBuilder {
  var blockSize = 512
  /// Which blocks are used.
  var used: [Bool]
  var deviceSize: UInt64
  var checksumMode: UInt16 = 0x20
  var checksumSize: UInt16 = 4
  var blocksPerChecksum: UInt32 = 3
  var reseeds = true
  var bitmapMode: UInt8 = 1
  var setsSpareBits = false
  var hasLastChecksum = true
  var usedBlocks: UInt64?
  var totalBlocks: UInt64?

  init(used: [Bool]) {
    self.used = used
    deviceSize = UInt64(used.count * 512)
  }

  /// The bytes of a block: each block's differ.
  func block(_ index: Int) -> [UInt8] {
    (0..<blockSize).map { UInt8(truncatingIfNeeded: index &* 31 &+ $0 &* 7 &+ $0 / 256) }
  }

  func header() -> [UInt8] {
    var bytes = Array("partclone-image\0".utf8) + Array("0.2.90".utf8) + [UInt8](repeating: 0, count: 8)
    bytes += Array("0002".utf8) + [0xDE, 0xC0] + Array("EXTFS".utf8) + [UInt8](repeating: 0, count: 11)
    bytes.append(littleEndian: deviceSize)
    bytes.append(littleEndian: totalBlocks ?? UInt64(used.count))
    bytes.append(littleEndian: UInt64(0))
    bytes.append(littleEndian: usedBlocks ?? UInt64(used.count { $0 }))
    bytes.append(littleEndian: UInt32(blockSize))
    bytes.append(littleEndian: UInt32(18))
    bytes.append(littleEndian: UInt16(2))
    bytes.append(littleEndian: UInt16(64))
    bytes.append(littleEndian: checksumMode)
    bytes.append(littleEndian: checksumSize)
    bytes.append(littleEndian: blocksPerChecksum)
    bytes += [reseeds ? 1 : 0, bitmapMode]
    bytes.append(littleEndian: Self.crc(bytes))
    return bytes
  }

  func stream() -> [UInt8] {
    var bytes = header()
    if bitmapMode == 1 {
      var bitmap = [UInt8](repeating: 0, count: (used.count + 7) / 8)
      for (index, isUsed) in used.enumerated() where isUsed { bitmap[index / 8] |= 1 << (index % 8) }
      if setsSpareBits, used.count % 8 != 0 { bitmap[used.count / 8] |= 0xFF << (used.count % 8) }
      bytes += bitmap
      bytes.append(littleEndian: Self.crc(bitmap))
    }
    var crc: UInt32 = 0xFFFF_FFFF
    var count: UInt32 = 0
    for index in used.indices where used[index] || bitmapMode == 0 {
      bytes += block(index)
      guard checksumMode == 0x20 else { continue }
      crc = Self.crc(block(index), from: crc)
      count += 1
      if count == blocksPerChecksum {
        bytes.append(littleEndian: crc)
        if reseeds { crc = 0xFFFF_FFFF }
        count = 0
      }
    }
    if count > 0, hasLastChecksum { bytes.append(littleEndian: crc) }
    return bytes
  }

  /// The volume, with zeros where no block is used.
  func volume() -> [UInt8] {
    used.indices.flatMap { used[$0] || bitmapMode == 0 ? block($0) : [UInt8](repeating: 0, count: blockSize) }
  }

  /// CRC-32 as partclone computes it: bit by bit, without a final inversion.
  static func crc(_ bytes: [UInt8], from start: UInt32 = 0xFFFF_FFFF) -> UInt32 {
    bytes.reduce(start) { crc, byte in
      (0..<8).reduce(crc ^ UInt32(byte)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }
  }
}

/// SplitMix64: the same numbers in every run.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }
}
