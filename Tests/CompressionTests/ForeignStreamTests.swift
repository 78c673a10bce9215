// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
import SystemPackage
import TestSupport
import Testing

/// Streams that other programs wrote.
@Suite struct ForeignStreamTests {
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
