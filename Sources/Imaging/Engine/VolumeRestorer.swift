// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO
public import PartcloneStream
public import Reporting

/// What a restored or verified volume came to.
public struct RestoredVolume: Sendable, Equatable {
  /// Nil for a raw stream.
  public let header: PartcloneHeader?
  /// Bytes of the volume that the stream holds.
  public let deviceBytes: UInt64
  /// How many of them were zeros on a target that was zero already, and so not written.
  public let skippedZeros: UInt64
  /// Worth telling a person; the data is right all the same.
  public let warnings: [String]
}

/// Restores one volume from its stream: reading, decompressing and writing at the same time, in bounded memory.
///
/// Blocks are written once the checksum that covers them was found right, as long as it covers no more than 16 MiB
/// (Clonezilla's covers 10 MiB); with rarer checksums they are written first and the error comes after.
public struct VolumeRestorer: Sendable {
  private let image: VolumeImage
  private let target: any WritableBlockDevice
  private let targetIsZeroed: Bool
  private let expectedByteCount: UInt64?

  /// - Parameters:
  ///   - targetIsZeroed: all of the target reads as zeros, so zeros need not be written.
  ///   - expectedByteCount: how many bytes a raw stream must hold, where that is known; not used for partclone.
  public init(
    _ image: VolumeImage, target: any WritableBlockDevice, targetIsZeroed: Bool = false,
    expectedByteCount: UInt64? = nil
  ) {
    self.image = image
    self.target = target
    self.targetIsZeroed = targetIsZeroed
    self.expectedByteCount = expectedByteCount
  }

  /// Writes the volume to the target and waits until it is on stable storage.
  ///
  /// - Parameter progress: advances by bytes of the volume.
  /// - Throws: ``VolumeError``, `PartcloneError`, `CompressionError`, `DeviceError`, what the source throws,
  ///   `CancellationError`. Nothing was written when the target is too small.
  public func restore(progress: ProgressMeter? = nil) async throws -> RestoredVolume {
    let restored = try await VolumeReader(image, expectedByteCount: expectedByteCount, progress: progress).read(
      into: TargetWriter(target, isZeroed: targetIsZeroed))
    try target.synchronize()
    return restored
  }
}

/// Reads the stream of one volume to its end and checks all that can be checked, without writing anything.
public struct VolumeVerifier: Sendable {
  private let image: VolumeImage
  private let expectedByteCount: UInt64?

  /// - Parameter expectedByteCount: how many bytes a raw stream must hold, where that is known.
  public init(_ image: VolumeImage, expectedByteCount: UInt64? = nil) {
    self.image = image
    self.expectedByteCount = expectedByteCount
  }

  /// - Parameter progress: advances by bytes of the volume.
  /// - Throws: as ``VolumeRestorer/restore(progress:)``.
  public func verify(progress: ProgressMeter? = nil) async throws -> RestoredVolume {
    try await VolumeReader(image, expectedByteCount: expectedByteCount, progress: progress).read(into: nil)
  }
}
