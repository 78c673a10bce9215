// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

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

/// Makes a volume in a file as a crash leaves it: its file system is mounted, changed and stopped at once; what is on the
/// disk then is copied, as ext4 goes on writing to it.
/// - Parameters:
///   - makeCommand: makes the file system in `$volume`.
///   - options: of the mount.
///   - changes: script that runs in the mounted folder.
///   - stop: the command of `xfs_io` that stops it; it works for ext4 too.
/// - Returns: the volume, `crashed` in `folder`, and what the files hold once the kernel has recovered a copy,
///   `recovered` in `folder`.
func makeCrashedVolume(
  in folder: FilePath, _ makeCommand: String, options: String = "", changes: String = defaultChanges,
  stop: String = "shutdown -f"
) async throws -> (volume: FilePath, recovered: FilePath, sums: String) {
  let mounted = folder.appending("volume")
  let volume = folder.appending("crashed")
  try await shell("volume=\(mounted); \(makeCommand)")
  let mount = "mount -o loop\(options.isEmpty ? "" : ",\(options)")"
  try await withMount(mounted, in: folder, with: mount) { mount in
    try await shell(
      "cd \(mount); \(changes)\ncd /; xfs_io -x -c '\(stop)' \(mount); cp --sparse=always \(mounted) \(volume)")
  }
  let recovered = folder.appending("recovered")
  try await shell("cp --sparse=always \(volume) \(recovered)")
  let sums = try await withMount(recovered, in: folder) { try await contentSums($0) }
  return (volume, recovered, sums)
}

/// Files written and deleted, some of it forced to the disk.
let defaultChanges = """
  mkdir a; for i in {1..300}; do head -c $((i * 977 % 90000)) /dev/urandom > a/f$i; done; sync
  for i in {1..300..3}; do rm a/f$i; done; head -c 9000000 /dev/urandom > large; sync
  mkdir b; for i in {1..300}; do head -c $((i * 577 % 70000)) /dev/urandom > b/f$i; done
  for i in {1..40}; do head -c 30000 /dev/urandom >> b/grown; sync b/grown; head -c 3000 /dev/urandom > b/g$i; done
  sync b/g40; for i in {2..300..3}; do rm a/f$i; done
  """

/// Expects that a crashed volume keeps all its files when the blocks its map leaves out are lost.
/// - Parameters:
///   - onDisk: the map before recovery as a tool reads it, which must not be enough.
///   - recovered: the map as a tool reads it after the kernel has recovered a copy.
func expectSurvival(
  of volume: FilePath, in folder: FilePath, sums: String, onDisk: BlockBitmap, recovered: BlockBitmap,
  check: String
) async throws {
  let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: volume)))
  #expect(map.warnings.contains { $0.contains("replayed in memory") })
  #expect(map.bitmap.count == recovered.count)
  var either = map.bitmap
  either.formUnion(recovered)
  #expect(either == map.bitmap, "\(either.usedCount - map.bitmap.usedCount) blocks are missing")
  either = onDisk.extended(to: recovered.count, used: false)
  either.formUnion(recovered)
  #expect(either.usedCount > onDisk.usedCount, "the map on disk would have done")

  try poisonFreeBlocks(of: volume, map)
  let found = try await withMount(volume, in: folder) { try await contentSums($0) }
  #expect(found == sums)
  try await shell("\(check) \(volume)")
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
