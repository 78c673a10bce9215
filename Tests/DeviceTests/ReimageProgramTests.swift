// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Foundation
import Logging
import SystemPackage
import TestSupport
import Testing

/// The program from outside: command lines, results, exit codes.
@Suite(.serialized) struct ReimageProgramTests {
  private static let images = FilePath(#filePath).appending("../../../../shared/golden/images").lexicallyNormalized()

  private func reimage(_ arguments: String..., named name: String = "reimage") async throws -> CommandOutput {
    let program = try reimageProgram()
    return try await CommandRunner(logger: Logger(label: "test")).output(
      of: Command("/bin/bash", ["-c", "exec -a \"$0\" \"$@\"", name, program.string] + arguments))
  }

  private func json(_ output: CommandOutput) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(output.standardOutput.utf8)) as? [String: Any])
  }

  @Test func infoTellsWhatAnImageHolds() async throws {
    let output = try await reimage("info", "a-gpt-z9p", "--repository", Self.images.string, "--json")
    #expect(output.status == 0)
    let info = try json(output)
    let volumes = try #require(info["volumes"] as? [[String: Any]])
    #expect(volumes.map { $0["content"] as? String } == ["vfat", "ext4", "xfs", "btrfs"])
    #expect(volumes.map { $0["volumeBytes"] as? Int } == [67_106_816, 167_772_160, 318_767_104, 209_715_200])
    #expect(volumes.map { $0["usedBytes"] as? Int } == [27784 * 512, 19666 * 1024, 17583 * 4096, 156 * 16384])
    #expect(info["kind"] as? String == "disks")
    let text = try await reimage("info", "b-mbr-z1p", "--repository", Self.images.string)
    #expect(text.standardOutput.contains("sda5: 150 MiB at 202 MiB, ntfs"))
  }

  @Test func exitCodesAreThoseDocumented() async throws {
    let images = Self.images.string
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw").string
      #expect(try await reimage("restore").status == 64)
      #expect(try await reimage("restore", "nosuch", disk, "--repository", images).status == 66)
      #expect(try await reimage("restore", "e-raw-z0", "nosuchdisk", "--repository", images).status == 66)
      #expect(try await reimage("restore", "e-raw-z0", disk, "--repository", images).status == 0)
      #expect(try await reimage("restore", "e-raw-z0", disk, "--repository", images).status == 75)
      #expect(try await reimage("restore", "e-raw-z0", disk, "--repository", images, "--overwrite").status == 0)
      #expect(try await reimage("save", disk, "a/b/", "--repository", images).status == 66)
      #expect(try await reimage("save", disk, "x y", "--repository", directory.string).status == 64)
      #expect(try await reimage("save", disk, "x", "--repository", directory.string).status == 0)
      #expect(try await reimage("save", disk, "x", "--repository", directory.string).status == 75)
      #expect(try await reimage("save", disk, "x", "--repository", directory.string, "--overwrite").status == 0)
      #expect(try await reimage("verify", "x", "--repository", directory.string).status == 0)
      let listed = try await reimage("list", "--repository", directory.string)
      #expect(listed.standardOutput.hasPrefix("x: disks sda, "))
    }
  }

  @Test func plansChangeNothing() async throws {
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw").string
      let plan = try await reimage("plan", "restore", "a-gpt-z9p", disk, "--repository", Self.images.string, "--json")
      #expect(plan.status == 0)
      let disks = try #require(try json(plan)["disks"] as? [[String: Any]])
      #expect(disks.count == 1)
      #expect(disks[0]["createsFile"] as? Bool == true)
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory.string).isEmpty)
      _ = try await reimage("restore", "a-gpt-z9p", disk, "--repository", Self.images.string)
      let save = try await reimage("plan", "save", disk, "y", "--repository", directory.string, "--json")
      #expect(save.status == 0)
      // FAT's volume is two blocks shorter than its partition, and what is behind it is saved too.
      #expect(try json(save)["usedBytes"] as? Int ?? 0 > 27784 * 512 + 19666 * 1024 + 17583 * 4096)
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory.string) == ["disk.raw"])
    }
  }

  /// A kernel line for Clonezilla, as it stands.
  @Test func ocsSrSavesAndRestoresDisks() async throws {
    try await withLoopDevice(mebibytes: 64) { device, file in
      let folder = file.removingLastComponent()
      let name = device.lastComponent?.string ?? ""
      try await tool("sfdisk", "-q", device.string, input: "label: gpt\nsize=20M\nsize=10M\n")
      try await scanPartitions(device)
      try await shell(
        "PATH=$PATH:/usr/sbin; mke2fs -q -t ext4 -d /usr/share/doc/bash \(device)p1; mkfs.vfat \(device)p2 >/dev/null")
      let save = try await reimage(
        "-b", "-q2", "-j2", "-nogui", "-batch", "-z1p", "-i", "1", "-sfsck", "-scs", "-senc", "-or", folder.string,
        "-p",
        "true", "savedisk", "monday", name, named: "/usr/sbin/ocs-sr")
      #expect(save.status == 0, "\(save.standardError)")
      #expect(save.standardError.contains("-q2 is what is done anyway"))
      let image = folder.appending("monday")
      let command = String(decoding: try image.appending("Info-saved-by-cmd.txt").contents(), as: UTF8.self)
      #expect(command.hasPrefix("ocs-sr -b -q2"))
      #expect(String(decoding: try image.appending("disk").contents(), as: UTF8.self) == "\(name)\n")
      #expect(access(image.appending("\(name)p1.ext4-ptcl-img.gz.aa").string, F_OK) == 0)
      let table = try await tool("sfdisk", "-d", device.string)
      try await tool("dd", "if=/dev/urandom", "of=\(device)", "bs=1M", "count=40", "status=none", "conv=fsync")
      let restore = try await reimage(
        "-g", "auto", "-e1", "auto", "-e2", "-r", "-j2", "-c", "-k0", "-scr", "-nogui", "-batch", "-or", folder.string,
        "-p", "true", "restoredisk", "monday", name, named: "ocs-sr")
      #expect(restore.status == 0, "\(restore.standardError)")
      #expect(try await tool("sfdisk", "-d", device.string) == table)
      try await scanPartitions(device)
      try await withMount("\(device)p1", "ro") { point in
        try await shell("diff -r -x lost+found /usr/share/doc/bash '\(point)'")
      }
      // One partition, into another one.
      let parts = try await reimage(
        "-batch", "-scr", "-or", folder.string, "-f", "\(name)p2", "restoreparts", "monday", "\(name)p1",
        named: "ocs-sr")
      #expect(parts.status == 0, "\(parts.standardError)")
      #expect(try await shell("blkid -p -s TYPE -o value \(device)p1") == "vfat\n")
    }
  }

  @Test(arguments: [
    (["-batch", "-nosuch", "savedisk", "x", "sda"], "has no option -nosuch"),
    (["-k2", "restoredisk", "x", "sda"], "-k2 is not carried out here"),
    (["-z2p", "savedisk", "x", "sda"], "-z2p is not carried out here"), (["savedisk", "x"], "needs a device"),
    (["savedisk"], "needs the name of an image"), (["-i", "x", "savedisk", "x", "sda"], "a number of megabytes"),
    (["-p"], "needs ACTION"), (["restoredisk", "ask_user", "sda"], "nobody is asked"),
  ])
  func ocsSrRefusesWhatItCannotDo(_ arguments: [String], _ expected: String) async throws {
    let program = try reimageProgram()
    let output = try await CommandRunner(logger: Logger(label: "test")).output(
      of: Command("/bin/bash", ["-c", "exec -a ocs-sr \"$@\"", "bash", program.string] + arguments))
    #expect(output.status == 64)
    #expect(output.standardError.contains(expected), "\(output.standardError)")
  }
}
