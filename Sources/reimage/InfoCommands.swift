// SPDX-License-Identifier: GPL-3.0-or-later

import ArgumentParser
import Glibc
import ImageStore
import Imaging
import Reporting
import SystemPackage
import Volumes

enum Paths {
  /// The path without links; as it stands when it leads nowhere.
  static func absolute(_ path: FilePath) -> FilePath {
    guard let resolved = realpath(path.string, nil) else { return path }
    defer { free(resolved) }
    return FilePath(String(cString: resolved))
  }
}

struct Verify: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check that an image can be restored, reading all of it.")

  @Argument(help: "The name of the image.")
  var image: String

  @OptionGroup var repository: RepositoryOptions
  @OptionGroup var reporting: ReportingOptions

  func run() async throws {
    try await reporting.perform { context in
      let image = try StoredImage(opening: repository.path(image))
      for disk in image.disks { for warning in disk.warnings { context.reporter.warning(warning) } }
      try await ImageVerifier(image, context: context).verify()
      context.reporter.note("\(image.path) can be restored: \(image.dataVolumes.count) volumes checked")
    }
  }
}

struct Info: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show what an image holds.")

  @Argument(help: "The name of the image.")
  var image: String

  @OptionGroup var repository: RepositoryOptions
  @OptionGroup var reporting: ReportingOptions

  func run() async throws {
    try await reporting.perform { _ in
      let summary = try await ImageSummary(StoredImage(opening: repository.path(image)))
      try Work.show(summary, text: summary.text, asJSON: reporting.json)
    }
  }
}

struct List: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "List the images of a repository.")

  @OptionGroup var repository: RepositoryOptions
  @OptionGroup var reporting: ReportingOptions

  /// One image, or why it is none.
  struct Entry: Encodable {
    var name: String
    var created: String?
    var disks: [String] = []
    var volumes: [String] = []
    var storedBytes: UInt64?
    var problem: String?

    init(_ name: String, _ image: Result<StoredImage, ImageError>) {
      self.name = name
      switch image {
      case .success(let image):
        created = image.created
        disks = image.isOfDisks ? image.disks.map(\.name) : []
        volumes = image.volumes.map(\.device)
        storedBytes = image.storedByteCount
      case .failure(let error): problem = error.reason
      }
    }

    var text: String {
      if let problem { return "\(name): \(problem)" }
      let content =
        disks.isEmpty ? "partitions \(volumes.joined(separator: " "))" : "disks \(disks.joined(separator: " "))"
      return "\(name): \(content), \(Quantity.bytes(storedBytes ?? 0))" + (created.map { ", \($0)" } ?? "")
    }
  }

  func run() async throws {
    try await reporting.perform { _ in
      let entries = try StoredImage.list(FilePath(repository.repository)).map { Entry($0.name, $0.image) }
      try Work.show(
        entries, text: entries.isEmpty ? "no images" : entries.map(\.text).joined(separator: "\n"),
        asJSON: reporting.json)
    }
  }
}

struct Plan: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what a save or a restore would do, without doing it.",
    subcommands: [SavePlanCommand.self, RestorePlanCommand.self])
}

struct SavePlanCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "save", abstract: "Show what a save would do.")

  @OptionGroup var arguments: SaveArguments
  @OptionGroup var reporting: ReportingOptions

  func run() async throws {
    try await reporting.perform { context in
      let plan = try arguments.plan(isMeasured: true, context: context)
      let summary = SavePlanSummary(plan)
      try Work.show(summary, text: summary.text, asJSON: reporting.json)
    }
  }
}

struct RestorePlanCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "restore", abstract: "Show what a restore would do.")

  @OptionGroup var arguments: RestoreArguments
  @OptionGroup var reporting: ReportingOptions

  func run() async throws {
    try await reporting.perform { context in
      let plan = try await arguments.plan(context: context)
      for warning in plan.warnings { context.reporter.warning(warning) }
      let summary = RestorePlanSummary(plan)
      try Work.show(summary, text: summary.text, asJSON: reporting.json)
    }
  }
}
