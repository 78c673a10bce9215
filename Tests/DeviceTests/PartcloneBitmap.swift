// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import SystemPackage
import TestSupport

/// The allocation map the real partclone makes of a volume, taken from the header of its image (version 2).
struct PartcloneBitmap {
  let fileSystem: String
  let blockSize: Int
  let bitmap: BlockBitmap

  /// - Parameter program: `partclone.extfs`, `partclone.fat` …
  init(_ program: String, of volume: FilePath, in folder: FilePath) async throws {
    let image = folder.appending("\(program).img")
    try await tool(
      program, "-c", "-F", "-L", folder.appending("partclone.log").string, "-s", volume.string, "-O", image.string)
    let header = try image.contents()
    fileSystem = try header.text(at: 36, count: 16)
    blockSize = Int(try header.littleEndian(UInt32.self, at: 84))
    let count = Int(try header.littleEndian(UInt64.self, at: 60))
    bitmap = try BlockBitmap(count: count, leastSignificantBitFirst: header.span.bytes.slice(110, (count + 7) / 8))
    try await tool("rm", image.string)
  }
}
