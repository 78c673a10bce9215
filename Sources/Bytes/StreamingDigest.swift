// SPDX-License-Identifier: GPL-3.0-or-later

/// A digest of bytes that come in parts, as programs such as `md5sum` and `b2sum` print it.
public protocol StreamingDigest: Sendable {
  init()
  mutating func update(_ bytes: RawSpan)
  /// The digest of all bytes so far.
  func digest() -> [UInt8]
}

extension StreamingDigest {
  /// The digest of `bytes`.
  public static func digest(of bytes: [UInt8]) -> [UInt8] {
    var digest = Self()
    digest.update(bytes.span.bytes)
    return digest.digest()
  }
}

/// Cuts bytes that come in parts of any length into whole blocks, for the digests that work on blocks.
struct BlockBuffer: Sendable {
  private let blockSize: Int
  /// Whether a block is held back until it is known not to be the last.
  private let keepsLast: Bool
  /// What does not yet make a block.
  private(set) var pending: [UInt8] = []
  /// All bytes so far, modulo 2^64.
  private(set) var byteCount: UInt64 = 0

  init(blockSize: Int, keepsLast: Bool = false) {
    self.blockSize = blockSize
    self.keepsLast = keepsLast
    pending.reserveCapacity(blockSize)
  }

  /// Calls `body` with runs of whole blocks: their address, and how many there are.
  mutating func update(_ bytes: RawSpan, _ body: (UnsafeRawPointer, Int) -> Void) {
    bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      byteCount &+= UInt64(bytes.count)
      var offset = 0
      if !pending.isEmpty {
        offset = min(blockSize - pending.count, bytes.count)
        pending.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[..<offset]))
        guard pending.count == blockSize, offset < bytes.count || !keepsLast else { return }
        pending.withUnsafeBytes { if let block = $0.baseAddress { body(block, 1) } }
        pending.removeAll(keepingCapacity: true)
      }
      let rest = bytes.count - offset
      let count = (keepsLast && rest > 0 ? rest - 1 : rest) / blockSize
      if count > 0 { body(base + offset, count) }
      pending.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[(offset + count * blockSize)...]))
    }
  }
}
