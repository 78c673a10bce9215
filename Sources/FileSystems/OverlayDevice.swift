// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// A volume as it would be once its journal had been replayed: some of its blocks are read from another place of the
/// volume (their copies in the journal) or from memory, and the volume itself stays as it is.
///
/// A journal is read once, in order; each committed block is given with ``redirect(_:to:)`` or ``store(_:at:)``, the
/// later one winning. The reader of the allocation map then runs over ``volume``.
///
/// Memory is bounded whatever the journal claims: at most ``blockLimit`` redirected blocks of 24 bytes each, and
/// ``byteLimit`` bytes that are kept. A journal with more is not replayed.
struct OverlayDevice: BlockDevice {
  /// What a redirection or a kept block replaces: a power of two, in bytes.
  let blockSize: Int
  private let base: Volume
  private var replacements: [UInt64: Replacement] = [:]
  private var kept: [UInt8] = []

  private enum Replacement {
    /// A byte of the base, where the block's new contents begin.
    case base(UInt64)
    /// Where they begin in ``kept``.
    case kept(UInt64)
  }

  static let blockLimit = 1 << 21
  static let byteLimit = 128 << 20

  /// - Parameters:
  ///   - base: the volume as it is.
  ///   - blockSize: a power of two, in bytes.
  init(_ base: Volume, blockSize: Int) {
    precondition(blockSize.nonzeroBitCount == 1, "a block size that is no power of two")
    self.base = base
    self.blockSize = blockSize
  }

  var name: String { base.device.name }
  var byteCount: UInt64 { base.device.byteCount }
  var sectorSize: Int { base.device.sectorSize }

  /// The volume to be read in place of the base.
  var volume: Volume { Volume(device: self, kind: base.kind) }

  /// How many blocks are replaced.
  var replacedCount: Int { replacements.count }

  /// Makes a block read as the bytes at `source`.
  /// - Parameters:
  ///   - block: counted in blocks of ``blockSize`` from the start of the volume.
  ///   - source: a byte of the volume.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` when either lies outside the volume,
  ///   ``FileSystemError/needsRecovery(volume:kind:detail:)`` when there are too many.
  mutating func redirect(_ block: UInt64, to source: UInt64) throws(FileSystemError) {
    guard base.contains(source, UInt64(blockSize)) else {
      throw base.damaged("its journal would have a block at byte \(source), which is outside")
    }
    try replace(block, by: .base(source))
  }

  /// Makes a block read as a copy of `bytes`, as many as ``blockSize``.
  /// - Throws: as ``redirect(_:to:)``.
  mutating func store(_ bytes: RawSpan, at block: UInt64) throws(FileSystemError) {
    precondition(bytes.byteCount == blockSize, "a replacement of another size than the block")
    let start: Int
    if case .kept(let position) = replacements[block] {
      start = Int(position)
    } else {
      guard kept.count <= Self.byteLimit - blockSize else { throw tooMany }
      try replace(block, by: .kept(UInt64(kept.count)))
      start = kept.count
      kept.append(contentsOf: repeatElement(0, count: blockSize))
    }
    kept.withUnsafeMutableBytes { kept in
      bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: kept[start...]).copyMemory(from: $0) }
    }
  }

  /// Makes a block read as the volume has it again: the journal revokes what it held.
  mutating func restore(_ block: UInt64) { replacements[block] = nil }

  /// Whether any of `count` bytes from `offset` on are replaced.
  func replaces(_ offset: UInt64, _ count: UInt64) -> Bool {
    guard count > 0, !replacements.isEmpty else { return false }
    let size = UInt64(blockSize)
    return (offset / size...(offset + (count - 1)) / size).contains { replacements[$0] != nil }
  }

  func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError) {
    try base.device.read(at: offset, into: &buffer)
    guard !replacements.isEmpty, buffer.byteCount > 0 else { return }
    let size = UInt64(blockSize)
    let end = offset + UInt64(buffer.byteCount)
    for block in (offset / size)...((end - 1) / size) {
      guard let replacement = replacements[block] else { continue }
      let start = max(offset, block * size)
      let inBlock = start - block * size
      let range = Int(start - offset)..<Int(min(end, (block + 1) * size) - offset)
      var part = buffer.part(range)
      switch replacement {
      case .base(let source): try base.device.read(at: source + inBlock, into: &part)
      case .kept(let position):
        let first = Int(position + inBlock)
        kept.withUnsafeBytes { kept in
          part.withUnsafeMutableBytes {
            $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: kept[first..<(first + range.count)]))
          }
        }
      }
    }
  }

  private mutating func replace(_ block: UInt64, by replacement: Replacement) throws(FileSystemError) {
    let (offset, overflow) = block.multipliedReportingOverflow(by: UInt64(blockSize))
    guard !overflow, base.contains(offset, UInt64(blockSize)) else {
      throw base.damaged("its journal changes block \(block) of \(blockSize) bytes, which is outside")
    }
    guard replacements.count < Self.blockLimit || replacements[block] != nil else { throw tooMany }
    replacements[block] = replacement
  }

  private var tooMany: FileSystemError {
    base.needsRecovery("its journal holds more changes than are replayed in memory")
  }
}
