// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import ISOImage
import SystemPackage
import TestSupport
import Testing

/// 2023-11-14 22:13:20 UTC.
let buildTime: Int64 = 1_700_000_000

func seededBytes(_ count: Int, seed: UInt64) -> [UInt8] {
  var state = seed &* 2 &+ 1
  return (0..<count).map { _ in
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return UInt8(truncatingIfNeeded: state >> 56)
  }
}

/// What is not as expected, by name: contents are too long to be printed.
func differences(_ found: [String: [UInt8]], _ expected: [String: [UInt8]]) -> [String] {
  expected.keys.filter { found[$0] == nil }.map { "missing: \($0)" }
    + found.keys.filter { expected[$0] == nil }.map { "not expected: \($0)" }
    + expected.filter { found[$0.key] != nil && found[$0.key] != $0.value }.map { "differs: \($0.key)" }
}

/// Everything the ISO file system of an image holds, as xorriso reads it, by path without the first slash.
func extracted(_ image: FilePath, into folder: FilePath) async throws -> [String: [UInt8]] {
  try await shell(
    """
    xorriso -osirrox on -indev '\(image.string)' -extract / '\(folder.string)' 2>&1
    chmod -R u+rwX '\(folder.string)'
    """)
  return try files(below: folder)
}

func files(below folder: FilePath) throws -> [String: [UInt8]] {
  let enumerator = try #require(FileManager.default.enumerator(atPath: folder.string))
  var found: [String: [UInt8]] = [:]
  for case let path as String in enumerator
  where enumerator.fileAttributes?[.type] as? FileAttributeType == .typeRegular {
    found[path] = try folder.appending(path).contents()
  }
  return found
}

func leftovers(in folder: FilePath) throws -> [String] {
  try FileManager.default.contentsOfDirectory(atPath: folder.string).sorted()
}

@Suite struct ISOImageTests {
  @Test func xorrisoReadsBackWhatWasAdded() async throws {
    try await withTemporaryDirectory { folder in
      let tree = folder.appending("tree")
      try await shell(
        """
        mkdir -p '\(tree.string)'/images/disk/deeper/{1,2,3,4,5,6,7,8,9}; cd '\(tree.string)'
        head -c 3000000 /dev/urandom > images/disk/sda1.ext4-ptcl-img.zst.aa; chmod 600 images/disk/*.aa
        : > images/disk/empty; printf x > images/disk/one; ln -s one images/disk/link
        printf y > 'images/disk/deeper/9/a name with spaces, Umlauten äöü and more than sixty-four characters in all.txt'
        """)
      let large = seededBytes(5_000_001, seed: 1)
      try folder.appending("host").write(large)
      var writer = try ISOImageWriter(volumeID: "Slipway Test", modificationTime: buildTime, application: "Slipway")
      try writer.add(file: folder.appending("host"), at: "/live/filesystem.squashfs")
      try writer.add(bytes: Array("base\nsite\n".utf8), at: "/live/filesystem.module")
      try writer.add(bytes: [], at: "/.disk/id/0b6a5f7e-2a1c-4a9e-9d0e-1f2a3b4c5d6e")
      try writer.addDirectory("/empty/folder")
      try writer.addTree(tree, at: "/home")
      let image = folder.appending("test.iso")
      let size = try writer.write(to: image)
      #expect(try image.contents().count == Int(size))
      #expect(try leftovers(in: folder) == ["host", "test.iso", "tree"])

      let found = try await extracted(image, into: folder.appending("out"))
      var expected = try files(below: tree).reduce(into: [:]) { $0["home/" + $1.key] = $1.value }
      expected["home/images/disk/link"] = [UInt8(ascii: "x")]
      expected["live/filesystem.squashfs"] = large
      expected["live/filesystem.module"] = Array("base\nsite\n".utf8)
      expected[".disk/id/0b6a5f7e-2a1c-4a9e-9d0e-1f2a3b4c5d6e"] = []
      #expect(differences(found, expected) == [])
      var isFolder: ObjCBool = false
      #expect(FileManager.default.fileExists(atPath: folder.string + "/out/empty/folder", isDirectory: &isFolder))
      #expect(isFolder.boolValue)
    }
  }

  @Test func everythingIsReadOnlyRootsAndOfOneTime() async throws {
    try await withTemporaryDirectory { folder in
      try folder.appending("host").write([1, 2, 3])
      try await shell("chmod 4755 '\(folder.string)/host'; touch -d @1234567890 '\(folder.string)/host'")
      var writer = try ISOImageWriter(volumeID: "T", modificationTime: buildTime)
      try writer.add(file: folder.appending("host"), at: "/a/host")
      try writer.add(bytes: [4], at: "/a/bytes")
      try writer.write(to: folder.appending("test.iso"))
      let listing = try await shell(
        "xorriso -indev '\(folder.string)/test.iso' -find /a -exec lsdl 2>/dev/null | tr -s ' '")
      #expect(
        listing.split(separator: "\n").sorted() == [
          "-r--r--r-- 1 0 0 1 Nov 14 2023 '/a/bytes'", "-r--r--r-- 1 0 0 3 Nov 14 2023 '/a/host'",
          "dr-xr-xr-x 1 0 0 0 Nov 14 2023 '/a'",
        ])
      let volume = try await shell("xorriso -indev '\(folder.string)/test.iso' -pvd_info 2>/dev/null")
      #expect(volume.contains("Modif. Time  : 2023111422132000"))
    }
  }

  @Test func jolietNamesAreThereToo() async throws {
    try await withTemporaryDirectory { folder in
      var writer = try ISOImageWriter(volumeID: "T", modificationTime: buildTime)
      try writer.add(bytes: [1], at: "/A rather long name that ISO 9660 alone could not hold.config")
      try writer.write(to: folder.appending("test.iso"))
      let tree = try await shell("xorriso -read_fs norock -indev '\(folder.string)/test.iso' -find / 2>/dev/null")
      #expect(tree.contains("'/A rather long name that ISO 9660 alone could not hold.config'"))
    }
  }

  /// The same content at another time, from other inodes, gives the same bytes.
  @Test func sameInputGivesSameBytes() async throws {
    try await withTemporaryDirectory { folder in
      try await shell(
        """
        cd '\(folder.string)'; mkdir -p one/sub two
        for i in 9 3 7 1 8 2; do head -c $((i * 1000)) /dev/urandom > one/file$i; printf $i > one/sub/$i; done
        mkdir two/sub
        for i in 1 2 3 7 8 9; do cp one/sub/$i two/sub/; cp one/file$i two/; touch -d @$i two/file$i; done
        """)
      for name in ["one", "two"] {
        var writer = try ISOImageWriter(volumeID: "T", modificationTime: buildTime)
        try writer.setBoot(bootFiles())
        try writer.addTree(folder.appending(name), at: "/data")
        try writer.write(to: folder.appending(name + ".iso"))
        // Into another second of the clock.
        try await Task.sleep(for: .seconds(1.1))
      }
      let isSame = try folder.appending("one.iso").contents() == folder.appending("two.iso").contents()
      #expect(isSame)
    }
  }
}
