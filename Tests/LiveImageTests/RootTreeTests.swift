// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import LiveImage
import Reporting
import Squashfs
import SystemPackage
import TarStream
import TestSupport
import Testing

@Suite struct RootTreeTests {
  @Test func takesKernelsAndBuildFilesOut() async throws {
    try await withTemporaryDirectory { directory in
      try await shell(
        """
        cd \(directory.string); mkdir -p out t/boot t/dev t/etc t/slipway-boot/grub t/var/cache/ldconfig; cd t
        head -c 2500000 /dev/urandom > boot/vmlinuz-6.1; echo initrd > boot/initrd.img-6.1; echo config > boot/config-6.1
        ln -s vmlinuz-6.1 boot/vmlinuz; ln -s boot/vmlinuz-6.1 vmlinuz; mkfifo dev/log; echo cache > var/cache/ldconfig/aux-cache
        echo shim > slipway-boot/shim.efi; ln slipway-boot/shim.efi slipway-boot/grub/same.efi; echo host > etc/hostname
        cd ..; tar --format=pax --sort=name -cf root.tar -C t .
        """)
      let (tar, image) = (directory.appending("root.tar"), directory.appending("root.squashfs"))
      let progress = ProgressMeter(title: "copying")
      let summary = try copy(tar, to: image, divertingTo: directory.appending("out"), progress)
      let out = directory.appending("out")
      #expect(
        summary.diverted == [
          "boot/vmlinuz-6.1": out.appending("boot/vmlinuz-6.1"),
          "boot/initrd.img-6.1": out.appending("boot/initrd.img-6.1"),
          "slipway-boot/grub/same.efi": out.appending("slipway-boot/grub/same.efi"),
          "slipway-boot/shim.efi": out.appending("slipway-boot/grub/same.efi"),
        ])
      try await shell("cmp \(directory.string)/t/boot/vmlinuz-6.1 \(out.string)/boot/vmlinuz-6.1")
      #expect(try out.appending("slipway-boot/grub/same.efi").contents() == Array("shim\n".utf8))
      let listing = try await tool("unsquashfs", "-lc", image.string)
        .split(separator: "\n").filter { $0.hasPrefix("squashfs-root") }
      #expect(
        Set(listing) == [
          "squashfs-root/boot/config-6.1", "squashfs-root/dev", "squashfs-root/etc/hostname", "squashfs-root/vmlinuz",
          "squashfs-root/var/cache/ldconfig",
        ])
      #expect(summary.kept == 10 && summary.dropped == 3)
      #expect(progress.completed >= 2_500_000)
    }
  }

  @Test func refusesALinkToWhatWasTakenOut() async throws {
    try await withTemporaryDirectory { directory in
      try await shell(
        """
        cd \(directory.string); mkdir -p out t/boot t/etc; echo kernel > t/boot/vmlinuz-1; ln t/boot/vmlinuz-1 t/etc/kernel
        tar --format=pax --sort=name -cf root.tar -C t .
        """)
      #expect(throws: RootTreeError.hardLinkToDiverted(path: "etc/kernel", target: "boot/vmlinuz-1")) {
        try copy(
          directory.appending("root.tar"), to: directory.appending("image"), divertingTo: directory.appending("out"))
      }
      #expect(throws: RootTreeError.cannotDivert(path: "/nonexistent/boot", errno: ENOENT)) {
        try copy(directory.appending("root.tar"), to: directory.appending("image"), divertingTo: "/nonexistent")
      }
      #expect(!FileManager.default.fileExists(atPath: directory.appending("image").string))
    }
  }

  @Test func stopsWhenCancelled() async throws {
    try await withTemporaryDirectory { directory in
      try await shell("cd \(directory.string); echo x > file; tar -cf root.tar file")
      let work = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        _ = try copy(directory.appending("root.tar"), to: directory.appending("image"), divertingTo: directory)
      }
      await #expect(throws: CancellationError.self) { try await work.value }
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory.string).sorted() == ["file", "root.tar"])
    }
  }
}

/// A whole copy; the squashfs appears when it succeeds.
@discardableResult
private func copy(
  _ tar: FilePath, to image: FilePath, divertingTo directory: FilePath, _ progress: ProgressMeter? = nil
) throws -> RootTree.Summary {
  let descriptor = try FileDescriptor.open(tar, .readOnly)
  defer { try? descriptor.close() }
  let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 1, workers: 2))
  let summary = try RootTree.copy(
    tar: TarReader(descriptor), into: writer, divertingTo: directory, progress: progress)
  _ = try writer.finish()
  return summary
}
