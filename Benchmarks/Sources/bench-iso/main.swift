// bench-iso TREE EFI-SYSTEM-PARTITION OUTPUT: writes a folder and the boot files of the system as a hybrid ISO image, for iso.sh to time.
// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import ISOImage
import SystemPackage

func contents(of path: FilePath) throws -> [UInt8] {
  let descriptor = try FileDescriptor.open(path, .readOnly)
  return try descriptor.closeAfter {
    let count = Int(try descriptor.seek(offset: 0, from: .end))
    return try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      initialized = try descriptor.read(fromAbsoluteOffset: 0, into: UnsafeMutableRawBufferPointer(buffer))
    }
  }
}

let arguments = CommandLine.arguments
guard arguments.count == 4 else {
  print("usage: bench-iso TREE EFI-SYSTEM-PARTITION OUTPUT")
  exit(64)
}
var writer = try ISOImageWriter(volumeID: "BENCH", modificationTime: 1_700_000_000)
try writer.setBoot(
  ISOBootFiles(
    isolinux: contents(of: "/usr/lib/ISOLINUX/isolinux.bin"),
    masterBootRecord: contents(of: "/usr/lib/ISOLINUX/isohdpfx.bin"),
    efiSystemPartition: contents(of: FilePath(arguments[2]))))
try writer.addTree(FilePath(arguments[1]), at: "/")
try writer.write(to: FilePath(arguments[3]))
