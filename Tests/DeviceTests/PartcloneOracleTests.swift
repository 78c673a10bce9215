// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Compression
import Imaging
import PartcloneStream
import SystemPackage
import TestSupport
import Testing

/// Our streams against Debian's partclone, both ways, on file systems made and filled by their own tools.
@Suite(.serialized) struct PartcloneOracleTests {
  /// A file system partclone knows, and how to make one with something in it.
  struct Kind: Sendable, CustomStringConvertible {
    let program: String
    /// As partclone's header names it.
    let name: String
    let size: String
    /// A shell script; `$V` is the volume, `$D` a folder with files.
    let make: String
    var description: String { name }
  }

  static let kinds = [
    Kind(program: "partclone.extfs", name: "EXTFS", size: "64M", make: "mkfs.ext4 -qF -b 1024 -d $D $V"),
    Kind(program: "partclone.extfs", name: "EXTFS", size: "96M", make: "mkfs.ext4 -qF -b 4096 -d $D $V"),
    Kind(program: "partclone.xfs", name: "XFS", size: "320M", make: "mkfs.xfs -q -f $V"),
    Kind(program: "partclone.btrfs", name: "BTRFS", size: "128M", make: "mkfs.btrfs -q --rootdir $D $V"),
    Kind(
      program: "partclone.ntfs", name: "NTFS", size: "64M",
      make: "mkntfs -qQF $V; for f in $D/*; do ntfscp -qf $V $f ${f##*/}; done"),
    Kind(program: "partclone.vfat", name: "FAT32", size: "64M", make: "mkfs.vfat -F 32 $V; mcopy -i $V $D/* ::"),
  ]

  /// A volume with its contents, and the map partclone makes of it.
  private struct Volume {
    let path: FilePath
    let bytes: [UInt8]
    let blockSize: Int
    let bitmap: BlockBitmap

    init(_ kind: Kind, in folder: FilePath) async throws {
      path = folder.appending("volume")
      try await shell(
        """
        D='\(folder)/files'; V='\(path)'; mkdir -p $D
        for i in 1 2 3 4 5; do head -c ${i}00000 /dev/urandom > $D/random$i; seq ${i}0000 > $D/text$i; done
        truncate -s \(kind.size) $V; { \(kind.make); } >/dev/null 2>&1
        """)
      (_, blockSize, bitmap) = try await partcloneMap(kind.program, of: path, in: folder)
      bytes = try path.contents()
      try #require(bitmap.usedCount > 0 && bitmap.usedCount < bitmap.count)
    }

    /// The used blocks, and zeros elsewhere.
    var expected: [UInt8] {
      var result = [UInt8](repeating: 0, count: bytes.count)
      bitmap.forEachUsedRun { run in
        let range = (run.lowerBound * blockSize)..<(run.upperBound * blockSize)
        result.replaceSubrange(range, with: bytes[range])
      }
      return result
    }
  }

  @Test(arguments: zip(kinds, [Codec.zstd, .gzip, .none, .zstd, .gzip, .none]))
  func partcloneRestoresWhatWeSave(_ kind: Kind, _ codec: Codec) async throws {
    try await withTemporaryDirectory { folder in
      let volume = try await Volume(kind, in: folder)
      let name = folder.appending("volume-ptcl-img.\(codec.suffix)")
      var sink = try SplitFileSink(name, volumeByteCount: 1_000_000)
      let saver = try VolumeSaver(
        try FileDevice(path: volume.path),
        content: .usedBlocks(fileSystem: kind.name, blockSize: volume.blockSize, bitmap: volume.bitmap),
        compression: CompressionOptions(codec: codec))
      _ = try await saver.save(to: &sink)

      let decompress = [Codec.zstd: "zstd -dcq", .gzip: "gzip -dc", .none: "cat"][codec] ?? ""
      let target = folder.appending("target")
      try await shell(
        """
        cat '\(name)'.?? | \(decompress) > '\(folder)/stream'
        truncate -s \(volume.bytes.count) '\(target)'
        partclone.restore -s '\(folder)/stream' -O '\(target)' -L /dev/null 2>&1
        partclone.chkimg -s '\(folder)/stream' -L /dev/null 2>&1
        """)
      #expect(try target.contents() == volume.expected)
      let about = try await shell("partclone.info -s '\(folder)/stream' -L /dev/null 2>&1")
      #expect(about.contains("File system:  \(kind.name)"))
      #expect(about.contains("blocks/checksum: \(10_485_760 / volume.blockSize)"))
      #expect(about.contains("\(volume.bitmap.usedCount) Blocks"))
    }
  }

