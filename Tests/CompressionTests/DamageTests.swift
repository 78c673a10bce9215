// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Compression
import Testing

/// Damaged streams give a typed error, or the very bytes that were stored.
@Suite struct DamageTests {
  private static let sample = sampleBytes(200_000, seed: 3)

  /// Our stream of many frames, and one frame or member as other programs write it.
  private static func streams(_ codec: Codec) async throws -> [[UInt8]] {
    let ours = try await compressed(sample, CompressionOptions(codec: codec), frameByteCount: 30_000)
    let single = try await compressed(sample, CompressionOptions(codec: codec))
    // Without the seek table or our extra field, what is left is an ordinary stream.
    switch codec {
    case .zstd: return [ours, Array(single.dropLast(8 + 8 + 9))]
    case .gzip: return [ours, Array(single[0..<3]) + [0] + single[4..<10] + single[24...]]
    case .none: return []
    }
  }

  @Test(arguments: [Codec.zstd, .gzip])
  func everyTruncationIsFound(_ codec: Codec) async throws {
    for stored in try await Self.streams(codec) {
      var lengths = Set((1..<400).map { stored.count - $0 })
      lengths.formUnion(stride(from: 0, to: stored.count, by: stored.count / 300))
      for length in lengths where length >= 0 {
        try await expectTypedErrorOrPrefix(Array(stored.prefix(length)), codec)
      }
    }
  }

  @Test(arguments: [Codec.zstd, .gzip])
  func aTruncatedFrameIsAnError(_ codec: Codec) async throws {
    for stored in try await Self.streams(codec) {
      await #expect(throws: CompressionError.self) {
        try await decompressed(MemorySource(Array(stored.prefix(stored.count / 2))), codec: codec)
      }
    }
  }

  @Test(arguments: [Codec.zstd, .gzip])
  func aFlippedByteIsFound(_ codec: Codec) async throws {
    var generator = SeededGenerator(state: 4)
    for stored in try await Self.streams(codec) {
      for round in 0..<1500 {
        var broken = stored
        // The start and the end, where headers and tables are, and anywhere.
        let place =
          switch round % 3 {
          case 0: Int.random(in: 0..<60, using: &generator)
          case 1: stored.count - 1 - Int.random(in: 0..<120, using: &generator)
          default: Int.random(in: 0..<stored.count, using: &generator)
          }
        broken[place] ^= UInt8.random(in: 1...255, using: &generator)
        try await expectTypedErrorOrSame(broken, codec)
      }
    }
  }

  @Test(arguments: [Codec.zstd, .gzip])
  func trailingGarbageIsFound(_ codec: Codec) async throws {
    for stored in try await Self.streams(codec) {
      await #expect(throws: CompressionError.trailingGarbage(place: "memory at offset \(stored.count)")) {
        try await decompressed(MemorySource(stored + Array("garbage!".utf8)), codec: codec)
      }
    }
  }

  @Test func theNameMustNotContradictTheContent() async throws {
    let zstd = try await compressed(Self.sample, CompressionOptions())
    await #expect(throws: CompressionError.notCompressed(place: "memory", expected: .gzip)) {
      try await decompressed(MemorySource(zstd), codec: .gzip)
    }
    await #expect(throws: CompressionError.notCompressed(place: "memory", expected: .zstd)) {
      try await decompressed(MemorySource(Self.sample), codec: .zstd)
    }
    await #expect(throws: CompressionError.truncated(place: "memory at offset 0")) {
      try await decompressed(MemorySource([]), codec: .zstd)
    }
  }

  @Test func anErrorTellsTheOffsetOfItsFrame() async throws {
    let stored = try await compressed(Self.sample, CompressionOptions(), frameByteCount: 30_000)
    let first = try await compressed(Array(Self.sample.prefix(30_000)), CompressionOptions())
    var broken = stored
    broken[100] ^= 0xFF
    do {
      _ = try await decompressed(MemorySource(broken), codec: .zstd)
      Issue.record("the damage was not found")
    } catch CompressionError.damaged(let place, _) {
      #expect(place == "memory at offset 0")
    }
    #expect(first.count > 100)
  }

  /// A table that lies must not make the reader allocate what it says, or lose data.
  @Test func aHostileSeekTableIsHarmless() async throws {
    let stored = try await compressed(Self.sample, CompressionOptions(), frameByteCount: 30_000)
    let frames = (Self.sample.count + 29_999) / 30_000
    let table = stored.count - 9 - frames * 8 - 8
    for (offset, value) in [
      (stored.count - 9, UInt32.max), (stored.count - 9, 0x800_0000), (stored.count - 9, 0), (table + 4, 0),
      (table + 8, .max), (table + 12, .max), (table + 12, 0), (table + 8, 0),
    ] {
      var broken = stored
      broken.store(value, at: offset)
      try await expectTypedErrorOrSame(broken, .zstd)
    }
  }

  @Test func aDamagedSeekTableIsNotNeeded() async throws {
    var stored = try await compressed(Self.sample, CompressionOptions(), frameByteCount: 30_000)
    // The compressed size of the last frame.
    stored[stored.count - 17] ^= 1
    var bytes: [UInt8] = []
    let totals = try await Decompressor(MemorySource(stored), codec: .zstd).decompress { piece in
      piece.bytes.withUnsafeBytes { bytes += $0 }
    }
    #expect(bytes == Self.sample)
    #expect(totals.warnings.count == 1)
  }

  private func expectTypedErrorOrSame(_ stored: [UInt8], _ codec: Codec) async throws {
    do {
      let bytes = try await decompressed(MemorySource(stored), codec: codec)
      #expect(bytes == Self.sample, "other bytes without an error")
    } catch is CompressionError {}
  }

  /// A stream cut between two frames can't be told from a whole one; its bytes must still be right.
  private func expectTypedErrorOrPrefix(_ stored: [UInt8], _ codec: Codec) async throws {
    do {
      let bytes = try await decompressed(MemorySource(stored), codec: codec)
      #expect(Self.sample.starts(with: bytes), "other bytes without an error")
    } catch is CompressionError {}
  }
}
