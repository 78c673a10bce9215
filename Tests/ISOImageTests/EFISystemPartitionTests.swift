// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import ISOImage
import SystemPackage
import TestSupport
import Testing

/// Checked by fsck.fat and read back by mtools.
@Suite struct EFISystemPartitionTests {
  /// Writes the file system, has it checked, and returns what mtools finds in it.
  private func readBack(_ bytes: [UInt8], in folder: FilePath) async throws -> [String: [UInt8]] {
    let image = folder.appending("esp")
    try image.write(bytes)
    let report = try await shell("fsck.fat -n -v '\(image.string)'")
    #expect(report.contains("FATs"))
    try await shell(
      "mkdir '\(folder.string)/out'; cd '\(folder.string)'; LC_ALL=C.UTF-8 mcopy -s -i esp '::*' out/")
    return try files(below: folder.appending("out"))
  }

  @Test func signedChainIsReadBack() async throws {
    try await withTemporaryDirectory { folder in
      let bytes = try efiSystemPartition()
      #expect(bytes.count == 6 << 20)
      let found = try await readBack(bytes, in: folder)
      #expect(
        found.keys.sorted() == [
          "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/BOOT/mmx64.efi", "boot/grub/grub.cfg",
        ])
      let sources = [
        "EFI/BOOT/BOOTX64.EFI": "/usr/lib/shim/shimx64.efi.signed",
        "EFI/BOOT/grubx64.efi": "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed",
        "EFI/BOOT/mmx64.efi": "/usr/lib/shim/mmx64.efi.signed",
      ]
      for (name, source) in sources {
        let isSame = try found[name] == FilePath(source).contents()
        #expect(isSame, "\(name)")
      }
      let configuration = String(decoding: found["boot/grub/grub.cfg"] ?? [], as: UTF8.self)
      #expect(configuration.contains("--file /.disk/id/test\n"))
      let listing = try await shell("cd '\(folder.string)'; TZ=UTC mdir -i esp ::/EFI/BOOT; minfo -i esp ::")
      #expect(listing.contains("2023-11-14  22:13"))
      #expect(listing.contains("serial number: 1234ABCD"))
    }
  }

  @Test func longNamesBigFoldersAndEmptyFiles() async throws {
    try await withTemporaryDirectory { folder in
      var files = (0..<200).map { number in
        EFISystemPartition.File(
          path: "/folder/A long name, number \(number), with Umlaut ä.text", bytes: seededBytes(number * 37, seed: 3))
      }
      files.append(EFISystemPartition.File(path: "/empty", bytes: []))
      files.append(EFISystemPartition.File(path: "/exactly13char", bytes: [1]))
      files.append(EFISystemPartition.File(path: "/.disk/two.dots.cfg", bytes: [2]))
      files.append(EFISystemPartition.File(path: "/UPPER.TXT", bytes: [3]))
      let bytes = try EFISystemPartition.image(of: files, volumeID: 1, modificationTime: buildTime)
      #expect(bytes.count == 4 << 20)
      try folder.appending("esp").write(bytes)
      let found = try await readBack(bytes, in: folder)
      #expect(differences(found, files.reduce(into: [:]) { $0[String($1.path.dropFirst())] = $1.bytes }) == [])
      let again = try EFISystemPartition.image(of: files, volumeID: 1, modificationTime: buildTime) == bytes
      #expect(again)
    }
  }

  /// Sizes around every limit of the layout: a full mebibyte, 32 MiB where clusters grow, 65536 sectors.
  @Test(arguments: [0, 1, (4 << 20) - 60_000, (8 << 20) - 70_000, (32 << 20) - 300_000, (32 << 20), (70 << 20) + 1])
  func growsWithItsContent(size: Int) async throws {
    try await withTemporaryDirectory { folder in
      let files = [EFISystemPartition.File(path: "/EFI/BOOT/BOOTX64.EFI", bytes: seededBytes(size, seed: 5))]
      let bytes = try EFISystemPartition.image(of: files, volumeID: 1, modificationTime: buildTime)
      #expect(bytes.count % (1 << 20) == 0)
      #expect(bytes.count - size < (4 << 20) + 65536)
      let found = try await readBack(bytes, in: folder)
      #expect(differences(found, ["EFI/BOOT/BOOTX64.EFI": files[0].bytes]) == [])
      #expect(try await shell("fsck.fat -n -v '\(folder.string)/esp'").contains("16 bit entries"))
    }
  }

  @Test(arguments: [
    "relative", "/", "/folder/", "/a/../b", "/qu\"ote", "/back\\slash", "/colon:", "/trailing.", "/trailing ",
    "/new\nline", "/" + String(repeating: "n", count: 256), String(repeating: "/deep", count: 17),
  ])
  func impossiblePathsAreRefused(path: String) {
    #expect {
      try EFISystemPartition.image(
        of: [EFISystemPartition.File(path: path, bytes: [])], volumeID: 1, modificationTime: buildTime)
    } throws: { error in
      if case .invalidPath = error as? EFISystemPartitionError { true } else { false }
    }
  }

  @Test func collisionsLabelsAndSizesAreChecked() {
    for pair in [["/a", "/A"], ["/a", "/a/b"], ["/a/b", "/A"]] {
      #expect {
        try EFISystemPartition.image(
          of: pair.map { EFISystemPartition.File(path: $0, bytes: []) }, volumeID: 1, modificationTime: buildTime)
      } throws: { error in
        if case .alreadyAdded = error as? EFISystemPartitionError { true } else { false }
      }
    }
    for label in ["", "TWELVE CHARS", "lower"] {
      #expect(throws: EFISystemPartitionError.self) {
        try EFISystemPartition.image(of: [], volumeID: 1, label: label, modificationTime: buildTime)
      }
    }
    let many = (0..<512).map { EFISystemPartition.File(path: "/F\($0)", bytes: []) }
    #expect(throws: EFISystemPartitionError.self) {
      try EFISystemPartition.image(of: many, volumeID: 1, modificationTime: buildTime)
    }
  }

  @Test func markerMustBePlain() {
    let chain = EFIBootFiles(shim: [], grub: [], mokManager: [])
    for marker in ["relative", "/a b", "/$x", "/a;b", "/a'b"] {
      #expect(throws: EFISystemPartitionError.self) { try chain.partitionFiles(marker: marker) }
    }
  }
}
