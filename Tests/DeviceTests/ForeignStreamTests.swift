// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Compression
import Imaging
import PartcloneStream
import SystemPackage
import TestSupport
import Testing

/// Whole volumes through every compressor that Clonezilla knows, to and from the real programs.
@Suite(.serialized) struct ForeignStreamTests {
  /// An ext4 file system in a file, its partclone stream, and what partclone restores from that.
  private func make(_ options: String, in folder: FilePath) async throws -> (stream: FilePath, restored: FilePath) {
    try await shell(
      """
      cd '\(folder)'; mkdir files
      for i in 1 2 3 4 5; do head -c ${i}00000 /dev/urandom > files/random$i; seq ${i}0000 > files/text$i; done
      truncate -s 64M volume restored
      mkfs.ext4 -qF -d files volume
      partclone.extfs \(options) -c -s volume -O stream -L /dev/null 2>&1
      partclone.restore -s stream -O restored -L /dev/null 2>&1
      """)
    return (folder.appending("stream"), folder.appending("restored"))
  }

  private func restore(_ files: [FilePath], codec: Codec?, byteCount: Int, in folder: FilePath) async throws -> FilePath
  {
    let target = folder.appending("target")
    try await shell("rm -f '\(target)'; truncate -s \(byteCount) '\(target)'")
    let image = VolumeImage(try ConcatenatedFilesSource(files), codec: codec, format: .partclone)
    _ = try await VolumeRestorer(image, target: try FileDevice(path: target, access: .readWrite)).restore()
    return target
  }

  @Test(arguments: ["-a1 -z 10485760", "-a0", "-a1 -k 3 -K"])
  func everyCompressorsVolumesAreRestored(_ options: String) async throws {
    try await withTemporaryDirectory { folder in
      let (stream, restored) = try await make(options, in: folder)
      for (program, codec) in [
        ("bzip2 -3", .bzip2), ("lbzip2 -3", .bzip2), ("lzop -3", .lzop), ("lzma -3", .lzma), ("xz -3 -T0", .xz),
        ("pixz -3", .xz), ("lzip -3", .lzip), ("plzip -3", .lzip), ("lz4 -1", .lz4), ("lz4 -l", .lz4),
      ] as [(String, Codec)] {
        let name = folder.appending("v.ext4-ptcl-img.\(codec.suffix)")
        try await shell("rm -f '\(name)'.*; \(program) < '\(stream)' | split -a 2 -b 700000 - '\(name).'")
        let files = try await shell("ls '\(name)'.??").split(separator: "\n").map { FilePath(String($0)) }
        for codec in [codec, nil] {
          let target = try await restore(files, codec: codec, byteCount: 64 << 20, in: folder)
          try await shell("cmp '\(target)' '\(restored)'")
        }
      }
    }
  }

  @Test(arguments: [(Codec.lz4, "lz4 -dcq"), (.xz, "xz -dc -T0")])
  func theRealProgramsRestoreWhatWeSave(_ codec: Codec, _ decompress: String) async throws {
    try await withTemporaryDirectory { folder in
      _ = try await make("-a1", in: folder)
      let volume = folder.appending("volume")
      let file = folder.appending("ours.\(codec.suffix)")
      var sink = try SplitFileSink(file)
      _ = try await VolumeSaver(
        try FileDevice(path: volume), content: .everyByte, compression: CompressionOptions(codec: codec)
      ).save(to: &sink)
      try await shell("\(decompress) '\(file)' | cmp - '\(volume)'")
      #expect(try file.contents().count < volume.contents().count / 2)
    }
  }

  @Test(arguments: [nil, Codec.gzip] as [Codec?])
  func ntfscloneImagesAreRestored(_ codec: Codec?) async throws {
    try await withTemporaryDirectory { folder in
      let size = 48 << 20 + 1536
      try await shell(
        """
        cd '\(folder)'; truncate -s \(size) volume restored; mkntfs -qQF volume >/dev/null
        for i in 1 2 3; do seq ${i}00000 > file; ntfscp -qf volume file file$i; done
        ntfsclone -q --save-image -o stream volume >/dev/null
        ntfsclone -q --restore-image --overwrite restored stream >/dev/null
        \(codec == nil ? "cat" : "gzip --fast") < stream | split -b 500000 - v.ntfs-img.
        """)
      let files = try await shell("ls '\(folder)'/v.ntfs-img.??").split(separator: "\n").map { FilePath(String($0)) }
      let target = try await restore(files, codec: nil, byteCount: size, in: folder)
      try await shell("cmp '\(target)' '\(folder)/restored'; ntfsfix -n '\(target)' | grep -q 'processed successfully'")
      let image = VolumeImage(try ConcatenatedFilesSource(files), codec: codec, format: .partclone)
      #expect(try await image.header()?.fileSystem == "NTFS")
      #expect(try await image.volumeByteCount() == UInt64(size))
    }
  }
}
