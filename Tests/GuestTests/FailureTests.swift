// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage
import TestSupport
import Testing

/// What goes wrong is told by an exit code of its own, and costs nobody a disk.
@Suite(.serialized) struct FailureTests {
  /// The demo's medium beside two disks where one was meant, and at the same time beside one that is too small.
  @Test(.timeLimit(.minutes(20))) func aRefusedTargetIsLeftAlone() async throws {
    let demo = try await Stage.shared.demo()
    try await withScene("refused") { folder in
      async let two: Void = isRefused(
        demo, disks: ["2G", "2G"], saying: ["ambiguous: vda, vdb"], in: folder.appending("two"))
      async let small: Void = isRefused(demo, disks: ["700M"], saying: ["too small"], in: folder.appending("small"))
      try await two
      try await small
    }
  }

  private func isRefused(
    _ demo: Stage.Demo, disks sizes: [String], saying words: [String], in folder: FilePath
  ) async throws {
    try await tool("mkdir", folder.string)
    var disks: [Disk] = []
    for (index, size) in sizes.enumerated() {
      disks.append(try await Disk.precious(folder.appending("disk\(index).raw"), size: size))
    }
    var before: [String] = []
    for disk in disks { before.append(try await disk.sum()) }
    let boot = try await Machine.boot(demo.iso, disks: disks.map(\.path), in: folder)
    #expect(boot.status == 10, "the job reported failure: \(boot.said)")
    for word in words { #expect(boot.said.contains(word), "\(word) is not in: \(boot.said)") }
    for (index, disk) in disks.enumerated() {
      #expect(try await disk.sum() == before[index], "disk \(index) was touched")
    }
  }

  /// QEMU that someone else ends has not powered the machine off: neither before nor after it minds signals.
  @Test(.timeLimit(.minutes(5)), arguments: [0, 3]) func anEmulatorEndedFromOutsideIsNamed(_ pause: Int) async throws {
    try await withScene("ended") { folder in
      let disk = try await Disk.empty(folder.appending("disk.raw"), size: "64M")
      let said = try await shell(
        """
        '\(Stage.program("slipway"))' boot '\(disk.path)' --timeout 120 > '\(folder)/said' 2>&1 & boot=$!
        for _ in {1..100}; do
          if pgrep -P $boot -f qemu-system > /dev/null; then
            sleep \(pause)
            pkill -TERM -P $boot -f qemu-system
            break
          fi
          sleep 0.2
        done
        wait $boot && status=0 || status=$?
        echo "status $status"; cat '\(folder)/said'
        """)
      #expect(said.hasPrefix("status 1\n") && said.contains("ended from outside"), "\(said)")
    }
  }

  /// A guest that gives no verdict in time, and one whose kernel panics, are told apart.
  @Test(.timeLimit(.minutes(15))) func timeOutAndPanicAreToldApart() async throws {
    let demo = try await Stage.shared.demo()
    let iso = try await Stage.shared.medium(starting: "panic")
    try await withScene("no-verdict") { folder in
      let late = try await Machine.boot(demo.iso, timeout: 5, in: folder)
      #expect(late.status == 11, "\(late.said)")
      for firmware in ["bios", "uefi"] {
        let panicked = try await Machine.boot(iso, firmware: firmware, in: folder)
        #expect(panicked.status == 12, "\(firmware): \(panicked.said)")
        #expect(panicked.console.contains("Kernel panic"))
      }
    }
  }
}
