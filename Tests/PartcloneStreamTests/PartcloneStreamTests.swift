// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import PartcloneStream
import Testing

private func pattern(_ count: Int, seed: UInt64 = 1) -> [Bool] {
  var generator = SeededGenerator(state: seed)
  var used: [Bool] = []
  while used.count < count {
    used += [Bool](
      repeating: Bool.random(using: &generator), count: Int.random(in: 1...12, using: &generator))
  }
  return Array(used.prefix(count))
}

@Suite struct ParserTests {
  @Test(arguments: [1, 7, 110, 512, 4096, .max])
  func aStreamIsTakenApartInAnyPortions(_ portion: Int) throws {
    let builder = StreamBuilder(used: pattern(101))
    let parsed = try Parsed(builder.stream(), portion: portion)
    #expect(parsed.volume == builder.volume())
    #expect(parsed.verified == parsed.told)
    #expect(parsed.warning == nil)
    #expect(parsed.header?.fileSystem == "EXTFS")
    #expect(parsed.header?.partcloneVersion == "0.2.90")
  }

  @Test(arguments: [1, 2, 3, 50, 51, 1000, .max] as [UInt32], [true, false])
  func everyCadenceIsRead(_ blocksPerChecksum: UInt32, _ reseeds: Bool) throws {
    var builder = StreamBuilder(used: pattern(100, seed: 2))
    builder.blocksPerChecksum = blocksPerChecksum
    builder.reseeds = reseeds
    for portion in [100, Int.max] {
      let parsed = try Parsed(builder.stream(), portion: portion)
      #expect(parsed.volume == builder.volume())
      #expect(parsed.verified == parsed.told)
    }
  }

  @Test func streamsWithoutChecksumsAreRead() throws {
    var builder = StreamBuilder(used: pattern(77))
    builder.checksumMode = 0
    builder.checksumSize = 0
    builder.blocksPerChecksum = 0
    let parsed = try Parsed(builder.stream(), portion: 1000)
    #expect(parsed.volume == builder.volume())
    #expect(parsed.verified == parsed.told)
  }

  @Test func streamsWithoutBitmapAreRead() throws {
    var builder = StreamBuilder(used: [Bool](repeating: false, count: 20))
    builder.bitmapMode = 0
    #expect(try Parsed(builder.stream()).volume == builder.volume())
  }

  @Test func spareBitsMeanNothing() throws {
    var builder = StreamBuilder(used: pattern(99))
    builder.setsSpareBits = true
    #expect(try Parsed(builder.stream()).volume == builder.volume())
  }

  @Test func theBitmapIsCountedNotTheHeader() throws {
    var builder = StreamBuilder(used: pattern(99))
    builder.usedBlocks = 1
    #expect(try Parsed(builder.stream()).volume == builder.volume())
  }

  @Test func aMissingLastChecksumIsForgiven() throws {
    var builder = StreamBuilder(used: [Bool](repeating: true, count: 10))
    builder.hasLastChecksum = false
    let parsed = try Parsed(builder.stream())
    #expect(parsed.volume == builder.volume())
    #expect(parsed.warning == "the last checksum of test is missing")
    #expect(parsed.verified == 9 * 512)
  }

  @Test func emptyVolumesAreRead() throws {
    #expect(try Parsed(StreamBuilder(used: [false, false, false]).stream()).told == 0)
    #expect(try Parsed(StreamBuilder(used: []).stream()).told == 0)
  }

  @Test func everyTruncationIsFound() throws {
    let stream = StreamBuilder(used: pattern(40)).stream()
    for length in 0..<stream.count - 4 {
      #expect(throws: PartcloneError.self, "\(length) bytes") { try Parsed(Array(stream.prefix(length))) }
    }
  }

