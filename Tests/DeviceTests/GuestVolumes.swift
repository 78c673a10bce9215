// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage

/// Mounts a volume in a guest, runs a script in its root folder, and unmounts it.
/// - Parameters:
///   - fileSystem: the kernel's name for it and its module: `f2fs`.
///   - script: for busybox's `sh`; see ``runInGuest(modules:disks:script:)``.
/// - Returns: the checksums of all files in the end, by name.
@discardableResult
func useInGuest(_ volume: FilePath, as fileSystem: String, _ script: String = "") async throws -> String {
  let heading = "the files:\n"
  let printed = try await runInGuest(
    modules: [fileSystem], disks: [volume],
    script: """
      mount -t \(fileSystem) /dev/vda /mnt; cd /mnt
      \(script)
      echo '\(heading.dropLast())'; find . -type f | sort | xargs sha256sum
      cd /; umount /mnt
      """)
  guard let start = printed.firstRange(of: heading)?.upperBound else { throw Errno.invalidArgument }
  return String(printed[start...])
}

/// Mounts a volume in a guest, runs a script in its root folder, and has a power cut.
func crashInGuest(_ volume: FilePath, as fileSystem: String, _ script: String) async throws {
  try await runInGuest(
    modules: [fileSystem], disks: [volume],
    script: """
      mount -t \(fileSystem) /dev/vda /mnt; cd /mnt
      \(script)
      crash
      """)
}

/// The checksum of a file that lost its contents.
let emptyFileSum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/// Fills a volume with files of many sizes, some with holes, and deletes every other one again: about 40 MB in the end.
let guestFragmentation = """
  mkdir -p a/b
  for i in $(seq 300); do head -c $((i * 977 % 130000)) /dev/urandom > a/f$i; done
  head -c 20000000 /dev/urandom > a/b/large
  for i in $(seq 0 3 90); do dd if=/dev/urandom of=a/b/holes bs=64k count=1 seek=$i conv=notrunc 2>/dev/null; done
  sync; for i in $(seq 1 2 300); do rm a/f$i; done
  for i in $(seq 30); do head -c 60000 /dev/urandom >> a/b/grown; sync a/b/grown; head -c 5000 /dev/urandom > a/b/g$i; done
  """
