// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
import PartcloneStream
import Reporting

/// Takes the stream of one volume apart and hands its bytes to a target, if there is one.
struct VolumeReader {
  private let image: VolumeImage
  private let expectedByteCount: UInt64?
  private let progress: ProgressMeter?

  /// How many pieces wait at most for the checksum that covers them: more than 16 MiB.
  private static let heldPieces = 8

  init(_ image: VolumeImage, expectedByteCount: UInt64?, progress: ProgressMeter?) {
    self.image = image
    self.expectedByteCount = expectedByteCount
    self.progress = progress
  }

  func read(into target: TargetWriter?) async throws -> RestoredVolume {
    switch image.format {
    case .partclone: try await readPartclone(target)
    case .raw: try await readRaw(target)
    }
  }

  private func readPartclone(_ target: TargetWriter?) async throws -> RestoredVolume {
    var target = target
    let parser = VolumeStreamParser(image: image.source.name)
    var header: PartcloneHeader?
    var deviceBytes: UInt64 = 0
    let totals = try await Decompressor(image.source, codec: image.codec, holding: Self.heldPieces).decompress {
      piece in
      try parser.parse(piece.bytes) { event in
        switch event {
        case .header(let found):
          try target?.requireRoom(for: found.deviceSize, of: image.source.name)
          header = found
        case .bitmap(let usedBlocks):
          guard let header else { return }
          let total = usedBlocks * UInt64(header.blockSize)
          progress?.set(completed: progress?.completed ?? 0, total: total)
        case .data(let range, let offset):
          target?.add(piece, range, at: offset)
          deviceBytes += UInt64(range.count)
          progress?.advance(by: range.count)
        case .keptData(let bytes, let offset):
          try target?.writeNow(bytes.span.bytes, at: offset)
          deviceBytes += UInt64(bytes.count)
          progress?.advance(by: bytes.count)
        case .verified: try target?.writeAll()
        }
      }
      if let held = target?.heldPieces, held >= Self.heldPieces - 1 { try target?.writeAll() }
    }
    let warning = try parser.finish()
    try target?.finish()
    return RestoredVolume(
      header: header, deviceBytes: deviceBytes, skippedZeros: target?.skippedZeros ?? 0,
      warnings: totals.warnings + [warning].compactMap { $0 })
  }

  private func readRaw(_ target: TargetWriter?) async throws -> RestoredVolume {
    let name = image.source.name
    let decompressor = Decompressor(image.source, codec: image.codec)
    if let needed = try expectedByteCount ?? decompressor.decompressedByteCount() {
      try target?.requireRoom(for: needed, of: name)
    }
    var target = target
    let limit = expectedByteCount ?? target?.byteCount ?? .max
    var position: UInt64 = 0
    let totals = try await decompressor.decompress { piece in
      let count = piece.bytes.byteCount
      guard UInt64(count) <= limit - position else { throw VolumeError.streamTooLong(image: name, limit: limit) }
      target?.add(piece, 0..<count, at: position)
      try target?.writeAll()
      position += UInt64(count)
      progress?.advance(by: count)
    }
    if let expectedByteCount, position != expectedByteCount {
      throw VolumeError.streamTooShort(image: name, expected: expectedByteCount, found: position)
    }
    try target?.finish()
    return RestoredVolume(
      header: nil, deviceBytes: position, skippedZeros: target?.skippedZeros ?? 0, warnings: totals.warnings)
  }
}
