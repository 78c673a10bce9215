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

/// The folder of images made by the real Clonezilla.
let goldenFolder = FilePath(#filePath).appending("../../../../shared/golden").lexicallyNormalized()

/// A machine without disks: sources and targets are files.
func fileContext() -> ImagingContext {
  ImagingContext(
    reporter: Reporter(style: .quiet) { _ in }, commands: CommandRunner(logger: Logger(label: "test")),
    inventory: DiskInventory(disks: []), isBootedByEFI: false)
}

/// What the golden truth knows of a disk.
struct Truth: Decodable {
  struct Disk: Decodable {
    var size_bytes: UInt64
    var first_mib_sha256: String
    var last_33_sectors_sha256: String
  }
  struct Restored: Decodable { var sha256: String? }
  struct Partition: Decodable {
    var number: Int
    var device: String
    var fs: String
    var offset_bytes: UInt64
    var size_bytes: UInt64
    var blkid: [String: String]?
    var restored_by_partclone: Restored?
  }
  struct LogicalVolume: Decodable {
    var vg: String
    var lv: String
    var offset_in_disk_bytes: UInt64
    var size_bytes: UInt64
    var lv_uuid: String
    var restored_by_partclone: Restored
  }
  var sfdisk_dump: String
  var disk: Disk
  var partitions: [Partition]
  var lvs: [LogicalVolume]?

  static func of(_ image: String) throws -> Truth {
    try JSONDecoder().decode(Truth.self, from: Data(try goldenFolder.appending("truth/\(image).json").contents()))
  }
}

func goldenImage(_ name: String) throws -> StoredImage {
  try StoredImage(opening: goldenFolder.appending("images").appending(name))
}

func sha256(_ path: FilePath, from start: UInt64 = 0, count: UInt64) async throws -> String {
  let output = try await shell(
    "dd if='\(path)' bs=1M iflag=skip_bytes,count_bytes skip=\(start) count=\(count) status=none | sha256sum")
  return String(output.prefix(64))
}

func zeroFile(_ path: FilePath, byteCount: UInt64) async throws {
  try await tool("truncate", "-s", "\(byteCount)", path.string)
}

/// A disk in a file with a table made by sfdisk and a file system in each partition, made by the tools.
///
/// - Parameter partitions: for each the command that makes its content; `{}` stands for a file of the partition's size.
func makeDisk(_ path: FilePath, mebibytes: Int, script: String, contents: [Int: String]) async throws {
  try await zeroFile(path, byteCount: UInt64(mebibytes) << 20)
  try await tool("sfdisk", "-q", path.string, input: script)
  let dump = try SfdiskDump(parsing: await tool("sfdisk", "-d", path.string), file: "sfdisk")
  for (number, command) in contents {
    let partition = try #require(dump.partitions.first { $0.number == number })
    let part = FilePath("\(path).\(number)")
    try await zeroFile(part, byteCount: partition.count * 512)
    try await shell("PATH=$PATH:/usr/sbin:/sbin; \(command.replacing("{}", with: part.string)) >/dev/null")
    try await tool(
      "dd", "if=\(part)", "of=\(path)", "bs=512", "seek=\(partition.start)", "conv=notrunc,sparse", "status=none")
    try FileManager.default.removeItem(atPath: part.string)
  }
}

func save(
  _ disk: FilePath, _ repository: FilePath, _ name: String, partitions: [Int]? = nil,
  _ change: (inout SaveOptions) -> Void = { _ in }
) async throws -> SaveReport {
  var options = SaveOptions()
  change(&options)
  let context = fileContext()
  let plan = try SavePlan(
    [SaveSource(.file(disk), partitions: partitions)], repository: repository, name: name, options: options,
    isMeasured: false, context: context)
  return try await DiskSaver(plan, context: context).save()
}

@discardableResult
func restore(
  _ image: StoredImage, _ target: FilePath, _ change: (inout RestoreOptions) -> Void = { _ in }
) async throws -> RestoreReport {
  var options = RestoreOptions()
  options.isVerified = false
  change(&options)
  let context = fileContext()
  let plan = try await RestorePlan(image, to: [.file(target)], options: options, context: context)
  return try await DiskRestorer(plan, context: context).restore()
}
