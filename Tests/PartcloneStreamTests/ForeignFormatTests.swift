// SPDX-License-Identifier: GPL-3.0-or-later

import PartcloneStream
import Testing

/// The checksums of partclone from 0.3.39 on.
@Suite struct XXHStreamTests {
  @Test(arguments: [0x30, 0x31, 0x20, 0], [1, 3, 7, 1_000_000])
  func everyChecksumIsRead(_ mode: Int, _ blocksPerChecksum: Int) async throws {
    for reseeds in [true, false] {
      let (stream, volume) = try await GeneratedStream(
        mode: mode, blocksPerChecksum: blocksPerChecksum, reseeds: reseeds
      ).make()
      for portion in [97, Int.max] {
        let parsed = try Parsed(stream, portion: portion)
        #expect(parsed.volume == volume)
        #expect(parsed.verified == parsed.told && parsed.told > 0)
        #expect(parsed.warning == nil)
      }
    }
  }

  @Test(arguments: [0x30, 0x31], [true, false])
  func everyFlippedBitIsFound(_ mode: Int, _ reseeds: Bool) async throws {
    let (stream, _) = try await GeneratedStream(mode: mode, reseeds: reseeds, blocks: 12).make()
    for index in stream.indices {
      var broken = stream
      broken[index] ^= 1 << (index % 8)
      #expect(throws: PartcloneError.self, "byte \(index)") { try Parsed(broken) }
    }
  }

  @Test(arguments: [0x30, 0x31])
  func everyTruncationIsFound(_ mode: Int) async throws {
    // As many blocks as make the last checksum cover fewer than the others.
    let (stream, _) = try await GeneratedStream(mode: mode, blocksPerChecksum: 4, bitmapMode: 0, blocks: 10).make()
    let size = mode == 0x30 ? 8 : 16
    for length in 0..<stream.count where length != stream.count - size {
      #expect(throws: PartcloneError.self, "\(length) bytes") { try Parsed(Array(stream.prefix(length))) }
    }
    #expect(try Parsed(Array(stream.dropLast(size))).warning == "the last checksum of test is missing")
  }

  /// As `xxh128sum` prints it.
  @Test func aWrongChecksumIsToldInItsCanonicalForm() async throws {
    var (stream, _) = try await GeneratedStream(blocksPerChecksum: 1, bitmapMode: 0, blocks: 1).make()
    stream.replaceSubrange((stream.count - 16)..., with: (0..<16).map { UInt8($0) })
    do {
      _ = try Parsed(stream)
      Issue.record("the damage was not found")
    } catch PartcloneError.wrongChecksum(_, 0, _, let expected, let found) {
      #expect(expected == "0f0e0d0c0b0a09080706050403020100")
      #expect(found.count == 32)
    }
  }

  @Test(arguments: [true, false])
  func bitmapsOfBytesAreRead(_ endsMapWithMark: Bool) async throws {
    let (stream, volume) = try await GeneratedStream(bitmapMode: 8, endsMapWithMark: endsMapWithMark).make()
    for portion in [1, 1000, .max] { #expect(try Parsed(stream, portion: portion).volume == volume) }
    for index in 160..<168 where endsMapWithMark || index < 164 {
      var broken = stream
      broken[index] ^= 1
      #expect(throws: PartcloneError.self) { try Parsed(broken) }
    }
  }
}

/// "0001", which partclone 0.2 wrote.
@Suite struct Version1Tests {
  @Test(arguments: [0, 4], [0, 1, 2, 3, 4, 60])
  func bothStridesAreRead(_ padding: Int, _ blocks: Int) async throws {
    for blockSize in [512, 4096] {
      let (stream, volume) = try await GeneratedStream(
        version: 1, bitmapMode: 8, blocks: blocks, blockSize: blockSize, padding: padding
      ).make()
      for portion in [1, 513, .max] where portion > 1 || blocks < 4 {
        let parsed = try Parsed(stream, portion: portion)
        #expect(parsed.volume == volume)
        #expect(parsed.verified == parsed.told)
        #expect(parsed.header?.format == .partclone1 && parsed.header?.fileSystem == "EXTFS")
      }
    }
  }

  @Test(arguments: [0, 4])
  func everyTruncationIsFound(_ padding: Int) async throws {
    let (stream, _) = try await GeneratedStream(version: 1, bitmapMode: 8, blocks: 20, padding: padding).make()
    for length in 0..<stream.count {
      // What follows the last checksum means nothing, and the checksum itself may be missing.
      let left = stream.count - length
      if left <= padding || left == padding + 4 { continue }
      #expect(throws: PartcloneError.self, "\(length) bytes") { try Parsed(Array(stream.prefix(length))) }
    }
    #expect(throws: PartcloneError.self) { try Parsed(stream + [0]) }
  }

  /// Each block's first byte, each checksum and the mark after the bitmap are all that is protected.
  @Test(arguments: [0, 4])
  func whatIsProtectedIsChecked(_ padding: Int) async throws {
    let (stream, volume) = try await GeneratedStream(version: 1, bitmapMode: 8, blocks: 4, padding: padding).make()
    let data = 4160 + 4 + 8
    #expect(stream.count == data + 4 * (512 + 4 + padding))
    for index in data..<stream.count {
      let place = (index - data) % (512 + 4 + padding)
      var broken = stream
      broken[index] ^= 1
      if place == 0 || (512..<516).contains(place) {
        #expect(throws: PartcloneError.self, "byte \(index)") { try Parsed(broken) }
      } else if place > 515 {
        #expect(try Parsed(broken).volume == volume)
      }
    }
    for index in (data - 8)..<data {
      var broken = stream
      broken[index] ^= 1
      #expect(throws: PartcloneError.wrongBitmapEnd(image: "test")) { try Parsed(broken) }
    }
  }

  @Test func mutatedStreamsGiveTypedErrorsOrParse() async throws {
    var generator = SeededGenerator(state: 6)
    let (stream, _) = try await GeneratedStream(version: 1, bitmapMode: 8, blocks: 30, padding: 4).make()
    var errors = 0
    for round in 0..<3000 {
      var broken = stream
      let range = round % 2 == 0 ? 30..<64 : 4100..<stream.count
      for _ in 0...Int.random(in: 0..<3, using: &generator) {
        broken[Int.random(in: range, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      do {
        _ = try Parsed(broken, portion: 4096, limit: 1 << 16)
      } catch is PartcloneError {
        errors += 1
      }
    }
    #expect(errors > 1000)
  }
}
