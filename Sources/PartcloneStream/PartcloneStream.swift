// PartcloneStream: partclone's image format, version 2: header, bitmap, used blocks with checksums between them.
// SPDX-License-Identifier: GPL-3.0-or-later

/// How the data of a stream is protected. The header and the bitmap always carry a CRC-32.
public enum ChecksumMode: UInt16, Sendable, CaseIterable {
  case none = 0x00
  /// CRC-32 without the final inversion.
  case crc32 = 0x20
  case xxh64 = 0x30
  case xxh128 = 0x31

  /// Bytes of one checksum in the stream.
  public var byteCount: Int {
    switch self {
    case .none: 0
    case .crc32: 4
    case .xxh64: 8
    case .xxh128: 16
    }
  }

  /// What people call it.
  public var name: String {
    switch self {
    case .none: "none"
    case .crc32: "CRC32"
    case .xxh64: "XXH64"
    case .xxh128: "XXH128"
    }
  }
}

/// How a stream tells which blocks are used.
public enum BitmapMode: UInt8, Sendable {
  /// It doesn't: all are.
  case none = 0
  /// One bit a block, least significant bit first.
  case bit = 1
}