  @Test func moreDataThanBlocksIsFound() {
    let stream = StreamBuilder(used: pattern(40)).stream()
    #expect(throws: PartcloneError.trailingData(image: "test", offset: UInt64(stream.count))) {
      try Parsed(stream + [0])
    }
  }

  @Test func everyFlippedBitIsFound() throws {
    // The builder's checksums cover header, bitmap and data: all of the stream.
    let stream = StreamBuilder(used: pattern(20)).stream()
    for index in stream.indices {
      var broken = stream
      broken[index] ^= 1 << (index % 8)
      #expect(throws: PartcloneError.self, "byte \(index)") { try Parsed(broken) }
    }
  }

  @Test func aWrongChecksumNamesBlockAndOffset() throws {
    let builder = StreamBuilder(used: [false] + [Bool](repeating: true, count: 9))
    var stream = builder.stream()
    // The fourth used block is block 4, the first that the second checksum covers.
    let data = 110 + 2 + 4
    stream[data + 3 * 512 + 4 + 512 + 5] ^= 1
    do {
      _ = try Parsed(stream)
      Issue.record("the damage was not found")
    } catch PartcloneError.wrongChecksum(_, let block, let offset, _, _) {
      #expect(block == 4)
      #expect(offset == UInt64(data + 6 * 512 + 4))
    }
  }
}

@Suite struct HeaderTests {
  private func expectError(_ change: (inout StreamBuilder) -> Void, _ matches: (PartcloneError) -> Bool) {
    var builder = StreamBuilder(used: pattern(16))
    change(&builder)
    do {
      _ = try PartcloneHeader(builder.header().span.bytes, image: "test")
      Issue.record("the header was accepted")
    } catch {
      #expect(matches(error), "\(error)")
    }
  }

  private func isInvalid(_ error: PartcloneError) -> Bool { if case .invalidHeader = error { true } else { false } }

  @Test func whatPartcloneRejectsIsRejected() {
    expectError({ $0.blockSize = 0 }, isInvalid)
    expectError({ $0.blockSize = (64 << 20) + 512 }, isInvalid)
    expectError({ $0.blockSize = 1 }, isInvalid)
    expectError({ $0.usedBlocks = 17 }, isInvalid)
    expectError({ $0.checksumSize = 8 }, isInvalid)
    expectError({ $0.checksumMode = 0x31 }, isInvalid)
    expectError({ $0.totalBlocks = .max }, isInvalid)
    expectError({ $0.totalBlocks = 8 << 40 + 1 }, isInvalid)
    expectError({ $0.totalBlocks = 1 << 42 }, isInvalid)
    expectError({ $0.deviceSize = 16 * 512 - 1 }, isInvalid)
    expectError({ $0.deviceSize = .max }, isInvalid)
    expectError({ $0.blocksPerChecksum = 0 }, isInvalid)
  }

  @Test func whatIsNotReadIsNamed() {
    func names(_ text: String) -> (PartcloneError) -> Bool {
      { if case .unsupported(_, let feature) = $0 { feature.contains(text) } else { false } }
    }
    expectError({ $0.bitmapMode = 7 }, names("bitmap mode 7"))
    expectError({ $0.checksumMode = 0x21 }, names("checksum mode 0x21"))
    // What partclone calls version 1's checksums by has no place in version 2.
    expectError({ $0.checksumMode = 0xFF }, names("checksum mode 0xff"))
  }

  @Test func otherFilesAreNamed() throws {
    let header = StreamBuilder(used: []).header()
    #expect(throws: PartcloneError.notPartclone(image: "test")) { try Parsed([UInt8](repeating: 0, count: 5000)) }
    #expect(throws: PartcloneError.notPartclone(image: "test")) { try Parsed([]) }
    var version3 = header
    version3.store(bytes: "0003".utf8, at: 30)
    var bigEndian = header
    bigEndian.store(UInt16(0xDEC0), at: 34)
    for broken in [version3, bigEndian] {
      do {
        _ = try Parsed(broken)
        Issue.record("the header was accepted")
      } catch PartcloneError.unsupported {}
    }
  }

  @Test func ourHeaderIsReadBack() throws {
    let header = PartcloneHeader(
      fileSystem: "BTRFS", deviceSize: 1 << 40, blockSize: 16384, totalBlocks: 1 << 26, usedBlocks: 12345)
    #expect(try PartcloneHeader(header.encoded().span.bytes, image: "test") == header)
    #expect(header.blocksPerChecksum == 640)
  }

