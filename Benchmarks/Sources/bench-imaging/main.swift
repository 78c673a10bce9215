// bench-imaging: saves and restores one volume with the engine, for Benchmarks/imaging.sh.
// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Compression
import FileSystems
import Glibc
import Imaging
import SystemPackage

let usage = """
  usage: bench-imaging save VOLUME IMAGE [zst|gz|uncomp]
         bench-imaging restore IMAGE VOLUME [zst|gz|uncomp]

  """

func end(_ text: String, code: Int32) -> Never {
  _ = try? FileDescriptor.standardError.writeAll(text.utf8)
  exit(code)
}

let arguments = CommandLine.arguments
guard arguments.count >= 4 else { end(usage, code: 64) }
let (from, to) = (FilePath(arguments[2]), FilePath(arguments[3]))
do {
  let codec = try Codec(suffix: arguments.count > 4 ? arguments[4] : "zst")
  switch arguments[1] {
  case "save":
    let volume = try FileDevice(path: from)
    var content = VolumeContent.everyByte
    if let map = try FileSystems.allocationMap(of: volume), let name = map.identity.kind.partcloneName {
      let (blockSize, bitmap) = map.covering(volume.byteCount)
      content = .usedBlocks(fileSystem: name, blockSize: blockSize, bitmap: bitmap)
    }
    var sink = try SplitFileSink(to)
    let saver = try VolumeSaver(volume, content: content, compression: CompressionOptions(codec: codec))
    _ = try await saver.save(to: &sink)
  case "restore":
    let image = VolumeImage(try ConcatenatedFilesSource([from]), codec: codec, format: .partclone)
    _ = try await VolumeRestorer(image, target: try FileDevice(path: to, access: .readWrite)).restore()
  default: end(usage, code: 64)
  }
} catch {
  end("\(error)\n", code: 1)
}
