// fuzz-seed: makes an input of a disk or volume in a file: the blocks that are read of it, and no others.
// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import FileSystems
import FuzzTargets
import SystemPackage
import Volumes

@main struct FuzzSeed {
  static func main() throws {
    guard CommandLine.arguments.count == 3 else {
      print("usage: fuzz-seed VOLUME SEED")
      return
    }
    let device = RecordingDevice(try FileDevice(path: FilePath(CommandLine.arguments[1])))
    // A seed may well be damaged.
    _ = try? PartitionTable.read(from: device)
    _ = try? FileSystems.allocationMap(of: device)
    let file = try FileDescriptor.open(
      FilePath(CommandLine.arguments[2]), .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
    try file.closeAfter { _ = try file.writeAll(device.recorded()) }
  }
}
