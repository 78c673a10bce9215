// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage
import TestSupport
import Testing

/// Kernel lines as Clonezilla's users have them, as they stand.
@Suite(.serialized) struct ClonezillaLineTests {
  /// One guest saves by a Clonezilla line while another restores, by another line, what a guest saved before.
  @Test(.timeLimit(.minutes(30))) func clonezillaLinesSaveAndRestore() async throws {
    let (demo, saved) = (try await Stage.shared.demo(), try await Stage.shared.saved())
    try await withScene("clonezilla-lines") { folder in
      async let save: Void = saveByLine(demo, in: folder)
      async let restore: Void = restoreByLine(demo, saved, in: folder)
      try await save
      try await restore
    }
  }

  private func saveByLine(_ demo: Stage.Demo, in scene: FilePath) async throws {
    let folder = scene.appending("save")
    try await tool("mkdir", folder.string)
    let iso = try await Stage.shared.medium(starting: "line-save")
    let source = try await Disk.copy(of: demo.source, to: folder.appending("source.raw"))
    let repository = try await Disk.repository(folder.appending("repository.raw"))
    let before = try await source.sum()
    let boot = try await Machine.boot(iso, disks: [source.path, repository.path], in: folder)
    #expect(boot.status == 0, "\(boot.said)")
    #expect(try await source.sum() == before, "the source disk is as it was")
    try await repository.copyFiles(ofPartition: 0, to: folder.appending("files"))
    let target = try await Disk.empty(folder.appending("target.raw"), size: "1536M")
    try await restoreWithRealTools(folder.appending("files/line"), disk: "vda", to: target)
    try await compare(demo.source, target.path)
    try await compareMaps(demo.source, target.path, withBlocks: true, in: folder)
  }

  private func restoreByLine(_ demo: Stage.Demo, _ saved: Stage.Saved, in scene: FilePath) async throws {
    let folder = scene.appending("restore")
    try await tool("mkdir", folder.string)
    let iso = try await Stage.shared.medium(starting: "line-restore")
    let target = try await Disk.empty(folder.appending("target.raw"), size: "1536M")
    let repository = try await Disk.copy(of: saved.repositoryDisk, to: folder.appending("repository.raw"))
    let boot = try await Machine.boot(
      iso, firmware: "uefi", attach: "usb", disks: [target.path, repository.path], in: folder)
    #expect(boot.status == 0, "\(boot.said)")
    try await compare(demo.source, target.path)
  }
}
