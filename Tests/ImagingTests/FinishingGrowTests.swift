// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import FileSystems
import Imaging
import SystemPackage
import Testing

@Suite struct FinishingGrowTests {
  private let file = VolumePlace(disk: "/images/disk.raw", number: 2, start: 1 << 20, byteCount: 4096, node: nil)
  private let partition = VolumePlace(
    disk: "/dev/vdz", number: 4, start: 1 << 20, byteCount: 1 << 30, node: "/dev/vdz4")

  private func grow(
    _ kind: FileSystemKind, _ place: VolumePlace, _ programs: FakePrograms
  ) async throws -> GrowOutcome {
    try await FileSystemGrower(run: { try await programs.run($0) }).grow(kind, on: place)
  }

  @Test func aPartitionIsGrownOnItsOwnDevice() async throws {
    // 1: e2fsck put something right.
    let programs = FakePrograms([.init(prefix: "e2fsck", status: 1)])
    #expect(try await grow(.ext4, partition, programs) == .grown)
    #expect(await programs.ran == ["e2fsck -f -y /dev/vdz4", "resize2fs /dev/vdz4"])
  }

  @Test func withoutADeviceALoopDeviceIsUsed() async throws {
    let programs = FakePrograms([.init(prefix: "losetup --find", output: "/dev/loop77\n")])
    #expect(try await grow(.ext3, file, programs) == .grown)
    #expect(
      await programs.ran == [
        "losetup --find --show --offset 1048576 --sizelimit 4096 /images/disk.raw", "e2fsck -f -y /dev/loop77",
        "resize2fs /dev/loop77", "losetup --detach /dev/loop77",
      ])
  }

  @Test func aFailureLeavesNoLoopDevice() async throws {
    let programs = FakePrograms([
      .init(prefix: "losetup --find", output: "/dev/loop77\n"),
      .init(prefix: "e2fsck", output: "beyond help", status: 8),
    ])
    let outcome = try await grow(.ext2, file, programs)
    guard case .failed(.notGrown(let volume, .ext2, let cause)) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(volume == "partition 2 of /images/disk.raw")
    #expect(cause == "`e2fsck -f -y /dev/loop77` ended with status 8, beyond help")
    #expect(await programs.ran.last == "losetup --detach /dev/loop77")
    #expect(await programs.ran.count == 3)
  }

  @Test func aCancelledGrowStillDetaches() async throws {
    let programs = FakePrograms([.init(prefix: "losetup --find", output: "/dev/loop77\n")])
    let grower = FileSystemGrower { command in
      if command.program == "e2fsck" { withUnsafeCurrentTask { $0?.cancel() } }
      return try await programs.run(command)
    }
    let work = Task { [file] in try await grower.grow(.ext4, on: file) }
    await #expect(throws: CancellationError.self) { try await work.value }
    let ran = await programs.ran
    #expect(ran.last == "losetup --detach /dev/loop77")
    #expect(!ran.contains { $0.hasPrefix("resize2fs") })
  }

  @Test(arguments: [FileSystemKind.swap, .fat12]) func whatIsNotGrownIsLeftAlone(_ kind: FileSystemKind) async throws {
    let programs = FakePrograms()
    guard case .unchanged = try await grow(kind, partition, programs) else {
      Issue.record("\(kind)")
      return
    }
    #expect(await programs.ran.isEmpty)
    #expect(FileSystemGrower.programs(for: kind).isEmpty)
  }
}