  @Test(arguments: kinds, ["-a0", "-a1", "-a1 -k 1", "-a1 -k 7 -K", "-a1 -z 10485760"])
  func weRestoreWhatPartcloneSaves(_ kind: Kind, _ options: String) async throws {
    try await withTemporaryDirectory { folder in
      let volume = try await Volume(kind, in: folder)
      let stream = folder.appending("stream")
      try await shell(
        "\(kind.program) \(options) -c -s '\(volume.path)' -O '\(stream)' -L /dev/null 2>&1")
      let compressors = [(Codec.zstd, "zstd -q -T0 -3"), (.gzip, "pigz --fast -b 1024 -R"), (.none, "cat")]
      // The compressor and the kind of checksum have nothing to do with each other.
      for (codec, compress) in options == "-a1" ? compressors : Array(compressors.prefix(1)) {
        let name = folder.appending("foreign.\(codec.suffix)")
        try await shell("\(compress) < '\(stream)' | split -a 2 -b 1MB - '\(name).'")
        let files = try await shell("ls '\(name)'.??").split(separator: "\n").map { FilePath(String($0)) }
        let target = folder.appending("target")
        try await shell("rm -f '\(target)'; truncate -s \(volume.bytes.count) '\(target)'")
        let image = VolumeImage(try ConcatenatedFilesSource(files), codec: codec, format: .partclone)
        let restored = try await VolumeRestorer(
          image, target: try FileDevice(path: target, access: .readWrite)
        ).restore()
        #expect(try target.contents() == volume.expected)
        #expect(restored.deviceBytes == UInt64(volume.bitmap.usedCount * volume.blockSize))
        #expect(restored.header?.fileSystem == kind.name)
      }
    }
  }

  /// Block devices, with a sector size and without holes.
  @Test func loopDevicesAreSavedAndRestored() async throws {
    try #require(isRoot, "loop devices need root")
    try await withTemporaryDirectory { folder in
      let volume = try await Volume(Self.kinds[1], in: folder)
      let target = folder.appending("target")
      try await shell("head -c \(volume.bytes.count) /dev/urandom > '\(target)'")
      let before = try target.contents()
      let devices = try await shell("losetup -f --show '\(volume.path)'; losetup -f --show '\(target)'")
        .split(separator: "\n").map { FilePath(String($0)) }
      try #require(devices.count == 2)
      do {
        var sink = try SplitFileSink(folder.appending("image.zst"))
        let content = VolumeContent.usedBlocks(
          fileSystem: "EXTFS", blockSize: volume.blockSize, bitmap: volume.bitmap)
        _ = try await VolumeSaver(try FileDevice(path: devices[0]), content: content).save(to: &sink)
        let image = VolumeImage(try ConcatenatedFilesSource(sink.volumes), codec: nil, format: .partclone)
        _ = try await VolumeRestorer(
          image, target: try FileDevice(path: devices[1], access: .exclusive)
        ).restore()
      } catch {
        try await shell("losetup -d \(devices[0]) \(devices[1])")
        throw error
      }
      try await shell("losetup -d \(devices[0]) \(devices[1]); e2fsck -fn '\(target)'")
      let after = try target.contents()
      for block in 0..<volume.bitmap.count {
        let range = (block * volume.blockSize)..<((block + 1) * volume.blockSize)
        let expected = volume.bitmap[block] ? volume.bytes[range] : before[range]
        if after[range] != expected { Issue.record("block \(block) is not what it should be") }
      }
    }
  }

  /// partclone.dd writes bytes without a header.
  @Test func rawStreamsAreTheSameBothWays() async throws {
    try await withTemporaryDirectory { folder in
      let volume = folder.appending("volume")
      try await shell("head -c 5000192 /dev/urandom > '\(volume)'")
      var sink = try SplitFileSink(folder.appending("ours.zst"))
      _ = try await VolumeSaver(try FileDevice(path: volume), content: .everyByte).save(to: &sink)
      try await shell(
        """
        cd '\(folder)'; zstd -dcq ours.zst | cmp - volume
        partclone.dd -s volume -o - -L /dev/null 2>/dev/null | gzip > theirs.gz; truncate -s 5000192 target
        """)
      let image = VolumeImage(
        try ConcatenatedFilesSource([folder.appending("theirs.gz")]), codec: .gzip, format: .raw)
      _ = try await VolumeRestorer(
        image, target: try FileDevice(path: folder.appending("target"), access: .readWrite),
        expectedByteCount: 5_000_192
      ).restore()
      try await shell("cmp '\(folder)/volume' '\(folder)/target'")
    }
  }
}
