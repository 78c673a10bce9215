// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Compression
import Imaging
import PartcloneStream
import Reporting
import SystemPackage
import TestSupport
import Testing

@Suite struct VolumeRoundTripTests {
  @Test(arguments: Codec.allCases.filter(\.isWritable), [512, 4096, 65536])
  func usedBlocksComeBackAndNothingElseIsTouched(_ codec: Codec, _ blockSize: Int) async throws {
    let volume = SampleVolume(blocks: (24 << 20) / blockSize, blockSize: blockSize)
    let image = VolumeImage(MemorySource(bytes: try await volume.saved(nil, codec)), codec: codec, format: .partclone)
    let target = MemoryTarget([UInt8](repeating: 0xAA, count: volume.bytes.count + 4096))
    let meter = ProgressMeter(title: "restore")
    let restored = try await VolumeRestorer(image, target: target).restore(progress: meter)

    #expect(target.bytes == volume.expected(over: 0xAA) + [UInt8](repeating: 0xAA, count: 4096))
    let used = UInt64(volume.bitmap.usedCount * blockSize)
    #expect(restored.deviceBytes == used && meter.completed == used && meter.total == used)
    #expect(restored.warnings.isEmpty && restored.skippedZeros == 0)
    #expect(restored.header?.fileSystem == "EXTFS")
    #expect(target.synchronizations == 1)
    #expect(try await image.volumeByteCount() == UInt64(volume.bytes.count))
    #expect(try await VolumeVerifier(image).verify() == restored)
  }

  @Test(arguments: Codec.allCases.filter(\.isWritable))
  func everyByteComesBack(_ codec: Codec) async throws {
    let volume = SampleVolume(blocks: 20_001, blockSize: 512)
    let stored = try await volume.saved(.everyByte, codec)
    let image = VolumeImage(MemorySource(bytes: stored), codec: codec, format: .raw)
    let target = MemoryTarget([UInt8](repeating: 0xAA, count: volume.bytes.count + 512))
    let restored = try await VolumeRestorer(
      image, target: target, expectedByteCount: UInt64(volume.bytes.count)
    ).restore()
    #expect(target.bytes == volume.bytes + [UInt8](repeating: 0xAA, count: 512))
    #expect(restored.deviceBytes == UInt64(volume.bytes.count) && restored.header == nil)
    if codec == .none { #expect(stored == volume.bytes) }
  }

  @Test func theSaverTellsItsSizes() async throws {
    let volume = SampleVolume(blocks: 3000, blockSize: 4096)
    var sink = MemorySink()
    let meter = ProgressMeter(title: "save")
    let saver = try VolumeSaver(volume.device, content: volume.content)
    let saved = try await saver.save(to: &sink, progress: meter)
    let used = volume.bitmap.usedCount
    #expect(saved.deviceBytes == UInt64(used * 4096) && meter.completed == saved.deviceBytes)
    #expect(saved.streamBytes == UInt64(110 + 375 + 4 + used * 4096 + (used + 2559) / 2560 * 4))
    #expect(saved.storedBytes == UInt64(sink.bytes.count) && sink.isFinished)
  }

  @Test func aMapLargerThanTheVolumeIsRefused() {
    let device = MemoryDevice([UInt8](repeating: 0, count: 4095))
    #expect(throws: DeviceError.self) {
      try VolumeSaver(device, content: .usedBlocks(fileSystem: "XFS", blockSize: 4096, bitmap: .init(count: 1)))
    }
  }

  @Test func zerosAreNotWrittenToAZeroedTarget() async throws {
    let volume = SampleVolume(blocks: 4000, blockSize: 4096)
    for (content, format) in [(volume.content, VolumeFormat.partclone), (.everyByte, .raw)] {
      let image = VolumeImage(
        MemorySource(bytes: try await volume.saved(content)), codec: .zstd, format: format)
      let target = MemoryTarget([UInt8](repeating: 0, count: volume.bytes.count))
      let restored = try await VolumeRestorer(image, target: target, targetIsZeroed: true).restore()
      #expect(target.bytes == (format == .raw ? volume.bytes : volume.expected(over: 0)))
      let written = target.writes.reduce(0) { $0 + UInt64($1.count) }
      #expect(restored.skippedZeros > 0)
      #expect(written + restored.skippedZeros == restored.deviceBytes)
    }
  }

  /// Pieces of a stream that has no frames end anywhere in a block: no page may be written in two goes for that.
  @Test func pagesAreWrittenWhole() async throws {
    let volume = SampleVolume(blocks: 8000, blockSize: 4096)
    let image = VolumeImage(
      MemorySource(bytes: try await volume.saved(nil, .none)), codec: Codec.none, format: .partclone)
    let target = MemoryTarget([UInt8](repeating: 0, count: volume.bytes.count))
    _ = try await VolumeRestorer(image, target: target).restore()
    #expect(target.bytes == volume.expected(over: 0))
    #expect(target.writes.count > 10)
    #expect(target.writes.allSatisfy { $0.lowerBound.isMultiple(of: 4096) && $0.upperBound.isMultiple(of: 4096) })
  }

  @Test func cancellingEndsARestore() async throws {
    struct EndlessSource: ByteSource {
      let name = "endless"
      let isSeekable = false
      let byteCount: UInt64? = nil
      func read(at offset: UInt64, into buffer: inout MutableRawSpan) -> Int { buffer.byteCount }
    }
    let work = Task {
      try await VolumeVerifier(VolumeImage(EndlessSource(), codec: Codec.none, format: .raw)).verify()
    }
    try await Task.sleep(for: .milliseconds(50))
    work.cancel()
    await #expect(throws: CancellationError.self) { try await work.value }
  }
}

