// reimage: the program that saves and restores disks; called as ocs-sr it takes Clonezilla's own options.
// SPDX-License-Identifier: GPL-3.0-or-later

import ArgumentParser
import Commands
import FoundationEssentials
import Glibc
import ImageStore
import Imaging
import Logging
import Reporting
import SystemPackage
import Volumes

@main
struct Program {
  static func main() async {
    let name = FilePath(CommandLine.arguments.first ?? "").lastComponent?.string ?? ""
    let arguments = Array(CommandLine.arguments.dropFirst())
    if name.hasSuffix("ocs-sr") {
      let code = await OcsSr.run(arguments)
      exit(code.rawValue)
    }
    await Reimage.main(arguments)
  }
}

struct Reimage: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reimage",
    abstract: "Saves disks as Clonezilla images and restores them, without asking anything.",
    discussion: """
      A disk is named by its device (sda, /dev/disk/by-id/NAME), by serial:NUMBER, by path:CONNECTION, by size>=10GB or \
      size<=2TB, by largest or by only; a path with a slash outside /dev names a file that holds a disk. A rule that fits \
      more than one disk is refused. A disk that is named as a target is overwritten without a question.
      An image is a folder of the repository, or, with a slash in it, the path of a folder.
      Exit codes are documented in docs/exit-codes.md.
      """,
    subcommands: [Save.self, Restore.self, Verify.self, Info.self, List.self, Plan.self])
}

/// How the work is shown; the same for all subcommands.
struct ReportingOptions: ParsableArguments {
  @Flag(help: "Print progress as JSON, one object a line, on standard error, and results as JSON on standard output.")
  var json = false

  @Flag(name: .shortAndLong, help: "Also print the command lines of the programs that are run.")
  var verbose = false

  @Flag(name: .shortAndLong, help: "Print nothing but warnings and results.")
  var quiet = false

  /// Runs the work of a subcommand: signals cancel it, and an error is reported and becomes the exit code.
  func perform(_ body: @escaping @Sendable (ImagingContext) async throws -> Void) async throws {
    let reporter = Reporter(style: json ? .json : quiet ? .quiet : .automatic)
    let code = await Work.perform(reporter: reporter, isVerbose: verbose, body)
    if code != .success { throw ArgumentParser.ExitCode(code.rawValue) }
  }
}

enum Work {
  /// Runs `body`; a signal cancels it, so that what was begun is tidied up.
  static func perform(
    reporter: Reporter, isVerbose: Bool, _ body: @escaping @Sendable (ImagingContext) async throws -> Void
  ) async -> Reporting.ExitCode {
    var logger = Logger(label: "reimage") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = isVerbose ? .debug : .notice
    let context = ImagingContext(
      reporter: reporter, commands: CommandRunner(logger: logger), inventory: DiskInventory(),
      isBootedByEFI: access("/sys/firmware/efi", F_OK) == 0)
    do {
      try await cancelledBySignals { try await body(context) }
      return .success
    } catch {
      reporter.failure(error)
      return (error as? any Failure)?.exitCode ?? .failure
    }
  }

  /// Prints a result.
  static func show(_ value: some Encodable, text: @autoclosure () -> String, asJSON: Bool) throws {
    var output = text()
    if asJSON {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
      output = String(decoding: try encoder.encode(value), as: UTF8.self)
    }
    _ = try FileDescriptor.standardOutput.writeAll("\(output)\n".utf8)
  }
}

/// Where images live.
struct RepositoryOptions: ParsableArguments {
  /// Clonezilla's place for them.
  static let standard = "/home/partimag"

  @Option(help: ArgumentHelp("The folder that images live in.", valueName: "folder"), completion: .directory)
  var repository = RepositoryOptions.standard

  /// The folder and the name that an image argument means.
  func split(_ image: String) -> (repository: FilePath, name: String) {
    let path = FilePath(image)
    guard image.contains("/"), let name = path.lastComponent else { return (FilePath(repository), image) }
    let folder = path.removingLastComponent()
    return (folder.isEmpty ? "." : folder, name.string)
  }

  func path(_ image: String) -> FilePath {
    let (repository, name) = split(image)
    return repository.appending(name)
  }
}

/// A comma-separated list of partition numbers.
struct PartitionList: ExpressibleByArgument {
  let numbers: [Int]

  init?(argument: String) {
    var numbers: [Int] = []
    for field in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let number = Int(field), number > 0, !numbers.contains(number) else { return nil }
      numbers.append(number)
    }
    self.numbers = numbers
  }
}
