// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Imaging
import SystemPackage
import Testing
import Volumes

@Suite struct FinishingBootEntryTests {
  private static let esp = "3c1f27c1-4d5f-4f0e-9a3e-0d2b7a1c9e55"
  private static let other = "99999999-4d5f-4f0e-9a3e-0d2b7a1c9e55"
  private static let gone = "77777777-4d5f-4f0e-9a3e-0d2b7a1c9e55"

  /// As efibootmgr 17 (Debian 12) prints it.
  private static let version17 = """
    BootCurrent: 0001
    Timeout: 0 seconds
    BootOrder: 0001,0000,0002
    Boot0000* Windows Boot Manager\tHD(1,GPT,\(esp),0x800,0x100000)/File(\\EFI\\Microsoft\\Boot\\bootmgfw.efi)WINDOWS.........x...B.C.D.O.B.J.E.C.T.=.{.9.d.e.a.8.6.2.c.-.5.c.d.d.-.4.e.7.0.}...a................
    Boot0001* debian\tHD(1,GPT,\(esp),0x800,0x100000)/File(\\EFI\\debian\\shimx64.efi)
    Boot0002* UiApp\tFvVol(7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1)/FvFile(462caa21-7614-4503-836e-8ab6f4662331)
    Boot0003  old disk\tHD(2,MBR,0x12345678,0x800,0x100000)/File(\\EFI\\BOOT\\BOOTX64.EFI)
    Boot000A* UEFI PXEv4 (MAC:525400123456)\tPciRoot(0x0)/Pci(0x3,0x0)/MAC(525400123456,1)/IPv4(0.0.0.00.0.0.0,0,0)N.....YM....R,Y.
    MirroredPercentageAbove4G: 0.00
    """

  /// As efibootmgr 18 (Debian 13) prints it.
  private static let version18 = """
    BootCurrent: 0003
    Timeout: 1 seconds
    BootOrder: 0003,0000
    Boot0000* Windows Boot Manager\tHD(1,GPT,\(esp),0x800,0x100000)/\\EFI\\Microsoft\\Boot\\bootmgfw.efi57494e444f5753000100000088000000780000004200430044004f0042
          dp: 04 01 2a 00 01 00 00 00 00 08 00 00 00 00 00 00 / 7f ff 04 00
        data: 57 49 4e 44 4f 57 53 00 01 00 00 00 88 00 00 00
    Boot0003* debian\tHD(1,GPT,\(esp),0x800,0x100000)/\\EFI\\debian\\shimx64.efi
          dp: 04 01 2a 00 01 00 00 00 00 08 00 00 00 00 00 00 / 7f ff 04 00
    """

