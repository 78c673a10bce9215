// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import CLz4

/// What is fixed about LZ4 frames: "LZ4 Frame Format Description" of the lz4 sources.
enum LZ4Frame {
  static let magic: UInt32 = 0x184D_2204
  /// The low four bits are free.
  static let skippableMagic: UInt32 = 0x184D_2A50
  /// Frames without end mark and checksums: `u32` size, then a block that decompresses to ``legacyBlockByteCount``
  /// bytes, or to fewer when it is the last.
  static let legacyMagic: UInt32 = 0x184C_2102
  static let legacyBlockByteCount = 8 << 20

  /// Whether bytes begin a frame of any kind.
  static func startsFrame(_ bytes: [UInt8]) -> Bool {
    guard let value = try? bytes.littleEndian(UInt32.self, at: 0) else { return false }
    return value == magic || value == legacyMagic || value & ~0xF == skippableMagic
  }

  static func preferences(level: Int, contentSize: Int) -> LZ4F_preferences_t {
    var preferences = LZ4F_preferences_t()
    preferences.frameInfo.blockSizeID = LZ4F_max4MB
    preferences.frameInfo.blockMode = LZ4F_blockIndependent
    preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled
    preferences.frameInfo.contentSize = UInt64(contentSize)
    preferences.compressionLevel = Int32(level)
    return preferences
  }

  /// The most bytes a frame of `count` bytes can be compressed to.
  static func bound(_ count: Int) -> Int {
    var preferences = preferences(level: 1, contentSize: count)
    return LZ4F_compressFrameBound(count, &preferences)
  }
}

/// Compresses whole frames, each with its content's size and checksum.
struct LZ4Compressor: Sendable {
  let level: Int

  /// Makes one frame of `input` in `output`, which has room for ``LZ4Frame/bound(_:)``.
  func compress(_ input: RawSpan, into output: Buffer) throws(CompressionError) {
    var preferences = LZ4Frame.preferences(level: level, contentSize: input.byteCount)
    let result = output.fill { target in
      let size = input.withUnsafeBytes { source in
        target.withUnsafeMutableBytes {
          LZ4F_compressFrame($0.baseAddress, $0.count, source.baseAddress, source.count, &preferences)
        }
      }
      return LZ4F_isError(size) == 0 ? size : 0
    }
    guard result > 0 else { throw .library(detail: "lz4 could not compress a frame of \(input.byteCount) bytes") }
  }
}

/// LZ4 frames and legacy frames, bit by bit. Of a legacy frame each block is a unit, since nothing tells its end.
final class LZ4Decoder: StreamDecoder, @unchecked Sendable {
  private let context: OpaquePointer
  private var state = State.boundary
  /// Whether blocks of a legacy frame may follow.
  private var isLegacy = false
  /// A block of a legacy frame: as stored, as far as it has come in, and decompressed.
  private var stored: [UInt8] = []
  private var block: [UInt8] = []

  private enum State {
    case boundary
    case frame
    case collecting(Int)
    case giving(from: Int, to: Int)
  }

  init() throws(CompressionError) {
    var context: OpaquePointer?
    guard LZ4F_isError(LZ4F_createDecompressionContext(&context, UInt32(LZ4F_VERSION))) == 0, let context else {
      throw .library(detail: "no memory for an lz4 context")
    }
    self.context = context
  }

  deinit { LZ4F_freeDecompressionContext(context) }

  func startsUnit(_ bytes: [UInt8]) -> Bool { LZ4Frame.startsFrame(bytes) || legacyBlockSize(bytes) != nil }

  /// What stands where a block of a legacy frame may begin.
  private func legacyBlockSize(_ bytes: [UInt8]) -> Int? {
    guard isLegacy, let size = try? bytes.littleEndian(UInt32.self, at: 0), size > 0,
      size <= UInt32(LZ4_compressBound(Int32(LZ4Frame.legacyBlockByteCount)))
    else { return nil }
    return Int(size)
  }

  func step(_ input: RawSpan, into output: inout MutableRawSpan) throws(StreamFault) -> StreamStep {
    switch state {
    case .boundary: try begin(input, into: &output)
    case .frame: try decompressFrame(input, into: &output)
    case .collecting(let size): try collect(input, size)
    case .giving(let from, let to): give(from, to, into: &output)
    }
  }

  private func begin(_ input: RawSpan, into output: inout MutableRawSpan) throws(StreamFault) -> StreamStep {
    let start = input.extracting(first: 4).withUnsafeBytes { [UInt8]($0) }
    if !LZ4Frame.startsFrame(start), let size = legacyBlockSize(start) {
      state = .collecting(size)
      stored.removeAll(keepingCapacity: true)
      return StreamStep(taken: 4, given: 0, endsUnit: false)
    }
    isLegacy = (try? start.littleEndian(UInt32.self, at: 0)) == LZ4Frame.legacyMagic
    if isLegacy { return StreamStep(taken: 4, given: 0, endsUnit: true) }
    state = .frame
    return try decompressFrame(input, into: &output)
  }

  private func decompressFrame(_ input: RawSpan, into output: inout MutableRawSpan) throws(StreamFault) -> StreamStep {
    var taken = input.byteCount
    var given = output.byteCount
    let result = input.withUnsafeBytes { source in
      output.withUnsafeMutableBytes { target in
        LZ4F_decompress(context, target.baseAddress, &given, source.baseAddress, &taken, nil)
      }
    }
    guard LZ4F_isError(result) == 0 else { throw .damaged(String(cString: LZ4F_getErrorName(result))) }
    if result == 0 { state = .boundary }
    return StreamStep(taken: taken, given: given, endsUnit: result == 0)
  }

  private func collect(_ input: RawSpan, _ size: Int) throws(StreamFault) -> StreamStep {
    let taken = min(input.byteCount, size - stored.count)
    input.extracting(first: taken).withUnsafeBytes { stored += $0 }
    guard stored.count == size else { return StreamStep(taken: taken, given: 0, endsUnit: false) }
    if block.isEmpty { block = [UInt8](repeating: 0, count: LZ4Frame.legacyBlockByteCount) }
    let count = stored.withUnsafeBytes { source in
      block.withUnsafeMutableBytes { target in
        LZ4_decompress_safe(
          source.bindMemory(to: CChar.self).baseAddress, target.bindMemory(to: CChar.self).baseAddress,
          Int32(source.count), Int32(target.count))
      }
    }
    guard count >= 0 else { throw .damaged("a block's data is wrong") }
    state = count > 0 ? .giving(from: 0, to: Int(count)) : .boundary
    return StreamStep(taken: taken, given: 0, endsUnit: count == 0)
  }

  private func give(_ from: Int, _ to: Int, into output: inout MutableRawSpan) -> StreamStep {
    let count = min(to - from, output.byteCount)
    output.withUnsafeMutableBytes { $0.copyBytes(from: block[from..<(from + count)]) }
    let isComplete = from + count == to
    state = isComplete ? .boundary : .giving(from: from + count, to: to)
    return StreamStep(taken: 0, given: count, endsUnit: isComplete)
  }
}
