// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import CXxhash

/// The checksum of the data since the start, or since it was restarted.
struct DataChecksum: Sendable {
  private var state: State

  private enum State: Sendable {
    case none
    case crc32(CRC32)
    case firstByte(FirstByteCRC32)
    case xxh(XXHash)
  }

  /// - Parameter blockSize: in bytes.
  /// - Throws: ``PartcloneError/outOfMemory``.
  init(_ mode: ChecksumMode, blockSize: Int) throws(PartcloneError) {
    state =
      switch mode {
      case .none: .none
      case .crc32: .crc32(CRC32())
      case .firstByteCRC32: .firstByte(FirstByteCRC32(blockSize: blockSize))
      case .xxh64: .xxh(try XXHash(bits: 64))
      case .xxh128: .xxh(try XXHash(bits: 128))
      }
  }

  mutating func update(_ bytes: RawSpan) {
    switch state {
    case .none: break
    case .crc32(var crc):
      crc.update(bytes)
      state = .crc32(crc)
    case .firstByte(var crc):
      crc.update(bytes)
      state = .firstByte(crc)
    case .xxh(let hash): hash.update(bytes)
    }
  }

  /// As it stands in the stream.
  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    switch state {
    case .none: break
    case .crc32(let crc): bytes.append(littleEndian: ~crc.value)
    case .firstByte(let crc): bytes.append(littleEndian: ~crc.value)
    case .xxh(let hash):
      let (low, high) = hash.digest
      bytes.append(littleEndian: low)
      if hash.bits == 128 { bytes.append(littleEndian: high) }
    }
    return bytes
  }

  mutating func restart() {
    switch state {
    case .crc32: state = .crc32(CRC32())
    case .xxh(let hash): hash.restart()
    case .none, .firstByte: break
    }
  }
}

/// What version 1 takes for a checksum. Its writer went over each block without moving on from the first byte.
private struct FirstByteCRC32 {
  private let blockSize: Int
  private var crc = CRC32()
  /// Bytes of the block at hand that were seen.
  private var seen = 0

  init(blockSize: Int) { self.blockSize = blockSize }

  var value: UInt32 { crc.value }

  mutating func update(_ bytes: RawSpan) {
    var position = 0
    while position < bytes.byteCount {
      if seen == 0 { take(bytes.unsafeLoad(fromByteOffset: position, as: UInt8.self)) }
      let count = min(blockSize - seen, bytes.byteCount - position)
      position += count
      seen = (seen + count) % blockSize
    }
  }

  private mutating func take(_ byte: UInt8) {
    let repeated = [UInt8](repeating: byte, count: min(blockSize, 1 << 16))
    var left = blockSize
    while left > 0 {
      let count = min(left, repeated.count)
      crc.update(repeated.span.bytes.extracting(first: count))
      left -= count
    }
  }
}

/// XXH64 or XXH3 with 128 bits. Used by one thread at a time.
private final class XXHash: @unchecked Sendable {
  let bits: Int
  private let state: OpaquePointer

  init(bits: Int) throws(PartcloneError) {
    guard let state = slipway_xxh_create(Int32(bits)) else { throw .outOfMemory }
    self.bits = bits
    self.state = state
  }

  deinit { slipway_xxh_free(state) }

  func update(_ bytes: RawSpan) { bytes.withUnsafeBytes { slipway_xxh_update(state, $0.baseAddress, $0.count) } }

  func restart() { slipway_xxh_reset(state) }

  var digest: (low: UInt64, high: UInt64) {
    var low: UInt64 = 0
    var high: UInt64 = 0
    slipway_xxh_digest(state, &low, &high)
    return (low, high)
  }
}