  /// What a header claims must not be allocated before the caller had a look at it.
  @Test func hugeVolumesAreRefusedBeforeTheirBitmap() {
    var builder = StreamBuilder(used: [])
    builder.totalBlocks = 1 << 34
    builder.deviceSize = 1 << 43
    #expect(throws: PartcloneError.unsupported(image: "test", feature: "a bitmap of 17179869184 blocks")) {
      try Parsed(builder.stream())
    }
    builder.totalBlocks = 1 << 33
    #expect(throws: PartcloneError.unsupported(image: "test", feature: "more than the caller allows")) {
      try Parsed(builder.stream())
    }
  }

  @Test func mutatedStreamsGiveTypedErrorsOrParse() {
    var generator = SeededGenerator(state: 5)
    var errors = 0
    for round in 0..<4000 {
      let builder = StreamBuilder(used: pattern(Int.random(in: 0..<60, using: &generator), seed: UInt64(round)))
      var stream = builder.stream()
      let place = Int.random(in: 30..<106, using: &generator)
      stream[place] = UInt8.random(in: 0...255, using: &generator)
      // With a right checksum, so that the field itself is looked at.
      stream.store(StreamBuilder.crc(Array(stream[0..<106])), at: 106)
      if round % 4 == 0, stream.count > 120 {
        stream[Int.random(in: 110..<stream.count, using: &generator)] ^= UInt8.random(in: 1...255, using: &generator)
      }
      do {
        _ = try Parsed(stream, portion: 4096, limit: 1 << 16)
      } catch is PartcloneError {
        errors += 1
      } catch {
        Issue.record("an untyped error: \(error)")
      }
    }
    #expect(errors > 1000)
  }
}

@Suite struct EncoderTests {
  /// Encodes a builder's volume in frames.
  private func encoded(_ builder: StreamBuilder, frameByteCount: Int) throws -> (stream: [UInt8], frames: [Int]) {
    var bitmap = BlockBitmap(count: builder.used.count)
    for (index, isUsed) in builder.used.enumerated() where isUsed { bitmap[index] = true }
    let volume = builder.volume()
    var encoder = PartcloneEncoder(
      fileSystem: "EXTFS", deviceSize: builder.deviceSize, blockSize: builder.blockSize, bitmap: bitmap)
    var stream: [UInt8] = []
    var frames: [Int] = []
    while true {
      var frame = [UInt8](repeating: 0xEE, count: frameByteCount)
      var span = frame.mutableSpan
      var raw = span.mutableBytes
      let count = encoder.fill(&raw) { offset, target in
        let part = volume[Int(offset)..<(Int(offset) + target.byteCount)]
        target.withUnsafeMutableBytes { $0.copyBytes(from: part) }
      }
      if count == 0 { return (stream, frames) }
      stream += frame.prefix(count)
      frames.append(count)
    }
  }

  @Test(arguments: [4096, 5000, 10_000, 1 << 20], [512, 1024, 4096])
  func theStreamIsAsPartcloneLaysItOut(_ frameByteCount: Int, _ blockSize: Int) throws {
    var builder = StreamBuilder(used: pattern(150))
    builder.blockSize = blockSize
    builder.deviceSize = UInt64(150 * blockSize) + 511
    builder.blocksPerChecksum = UInt32(10_485_760 / blockSize)
    let (stream, frames) = try encoded(builder, frameByteCount: frameByteCount)
    // All but what the header says about the writer.
    #expect(stream[110...] == builder.stream()[110...])
    #expect(try Parsed(stream).volume == builder.volume())
    // Frames of data begin with a block.
    #expect(frames.dropFirst().dropLast().allSatisfy { $0.isMultiple(of: blockSize) })
  }

  @Test func checksumsStandWhereClonezillaPutsThem() throws {
    // Two checksums over 10 MiB and one over the rest.
    var builder = StreamBuilder(used: [Bool](repeating: true, count: 400))
    builder.blockSize = 64 << 10
    builder.deviceSize = UInt64(400 * builder.blockSize)
    builder.blocksPerChecksum = 160
    #expect(try encoded(builder, frameByteCount: 1 << 20).stream[110...] == builder.stream()[110...])
  }

  @Test func aLargeBitmapIsLaidOverManyFrames() throws {
    var used = [Bool](repeating: false, count: 200_000)
    used[199_999] = true
    var builder = StreamBuilder(used: used)
    builder.blocksPerChecksum = 20480
    let (stream, frames) = try encoded(builder, frameByteCount: 4096)
    #expect(stream[110...] == builder.stream()[110...])
    // 110 + 25000 + 4 bytes before the data, 516 of data.
    #expect(frames.count == 8)
  }
}
