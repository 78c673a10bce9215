// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// Walks over the bytes of the used blocks in the order of the stream, and over the places of the checksums.
struct UsedBlocks: Sendable {
  /// Nil when every block is used.
  private let bitmap: BlockBitmap?
  private let totalBlocks: Int
  private let blockSize: Int
  private let bytesPerChecksum: UInt64?
  /// The run of used blocks at hand; empty at the end.
  private var run: Range<Int>
  /// Bytes of the run that were passed.
  private var passed = 0
  /// Bytes passed since the last checksum.
  private var unchecked: UInt64 = 0
  /// First block that the next checksum covers.
  private(set) var firstUncheckedBlock: UInt64 = 0

  init(_ header: PartcloneHeader, bitmap: BlockBitmap?) {
    self.bitmap = bitmap
    totalBlocks = Int(header.totalBlocks)
    blockSize = header.blockSize
    bytesPerChecksum = header.bytesPerChecksum
    run = 0..<0
    run = nextRun(from: 0)
  }

  var isAtEnd: Bool { run.isEmpty }

  /// Where the next byte belongs on the volume.
  var deviceOffset: UInt64 { UInt64(run.lowerBound) * UInt64(blockSize) + UInt64(passed) }

  /// The block that holds it.
  var deviceBlock: Int { run.lowerBound + passed / blockSize }

  /// How many bytes follow that are adjacent on the volume and have no checksum between them.
  var adjacent: Int {
    let left = run.count * blockSize - passed
    guard let bytesPerChecksum else { return left }
    return Int(min(UInt64(left), bytesPerChecksum - unchecked))
  }

  /// Whether a checksum stands here.
  var isAtChecksum: Bool {
    guard let bytesPerChecksum, unchecked > 0 else { return false }
    return unchecked == bytesPerChecksum || isAtEnd
  }

  /// Passes over some of the ``adjacent`` bytes.
  mutating func pass(_ count: Int) {
    if unchecked == 0 { firstUncheckedBlock = UInt64(deviceBlock) }
    passed += count
    unchecked += UInt64(count)
    guard passed == run.count * blockSize else { return }
    run = nextRun(from: run.upperBound)
    passed = 0
  }

  /// Passes over the checksum that stands here.
  mutating func passChecksum() { unchecked = 0 }

  private func nextRun(from block: Int) -> Range<Int> {
    if let bitmap { return bitmap.nextUsedRun(from: block) ?? totalBlocks..<totalBlocks }
    return block..<totalBlocks
  }
}
