// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Commands
import Foundation
import ImageStore
import Imaging
import Logging
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

private let golden = FilePath(#filePath).appending("../../../../shared/golden").lexicallyNormalized()

/// This machine, with its disks as they are now.
func machineContext() -> ImagingContext {
  ImagingContext(
    reporter: Reporter(style: .quiet) { _ in }, commands: CommandRunner(logger: Logger(label: "test")),
    inventory: DiskInventory(), isBootedByEFI: false)
}

/// The program as it was built beside the tests.
func reimageProgram() throws -> FilePath {
  let tests = FilePath(FileManager.default.currentDirectoryPath).pushing(FilePath(CommandLine.arguments[0]))
  let program = tests.removingLastComponent().appending("reimage")
  try #require(access(program.string, X_OK) == 0, "build all of the package first: \(program)")
  return program
}

func restore(
  _ image: StoredImage, toDevice device: FilePath, _ change: (inout RestoreOptions) -> Void = { _ in }
) async throws -> RestoreReport {
  var options = RestoreOptions()
  change(&options)
  let context = machineContext()
  let target = try TargetSelector(device.string).resolve(in: context.inventory)
  let plan = try await RestorePlan(image, to: [target], options: options, context: context)
  return try await DiskRestorer(plan, context: context).restore()
}

/// Compares the files below a folder with the truth about the source; blocks allocated may differ.
func differences(_ folder: FilePath, _ truth: [String: Any]) async throws -> [String] {
  let text = try await tool("python3", golden.appending("tools/jobs/truthwalk.py").string, folder.string)
  let found = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: [String: Any]] ?? [:]
  let expected = truth as? [String: [String: Any]] ?? [:]
  return Set(found.keys).union(expected.keys).sorted().filter { path in
    var one = found[path] ?? [:]
    var other = expected[path] ?? [:]
    one["alloc_512"] = nil
    other["alloc_512"] = nil
    return !NSDictionary(dictionary: one).isEqual(to: other)
  }
}

@discardableResult
func withMount<Value>(_ device: String, _ options: String, _ body: (FilePath) async throws -> Value) async throws
  -> Value
{
  try await withTemporaryDirectory { point in
    try await tool("mount", "-o", options, device, point.string)
    do {
      let value = try await body(point)
      try await tool("umount", point.string)
      return value
    } catch {
      try await tool("umount", point.string)
      throw error
    }
  }
}

/// Images of the real Clonezilla, restored to block devices that were full of other things, mounted and compared.
@Suite(.serialized) struct GoldenDeviceTests {
  private func partitions(_ image: String) throws -> [[String: Any]] {
    let data = Data(try golden.appending("truth/\(image).json").contents())
    let truth = try JSONSerialization.jsonObject(with: data) as? [String: Any]
    return truth?["partitions"] as? [[String: Any]] ?? []
  }

  private func expectFiles(of image: String, on device: FilePath) async throws -> Int {
    try await scanPartitions(device)
    var compared = 0
    for partition in try partitions(image) {
      guard let files = partition["files"] as? [String: Any], let number = partition["number"] as? Int,
        let kind = partition["fs"] as? String
      else { continue }
      let node = PartitionNaming.name(disk: device.string, partition: number)
      switch kind {
      case "vfat", "ntfs":
        // No kernel driver is taken for granted: the tools read what matters most.
        let name = files.keys.filter { $0.hasSuffix(".bin") && !$0.contains("/") }.sorted()
        #expect(!name.isEmpty)
        for file in name {
          let command = kind == "vfat" ? "mtype -i \(node) '::/\(file)'" : "ntfscat -f \(node) '\(file)'"
          let sum = try await shell("MTOOLS_SKIP_CHECK=1 \(command) | sha256sum")
          #expect(String(sum.prefix(64)) == (files[file] as? [String: Any])?["sha256"] as? String, "\(node) \(file)")
        }
      default:
        let options = kind == "xfs" ? "ro,norecovery,nouuid" : kind == "btrfs" ? "ro" : "ro,noload"
        let differing = try await withMount(node, options) { try await differences($0, files) }
        #expect(differing.isEmpty, "\(node) (\(kind))")
      }
      compared += 1
    }
    return compared
  }

