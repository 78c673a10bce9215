// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
import SystemPackage
import TestSupport
import Testing

private let writable = Codec.allCases.filter(\.isWritable)

@Suite struct CompressorTests {
  /// More than a frame, and not a multiple of one.
  private let sample = sampleBytes(10_000_003)

  @Test(arguments: writable)
  func whatWasCompressedComesBack(_ codec: Codec) async throws {
    let stored = try await compressed(sample, CompressionOptions(codec: codec))
    #expect(try await decompressed(MemorySource(stored), codec: codec) == sample)
    #expect(try await decompressed(MemorySource(stored, isSeekable: false, portion: 70_001), codec: codec) == sample)
    #expect(try await decompressed(MemorySource(stored)) == sample, "found by its magic number")
    #expect(codec == .none || stored.count < sample.count * 2 / 3)
  }

  @Test(arguments: writable, [0, 1, 4 << 20, 4 << 20 + 1])
  func everySizeComesBack(_ codec: Codec, _ size: Int) async throws {
    let bytes = Array(sample.prefix(size))
    let stored = try await compressed(bytes, CompressionOptions(codec: codec))
    #expect(try await decompressed(MemorySource(stored), codec: codec) == bytes)
  }

  @Test func smallFramesAreJoinedInOrder() async throws {
    for codec in writable {
      let stored = try await compressed(
        Array(sample.prefix(1_000_000)), CompressionOptions(codec: codec), frameByteCount: 777)
      #expect(try await decompressed(MemorySource(stored), codec: codec) == Array(sample.prefix(1_000_000)))
    }
  }

  @Test func stockProgramsReadOurStreams() async throws {
    try await withTemporaryDirectory { folder in
      try folder.appending("sample").write(sample)
      for (codec, programs) in [
        (Codec.zstd, ["zstd -dcq", "zstdmt -dcq"]), (.gzip, ["gzip -dc", "pigz -dc"]), (.lz4, ["lz4 -dcq"]),
        (.xz, ["xz -dc", "xz -dc -T0", "pixz -d"]),
      ] {
        let file = folder.appending("sample.\(codec.suffix)")
        try file.write(try await compressed(sample, CompressionOptions(codec: codec)))
        for program in programs {
          try await shell("\(program) < '\(file)' | cmp - '\(folder)/sample'")
        }
      }
      try await shell("cd '\(folder)'; zstd -tq sample.zst; gzip -t sample.gz; lz4 -tq sample.lz4; xz -tq sample.xz")
      // One stream of three blocks with their sizes in their headers, which is what lets xz use all cores.
      let blocks = try await shell("xz --robot -lvv '\(folder)/sample.xz' | grep ^block")
      #expect(blocks.split(separator: "\n").count == 3, "\(blocks)")
      #expect(blocks.split(separator: "\n").allSatisfy { $0.contains("\tcu\t") }, "\(blocks)")
      // Three frames, and the seek table as a frame to be skipped.
      let listing = try await shell("zstd -lv '\(folder)/sample.zst' 2>&1")
      #expect(listing.contains("Number of Frames: 3") || listing.contains("# Zstandard Frames: 3"), "\(listing)")
      #expect(listing.contains("Skippable Frames: 1"), "\(listing)")
      #expect(listing.contains("XXH64"), "\(listing)")
    }
  }

  @Test func levelsAreClampedToTheCodecs() async throws {
    let bytes = Array(sample.prefix(300_000))
    for codec in [Codec.zstd, .gzip, .lz4, .xz] {
      let low = try await compressed(bytes, CompressionOptions(codec: codec, level: -5))
      let high = try await compressed(bytes, CompressionOptions(codec: codec, level: 99))
      #expect(high.count < low.count)
      #expect(try await decompressed(MemorySource(high)) == bytes)
    }
  }

