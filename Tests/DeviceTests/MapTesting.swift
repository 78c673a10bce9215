// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport

/// Mounts a volume in a file while `body` runs.
/// - Parameter mount: the command that mounts; it is given the volume and the folder.
@discardableResult
func withMount<Value>(
  _ volume: FilePath, in folder: FilePath, with mount: String = "mount -o loop",
  _ body: (FilePath) async throws -> Value
) async throws -> Value {
  let place = folder.appending("mounted")
  try await shell("mkdir -p \(place); \(mount) \(volume) \(place)")
  do {
    let value = try await body(place)
    try await shell("umount \(place)")
    return value
  } catch {
    try await shell("umount \(place)")
    throw error
  }
}

/// Files of many sizes, some with holes, of which every other one is deleted again.
func fragment(_ mount: FilePath) async throws {
  try await shell(
    """
    cd \(mount); mkdir -p a/b
    for i in {1..400}; do head -c $((i * 977 % 130000)) /dev/urandom > a/f$i; done
    head -c 30000000 /dev/urandom > a/b/large
    for i in {0..40}; do dd if=/dev/urandom of=a/b/holes bs=64k count=1 seek=$((i * 3)) conv=notrunc status=none; done
    sync; for i in {1..400..2}; do rm a/f$i; done
    for i in {1..60}; do head -c 60000 /dev/urandom >> a/b/grown; sync a/b/grown; head -c 5000 /dev/urandom > a/b/g$i; done
    """)
}

/// The checksums of all files, by name.
func contentSums(_ mount: FilePath) async throws -> String {
  try await shell("cd \(mount); find . -type f -print0 | sort -z | xargs -0 sha256sum")
}

/// Writes A5 over every free block: whatever the map forgot is gone then.
func poisonFreeBlocks(of volume: FilePath, _ map: AllocationMap) throws {
  let device = try FileDevice(path: volume, access: .readWrite)
  let pattern = [UInt8](repeating: 0xA5, count: 1 << 20)
  func fill(_ run: Range<Int>) throws {
    var offset = run.lowerBound * map.blockSize
    while offset < run.upperBound * map.blockSize {
      let count = min(pattern.count, run.upperBound * map.blockSize - offset)
      try device.write(pattern.span.bytes.extracting(0..<count), at: UInt64(offset))
      offset += count
    }
  }
  var position = 0
  try map.bitmap.forEachUsedRun { used in
    try fill(position..<used.lowerBound)
    position = used.upperBound
  }
  try fill(position..<map.bitmap.count)
}
