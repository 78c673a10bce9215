// SPDX-License-Identifier: GPL-3.0-or-later

import ArgumentParser
import Compression
import ImageStore
import Imaging
import Reporting
import SystemPackage
import Volumes

/// What `save` and `plan save` have in common.
struct SaveArguments: ParsableArguments {
  enum CompressionName: String, ExpressibleByArgument, CaseIterable {
    case zstd, gzip, lz4, xz, none

    var codec: Codec {
      switch self {
      case .zstd: .zstd
      case .gzip: .gzip
      case .lz4: .lz4
      case .xz: .xz
      case .none: .none
      }
    }

    /// The levels there are; none when nothing is compressed.
    var levels: ClosedRange<Int>? {
      switch self {
      case .zstd: 1...22
      case .gzip, .xz: 1...9
      case .lz4: 1...12
      case .none: nil
      }
    }
  }

  @Argument(help: "The disk to save; several ones with commas between them.")
  var source: String

  @Argument(help: "The name of the image.")
  var image: String

  @OptionGroup var repository: RepositoryOptions

  @Option(help: "Save only these partitions, by number, such as 1,2,5.")
  var parts: PartitionList?

  @Option(help: "zstd, gzip, lz4, xz or none.")
  var compression = CompressionName.zstd

  @Option(help: "1 to 22 for zstd (3 unless given), 1 to 9 for gzip (1) and xz (3), 1 to 12 for lz4 (1).")
  var level: Int?

  @Option(help: ArgumentHelp("Cut data files into volumes of so many bytes.", valueName: "bytes"))
  var split: UInt64?

  @Flag(inversion: .prefixedNo, help: "Read the image back and check it before it gets its name.")
  var verify = true

  @Flag(help: "Copy every sector, whatever is on a partition.")
  var raw = false

  @Flag(help: "Replace an image of that name, once the new one is complete.")
  var overwrite = false

  func validate() throws {
    if let level {
      guard let levels = compression.levels, levels.contains(level) else {
        throw ValidationError("--level \(level) is not possible with --compression \(compression.rawValue)")
      }
    }
    if let split, split < 1_000_000 { throw ValidationError("--split takes at least 1000000 bytes") }
  }

  func plan(isMeasured: Bool, context: ImagingContext) throws -> SavePlan {
    var options = SaveOptions()
    options.compression = CompressionOptions(codec: compression.codec, level: level)
    options.splitByteCount = split
    options.isVerified = verify
    options.replacesExisting = overwrite
    options.isMapped = !raw
    options.commandLine = CommandLine.arguments.joined(separator: " ")
    let (folder, name) = repository.split(image)
    let holding = DiskInventory.disks(holding: Paths.absolute(folder))
    let sources = try source.split(separator: ",").map { text in
      let target = try TargetSelector(String(text)).resolve(in: context.inventory, excluding: holding)
      return SaveSource(target, partitions: parts?.numbers)
    }
    return try SavePlan(
      sources, repository: folder, name: name, options: options, isMeasured: isMeasured, context: context)
  }
}

struct Save: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Save disks, or some of their partitions, as an image.",
    discussion: """
      Of file systems that are known only the used blocks are saved; what is not known or damaged is copied sector by \
      sector, and the image's log says why. The image has its name only when it is complete.
      """)

  @OptionGroup var arguments: SaveArguments
  @OptionGroup var reporting: ReportingOptions

  func run() async throws {
    try await reporting.perform { context in
      let plan = try arguments.plan(isMeasured: false, context: context)
      let report = try await DiskSaver(plan, context: context).save()
      if reporting.json { try Work.show(report, text: "", asJSON: true) }
    }
  }
}