@Suite struct VolumeSafetyTests {
  @Test func aTargetTooSmallIsNotTouched() async throws {
    let volume = SampleVolume(blocks: 3000, blockSize: 4096)
    for (content, format) in [(volume.content, VolumeFormat.partclone), (.everyByte, .raw)] {
      for codec in [Codec.zstd, .none] {
        let stored = try await volume.saved(content, codec)
        let target = MemoryTarget([UInt8](repeating: 0, count: volume.bytes.count - 512))
        await #expect(
          throws: VolumeError.targetTooSmall(
            target: "target", size: target.byteCount, image: "image", needed: UInt64(volume.bytes.count))
        ) {
          _ = try await VolumeRestorer(
            VolumeImage(MemorySource(bytes: stored), codec: codec, format: format), target: target
          ).restore()
        }
        #expect(target.writes.isEmpty)
      }
    }
  }

  @Test func aRawStreamNeverLeavesItsTarget() async throws {
    let volume = SampleVolume(blocks: 3000, blockSize: 4096)
    // gzip does not tell its size beforehand.
    let image = VolumeImage(
      MemorySource(bytes: try await volume.saved(.everyByte, .gzip)), codec: .gzip, format: .raw)
    let size = UInt64(volume.bytes.count)
    let small = MemoryTarget([UInt8](repeating: 0, count: volume.bytes.count - 512))
    await #expect(throws: VolumeError.streamTooLong(image: "image", limit: size - 512)) {
      _ = try await VolumeRestorer(image, target: small).restore()
    }
    await #expect(throws: VolumeError.streamTooLong(image: "image", limit: size - 4096)) {
      _ = try await VolumeVerifier(image, expectedByteCount: size - 4096).verify()
    }
    await #expect(throws: VolumeError.streamTooShort(image: "image", expected: size + 512, found: size)) {
      _ = try await VolumeVerifier(image, expectedByteCount: size + 512).verify()
    }
  }

  @Test func damagedBlocksAreNotWritten() async throws {
    let volume = SampleVolume(blocks: 6000, blockSize: 4096)
    var stream = try await volume.saved(nil, .none)
    let group = 2560 * 4096 + 4
    let data = 110 + 750 + 4
    try #require(volume.bitmap.usedCount > 2600)
    // In the second group of 2560 blocks.
    stream[data + group + 5000] ^= 1
    let image = VolumeImage(MemorySource(bytes: stream), codec: Codec.none, format: .partclone)
    let target = MemoryTarget([UInt8](repeating: 0, count: volume.bytes.count))
    do {
      _ = try await VolumeRestorer(image, target: target).restore()
      Issue.record("the damage was not found")
    } catch PartcloneError.wrongChecksum(let name, let block, let offset, _, _) {
      #expect(name == "image" && offset > UInt64(data + group))
      let used = (0..<6000).filter { volume.bitmap[$0] }
      #expect(block == UInt64(used[2560]))
      // The blocks of the first group, and nothing else.
      #expect(target.writes.allSatisfy { $0.upperBound <= UInt64(used[2560] * 4096) })
      #expect(target.writes.reduce(0) { $0 + $1.count } <= 2560 * 4096)
    }
    await #expect(throws: PartcloneError.self) { _ = try await VolumeVerifier(image).verify() }
  }

  @Test func rareChecksumsAreReadInBoundedMemory() async throws {
    // One checksum over 48 MiB: more than the pieces that are held.
    let volume = SampleVolume(blocks: 12_288, blockSize: 4096, longestRun: 1)
    var stream = [UInt8]()
    let encoder = PartcloneEncoder(
      fileSystem: "EXTFS", deviceSize: UInt64(volume.bytes.count), blockSize: 4096,
      bitmap: BlockBitmap(count: 12_288, used: true))
    stream += encoder.header.encoded()
    stream.store(UInt32.max, at: 100)
    stream.store(~CRC32.checksum(stream.span.bytes.extracting(0..<106)), at: 106)
    let bitmap = [UInt8](repeating: 0xFF, count: 1536)
    stream += bitmap
    stream.append(littleEndian: ~CRC32.checksum(bitmap))
    stream += volume.bytes
    stream.append(littleEndian: ~CRC32.checksum(volume.bytes))
    let target = MemoryTarget([UInt8](repeating: 0xAA, count: volume.bytes.count))
    let image = VolumeImage(MemorySource(bytes: stream), codec: Codec.none, format: .partclone)
    _ = try await VolumeRestorer(image, target: target).restore()
    #expect(target.bytes == volume.bytes)
    stream[stream.count - 1] ^= 1
    await #expect(throws: PartcloneError.self) {
      let image = VolumeImage(MemorySource(bytes: stream), codec: Codec.none, format: .partclone)
      _ = try await VolumeRestorer(image, target: target).restore()
    }
  }

  @Test func truncatedAndMutatedImagesGiveTypedErrors() async throws {
    let volume = SampleVolume(blocks: 500, blockSize: 512, longestRun: 20)
    var state: UInt64 = 7
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    for codec in Codec.allCases.filter(\.isWritable) {
      let stored = try await volume.saved(nil, codec)
      for round in 0..<300 {
        var broken = stored
        if round % 3 == 0 {
          broken.removeLast(1 + random(stored.count - 1))
        } else {
          broken[round % 3 == 1 ? random(min(400, stored.count)) : random(stored.count)] ^= UInt8(1 + random(255))
        }
        let target = MemoryTarget([UInt8](repeating: 0, count: volume.bytes.count))
        do {
          _ = try await VolumeRestorer(
            VolumeImage(MemorySource(bytes: broken), codec: codec, format: .partclone), target: target
          ).restore()
          #expect(target.bytes == volume.expected(over: 0), "other bytes without an error")
        } catch is any Failure {}
      }
    }
  }
}
