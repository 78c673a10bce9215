// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO
public import Bytes
public import Compression
import PartcloneStream
public import Reporting

/// What of a volume is saved, and in which form.
public enum VolumeContent: Sendable {
  /// The used blocks, as a partclone stream: `fileSystem` as partclone names it, the map from
  /// `AllocationMap.covering(_:)`.
  case usedBlocks(fileSystem: String, blockSize: Int, bitmap: BlockBitmap)
  /// Every byte without a header, as `partclone.dd` does.
  case everyByte
}

/// What a saved volume came to.
public struct SavedVolume: Sendable, Equatable {
  /// Bytes read from the volume.
  public let deviceBytes: UInt64
  /// Bytes of the stream before compression.
  public let streamBytes: UInt64
  /// Bytes of the stream after compression.
  public let storedBytes: UInt64
}

/// Saves one volume as a compressed stream: reading, compressing and writing at the same time, in bounded memory.
public struct VolumeSaver: Sendable {
  /// Bytes of the volume to be saved.
  public let byteCount: UInt64
  private let device: any BlockDevice
  private let content: VolumeContent
  private let compression: CompressionOptions

  /// - Throws: ``DeviceError/outOfRange(device:offset:count:size:)`` when the bitmap has blocks outside the device.
  public init(
    _ device: any BlockDevice, content: VolumeContent, compression: CompressionOptions = CompressionOptions()
  ) throws(DeviceError) {
    switch content {
    case .everyByte: byteCount = device.byteCount
    case .usedBlocks(_, let blockSize, let bitmap):
      let (mapped, overflow) = UInt64(bitmap.count).multipliedReportingOverflow(by: UInt64(blockSize))
      try device.checkRange(0, overflow ? .max : mapped)
      byteCount = UInt64(bitmap.usedCount) * UInt64(blockSize)
    }
    self.device = device
    self.content = content
    self.compression = compression
  }

  /// Reads the volume, writes its stream into `sink` and finishes it.
  ///
  /// - Parameter progress: advances by the bytes read from the volume.
  /// - Throws: `DeviceError`, what the sink throws, `CancellationError`.
  public func save(to sink: inout some ByteSink, progress: ProgressMeter? = nil) async throws -> SavedVolume {
    let compressor = Compressor(compression)
    let totals: CompressionTotals
    switch content {
    case .everyByte:
      totals = try await compressor.compress(WholeDeviceFrames(device: device, progress: progress), into: &sink)
    case .usedBlocks(let fileSystem, let blockSize, let bitmap):
      let frames = UsedBlockFrames(
        device: device,
        encoder: PartcloneEncoder(
          fileSystem: fileSystem, deviceSize: device.byteCount, blockSize: blockSize, bitmap: bitmap),
        readAhead: ReadAhead(device: device, bitmap: bitmap, blockSize: blockSize), progress: progress)
      totals = try await compressor.compress(frames, into: &sink)
    }
    return SavedVolume(deviceBytes: byteCount, streamBytes: totals.streamBytes, storedBytes: totals.storedBytes)
  }
}

/// The frames of a partclone stream.
private struct UsedBlockFrames: FrameSource {
  let device: any BlockDevice
  var encoder: PartcloneEncoder
  var readAhead: ReadAhead
  let progress: ProgressMeter?

  mutating func fill(_ frame: inout MutableRawSpan) throws -> Int {
    let (device, progress) = (device, progress)
    var ahead = readAhead
    defer { readAhead = ahead }
    return try encoder.fill(&frame) { offset, target throws(DeviceError) in
      ahead.advance(to: offset)
      try device.read(at: offset, into: &target)
      progress?.advance(by: target.byteCount)
    }
  }
}

/// A device from its first byte to its last.
private struct WholeDeviceFrames: FrameSource {
  let device: any BlockDevice
  let progress: ProgressMeter?
  private var position: UInt64 = 0

  init(device: any BlockDevice, progress: ProgressMeter?) {
    self.device = device
    self.progress = progress
  }

  mutating func fill(_ frame: inout MutableRawSpan) throws -> Int {
    let count = Int(min(UInt64(frame.byteCount), device.byteCount - position))
    guard count > 0 else { return 0 }
    var part = frame.part(0..<count)
    try device.read(at: position, into: &part)
    position += UInt64(count)
    device.willRead(at: position, count: UInt64(frame.byteCount) * 2)
    progress?.advance(by: count)
    return count
  }
}

/// Announces the runs of used blocks to the device some way ahead of the reads, so that many requests are in flight
/// however small the runs are.
private struct ReadAhead: Sendable {
  let device: any BlockDevice
  let bitmap: BlockBitmap
  let blockSize: Int
  /// First block not yet announced.
  private var next = 0

  /// How far ahead, in bytes of the device.
  private static let distance: UInt64 = 16 << 20
  /// A gap this small is read along: that costs less than a request of its own.
  private static let smallGap = 64 << 10

  init(device: any BlockDevice, bitmap: BlockBitmap, blockSize: Int) {
    self.device = device
    self.bitmap = bitmap
    self.blockSize = blockSize
  }

  /// - Parameter offset: where the next read begins.
  mutating func advance(to offset: UInt64) {
    // In steps, so that not every small run searches the map.
    guard UInt64(next) * UInt64(blockSize) < offset + Self.distance / 2 else { return }
    let end = Int((offset + Self.distance) / UInt64(blockSize))
    while next < end, let run = bitmap.nextUsedRun(from: next), run.lowerBound < end {
      var stop = min(run.upperBound, max(end, run.lowerBound + 1))
      while stop < end, let following = bitmap.nextUsedRun(from: stop),
        (following.lowerBound - stop) * blockSize <= Self.smallGap
      {
        stop = min(following.upperBound, end)
      }
      device.willRead(
        at: UInt64(run.lowerBound) * UInt64(blockSize), count: UInt64(stop - run.lowerBound) * UInt64(blockSize))
      next = stop
    }
    next = max(next, end)
  }
}
