// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import SystemPackage
import TestSupport
import Testing

/// Programs that die and disks that fail, at many places: no image looks whole that is not, and no restore reports
/// success on a disk that is wrong.
@Suite(.serialized) struct FaultTests {
  /// A GPT disk with an ext4 full of incompressible files, as `disk.raw`.
  private func makeDisk(in folder: FilePath) async throws {
    try await shell(
      """
      cd '\(folder)'; mkdir content
      for i in {1..40}; do head -c 1000000 /dev/urandom > content/f$i; done
      truncate -s 96M disk.raw
      printf 'label: gpt\\nstart=2048\\n' | sfdisk -q disk.raw
      mke2fs -q -t ext4 -d content -E offset=$((2048 * 512)) disk.raw 94M
      """)
  }

  @Test(.timeLimit(.minutes(10))) func aSaveKilledAHundredTimes() async throws {
    let program = try reimageProgram()
    try await withTemporaryDirectory { folder in
      try await makeDisk(in: folder)
      let said = try await shell(
        """
        cd '\(folder)'; mkdir repository; save="'\(program)' save ./disk.raw image --repository repository --no-verify -q"
        # Pauses spread over the time a whole run takes, and a little more; always the same ones.
        RANDOM=42; begin=$(date +%s%N)
        eval "$save"; whole=$((($(date +%s%N) - begin) / 1000)); rm -r repository/image
        killed=0 finished=0
        while [ $killed -lt 100 ] && [ $finished -lt 400 ]; do
          eval "$save &"; pid=$!
          perl -e 'select undef, undef, undef, $ARGV[0] / 1e6' $((RANDOM * whole / 28000))
          kill -9 $pid 2> /dev/null || true
          if wait $pid 2> /dev/null; then finished=$((finished + 1)); else killed=$((killed + 1)); fi
          if [ -e repository/image ]; then
            # It was complete before the end came.
            '\(program)' verify image --repository repository -q
            rm -r repository/image
          fi
          for name in $(ls -A repository); do
            [ "$name" = image.partial ] || echo "left behind: $name"
          done
        done
        eval "$save"; '\(program)' verify image --repository repository -q
        echo "killed $killed, finished $finished; in the end: $(ls -A repository)"
        """)
      #expect(said.wholeMatch(of: #/killed 100, finished \d+; in the end: image\n/#) != nil, "\(said)")
    }
  }

  @Test(.timeLimit(.minutes(10))) func aRestoreKilledAHundredTimes() async throws {
    let program = try reimageProgram()
    try await withTemporaryDirectory { folder in
      try await makeDisk(in: folder)
      let said = try await shell(
        """
        cd '\(folder)'; '\(program)' save ./disk.raw image --repository . --no-verify -q
        restore="'\(program)' restore image ./target.raw --overwrite --repository . -q"
        RANDOM=42
        sum() { sha256sum < target.raw; }
        begin=$(date +%s%N); eval "$restore"; whole=$((($(date +%s%N) - begin) / 1000)); right=$(sum)
        killed=0 finished=0
        while [ $killed -lt 100 ] && [ $finished -lt 400 ]; do
          eval "$restore &"; pid=$!
          perl -e 'select undef, undef, undef, $ARGV[0] / 1e6' $((RANDOM * whole / 28000))
          kill -9 $pid 2> /dev/null || true
          if wait $pid 2> /dev/null; then
            finished=$((finished + 1))
            [ "$(sum)" = "$right" ] || echo "success on a wrong disk after $killed kills"
          else
            killed=$((killed + 1))
          fi
        done
        # What is left by the last that was killed is simply restored again.
        eval "$restore"
        [ "$(sum)" = "$right" ] || echo "the disk is wrong in the end"
        echo "killed $killed, finished $finished"
        """)
      #expect(said.wholeMatch(of: #/killed 100, finished \d+\n/#) != nil, "\(said)")
    }
  }

  /// A disk whose sectors past a point can't be read: a loop device whose file was cut.
  @Test(arguments: [5, 30, 70]) func unreadableSectorsEndASave(_ mebibytes: Int) async throws {
    let program = try reimageProgram()
    try await withTemporaryDirectory { folder in
      try await makeDisk(in: folder)
      let said = try await shell(
        """
        cd '\(folder)'; mkdir repository; device=$(losetup -f --show disk.raw)
        trap 'losetup -d $device' EXIT
        truncate -s \(mebibytes)M disk.raw; blockdev --flushbufs $device
        '\(program)' save $device image --repository repository --no-verify -q 2>&1 && status=0 || status=$?
        echo "status $status, left: $(ls -A repository)"
        """)
      #expect(said.contains("status 74, left: \n"), "\(said)")
      #expect(said.contains("cannot read") && said.contains("/dev/loop"), "\(said)")
    }
  }

  /// A disk that takes no more: a loop device whose file lies on a full file system.
  @Test func aTargetThatFailsEndsARestore() async throws {
    let program = try reimageProgram()
    try await withTemporaryDirectory { folder in
      try await makeDisk(in: folder)
      let said = try await shell(
        """
        cd '\(folder)'; '\(program)' save ./disk.raw image --repository . --no-verify -q
        mkdir full; mount -t tmpfs -o size=20M none full; trap 'umount full' EXIT
        truncate -s 96M full/target.raw; device=$(losetup -f --show full/target.raw)
        trap 'losetup -d $device; umount full' EXIT
        '\(program)' restore image $device --repository . -q 2>&1 && status=0 || status=$?
        echo "status $status"
        """)
      #expect(said.hasSuffix("status 74\n"), "\(said)")
      #expect(said.contains("/dev/loop"), "\(said)")
    }
  }
}
