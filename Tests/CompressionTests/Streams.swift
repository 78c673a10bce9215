// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
import SystemPackage

/// Bytes in memory as a source, seekable or like a pipe.
struct MemorySource: ByteSource {
  let name = "memory"
  let isSeekable: Bool
  let bytes: [UInt8]
  /// How much one read gives at most.
  var portion = Int.max
  var byteCount: UInt64? { isSeekable ? UInt64(bytes.count) : nil }

  init(_ bytes: [UInt8], isSeekable: Bool = true, portion: Int = .max) {
    self.bytes = bytes
    self.isSeekable = isSeekable
    self.portion = portion
  }

  func read(at offset: UInt64, into buffer: inout MutableRawSpan) -> Int {
    let start = Int(min(offset, UInt64(bytes.count)))
    let count = min(buffer.byteCount, bytes.count - start, portion)
    buffer.withUnsafeMutableBytes { $0.copyBytes(from: bytes[start..<(start + count)]) }
    return count
  }
}

struct MemorySink: ByteSink {
  private(set) var bytes: [UInt8] = []
  private(set) var isFinished = false

  mutating func write(_ bytes: RawSpan) { bytes.withUnsafeBytes { self.bytes += $0 } }
  mutating func finish() { isFinished = true }
}

/// Bytes in memory as frames, each of at most `frameByteCount` bytes.
struct MemoryFrames: FrameSource {
  let bytes: [UInt8]
  var frameByteCount = Int.max
  private var position = 0

  init(_ bytes: [UInt8], frameByteCount: Int = .max) {
    self.bytes = bytes
    self.frameByteCount = frameByteCount
  }

  mutating func fill(_ frame: inout MutableRawSpan) -> Int {
    let count = min(frame.byteCount, bytes.count - position, frameByteCount)
    frame.withUnsafeMutableBytes { $0.copyBytes(from: bytes[position..<(position + count)]) }
    position += count
    return count
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

/// Bytes that compress about as well as a disk's: words from a small vocabulary, noise and zeros in turn.
func sampleBytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var generator = SeededGenerator(state: seed)
  let words = (0..<64).map { _ in (0..<Int.random(in: 3...12, using: &generator)).map { _ in generator.letter() } }
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count)
  while bytes.count < count {
    switch Int.random(in: 0..<10, using: &generator) {
    case 0: bytes += [UInt8](repeating: 0, count: 5000)
    case 1: bytes += (0..<500).flatMap { _ in withUnsafeBytes(of: generator.next()) { Array($0) } }
    default: for _ in 0..<500 { bytes += words[Int.random(in: 0..<64, using: &generator)] }
    }
  }
  return Array(bytes.prefix(count))
}

extension SeededGenerator {
  fileprivate mutating func letter() -> UInt8 { UInt8.random(in: UInt8(ascii: "a")...UInt8(ascii: "z"), using: &self) }
}

/// Compresses bytes in memory.
func compressed(_ bytes: [UInt8], _ options: CompressionOptions, frameByteCount: Int = .max) async throws -> [UInt8] {
  var sink = MemorySink()
  _ = try await Compressor(options).compress(MemoryFrames(bytes, frameByteCount: frameByteCount), into: &sink)
  return sink.bytes
}

/// Decompresses a whole source.
func decompressed(_ source: some ByteSource, codec: Codec? = nil) async throws -> [UInt8] {
  var bytes: [UInt8] = []
  try await Decompressor(source, codec: codec).decompress { piece in
    piece.bytes.withUnsafeBytes { bytes += $0 }
  }
  return bytes
}