  @Test(arguments: [("a-gpt-z9p", 832, 4), ("b-mbr-z1p", 520, 3)])
  func restoredToADeviceFullOfOtherThings(_ image: String, _ mebibytes: Int, _ count: Int) async throws {
    try await withLoopDevice(mebibytes: mebibytes) { device, file in
      try await shell(
        "head -c \(mebibytes << 20) /dev/zero | tr '\\0' '\\245' | dd of='\(file)' bs=1M conv=notrunc status=none")
      _ = try await restore(try StoredImage(opening: golden.appending("images").appending(image)), toDevice: device)
      #expect(try await expectFiles(of: image, on: device) == count)
      let table = try await tool("sfdisk", "--verify", device.string)
      #expect(table.contains("No errors detected"))
    }
  }

  /// The last partition of this image is swap, which doesn't grow; the file systems are those of the image.
  @Test func theLastFileSystemGrows() async throws {
    try await withLoopDevice(mebibytes: 700) { device, _ in
      let report = try await restore(
        try StoredImage(opening: golden.appending("images/b-mbr-z1p")), toDevice: device
      ) { $0.growth = .last }
      #expect(report.volumes.map(\.grown) == [false, false, true])
      #expect(try await expectFiles(of: "b-mbr-z1p", on: device) == 3)
      let size = try await shell(
        "dumpe2fs -h \(device)p6 2>/dev/null | awk '/^Block count/{c=$3} /^Block size/{s=$3} END{print c*s}'")
      let partition = try await tool("blockdev", "--getsize64", "\(device)p6")
      #expect(size == partition)
      #expect((Int(size.filter(\.isNumber)) ?? 0) > 300 << 20)
    }
  }

  /// The disk that was interrupted is simply restored again.
  @Test func aRestoreThatWasKilledIsDoneAgain() async throws {
    let program = try reimageProgram()
    try await withLoopDevice(mebibytes: 832) { device, _ in
      let images = golden.appending("images")
      for delay in ["0.3", "0.6", "1"] {
        try await shell(
          "'\(program)' restore a-gpt-z9p \(device) --repository '\(images)' --no-verify -q & pid=$!; sleep \(delay); "
            + "kill -9 $pid 2>/dev/null || true; wait $pid 2>/dev/null || true")
      }
      try await shell("'\(program)' restore a-gpt-z9p \(device) --repository '\(images)' --no-verify -q")
      #expect(try await expectFiles(of: "a-gpt-z9p", on: device) == 4)
    }
  }

  @Test func aSaveThatWasKilledLeavesNoImage() async throws {
    let program = try reimageProgram()
    try await withTemporaryDirectory { directory in
      let disk = directory.appending("disk.raw")
      try await shell(
        "truncate -s 600M '\(disk)'; head -c 500M /dev/urandom | dd of='\(disk)' bs=1M conv=notrunc status=none")
      let names: () throws -> [String] = {
        try FileManager.default.contentsOfDirectory(atPath: directory.string).sorted()
      }
      for delay in ["0.2", "0.5", "0.8"] {
        try await shell(
          "cd '\(directory)'; '\(program)' save ./disk.raw image --repository . --no-verify -q & pid=$!; sleep \(delay); "
            + "kill -9 $pid 2>/dev/null || true; wait $pid 2>/dev/null || true")
        #expect(try names().allSatisfy { $0 == "disk.raw" || $0 == "image.partial" })
        let listed = try await shell("'\(program)' list --repository '\(directory)'")
        #expect(!listed.contains("image: disks"))
      }
      try await shell("cd '\(directory)'; '\(program)' save ./disk.raw image --repository . -q")
      #expect(try names() == ["disk.raw", "image"])
      try await shell("'\(program)' verify image --repository '\(directory)' -q")
    }
  }

