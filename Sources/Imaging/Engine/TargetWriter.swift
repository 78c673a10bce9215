// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Compression
import Glibc

/// Writes parts of pieces where they belong, straight from the memory they were decompressed to.
struct TargetWriter {
  /// Zeros that were not written because the target has them already.
  private(set) var skippedZeros: UInt64 = 0
  private let target: any WritableBlockDevice
  private let isZeroed: Bool
  /// What waits to be written, in the order of the stream.
  private var waiting: [(piece: Piece, range: Range<Int>, offset: UInt64)] = []
  /// How many pieces they belong to.
  private(set) var heldPieces = 0
  /// The start of a page whose rest comes with the next piece: a partial write would make the kernel read the page.
  private var partialPage: (bytes: [UInt8], offset: UInt64) = ([], 0)

  private static let pageSize = 4096

  init(_ target: any WritableBlockDevice, isZeroed: Bool) {
    self.target = target
    self.isZeroed = isZeroed
  }

  var byteCount: UInt64 { target.byteCount }

  func requireRoom(for needed: UInt64, of image: String) throws(VolumeError) {
    guard needed <= target.byteCount else {
      throw .targetTooSmall(target: target.name, size: target.byteCount, image: image, needed: needed)
    }
  }

  /// Keeps part of a piece until ``writeAll()``.
  mutating func add(_ piece: Piece, _ range: Range<Int>, at offset: UInt64) {
    if waiting.last?.piece !== piece { heldPieces += 1 }
    waiting.append((piece, range, offset))
  }

  /// Writes bytes that are in no piece, after all that waits.
  mutating func writeNow(_ bytes: RawSpan, at offset: UInt64) throws(DeviceError) {
    try finish()
    try write(bytes, at: offset)
  }

  /// Writes all that waits, except the start of a page at the end of a piece.
  mutating func writeAll() throws(DeviceError) {
    for (piece, range, offset) in waiting {
      let bytes = piece.bytes
      var start = range.lowerBound
      if !partialPage.bytes.isEmpty { start += try completePage(bytes.extracting(range), at: offset) }
      var end = range.upperBound
      if end == bytes.byteCount { end = max(start, end - Int((offset + UInt64(range.count)) % UInt64(Self.pageSize))) }
      if start < end {
        try write(bytes.extracting(start..<end), at: offset + UInt64(start - range.lowerBound))
      }
      if end < range.upperBound {
        let rest = bytes.extracting(end..<range.upperBound).withUnsafeBytes { [UInt8]($0) }
        partialPage = (rest, offset + UInt64(end - range.lowerBound))
      }
    }
    waiting.removeAll(keepingCapacity: true)
    heldPieces = 0
  }

  /// Writes what is left.
  mutating func finish() throws(DeviceError) {
    try writeAll()
    try writePartialPage()
  }

  /// Adds to the page that was begun, and writes it when it is complete or nothing can be added.
  /// - Returns: how many bytes were added.
  private mutating func completePage(_ bytes: RawSpan, at offset: UInt64) throws(DeviceError) -> Int {
    let end = partialPage.offset + UInt64(partialPage.bytes.count)
    guard end == offset else {
      try writePartialPage()
      return 0
    }
    let count = min(bytes.byteCount, Self.pageSize - Int(end % UInt64(Self.pageSize)))
    bytes.extracting(0..<count).withUnsafeBytes { partialPage.bytes += $0 }
    if (end + UInt64(count)).isMultiple(of: UInt64(Self.pageSize)) { try writePartialPage() }
    return count
  }

  private mutating func writePartialPage() throws(DeviceError) {
    let page = partialPage
    partialPage = ([], 0)
    if !page.bytes.isEmpty { try write(page.bytes.span.bytes, at: page.offset) }
  }

  private mutating func write(_ bytes: RawSpan, at offset: UInt64) throws(DeviceError) {
    guard isZeroed else { return try target.write(bytes, at: offset) }
    let step = 64 << 10
    var dataStart = 0
    var position = 0
    while position < bytes.byteCount {
      // Steps end at multiples of their size on the target, so that holes come out whole.
      let room = step - Int((offset + UInt64(position)) % UInt64(step))
      let next = min(bytes.byteCount, position + room)
      if bytes.extracting(position..<next).isZero {
        if dataStart < position {
          try target.write(bytes.extracting(dataStart..<position), at: offset + UInt64(dataStart))
        }
        skippedZeros += UInt64(next - position)
        dataStart = next
      }
      position = next
    }
    if dataStart < position {
      try target.write(bytes.extracting(dataStart..<position), at: offset + UInt64(dataStart))
    }
  }
}

extension RawSpan {
  /// Whether all bytes are zero.
  fileprivate var isZero: Bool {
    withUnsafeBytes { bytes in
      guard let start = bytes.baseAddress, bytes[0] == 0 else { return bytes.isEmpty }
      return memcmp(start, start + 1, bytes.count - 1) == 0
    }
  }
}
