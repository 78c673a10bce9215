// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
public import ImageStore
import PartcloneStream
import Reporting
import SystemPackage
import Volumes

/// Reads an image to its end and checks all that can be checked without restoring it.
public struct ImageVerifier: Sendable {
  private let image: StoredImage
  private let context: ImagingContext

  public init(_ image: StoredImage, context: ImagingContext) {
    self.image = image
    self.context = context
  }

  /// Checks every volume, also after one was found damaged.
  ///
  /// - Parameter devices: the volumes to check; nil for all.
  /// - Throws: ``ImagingError/verificationFailed(image:volumes:)``.
  public func verify(only devices: [String]? = nil) async throws {
    var damaged: [String] = []
    for volume in image.dataVolumes where devices?.contains(volume.device) ?? true {
      do {
        try await verify(volume)
      } catch let error as any Failure {
        damaged.append("\(volume.device): \(error.reason)")
        context.reporter.warning("\(volume.device): \(error.reason)")
      }
    }
    guard damaged.isEmpty else {
      throw ImagingError.verificationFailed(image: image.path.string, volumes: damaged)
    }
  }

  private func verify(_ volume: ImageVolume) async throws {
    switch volume.content {
    case .physicalVolume, .encrypted: return
    case .legacy(let program):
      throw ImagingError.notYetSupported(
        image: image.path.string, device: volume.device, what: "was saved by \(program)")
    case .partclone, .raw: break
    }
    let codec = try volume.compressionSuffix.map { suffix throws(CompressionError) in try Codec(suffix: suffix) }
    let stream = VolumeImage(
      try ConcatenatedFilesSource(volume.files), codec: codec, format: volume.content == .raw ? .raw : .partclone)
    let disk = volume.disk.flatMap { image.disk(named: $0) }
    var expected = volume.number == nil ? disk?.byteCount : nil
    if let table = disk?.table, let partition = volume.number.flatMap({ table.partition($0) }) {
      expected = table.byteCount(of: partition)
    }
    let logical = image.groups.flatMap { group in group.group.logicalVolumes.map { (group.group.path(of: $0), $0) } }
    if let logical = logical.first(where: { $0.0 == volume.device })?.1 { expected = logical.byteCount }
    let size = expected
    let verified = try await context.reporter.step("checking \(volume.device) (\(volume.contentName))") { meter in
      try await VolumeVerifier(stream, expectedByteCount: size).verify(progress: meter)
    }
    for warning in verified.warnings { context.reporter.warning("\(volume.device): \(warning)") }
  }
}