  @Test func version17IsRead() throws {
    let list = FirmwareBootList(Self.version17)
    #expect(list.entries.map(\.number) == [1, 0, 2, 3, 10])
    #expect(list.entries.map(\.isActive) == [true, true, true, false, true])
    #expect(
      list.entries.map(\.label) == [
        "debian", "Windows Boot Manager", "UiApp", "old disk", "UEFI PXEv4 (MAC:525400123456)",
      ])
    #expect(list.entries.map(\.partition) == [GUID(Self.esp), GUID(Self.esp), nil, nil, nil])
    #expect(
      list.entries.map(\.loader) == [
        "\\EFI\\debian\\shimx64.efi", "\\EFI\\Microsoft\\Boot\\bootmgfw.efi", nil, "\\EFI\\BOOT\\BOOTX64.EFI", nil,
      ])
  }

  @Test func version18IsRead() throws {
    let list = FirmwareBootList(Self.version18)
    #expect(list.entries.map(\.number) == [3, 0])
    #expect(list.entries.map(\.label) == ["debian", "Windows Boot Manager"])
    #expect(list.entries.allSatisfy { $0.partition == GUID(Self.esp) })
    #expect(list.entries.map(\.loader) == ["\\EFI\\debian\\shimx64.efi", "\\EFI\\Microsoft\\Boot\\bootmgfw.efi"])
  }

  @Test func tabsMayBecomeSpaces() throws {
    let list = FirmwareBootList("Boot0007* my HD( disk HD(3,GPT,\(Self.esp),0x1,0x2)/File(\\EFI\\x.efi)")
    let entry = try #require(list.entries.first)
    #expect(entry.label == "my HD( disk")
    #expect(entry.loader == "\\EFI\\x.efi")
  }

  @Test(arguments: [
    "", "Boot", "Boot00", "Boot0001", "Boot0001*", "Boot0001* ", "Boot0001* \t", "BootOrder:", "BootOrder: xyz,,",
    "Boot0001* a\tHD(", "Boot0001* a\tHD()", "Boot0001* a\tHD(1,GPT,zz)/File(", "Boot+001* a\tHD(1,GPT)/",
    "\u{FFFD}\t/",
  ])
  func brokenTextHasNoLoader(_ text: String) {
    #expect(FirmwareBootList(text).entries.allSatisfy { $0.loader == nil && $0.partition == nil })
  }

  // MARK: Making entries

  private var table: PartitionTable {
    PartitionTable(
      scheme: .gpt(.init(diskGUID: .random(), firstUsable: 34, lastUsable: 9_999_966)), sectorSize: 512,
      sectorCount: 10_000_000,
      partitions: [
        Partition(number: 2, start: 2048, count: 2048, type: .linux, uuid: .random()),
        Partition(number: 7, start: 4096, count: 2048, type: .efiSystem, uuid: GUID(Self.esp)),
      ])
  }

  @Test func entriesAreMadeInTheirOrderAndReplaceTheOld() async throws {
    let now = """
      BootOrder: 0005,0001,0006,0007
      Boot0001* debian\tHD(1,GPT,\(Self.esp),0x800,0x100000)/File(\\EFI\\DEBIAN\\SHIMX64.EFI)
      Boot0005* debian\tHD(1,GPT,\(Self.other),0x800,0x100000)/File(\\EFI\\debian\\shimx64.efi)
      Boot0006* debian\tHD(1,GPT,\(Self.gone),0x800,0x100000)/File(\\EFI\\debian\\shimx64.efi)
      Boot0007* debian\tHD(1,GPT,\(Self.esp),0x800,0x100000)/File(\\EFI\\debian\\grubx64.efi)
      """
    let programs = FakePrograms([.init(prefix: "efibootmgr -v", output: now)])
    let entries = EFIBootEntries { try await programs.run($0) }
    let present = Set([Self.esp, Self.other].compactMap { GUID($0) })
    let outcome = try await entries.restore(Self.version17, table: table, disk: "/dev/vdz", present: present)
    #expect(outcome == .created(["debian", "Windows Boot Manager"]))
    #expect(
      await programs.ran == [
        "efibootmgr -v",
        "efibootmgr --quiet --create --disk /dev/vdz --part 7 --label 'Windows Boot Manager' "
          + "--loader '\\EFI\\Microsoft\\Boot\\bootmgfw.efi'",
        "efibootmgr --quiet --create --disk /dev/vdz --part 7 --label debian --loader '\\EFI\\debian\\shimx64.efi'",
        // The one of another disk (0005) stays.
        "efibootmgr --quiet --bootnum 0001 --delete-bootnum", "efibootmgr --quiet --bootnum 0006 --delete-bootnum",
      ])
  }

  @Test(arguments: [nil, "", "BootOrder: 0000\nBoot0000* x\tHD(1,GPT,\(other),0x1,0x2)/File(\\EFI\\x.efi)\n"])
  func withoutAnEntryForThisDiskNothingIsRun(_ saved: String?) async throws {
    let programs = FakePrograms()
    let outcome = try await EFIBootEntries { try await programs.run($0) }.restore(
      saved, table: table, disk: "/dev/vdz", present: [])
    guard case .unchanged = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(await programs.ran.isEmpty)
  }

  @Test func aRefusalOfTheFirmwareRemovesNothing() async throws {
    let programs = FakePrograms([
      .init(prefix: "efibootmgr -v", output: Self.version17),
      .init(prefix: "efibootmgr --quiet --create", output: "no space left", status: 5),
    ])
    let outcome = try await EFIBootEntries { try await programs.run($0) }.restore(
      Self.version17, table: table, disk: "/dev/vdz", present: [])
    guard case .failed(.noBootEntry("/dev/vdz", _)) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(await programs.ran.count == 2)
  }
}
