// SPDX-License-Identifier: GPL-3.0-or-later

public import Bytes
public import SystemPackage

/// The map of used blocks that partclone makes of a volume, read from the head of its image (format 0002).
///
/// - Parameters:
///   - program: `partclone.xfs` and the like.
///   - folder: where its image may be for a moment.
public func partcloneMap(
  _ program: String, of volume: FilePath, in folder: FilePath
) async throws -> (fileSystem: String, blockSize: Int, bitmap: BlockBitmap) {
  let image = folder.appending("partclone.img")
  try await tool(program, "-c", "-F", "-L", "/dev/null", "-s", volume.string, "-O", image.string)
  let descriptor = try FileDescriptor.open(image, .readOnly)
  defer { try? descriptor.close() }
  let headerSize = 110
  var header = [UInt8](repeating: 0, count: headerSize)
  _ = try header.withUnsafeMutableBytes { try descriptor.read(fromAbsoluteOffset: 0, into: $0) }
  let count = Int(try header.littleEndian(UInt64.self, at: 60))
  var map = [UInt8](repeating: 0, count: (count + 7) / 8)
  _ = try map.withUnsafeMutableBytes { try descriptor.read(fromAbsoluteOffset: Int64(headerSize), into: $0) }
  let blockSize = Int(try header.littleEndian(UInt32.self, at: 84))
  try await tool("rm", image.string)
  return (
    try header.text(at: 36, count: 16), blockSize,
    try BlockBitmap(count: count, leastSignificantBitFirst: map.span.bytes)
  )
}
