// bench-squashfs TAR OUT LEVEL BLOCKSIZE WORKERS: turns a whole tar into a squashfs the way `slipway build` does, for
// Benchmarks/squashfs.sh to time.
// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import LiveImage
import Squashfs
import SystemPackage
import TarStream

let arguments = CommandLine.arguments
guard arguments.count == 6, let level = Int(arguments[3]), let blockSize = Int(arguments[4]),
  let workers = Int(arguments[5])
else {
  print("usage: bench-squashfs TAR OUT LEVEL BLOCKSIZE WORKERS")
  exit(64)
}
do {
  let source = try FileDescriptor.open(FilePath(arguments[1]), .readOnly)
  let writer = try SquashfsWriter(
    path: FilePath(arguments[2]),
    options: SquashfsOptions(level: level, blockSize: blockSize, workers: workers))
  _ = try RootTree.copy(tar: TarReader(source), into: writer, divertingTo: "/nonexistent") { _ in .keep }
  let statistics = try writer.finish()
  print("\(statistics.inputBytes) bytes of data, \(statistics.inodes) inodes -> \(statistics.bytes) bytes")
} catch {
  print("\(error)")
  exit(1)
}
