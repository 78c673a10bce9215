// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Compression
import SystemPackage
import TestSupport
import Testing

/// Damaged streams give a typed error, or the very bytes that were stored.
@Suite struct DamageTests {
  private static let sample = sampleBytes(200_000, seed: 3)

  private static let codecs = Codec.allCases.filter { $0 != .none }

  /// Our stream of many frames, and one frame or member as other programs write it.
  private static func streams(_ codec: Codec) async throws -> [[UInt8]] {
    switch codec {
    case .zstd, .gzip:
      // Without the seek table or our extra field, what is left is an ordinary stream.
      let single = try await compressed(sample, CompressionOptions(codec: codec))
      let foreign =
        codec == .zstd ? Array(single.dropLast(8 + 8 + 9)) : Array(single[0..<3]) + [0] + single[4..<10] + single[24...]
      return [try await ours(codec), foreign]
    case .lz4: return [try await ours(codec), try await stored(by: "lz4 -1 -B4"), try await stored(by: "lz4 -l")]
    case .xz: return [try await ours(codec), try await stored(by: "xz -1"), try await stored(by: "xz -0 -T2")]
    case .bzip2: return [try await stored(by: "bzip2 -1"), try await stored(by: "pbzip2 -1 -b1 -c")]
    case .lzma: return [try await stored(by: "lzma -1")]
    case .lzip: return [try await stored(by: "lzip -0"), try await stored(by: "plzip -0 -B 50000")]
    case .lzop: return [try await stored(by: "lzop"), try await stored(by: "lzop -9 --crc32")]
    case .none: return []
    }
  }

  private static func ours(_ codec: Codec) async throws -> [UInt8] {
    try await compressed(sample, CompressionOptions(codec: codec), frameByteCount: 30_000)
  }

  private static func stored(by program: String) async throws -> [UInt8] {
    try await withTemporaryDirectory { folder in
      try folder.appending("sample").write(sample)
      try await shell("\(program) < '\(folder)/sample' > '\(folder)/stored'")
      return try folder.appending("stored").contents()
    }
  }

  @Test(arguments: codecs)
  func everyTruncationIsFound(_ codec: Codec) async throws {
    for stored in try await Self.streams(codec) {
      var lengths = Set((1..<400).map { stored.count - $0 })
      lengths.formUnion(stride(from: 0, to: stored.count, by: stored.count / 300))
      for length in lengths where length >= 0 {
        try await expectTypedErrorOrPrefix(Array(stored.prefix(length)), codec)
      }
    }
  }

  @Test(arguments: codecs)
  func aTruncatedFrameIsAnError(_ codec: Codec) async throws {
    for stored in try await Self.streams(codec) {
      await #expect(throws: CompressionError.self) {
        try await decompressed(MemorySource(Array(stored.prefix(stored.count / 2))), codec: codec)
      }
    }
  }

  @Test(arguments: codecs)
  func aFlippedByteIsFound(_ codec: Codec) async throws {
    var generator = SeededGenerator(state: 4)
    for stored in try await Self.streams(codec) {
      for round in 0..<400 {
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

  /// One unit alone can't end early without a sign.
  @Test(
    arguments: [
      ("bzip2 -1", .bzip2), ("xz -1", .xz), ("xz -0 -T2 --block-size=50000", .xz), ("lzma -1", .lzma),
      ("lzip -0", .lzip),
      ("lz4 -1", .lz4), ("lzop", .lzop),
    ] as [(String, Codec)])
  func aStreamCutAnywhereIsAnError(_ program: String, _ codec: Codec) async throws {
    let stored = try await Self.stored(by: program)
    var lengths = Set(0..<64).union((1..<64).map { stored.count - $0 })
    lengths.formUnion(stride(from: 0, to: stored.count, by: stored.count / 200))
    for length in lengths {
      await #expect(throws: CompressionError.self, "\(length) of \(stored.count) bytes") {
        try await decompressed(MemorySource(Array(stored.prefix(length))), codec: codec)
      }
    }
  }

  @Test(arguments: codecs)
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
      #expect(bytes == Self.sample || !Self.isChecked(stored, codec), "other bytes without an error")
    } catch is CompressionError {}
  }

  /// Neither `.lzma` nor legacy lz4 has a checksum: that is left to what they hold.
  private static func isChecked(_ stored: [UInt8], _ codec: Codec) -> Bool {
    codec != .lzma && !(codec == .lz4 && stored[1...3].elementsEqual([0x21, 0x4C, 0x18]))
  }

  /// A stream cut between two frames can't be told from a whole one; its bytes must still be right.
  private func expectTypedErrorOrPrefix(_ stored: [UInt8], _ codec: Codec) async throws {
    do {
      let bytes = try await decompressed(MemorySource(stored), codec: codec)
      #expect(Self.sample.starts(with: bytes), "other bytes without an error")
    } catch is CompressionError {}
  }
}
