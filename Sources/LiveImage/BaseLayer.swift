// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import FoundationEssentials
import Pipelines
import Reporting
import Squashfs
import SystemPackage
import TarStream

/// The large lower layer: Debian, and what was taken out of it for the medium.
struct BaseLayer: Sendable {
  /// Holds `filesystem.squashfs` and the diverted files below `boot` and `slipway-boot`.
  let folder: FilePath

  var squashfs: FilePath { folder.appending("filesystem.squashfs") }

  /// The newest of the kernels (or initial RAM disks) that were taken out.
  private func bootFile(prefix: String, package: String) throws -> FilePath {
    let boot = folder.appending("boot")
    let names = ((try? FileManager.default.contentsOfDirectory(atPath: boot.string)) ?? []).filter {
      $0.hasPrefix(prefix)
    }
    // Versions differ in numbers: 6.12.9 comes before 6.12.10.
    func version(_ name: String) -> [Int] { name.split { !$0.isNumber }.compactMap { Int($0) } }
    guard let newest = names.max(by: { version($0).lexicographicallyPrecedes(version($1)) }) else {
      throw BuildError.bootFileMissing(name: "/boot/\(prefix)*", package: package)
    }
    return boot.appending(newest)
  }

  func kernel(package: String) throws -> FilePath { try bootFile(prefix: "vmlinuz-", package: package) }
  func initialRAMDisk() throws -> FilePath { try bootFile(prefix: "initrd.img-", package: "live-boot") }

  /// A file of one of ``Bootstrap/bootPackages``.
  func packageFile(_ path: String, package: String) throws -> [UInt8] {
    let file = folder.appending(Bootstrap.bootFolder).appending(path)
    do {
      return [UInt8](try Data(contentsOf: URL(fileURLWithPath: file.string)))
    } catch {
      throw BuildError.bootFileMissing(name: "/\(path)", package: package)
    }
  }

  /// Runs mmdebstrap and packs its tar stream as it comes.
  ///
  /// - Parameter folder: made here; has its final name only when all is in it.
  /// - Throws: ``BuildError``, `CommandError`, `TarError`, `SquashfsError`.
  static func make(
    in folder: FilePath, bootstrap: Bootstrap, options: SquashfsOptions, runner: CommandRunner, meter: ProgressMeter,
    onMessage: @escaping @Sendable (String) -> Void
  ) async throws -> BaseLayer {
    let partial = FilePath(folder.string + ".partial")
    try? FileManager.default.removeItem(atPath: partial.string)
    do {
      try FileManager.default.createDirectory(atPath: partial.string, withIntermediateDirectories: true)
    } catch {
      throw BuildError.cannotCreate(path: partial, cause: "\(error)")
    }
    do {
      try await withScratch(runner) { scratch in
        try await fill(
          partial, bootstrap.command(mode: Bootstrap.mode, scratch: scratch), bootstrap, options, runner, meter,
          onMessage)
      }
      try FileManager.default.moveItem(atPath: partial.string, toPath: folder.string)
    } catch {
      try? FileManager.default.removeItem(atPath: partial.string)
      throw error
    }
    return BaseLayer(folder: folder)
  }

  /// Gives `body` a folder to unpack in, and leaves nothing of it behind: mmdebstrap that was told to end goes on to the
  /// end of its step, and then has no time to tidy up.
  private static func withScratch(_ runner: CommandRunner, _ body: @Sendable (FilePath) async throws -> Void)
    async throws
  {
    let parent = FilePath(FileManager.default.temporaryDirectory.path)
    let scratch = parent.appending("slipway-build-\(UUID().uuidString)")
    do {
      try FileManager.default.createDirectory(
        atPath: scratch.string, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    } catch {
      throw BuildError.cannotCreate(path: scratch, cause: "\(error)")
    }
    let result: Result<Void, any Error>
    do { result = .success(try await body(scratch)) } catch { result = .failure(error) }
    // A task of its own, for a program run by a cancelled task is ended at once.
    await Task {
      let left = try? FileManager.default.contentsOfDirectory(atPath: scratch.string)
      if let left, !left.isEmpty {
        let paths = left.map { scratch.appending($0).string }
        _ = try? await runner.output(of: Bootstrap.removal(of: paths, mode: Bootstrap.mode))
      }
      try? FileManager.default.removeItem(atPath: scratch.string)
    }.value
    try result.get()
  }

  private static func fill(
    _ folder: FilePath, _ command: Command, _ bootstrap: Bootstrap, _ options: SquashfsOptions, _ runner: CommandRunner,
    _ meter: ProgressMeter, _ onMessage: @escaping @Sendable (String) -> Void
  ) async throws {
    let (stream, streamInput) = try FileDescriptor.pipe()
    async let bootstrapped = runner.stream(command, to: streamInput, onErrorLine: onMessage)
    let packed: Result<RootTree.Summary, any Error>
    do {
      packed = .success(
        try await BlockingThread.run("root tree") {
          defer { try? stream.close() }
          let squashfs = try SquashfsWriter(path: folder.appending("filesystem.squashfs"), options: options)
          let summary = try RootTree.copy(
            tar: try TarReader(stream), into: squashfs, divertingTo: folder, progress: meter)
          _ = try squashfs.finish()
          return summary
        })
    } catch {
      packed = .failure(error)
    }
    let output = try await bootstrapped
    // mmdebstrap's own failure explains a stream that ended early, and not the other way round; but when packing
    // failed, mmdebstrap only tells of the pipe that broke.
    if !output.succeeded, !isPackingFailure(packed) {
      throw bootstrap.error(status: output.status, messages: output.standardError)
    }
    _ = try packed.get()
  }

  private static func isPackingFailure(_ result: Result<RootTree.Summary, any Error>) -> Bool {
    guard case .failure(let error) = result else { return false }
    return !(error is TarError)
  }
}