  @Test func aFailingSinkEndsTheWork() async throws {
    struct Full: Error {}
    struct FullSink: ByteSink {
      var room = 3_000_000
      mutating func write(_ bytes: RawSpan) throws {
        room -= bytes.byteCount
        if room < 0 { throw Full() }
      }
      mutating func finish() { Issue.record("finished all the same") }
    }
    var sink = FullSink()
    await #expect(throws: Full.self) {
      _ = try await Compressor(CompressionOptions(codec: .none)).compress(MemoryFrames(sample), into: &sink)
    }
  }

  @Test func aFailingSourceEndsTheWork() async throws {
    struct Unreadable: Error {}
    struct BadFrames: FrameSource {
      var good = 5
      mutating func fill(_ frame: inout MutableRawSpan) throws -> Int {
        good -= 1
        if good < 0 { throw Unreadable() }
        return frame.byteCount
      }
    }
    var sink = MemorySink()
    await #expect(throws: Unreadable.self) { _ = try await Compressor().compress(BadFrames(), into: &sink) }
    #expect(!sink.isFinished)
  }

  @Test func cancellingEndsTheWork() async throws {
    struct EndlessFrames: FrameSource {
      mutating func fill(_ frame: inout MutableRawSpan) -> Int { frame.byteCount }
    }
    struct NoSink: ByteSink {
      mutating func write(_ bytes: RawSpan) {}
      mutating func finish() { Issue.record("finished all the same") }
    }
    let work = Task {
      var sink = NoSink()
      _ = try await Compressor().compress(EndlessFrames(), into: &sink)
    }
    try await Task.sleep(for: .milliseconds(100))
    work.cancel()
    await #expect(throws: CancellationError.self) { try await work.value }
  }

  @Test func aConsumerMayHoldPieces() async throws {
    let stored = try await compressed(sampleBytes(60_000_000), CompressionOptions())
    var held: [Piece] = []
    var total = 0
    try await Decompressor(MemorySource(stored), codec: .zstd, holding: 5).decompress { piece in
      held.append(piece)
      if held.count == 5 {
        total += held.reduce(0) { $0 + $1.bytes.byteCount }
        held = []
      }
    }
    #expect(total + held.reduce(0) { $0 + $1.bytes.byteCount } == 60_000_000)
  }

  @Test func theSizeIsKnownWhereTheStreamTells() async throws {
    func size(_ codec: Codec, isSeekable: Bool = true) async throws -> UInt64? {
      let stored = try await compressed(sample, CompressionOptions(codec: codec))
      return try Decompressor(MemorySource(stored, isSeekable: isSeekable), codec: codec).decompressedByteCount()
    }
    #expect(try await size(.zstd) == UInt64(sample.count))
    #expect(try await size(.none) == UInt64(sample.count))
    #expect(try await size(.gzip) == nil)
    #expect(try await size(.zstd, isSeekable: false) == nil)
  }
}

@Suite struct CodecTests {
  @Test func suffixesAreClonezillas() throws {
    let suffixes: [(String, Codec)] = [
      ("zst", .zstd), ("gz", .gzip), ("uncomp", .none), ("bz2", .bzip2), ("lzo", .lzop), ("lzma", .lzma), ("xz", .xz),
      ("lzip", .lzip), ("lz4", .lz4),
    ]
    for (suffix, codec) in suffixes { #expect(try Codec(suffix: suffix) == codec) }
    #expect(suffixes.count == Codec.allCases.count)
    for other in ["lrz", "", "ZST", "lz"] {
      #expect(throws: CompressionError.unsupported(format: other)) { try Codec(suffix: other) }
    }
  }

  @Test func lrzipIsNamed() async throws {
    await #expect(throws: CompressionError.unsupported(format: "lrzip")) {
      try await decompressed(MemorySource(Array("LRZI and more than thirteen bytes".utf8)))
    }
  }

  @Test(arguments: Codec.allCases.filter { !$0.isWritable })
  func whatIsOnlyReadIsNotWritten(_ codec: Codec) async throws {
    await #expect(throws: CompressionError.notWritten(codec: codec)) {
      try await compressed([1, 2, 3], CompressionOptions(codec: codec))
    }
  }
}
