// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Compression
import SystemPackage
import TestSupport
import Testing

/// Streams that other programs wrote.
@Suite(.serialized) struct ForeignStreamTests {
  private let sample = sampleBytes(6_000_000, seed: 2)

  @Test(arguments: [
    "zstd -q -T0 -3", "zstd -q -1 --no-check", "zstd -q --long=27 -3", "zstd -q --ultra -20", "pzstd -q -3 -c",
    "sh -c 'head -c 1000000 | zstd -q; zstd -q'",
  ])
  func zstdIsRead(_ program: String) async throws {
    try await expectSame(program, .zstd)
  }

  @Test(arguments: [
    "gzip --fast --rsyncable", "pigz --fast -b 1024 -R", "pigz -9", "gzip -c -n",
    "sh -c 'head -c 1000000 | gzip; gzip -9'",
  ])
  func gzipIsRead(_ program: String) async throws {
    try await expectSame(program, .gzip)
  }

  @Test(
    arguments: [
      ("bzip2 -3", .bzip2), ("pbzip2 -3 -c", .bzip2), ("lbzip2 -3", .bzip2),
      ("sh -c 'head -c 1000000 | bzip2; bzip2'", .bzip2),
      ("xz -3", .xz), ("xz -3 -T0", .xz), ("xz -0 -T0 --block-size=300000", .xz), ("xz -1 --check=sha256", .xz),
      ("pixz -3", .xz), ("xz --check=none --x86 --lzma2=preset=1", .xz),
      ("sh -c 'head -c 1000000 | xz; head -c 8 /dev/zero; xz; head -c 4 /dev/zero'", .xz),
      ("lzma -3", .lzma), ("xz --format=lzma -0", .lzma),
      ("lzip -3", .lzip), ("plzip -3", .lzip), ("lzip -0 -b 100000", .lzip),
      ("lz4 -1", .lz4), ("lz4 -9 -BD -B4", .lz4), ("lz4 -1 --no-frame-crc -BX", .lz4), ("lz4 -l", .lz4),
      ("sh -c 'head -c 1000000 | lz4; head -c 1000000 | lz4 -l; head -c 1000000 | lz4 -l; lz4'", .lz4),
      ("lzop -3", .lzop), ("lzop -9", .lzop), ("lzop -1 --crc32", .lzop), ("lzop -3 -F", .lzop), ("lzop -3 -CC", .lzop),
      ("sh -c 'head -c 1000000 | lzop; lzop'", .lzop),
    ] as [(String, Codec)])
  func otherFormatsAreRead(_ program: String, _ codec: Codec) async throws {
    try await expectSame(program, codec)
  }

  @Test(
    arguments: [
      ("bzip2", .bzip2), ("xz", .xz), ("lzma", .lzma), ("lzip", .lzip), ("lz4", .lz4), ("lz4 -l", .lz4),
      ("lzop", .lzop),
    ] as [(String, Codec)])
  func emptyStreamsAreRead(_ program: String, _ codec: Codec) async throws {
    try await withTemporaryDirectory { folder in
      let file = folder.appending("stored")
      try await shell("\(program) -c < /dev/null > '\(file)'")
      let stored = try file.contents()
      #expect(!stored.isEmpty)
      #expect(try await decompressed(MemorySource(stored), codec: codec) == [])
      #expect(try await decompressed(MemorySource(stored)) == [])
    }
  }

  /// More than one block of every format, and blocks that do not end where pieces do.
  @Test(arguments: [("bzip2 -9", .bzip2), ("lz4 -l", .lz4), ("lzop", .lzop), ("xz -0 -T2", .xz)] as [(String, Codec)])
  func longStreamsAreRead(_ program: String, _ codec: Codec) async throws {
    let long = sampleBytes(20_000_000, seed: 5)
    try await withTemporaryDirectory { folder in
      try folder.appending("sample").write(long)
      let file = folder.appending("stored")
      try await shell("\(program) -c < '\(folder)/sample' > '\(file)'")
      #expect(try await decompressed(MemorySource(try file.contents(), portion: 333_333), codec: codec) == long)
    }
  }

  /// Headers that claim 256 MiB: each where its format has the dictionary's size.
  @Test(arguments: [("xz -0", .xz), ("lzma -0", .lzma), ("lzip -0", .lzip)] as [(String, Codec)])
  func aDictionaryOfMoreThan128MiBIsRefused(_ program: String, _ codec: Codec) async throws {
    try await withTemporaryDirectory { folder in
      try folder.appending("sample").write(sample.prefix(10_000))
      let file = folder.appending("stored")
      try await shell("\(program) -c < '\(folder)/sample' > '\(file)'")
      var stored = try file.contents()
      switch codec {
      case .xz:
        try #require(Array(stored[12..<16]) == [0x02, 0x00, 0x21, 0x01], "a block header of 12 bytes with LZMA2 alone")
        stored[16] = 32
        stored.store(CRC32.checksum(Array(stored[12..<20])), at: 20)
      case .lzma: stored.store(UInt32(256 << 20), at: 1)
      default: stored[5] = 28
      }
      await #expect {
        try await decompressed(MemorySource(stored), codec: codec)
      } throws: {
        if case CompressionError.windowTooLarge = $0 { true } else { false }
      }
    }
  }

  @Test func ourMembersMayBeFollowedByOthers() async throws {
    try await withTemporaryDirectory { folder in
      try folder.appending("sample").write(sample)
      let foreign = folder.appending("foreign.gz")
      try await shell("pigz < '\(folder)/sample' > '\(foreign)'")
      let joined = try await compressed(sample, CompressionOptions(codec: .gzip)) + foreign.contents()
      #expect(try await decompressed(MemorySource(joined)) == sample + sample)
    }
  }

  @Test func framesAfterASeekTableAreRead() async throws {
    let once = try await compressed(sample, CompressionOptions())
    #expect(try await decompressed(MemorySource(once + once)) == sample + sample)
  }

  @Test func skippableFramesAreSkipped() async throws {
    let skippable: [UInt8] = [0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3]
    let stored = try await compressed(sample, CompressionOptions())
    #expect(try await decompressed(MemorySource(skippable + stored + skippable)) == sample)
  }

  @Test func aWindowOfMoreThan128MiBIsRefused() async throws {
    try await withTemporaryDirectory { folder in
      let file = folder.appending("long.zst")
      try await shell("head -c 300000000 /dev/zero | zstd -q --long=28 > '\(file)'")
      let stored = try file.contents()
      await #expect(throws: CompressionError.windowTooLarge(place: "memory at offset 0")) {
        try await decompressed(MemorySource(stored))
      }
    }
  }

  private func expectSame(_ program: String, _ codec: Codec) async throws {
    try await withTemporaryDirectory { folder in
      try folder.appending("sample").write(sample)
      let file = folder.appending("stored")
      try await shell("\(program) < '\(folder)/sample' > '\(file)'")
      let stored = try file.contents()
      #expect(try await decompressed(MemorySource(stored), codec: codec) == sample)
      #expect(try await decompressed(MemorySource(stored, isSeekable: false, portion: 1000)) == sample)
    }
  }
}
