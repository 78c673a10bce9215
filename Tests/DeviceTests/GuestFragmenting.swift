// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage

/// Volumes of one kind that the guest's kernel fills, for file systems that this machine's may lack.
struct GuestVolumes {
  /// As `mount -t` has it.
  let type: String
  let modules: [String]
  let images: [FilePath]

  /// Files of many sizes, of which every other one is deleted again, and files that grow in turn; the last volume is
  /// filled up besides.
  /// - Returns: the checksums of all files.
  func fragment() async throws -> String {
    try await run(
      "rw",
      """
      mkdir -p a/b
      for i in $(seq 200); do head -c $((i * 977 % 60000)) /dev/urandom > a/f$i; done
      head -c 5000000 /dev/urandom > a/b/large; sync
      for i in $(seq 1 2 200); do rm a/f$i; done
      for i in $(seq 40); do head -c 30000 /dev/urandom >> a/b/grown; sync; head -c 5000 /dev/urandom > a/b/g$i; done
      if [ $image = \(images.count) ]; then
        for size in 64k 512; do dd if=/dev/urandom of=all-$size bs=$size 2>/dev/null || true; done
      fi
      """)
  }

  /// The checksums of all files.
  func contentSums() async throws -> String { try await run("ro", "true") }

  /// Runs a script in each volume.
  private func run(_ options: String, _ script: String) async throws -> String {
    try await runInGuest(
      modules: modules, disks: images,
      script: """
        image=0
        for device in /dev/vd[a-z]; do
          image=$((image + 1))
          mount -t \(type) -o \(options) $device /mnt
          cd /mnt
          \(script)
          echo "volume $image"; find . -type f | sort | xargs sha256sum
          cd /; umount /mnt
        done
        """)
  }
}
