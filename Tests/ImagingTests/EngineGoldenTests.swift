// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Compression
import Foundation
import Imaging
import PartcloneStream
import SystemPackage
import TestSupport
import Testing

/// What the real Clonezilla saved is restored exactly as the real partclone restores it.
@Suite struct GoldenVolumeTests {
  /// A volume of a golden image, and what is known about it.
  struct Golden: Sendable, CustomStringConvertible {
    let image: String
    let files: [String]
    let size: UInt64
    let sha256: String
    let header: [String: Int]?
    var description: String { "\(image)/\(files.first ?? "")" }
  }

  private static let folder = FilePath(#filePath).appending("../../../../shared/golden").lexicallyNormalized()

  static func volumes() throws -> [Golden] {
    var found: [Golden] = []
    for name in ["a-gpt-z9p", "b-mbr-z1p", "d-lvm-z9p", "e-raw-z0"] {
      let data = try Data(contentsOf: URL(filePath: "\(folder)/truth/\(name).json"))
      let truth = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
      let volumes = ["partitions", "lvs"].flatMap { truth[$0] as? [[String: Any]] ?? [] }
      for volume in volumes {
        guard let files = volume["image_files"] as? [String], !files.isEmpty,
          let restored = volume["restored_by_partclone"] as? [String: Any]
        else { continue }
        let header = volume["partclone_header"] as? [String: Any]
        found.append(
          Golden(
            image: name, files: files, size: try #require(restored["size"] as? UInt64),
            sha256: try #require(restored["sha256"] as? String), header: header?.compactMapValues { $0 as? Int }))
      }
    }
    return found
  }

  @Test func thereAreGoldenVolumes() throws {
    #expect(try Self.volumes().count >= 13)
  }

  @Test(arguments: try Self.volumes())
  func itIsRestoredAsPartcloneRestoresIt(_ golden: Golden) async throws {
    try await withTemporaryDirectory { folder in
      let name = try #require(golden.files.first)
      let suffix = try #require(["zst", "gz", "uncomp"].first { name.contains("-img.\($0)") })
      let isRaw = name.contains(".dd-ptcl-img")
      let source = try ConcatenatedFilesSource(
        golden.files.map { Self.folder.appending("images/\(golden.image)/\($0)") })
      let image = VolumeImage(source, codec: try Codec(suffix: suffix), format: isRaw ? .raw : .partclone)
      let path = folder.appending("target")
      try await tool("truncate", "-s", "\(golden.size)", path.string)
      let target = try FileDevice(path: path, access: .readWrite)
      let restored = try await VolumeRestorer(
        image, target: target, targetIsZeroed: true, expectedByteCount: isRaw ? golden.size : nil
      ).restore()

      #expect(try await tool("sha256sum", path.string).hasPrefix(golden.sha256))
      #expect(restored.warnings.isEmpty)
      #expect(isRaw == (restored.header == nil))
      if let expected = golden.header, let header = restored.header {
        #expect(Int(header.deviceSize) == expected["device_size"])
        #expect(Int(header.totalBlocks) == expected["total_blocks"])
        #expect(Int(header.usedBlocks) == expected["used_blocks"])
        #expect(header.blockSize == expected["block_size"])
        #expect(header.blocksPerChecksum == expected["blocks_per_checksum"])
        #expect(restored.deviceBytes == header.usedBlocks * UInt64(header.blockSize))
      }
    }
  }
}