  /// The repository's file system is full before the image is complete.
  @Test func aFullRepositoryLeavesNoImage() async throws {
    try await withLoopDevice(mebibytes: 64) { device, _ in
      try await tool("mkfs.ext4", "-q", device.string)
      try await withMount(device.string, "rw") { repository in
        try await withTemporaryDirectory { directory in
          let disk = directory.appending("disk.raw")
          try await shell("head -c 200M /dev/urandom > '\(disk)'")
          let context = machineContext()
          let plan = try SavePlan(
            [SaveSource(.file(disk))], repository: repository, name: "image", options: SaveOptions(), isMeasured: false,
            context: context)
          await #expect {
            _ = try await DiskSaver(plan, context: context).save()
          } throws: { error in
            "\(error)".contains("No space left on device") && (error as? any Failure)?.exitCode == .cannotCreate
          }
          #expect(try FileManager.default.contentsOfDirectory(atPath: repository.string) == ["lost+found"])
        }
      }
    }
  }

  @Test func aMountedTargetIsRefused() async throws {
    try await withLoopDevice(mebibytes: 64) { device, _ in
      try await tool("sfdisk", "-q", device.string, input: "label: gpt\nsize=30M\n")
      try await scanPartitions(device)
      try await tool("mkfs.ext4", "-q", "\(device)p1")
      try await withMount("\(device)p1", "rw") { _ in
        let image = try StoredImage(opening: golden.appending("images/e-raw-z0"))
        await #expect {
          _ = try await restore(image, toDevice: device)
        } throws: { error in
          "\(error)".contains("is mounted on") && (error as? any Failure)?.exitCode == .refused
        }
        let context = machineContext()
        let source = try TargetSelector(device.string).resolve(in: context.inventory)
        #expect {
          _ = try SavePlan(
            [SaveSource(source)], repository: "/tmp", name: "x", options: SaveOptions(), isMeasured: false,
            context: context)
        } throws: { error in
          "\(error)".contains("is mounted on")
        }
      }
    }
  }
}

/// File systems made by their own tools, on a disk that grows.
@Suite(.serialized) struct GrowthTests {
  @Test(arguments: [
    "mkfs.ext4 -q", "mkfs.xfs -q", "mkfs.btrfs -q", "mkfs.ntfs -F -q",
  ])
  func grows(_ make: String) async throws {
    try await withLoopDevice(mebibytes: 400) { device, file in
      try await tool("sfdisk", "-q", device.string, input: "label: gpt\nsize=10M\nsize=380M\n")
      try await scanPartitions(device)
      try await shell("PATH=$PATH:/usr/sbin; \(make) \(device)p2")
      let kind = make.split(separator: " ")[0].dropFirst(5)
      if kind != "ntfs" {
        try await withMount("\(device)p2", "rw") { try await tool("cp", "-r", "/usr/share/doc/bash", $0.string) }
      }
      let context = machineContext()
      let source = try TargetSelector(device.string).resolve(in: context.inventory)
      let folder = file.removingLastComponent()
      let plan = try SavePlan(
        [SaveSource(source)], repository: folder, name: "image", options: SaveOptions(), isMeasured: true,
        context: context)
      _ = try await DiskSaver(plan, context: context).save()
      let image = try StoredImage(opening: folder.appending("image"))
      // A file as target: growing goes through a loop device.
      let larger = folder.appending("larger.raw")
      try await tool("truncate", "-s", "900M", larger.string)
      var options = RestoreOptions()
      options.growth = .last
      options.overwritesFiles = true
      let restorePlan = try await RestorePlan(image, to: [.file(larger)], options: options, context: context)
      let report = try await DiskRestorer(restorePlan, context: context).restore()
      #expect(report.volumes.map(\.grown) == [false, true])
      let loop = String(try await tool("losetup", "-f", "--show", "-P", larger.string).filter { !$0.isWhitespace })
      try await scanPartitions(FilePath(loop))
      do {
        let room = Int(try await tool("blockdev", "--getsize64", "\(loop)p2").filter(\.isNumber)) ?? 0
        #expect(room > 870 << 20)
        if kind == "ntfs" {
          let text = try await shell("ntfsresize --info --force --no-progress-bar \(loop)p2")
          let volume = text.split(separator: "\n").first { $0.hasPrefix("Current volume size") } ?? ""
          let bytes = Int(volume.split(separator: " ").dropFirst(3).first { $0.allSatisfy(\.isNumber) } ?? "") ?? 0
          #expect(bytes > 860 << 20, "\(volume)")
        } else {
          try await withMount("\(loop)p2", "ro") { point in
            try await tool("diff", "-r", "/usr/share/doc/bash", point.appending("bash").string)
            let size = try await shell("df -B1 --output=size '\(point)' | tail -1")
            #expect((Int(size.filter(\.isNumber)) ?? 0) > 700 << 20)
          }
        }
        try await tool("losetup", "-d", loop)
      } catch {
        try await tool("losetup", "-d", loop)
        throw error
      }
    }
  }
}
