// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import PartcloneStream
import SystemPackage
import TestSupport
import Testing

/// Streams of the real ntfsclone.
@Suite struct NTFSCloneTests {
  /// - Parameters:
  ///   - size: bytes of the device.
  /// - Returns: the stream, and what the real ntfsclone restores from it.
  private func make(size: Int, clusterSize: Int) async throws -> (stream: [UInt8], volume: [UInt8]) {
    try await withTemporaryDirectory { folder in
      try await shell(
        """
        cd '\(folder)'
        truncate -s \(size) volume
        mkntfs -qQF -c \(clusterSize) volume >/dev/null
        for i in 1 2 3; do head -c ${i}00007 /dev/urandom > file; ntfscp -qf volume file file$i; done
        ntfsclone -q --save-image -o stream volume >/dev/null
        truncate -s \(size) restored
        ntfsclone -q --restore-image --overwrite restored stream >/dev/null
        # The volume serial number and the like are left alone.
        cmp -n 512 volume restored
        """)
      return (try folder.appending("stream").contents(), try folder.appending("restored").contents())
    }
  }

  /// Devices that end with, after and inside the cluster of the backup boot sector.
  @Test(arguments: [(20 << 20, 4096), (20 << 20 + 512, 4096), (20 << 20 + 3584, 512), (40 << 20 + 33_792, 65536)])
  func whatNtfscloneRestoresIsRead(_ size: Int, _ clusterSize: Int) async throws {
    let (stream, volume) = try await make(size: size, clusterSize: clusterSize)
    for portion in [777, Int.max] {
      let parsed = try Parsed(stream, portion: portion, limit: 1 << 30)
      #expect(parsed.volume == volume)
      #expect(parsed.verified == parsed.told && parsed.told > 600_000)
      let header = try #require(parsed.header)
      #expect(header.format == .ntfsclone && header.fileSystem == "NTFS" && header.blockSize == clusterSize)
      #expect(header.deviceSize == UInt64(size) && header.usedBlocks < header.totalBlocks)
    }
  }

  @Test func truncationsAreFound() async throws {
    let (stream, _) = try await make(size: 4 << 20, clusterSize: 4096)
    var lengths = Set(0..<200).union((1..<9000).map { stream.count - $0 })
    lengths.formUnion(stride(from: 0, to: stream.count, by: stream.count / 500))
    for length in lengths {
      #expect(throws: PartcloneError.self, "\(length) bytes") {
        try Parsed(Array(stream.prefix(length)), limit: 1 << 30)
      }
    }
    #expect(throws: PartcloneError.trailingData(image: "test", offset: UInt64(stream.count))) {
      try Parsed(stream + [1], limit: 1 << 30)
    }
  }

  /// A volume of four clusters, the first and the last in use.
  private func small(version: (UInt8, UInt8), backup: Bool) -> [UInt8] {
    var bytes = [0] + Array("ntfsclone-image".utf8) + [version.0, version.1]
    bytes.append(littleEndian: UInt32(512))
    bytes.append(littleEndian: UInt64(4 * 512 + 512))
    bytes.append(littleEndian: UInt64(4))
    bytes.append(littleEndian: UInt64(2))
    if version.0 >= 10 { bytes.append(littleEndian: UInt32(50)) }
    bytes += [1] + [UInt8](repeating: 0xA1, count: 512) + [0, 2, 0, 0, 0, 0, 0, 0, 0]
    bytes += [1] + [UInt8](repeating: 0xA2, count: 512)
    return backup ? bytes + [1] + [UInt8](repeating: 0xA3, count: 512) : bytes
  }

  @Test func earlierVersionsAreRead() throws {
    let clusters = [0xA1, 0, 0, 0xA2, 0].flatMap { [UInt8](repeating: $0, count: 512) }
    for version in [(9, 0), (10, 0)] as [(UInt8, UInt8)] {
      #expect(try Parsed(small(version: version, backup: false)).volume == clusters)
      #expect(throws: PartcloneError.self) { try Parsed(small(version: version, backup: true)) }
    }
    #expect(throws: PartcloneError.self) { try Parsed(small(version: (10, 1), backup: false)) }
    #expect(try Parsed(small(version: (10, 1), backup: true)).volume.last == 0xA3)
    #expect(throws: PartcloneError.unsupported(image: "test", feature: "version 11.0 of ntfsclone's format")) {
      try Parsed(small(version: (11, 0), backup: true))
    }
  }

  @Test func hostileNumbersAreRefused() {
    let good = small(version: (10, 1), backup: true)
    func expectError(_ value: some FixedWidthInteger & BitwiseCopyable, at offset: Int) {
      var broken = good
      broken.store(value, at: offset)
      #expect(throws: PartcloneError.self, "\(value) at \(offset)") { try Parsed(broken) }
    }
    for size in [0, 511, 768, 4 << 20, .max] as [UInt32] { expectError(size, at: 18) }
    for size in [0, 2047, UInt64.max] as [UInt64] { expectError(size, at: 22) }
    for count in [0, 1, 6, UInt64.max] as [UInt64] { expectError(count, at: 30) }
    for count in [3, 5, UInt64.max] as [UInt64] { expectError(count, at: 38) }
    for offset in [0, 49, 51, .max] as [UInt32] { expectError(offset, at: 46) }
    // A command that is none; skips of nothing, backwards, and past the end.
    expectError(UInt8(2), at: 50)
    for count in [0, 5, Int64.min, -1, .max] as [Int64] { expectError(count, at: 50 + 513 + 1) }
  }

  @Test func mutatedStreamsGiveTypedErrorsOrParse() {
    var generator = SeededGenerator(state: 7)
    let stream = small(version: (10, 1), backup: true)
    var errors = 0
    for _ in 0..<4000 {
      var broken = stream
      for _ in 0...Int.random(in: 0..<3, using: &generator) {
        let place = [0..<50, 563..<573, 50..<stream.count].randomElement(using: &generator) ?? 0..<1
        broken[Int.random(in: place, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      do {
        _ = try Parsed(broken, portion: 100, limit: 1 << 16)
      } catch is PartcloneError {
        errors += 1
      } catch {
        Issue.record("an untyped error: \(error)")
      }
    }
    #expect(errors > 1000)
  }
}
