// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Compression
import Imaging
import SystemPackage
import TestSupport
import Testing

@Suite struct SplitFileSinkTests {
  private let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 / 256) }

  private func listing(_ folder: FilePath) async throws -> [String] {
    try await tool("ls", "-A", folder.string).split(separator: "\n").map(String.init)
  }

  private func write(_ sink: SplitFileSink, portion: Int = 7001) throws {
    var position = 0
    while position < bytes.count {
      let part = Array(bytes[position..<min(position + portion, bytes.count)])
      try sink.write(part.span.bytes)
      position += part.count
    }
  }

  @Test func volumesAreCutAsSplitCutsThem() async throws {
    try await withTemporaryDirectory { folder in
      let sink = try SplitFileSink(folder.appending("ours.zst"), volumeByteCount: 3000)
      try write(sink)
      #expect(try await listing(folder).allSatisfy { $0.hasPrefix(".") }, "final names before the end")
      try sink.finish()
      try folder.appending("whole").write(bytes)
      try await shell(
        "cd '\(folder)'; split -a 2 -b 3000 whole theirs.zst.; for f in theirs.*; do cmp $f ours${f#theirs}; done")
      let names = try await listing(folder).filter { $0.hasPrefix("ours") }
      #expect(names.count == 34 && names.first == "ours.zst.aa" && names.last == "ours.zst.bh")
      #expect(sink.volumes.map { $0.lastComponent?.string } == names)

      let source = try ConcatenatedFilesSource(sink.volumes)
      #expect(source.byteCount == 100_000)
      #expect(source.place(of: 3001) == "\(folder)/ours.zst.ab at offset 1")
      var read: [UInt8] = []
      while true {
        var part = [UInt8](repeating: 0, count: 5000)
        var span = part.mutableSpan
        var raw = span.mutableBytes
        let count = try source.readFully(at: UInt64(read.count), into: &raw)
        if count == 0 { break }
        read += part.prefix(count)
      }
      #expect(read == bytes)
    }
  }

  @Test func aFullVolumeBeginsNoEmptyOne() async throws {
    try await withTemporaryDirectory { folder in
      let sink = try SplitFileSink(folder.appending("x"), volumeByteCount: 50_000)
      try write(sink)
      try sink.finish()
      #expect(try await listing(folder) == ["x.aa", "x.ab"])
    }
  }

  @Test func oneFileHasNoSuffix() async throws {
    try await withTemporaryDirectory { folder in
      let sink = try SplitFileSink(folder.appending("x.gz"))
      try write(sink)
      try sink.finish()
      #expect(try await listing(folder) == ["x.gz"])
      #expect(try folder.appending("x.gz").contents() == bytes)
      #expect(try await tool("stat", "-c", "%a", "\(folder)/x.gz") == "600\n")
    }
  }

  @Test func anUnfinishedSinkLeavesNothing() async throws {
    try await withTemporaryDirectory { folder in
      do {
        let sink = try SplitFileSink(folder.appending("x"), volumeByteCount: 3000)
        try write(sink)
      }
      #expect(try await listing(folder) == [])
    }
  }

  @Test func theSuffixMustSuffice() async throws {
    try await withTemporaryDirectory { folder in
      let sink = try SplitFileSink(folder.appending("x"), volumeByteCount: 1000, suffixLength: 1)
      #expect(throws: StreamFileError.tooManyVolumes(file: "\(folder)/x", limit: 26)) { try write(sink) }
      let longer = try SplitFileSink(folder.appending("y"), volumeByteCount: 100_000, suffixLength: 3)
      try write(longer)
      try longer.finish()
      #expect(try await listing(folder).contains("y.aaa"))
    }
  }

  @Test func aMissingFolderOrVolumeIsNamed() async throws {
    try await withTemporaryDirectory { folder in
      #expect(throws: StreamFileError.cannotOpen(file: "\(folder)/no/.x.partial", errno: 2)) {
        try SplitFileSink(folder.appending("no/x"))
      }
      #expect(throws: StreamFileError.cannotOpen(file: "\(folder)/x.ab", errno: 2)) {
        try folder.appending("x.aa").write([1])
        _ = try ConcatenatedFilesSource([folder.appending("x.aa"), folder.appending("x.ab")])
      }
      #expect(throws: StreamFileError.cannotOpen(file: "\(folder)", errno: 22)) {
        try ConcatenatedFilesSource([folder])
      }
    }
  }

  @Test func aMissingVolumeInTheMiddleOrAtTheEndIsFound() async throws {
    try await withTemporaryDirectory { folder in
      let volume = SampleVolume(blocks: 3000, blockSize: 4096)
      var sink = try SplitFileSink(folder.appending("v.zst"), volumeByteCount: 400_000)
      _ = try await VolumeSaver(volume.device, content: volume.content).save(to: &sink)
      try #require(sink.volumes.count >= 3)
      for missing in sink.volumes.indices {
        var volumes = sink.volumes
        volumes.remove(at: missing)
        let image = VolumeImage(try ConcatenatedFilesSource(volumes), codec: .zstd, format: .partclone)
        await #expect(throws: CompressionError.self, "without volume \(missing)") {
          _ = try await VolumeVerifier(image).verify()
        }
      }
    }
  }
}
