// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Compression
import Imaging
import Synchronization
import SystemPackage

/// A volume in memory that counts what is written to it, and where.
final class MemoryTarget: WritableBlockDevice {
  let name = "target"
  let sectorSize = 512
  let byteCount: UInt64
  private let state: Mutex<(bytes: [UInt8], writes: [Range<UInt64>], synchronizations: Int)>

  init(_ bytes: [UInt8]) {
    byteCount = UInt64(bytes.count)
    state = Mutex((bytes, [], 0))
  }

  var bytes: [UInt8] { state.withLock { $0.bytes } }
  /// Every write so far, in order.
  var writes: [Range<UInt64>] { state.withLock { $0.writes } }
  var synchronizations: Int { state.withLock { $0.synchronizations } }

  func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError) {
    try checkRange(offset, UInt64(buffer.byteCount))
    let part = Array(bytes[Int(offset)..<(Int(offset) + buffer.byteCount)])
    buffer.withUnsafeMutableBytes { $0.copyBytes(from: part) }
  }

  func write(_ bytes: RawSpan, at offset: UInt64) throws(DeviceError) {
    try checkRange(offset, UInt64(bytes.byteCount))
    let copy = bytes.withUnsafeBytes { [UInt8]($0) }
    state.withLock {
      $0.bytes.replaceSubrange(Int(offset)..<(Int(offset) + copy.count), with: copy)
      $0.writes.append(offset..<(offset + UInt64(copy.count)))
    }
  }

  func zero(at offset: UInt64, count: UInt64) throws(DeviceError) {
    let zeros = [UInt8](repeating: 0, count: Int(count))
    try write(zeros.span.bytes, at: offset)
  }

  func synchronize() { state.withLock { $0.synchronizations += 1 } }
}

struct MemorySink: ByteSink {
  private(set) var bytes: [UInt8] = []
  private(set) var isFinished = false

  mutating func write(_ bytes: RawSpan) { bytes.withUnsafeBytes { self.bytes += $0 } }
  mutating func finish() { isFinished = true }
}

struct MemorySource: ByteSource {
  let name = "image"
  let isSeekable = true
  let bytes: [UInt8]
  var byteCount: UInt64? { UInt64(bytes.count) }

  func read(at offset: UInt64, into buffer: inout MutableRawSpan) -> Int {
    let start = Int(min(offset, UInt64(bytes.count)))
    let count = min(buffer.byteCount, bytes.count - start)
    buffer.withUnsafeMutableBytes { $0.copyBytes(from: bytes[start..<(start + count)]) }
    return count
  }
}

/// A volume with a map of used blocks, neither of them like any other's.
struct SampleVolume {
  let bytes: [UInt8]
  let blockSize: Int
  let bitmap: BlockBitmap

  init(blocks: Int, blockSize: Int, longestRun: Int = 300) {
    var state: UInt64 = 42
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    var map = BlockBitmap(count: blocks)
    var block = 0
    while block < blocks {
      let run = 1 + random(longestRun)
      if random(2) == 0 { map.set(block..<(block + run)) }
      block += run
    }
    var bytes = [UInt8](repeating: 0, count: blocks * blockSize)
    for index in stride(from: 0, to: bytes.count, by: 16) {
      // Every tenth 64 KiB is zero though it may be used.
      if index >> 16 % 10 == 3 { continue }
      bytes.store(UInt64(random(1 << 20)), at: index)
    }
    self.bytes = bytes
    self.blockSize = blockSize
    bitmap = map
  }

  var device: MemoryDevice { MemoryDevice(bytes, name: "volume") }

  var content: VolumeContent { .usedBlocks(fileSystem: "EXTFS", blockSize: blockSize, bitmap: bitmap) }

  /// What a restore onto a target full of `background` must give.
  func expected(over background: UInt8) -> [UInt8] {
    var result = [UInt8](repeating: background, count: bytes.count)
    bitmap.forEachUsedRun { run in
      let range = (run.lowerBound * blockSize)..<(run.upperBound * blockSize)
      result.replaceSubrange(range, with: bytes[range])
    }
    return result
  }

  func saved(_ content: VolumeContent? = nil, _ codec: Codec = .zstd) async throws -> [UInt8] {
    var sink = MemorySink()
    let saver = try VolumeSaver(
      device, content: content ?? self.content, compression: CompressionOptions(codec: codec))
    _ = try await saver.save(to: &sink)
    return sink.bytes
  }
}
