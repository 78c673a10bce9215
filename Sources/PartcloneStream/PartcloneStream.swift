// PartcloneStream: the image formats of partclone (versions 1 and 2) and of ntfsclone, which Clonezilla used before.
// SPDX-License-Identifier: GPL-3.0-or-later

/// Whose format a stream has.
public enum StreamFormat: Sendable {
  /// "0001": a byte for each block in the bitmap, a checksum after each block. Written until 2013.
  case partclone1
  /// "0002".
  case partclone2
  /// ntfsclone's "special image format".
  case ntfsclone
}

/// How the data of a stream is protected. The header and the bitmap of version 2 always carry a CRC-32.
public enum ChecksumMode: UInt16, Sendable, CaseIterable {
  case none = 0x00
  /// CRC-32 without the final inversion.
  case crc32 = 0x20
  /// XXH64, seed 0, little-endian.
  case xxh64 = 0x30
  /// XXH3 with 128 bits, seed 0: the low 64 bits first, both halves little-endian.
  case xxh128 = 0x31
  /// Of version 1 only: for each block the CRC-32 takes the block's first byte as often as the block has bytes.
  case firstByteCRC32 = 0xFF

  /// Bytes of one checksum in the stream.
  public var byteCount: Int {
    switch self {
    case .none: 0
    case .crc32, .firstByteCRC32: 4
    case .xxh64: 8
    case .xxh128: 16
    }
  }

  /// What people call it.
  public var name: String {
    switch self {
    case .none: "none"
    case .crc32, .firstByteCRC32: "CRC32"
    case .xxh64: "XXH64"
    case .xxh128: "XXH128"
    }
  }
}

/// How a stream tells which blocks are used.
public enum BitmapMode: UInt8, Sendable {
  /// Not before the data: all are, or the data tells (ntfsclone).
  case none = 0
  /// One bit a block, least significant bit first.
  case bit = 1
  /// One byte a block: 1 when it is used.
  case byte = 8
}
