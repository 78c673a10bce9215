// SPDX-License-Identifier: GPL-3.0-or-later

import ArgumentParser
import ImageStore
import Imaging
import Reporting
import SystemPackage
import Volumes

/// What `restore` and `plan restore` have in common.
struct RestoreArguments: ParsableArguments {
  enum Growth: String, ExpressibleByArgument, CaseIterable {
    case none, filesystems, last, proportional

    var option: RestoreOptions.Growth {
      switch self {
      case .none: .none
      case .filesystems: .fileSystems
      case .last: .last
      case .proportional: .proportional
      }
    }
  }

  @Argument(help: "The name of the image.")
  var image: String

  @Argument(help: "The disk to overwrite; one for each disk of the image, in their order.")
  var target: [String]

  @OptionGroup var repository: RepositoryOptions

  @Option(help: "Restore only these partitions, by number, into those of the same number; the rest of the disk stays.")
  var parts: PartitionList?

  @Option(
    help: """
      none; filesystems: each fills its partition; last: the last partition, and its file system, fill the disk; \
      proportional: all partitions grow in proportion to fill the disk, and their file systems with them.
      """)
  var grow = Growth.none

  @Flag(inversion: .prefixedNo, help: "Read and check all of the image before the disk is touched.")
  var verify = true

  @Flag(inversion: .prefixedNo, help: "Make a boot entry when this machine was started by EFI.")
  var efiEntry = true

  @Flag(help: "Overwrite a target that is an existing file.")
  var overwrite = false

  func plan(context: ImagingContext) async throws -> RestorePlan {
    let image = try StoredImage(opening: repository.path(image))
    var options = RestoreOptions()
    options.partitions = parts?.numbers
    options.growth = grow.option
    options.isVerified = verify
    options.makesBootEntry = efiEntry
    options.overwritesFiles = overwrite
    let holding = DiskInventory.disks(holding: Paths.absolute(image.path))
    let targets = try target.map { text in
      try TargetSelector(text).resolve(in: context.inventory, excluding: holding)
    }
    return try await RestorePlan(image, to: targets, options: options, context: context)
  }
}

struct Restore: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Restore an image to disks.",
    discussion: """
      Nothing is written before all was checked: the target found and unambiguous, large enough, not mounted, not the live \
      medium, not the image's own disk, the image complete. A file that does not exist is created in the size of the \
      source. A restore that was interrupted is simply done again.
      """)

  @OptionGroup var arguments: RestoreArguments
  @OptionGroup var reporting: ReportingOptions

  func run() async throws {
    try await reporting.perform { context in
      let plan = try await arguments.plan(context: context)
      let report = try await DiskRestorer(plan, context: context).restore()
      if reporting.json { try Work.show(report, text: "", asJSON: true) }
    }
  }
}
