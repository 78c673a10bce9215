// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
public import Commands
import Crypto
import FoundationEssentials
import ISOImage
import Pipelines
public import Recipe
public import Reporting
import Squashfs
public import SystemPackage

/// What a build made.
public struct BuildResult: Sendable {
  public let path: FilePath
  /// Bytes.
  public let size: UInt64
  /// Lower-case hexadecimal.
  public let sha256: String
}

/// Builds live systems from recipes.
public struct LiveBuilder: Sendable {
  private let recipe: Recipe
  private let installation: Installation
  private let runner: CommandRunner
  private let reporter: Reporter
  /// Seconds since 1970; nothing in the result is newer.
  private let time: UInt32

  /// - Parameter recipe: checked.
  public init(recipe: Recipe, installation: Installation, runner: CommandRunner, reporter: Reporter) {
    self.recipe = recipe
    self.installation = installation
    self.runner = runner
    self.reporter = reporter
    // Today's midnight, so that builds of one day can share what was bootstrapped.
    let day = UInt32(clamping: Int(Date().timeIntervalSince1970) / 86400 * 86400)
    time = ProcessInfo.processInfo.environment["SOURCE_DATE_EPOCH"].flatMap(UInt32.init) ?? day
  }

  /// Builds the recipe's ISO in `folder`, as `NAME.iso`.
  ///
  /// - Parameter fresh: bootstrap anew, even if a base layer with the same contents is cached.
  /// - Throws: ``BuildError``, `CommandError` and the errors of the stages; nothing half-written stays.
  public func build(in folder: FilePath, fresh: Bool = false) async throws -> BuildResult {
    do {
      try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
    } catch {
      throw BuildError.cannotCreate(path: folder, cause: "\(error)")
    }
    let output = folder.appending("\(recipe.name).iso")
    let base = try await baseLayer(fresh: fresh)
    let work = folder.appending(".\(recipe.name).build-\(UUID().uuidString)")
    try FileManager.default.createDirectory(atPath: work.string, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: work.string) }
    let site = work.appending("site.squashfs")
    try await reporter.step("packing programs, overlays and jobs") { meter in
      let statistics = try SiteLayer.write(
        to: site, recipe: recipe, installation: installation, options: squashfsOptions)
      meter.set(completed: statistics.inputBytes)
    }
    let size = try await writeISO(to: output, base: base, site: site)
    let sha256 = try await reporter.step("computing SHA-256 of \(output)", total: size) { meter in
      try await BlockingThread.run("sha256") { try Self.sha256(of: output, meter) }
    }
    return BuildResult(path: output, size: size, sha256: sha256)
  }

  private var squashfsOptions: SquashfsOptions {
    SquashfsOptions(
      level: recipe.compression.level, blockSize: recipe.compression.blockSize, modificationTime: time,
      latestTime: time)
  }

  private var bootstrap: Bootstrap {
    Bootstrap(
      suite: recipe.debian.suite.rawValue, mirror: recipe.debian.mirror,
      components: recipe.debian.components.map(\.rawValue), packages: LiveSystem.packages(for: recipe),
      locale: recipe.system.locale == "C.UTF-8" ? nil : recipe.system.locale,
      // mmdebstrap runs hooks from a folder of its own.
      buildHooks: recipe.hooks.build.map {
        FilePath(URL(fileURLWithPath: $0.path.string).absoluteURL.path)
      },
      modificationTime: time)
  }

  private func baseLayer(fresh: Bool) async throws -> BaseLayer {
    let bootstrap = bootstrap
    let cache = BaseCache.standard
    let key = try BaseCache.key(
      of: bootstrap, level: recipe.compression.level, blockSize: recipe.compression.blockSize)
    if !fresh, let (layer, age) = cache.layer(for: key) {
      reporter.note("using the Debian base made \(Quantity.duration(age)) ago (--fresh makes it anew)")
      return layer
    }
    cache.removeStale()
    let path = cache.path(for: key)
    try? FileManager.default.removeItem(atPath: path.string)
    return try await reporter.step("bootstrapping Debian \(bootstrap.suite) into a squashfs") { meter in
      try await BaseLayer.make(
        in: path, bootstrap: bootstrap, options: squashfsOptions, runner: runner, meter: meter
      ) { line in
        switch line.prefix(3) {
        case "I: ": meter.detail = String(line.dropFirst(3))
        case "W: ": reporter.warning("mmdebstrap: \(line.dropFirst(3))")
        default: break
        }
      }
    }
  }

  // MARK: The ISO

  private func writeISO(to output: FilePath, base: BaseLayer, site: FilePath) async throws -> UInt64 {
    // The medium's identity follows from what is on it, so that GRUB finds this medium and no other.
    let identity = try Self.identity(of: [base.squashfs, site], name: recipe.name, time: time)
    let marker = "/.disk/id/\(identity)"
    let menu = try bootMenu()
    let package = "syslinux-common"
    let efi = EFIBootFiles(
      shim: try base.packageFile("usr/lib/shim/shimx64.efi.signed", package: "shim-signed"),
      grub: try base.packageFile(
        "usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed", package: "grub-efi-amd64-signed"),
      mokManager: try base.packageFile("usr/lib/shim/mmx64.efi.signed", package: "shim-helpers-amd64-signed"))
    var iso = try ISOImageWriter(
      volumeID: recipe.volumeID, modificationTime: Int64(time), application: "Slipway", diskIdentifier: identity)
    try iso.setBoot(
      ISOBootFiles(
        isolinux: base.packageFile("usr/lib/ISOLINUX/isolinux.bin", package: "isolinux"),
        masterBootRecord: base.packageFile("usr/lib/ISOLINUX/isohdpfx.bin", package: "isolinux"),
        efiSystemPartition: EFISystemPartition.image(
          of: efi.partitionFiles(marker: marker), volumeID: CRC32.checksum(identity.bytes),
          modificationTime: Int64(time))))
    for module in BootMenu.isolinuxModules {
      try iso.add(
        bytes: base.packageFile("usr/lib/syslinux/modules/bios/\(module)", package: package), at: "/isolinux/\(module)")
    }
    try iso.add(bytes: Array(menu.isolinuxConfiguration.utf8), at: "/isolinux/isolinux.cfg")
    try iso.add(bytes: Array(menu.grubConfiguration.utf8), at: "/boot/grub/grub.cfg")
    for file in efi.files { try iso.add(bytes: file.bytes, at: file.path) }
    try iso.add(bytes: Array("\(recipe.menu.title)\n".utf8), at: "/.disk/info")
    try iso.add(bytes: [], at: marker)
    try iso.add(file: base.kernel(package: recipe.debian.kernel), at: "/live/vmlinuz")
    try iso.add(file: base.initialRAMDisk(), at: "/live/initrd.img")
    // The last one is the uppermost (live-boot, 9990-overlay.sh).
    try iso.add(bytes: Array("filesystem.squashfs\nsite.squashfs\n".utf8), at: "/live/filesystem.module")
    try iso.add(file: base.squashfs, at: "/live/filesystem.squashfs")
    try iso.add(file: site, at: "/live/site.squashfs")
    for image in recipe.images { try iso.addTree(image.path.path, at: "/images/\(image.name)") }

    let writer = iso
    return try await reporter.step("writing \(output)") { meter in
      let cancellation = Cancellation()
      return try await withTaskCancellationHandler {
        try await BlockingThread.run("ISO") {
          try writer.write(to: output) { done, total in
            meter.set(completed: done, total: total)
            try cancellation.check()
          }
        }
      } onCancel: {
        cancellation.cancel()
      }
    }
  }

  private func bootMenu() throws -> BootMenu {
    let serial = recipe.console.serial.first { $0.unit != nil }
    return try BootMenu(
      title: recipe.menu.title, timeout: recipe.menu.timeout,
      entries: recipe.jobs.map {
        BootMenu.Entry(id: $0.name, title: $0.title, kernelArguments: $0.kernelArguments.joined(separator: " "))
      },
      defaultID: recipe.menu.defaultJob,
      serial: serial.map { BootMenu.SerialPort(port: $0.unit ?? 0, speed: $0.speed) }, video: recipe.console.video,
      commonArguments: LiveSystem.kernelArguments(for: recipe).joined(separator: " "))
  }

  /// A version 8 UUID (RFC 9562) made of what the layers are: their sizes and times tell builds of one recipe apart.
  private static func identity(of layers: [FilePath], name: String, time: UInt32) throws -> GUID {
    var hash = SHA256()
    hash.update(data: Data("\(name) \(time)".utf8))
    for layer in layers {
      let file = try FileDescriptor.open(layer, .readOnly)
      try file.closeAfter {
        // The superblock has the sizes of all tables; the tail has the tables themselves.
        let size = try file.seek(offset: 0, from: .end)
        for offset in [0, max(0, size - 65536)] {
          var part = [UInt8](repeating: 0, count: 65536)
          let count = try part.withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: offset, into: $0) }
          hash.update(data: part[..<count])
        }
      }
    }
    var bytes = Array(hash.finalize().prefix(16))
    bytes[7] = bytes[7] & 0x0F | 0x80
    bytes[8] = bytes[8] & 0x3F | 0x80
    return GUID(bytes: bytes) ?? .zero
  }

  private static func sha256(of path: FilePath, _ meter: ProgressMeter) throws -> String {
    let file = try FileDescriptor.open(path, .readOnly)
    return try file.closeAfter {
      var hash = SHA256()
      var buffer = [UInt8](repeating: 0, count: 1 << 20)
      while true {
        let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
        if count == 0 { break }
        buffer.withUnsafeBytes { hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: $0.prefix(count))) }
        meter.advance(by: count)
      }
      return hexadecimal(hash.finalize())
    }
  }
}
