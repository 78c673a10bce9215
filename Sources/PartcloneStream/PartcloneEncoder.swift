// SPDX-License-Identifier: GPL-3.0-or-later

public import Bytes

/// Lays out a stream frame by frame: header and bitmap first, then the used blocks straight from the volume, with
/// their checksums between them.
///
/// A frame holds whole blocks (of blocks above 4 KiB whole multiples of 4 KiB), so that a reader can write each frame
/// to a disk without waiting for the next.
public struct PartcloneEncoder: Sendable {
  public let header: PartcloneHeader
  private let bitmap: BlockBitmap
  private var blocks: UsedBlocks
  private var checksum = CRC32()
  /// The bytes before the data; the bitmap's are taken from the bitmap, from this byte on.
  private var prefix = Prefix.header

  private enum Prefix {
    case header
    case bitmap(from: Int)
    case bitmapChecksum
    case done
  }

  /// - Parameters:
  ///   - fileSystem: as partclone names it.
  ///   - deviceSize: bytes of the volume; all blocks of the bitmap must lie inside.
  public init(fileSystem: String, deviceSize: UInt64, blockSize: Int, bitmap: BlockBitmap) {
    header = PartcloneHeader(
      fileSystem: fileSystem, deviceSize: deviceSize, blockSize: blockSize, totalBlocks: UInt64(bitmap.count),
      usedBlocks: UInt64(bitmap.usedCount))
    self.bitmap = bitmap
    blocks = UsedBlocks(header, bitmap: bitmap)
  }

  /// Lays the next bytes of the stream into `frame`.
  ///
  /// - Parameter read: fills a span with the volume's bytes from an offset on.
  /// - Returns: how many bytes; 0 at the end.
  public mutating func fill<E: Error>(
    _ frame: inout MutableRawSpan, read: (_ offset: UInt64, _ target: inout MutableRawSpan) throws(E) -> Void
  ) throws(E) -> Int {
    let prefix = fillPrefix(&frame)
    return prefix > 0 ? prefix : try fillBlocks(&frame, read: read)
  }

  private mutating func fillPrefix(_ frame: inout MutableRawSpan) -> Int {
    var filled = 0
    if case .header = prefix, frame.byteCount >= PartcloneHeader.byteCount {
      filled += frame.store(header.encoded(), at: 0)
      prefix = .bitmap(from: 0)
    }
    if case .bitmap(let first) = prefix {
      let count = min(frame.byteCount - filled, Int(header.bitmapByteCount) - first)
      var part = frame.part(filled..<(filled + count))
      bitmap.copyLeastSignificantBitFirst(from: first, into: &part)
      checksum.update(part.bytes)
      filled += count
      prefix = first + count == Int(header.bitmapByteCount) ? .bitmapChecksum : .bitmap(from: first + count)
    }
    if case .bitmapChecksum = prefix, frame.byteCount - filled >= 4 {
      filled += storeChecksum(in: &frame, at: filled)
      prefix = .done
    }
    return filled
  }

  private mutating func fillBlocks<E: Error>(
    _ frame: inout MutableRawSpan, read: (_ offset: UInt64, _ target: inout MutableRawSpan) throws(E) -> Void
  ) throws(E) -> Int {
    let unit = min(header.blockSize, 4096)
    var filled = 0
    while true {
      let room = frame.byteCount - filled
      if blocks.isAtChecksum {
        guard room >= header.checksumMode.byteCount else { break }
        filled += storeChecksum(in: &frame, at: filled)
        blocks.passChecksum()
      } else if blocks.isAtEnd {
        break
      } else {
        let count = min(blocks.adjacent, room / unit * unit)
        guard count > 0 else { break }
        var part = frame.part(filled..<(filled + count))
        try read(blocks.deviceOffset, &part)
        checksum.update(part.bytes)
        blocks.pass(count)
        filled += count
      }
    }
    return filled
  }

  /// Writes out the checksum so far and restarts it.
  private mutating func storeChecksum(in frame: inout MutableRawSpan, at offset: Int) -> Int {
    var bytes: [UInt8] = []
    bytes.append(littleEndian: ~checksum.value)
    checksum = CRC32()
    return frame.store(bytes, at: offset)
  }
}

extension MutableRawSpan {
  /// Stores bytes at an offset, and tells how many.
  fileprivate mutating func store(_ bytes: [UInt8], at offset: Int) -> Int {
    withUnsafeMutableBytes { $0[offset..<(offset + bytes.count)].copyBytes(from: bytes) }
    return bytes.count
  }
}
