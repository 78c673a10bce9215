// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import Imaging
import Reporting
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// GNU coreutils and b3sum are the oracle: what we list they accept, what they list we accept.
@Suite struct ImageChecksumsTests {
  private static let tools: [(ChecksumKind, String)] = [
    (.md5, "md5sum"), (.sha1, "sha1sum"), (.blake2b, "b2sum"), (.blake3, "b3sum"),
  ]

  private final class Messages: Sendable {
    private let text = Mutex("")
    func add(_ more: String) { text.withLock { $0 += more } }
    var all: String { text.withLock { $0 } }
  }

  private func checksums(_ folder: FilePath, _ messages: Messages = Messages()) -> ImageChecksums {
    ImageChecksums(folder, reporter: Reporter(style: .lines) { messages.add($0) })
  }

  /// A folder with files of the lengths at which digests go wrong.
  private func withImage(_ body: (FilePath) async throws -> Void) async throws {
    try await withTemporaryDirectory { folder in
      for (index, count) in [0, 1, 63, 64, 119, 127, 128, 129, 1023, 1024, 1025, 2049, 65_536, 3_000_001].enumerated() {
        try folder.appending("file\(index)").write((0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ index) })
      }
      try folder.appending("sda1.ext4-ptcl-img.zst.aa").write((0..<10_000).map { UInt8($0 % 255) })
      try folder.appending("lvm_vg name.conf").write("x".utf8)
      try await body(folder)
    }
  }

  @Test(arguments: tools)
  func theRealToolsAcceptOurs(kind: ChecksumKind, tool program: String) async throws {
    try await withImage { folder in
      try await checksums(folder).write([kind])
      try await shell("cd '\(folder)'; \(program) -c \(kind.fileName) >/dev/null")
      #expect(
        try await shell("cd '\(folder)'; \(program) file* lvm* sda1* | sort")
          == shell("cd '\(folder)'; sort \(kind.fileName)"))
      try await checksums(folder).check([kind])
    }
  }

  @Test(arguments: tools)
  func weAcceptTheirs(kind: ChecksumKind, tool program: String) async throws {
    try await withImage { folder in
      try await shell("cd '\(folder)'; \(program) * > ../list.$$; mv ../list.$$ \(kind.fileName)")
      try await checksums(folder).check([kind])
    }
  }

  /// Clonezilla lists one list in the next.
  @Test func allAtOnce() async throws {
    try await withImage { folder in
      try await checksums(folder).write(ChecksumKind.allCases)
      try await checksums(folder).check(ChecksumKind.allCases)
      for (kind, program) in Self.tools { try await shell("cd '\(folder)'; \(program) -c \(kind.fileName) >/dev/null") }
      try await shell("cd '\(folder)'; sha1sum * > x; mv x SHA1SUMS; sed -i '/ x$/d; / SHA1SUMS$/d' SHA1SUMS")
      try await checksums(folder).check([.sha1, .md5])
      #expect(!FileManager.default.fileExists(atPath: folder.appending(".MD5SUMS.partial").string))
    }
  }

  @Test(arguments: ChecksumKind.allCases)
  func aFlippedByteIsFoundAndNamed(kind: ChecksumKind) async throws {
    try await withImage { folder in
      try await checksums(folder).write([kind])
      let damaged = folder.appending("sda1.ext4-ptcl-img.zst.aa")
      var bytes = try damaged.contents()
      bytes[7777] ^= 0x10
      try damaged.write(bytes)
      try FileManager.default.removeItem(atPath: folder.appending("file3").string)
      await #expect(
        throws: ChecksumError.differs(
          image: folder.string,
          findings: [
            "file3, which \(kind.fileName) names, is missing",
            "sda1.ext4-ptcl-img.zst.aa is not the file that \(kind.fileName) names",
          ])
      ) { try await checksums(folder).check([kind]) }
    }
  }

  @Test func whatIsNotListedIsWarnedOf() async throws {
    try await withImage { folder in
      let messages = Messages()
      try await checksums(folder, messages).check([.md5])
      #expect(messages.all.contains("has no MD5SUMS; it is not checked"))
      try await checksums(folder).write([.md5])
      try folder.appending("later").write("x".utf8)
      try await checksums(folder, messages).check([.md5])
      #expect(messages.all.contains("MD5SUMS does not name later"))
    }
  }

  @Test func strangeNames() async throws {
    try await withTemporaryDirectory { folder in
      for name in ["a\\b", "two\nlines", "back\\nslash", "blank at end "] { try folder.appending(name).write("x".utf8) }
      try await checksums(folder).write([.md5])
      try await shell("cd '\(folder)'; md5sum -c MD5SUMS >/dev/null; diff <(md5sum [a-z]*|sort) <(sort MD5SUMS)")
      try await checksums(folder).check([.md5])
      try await shell("cd '\(folder)'; md5sum -b ./[a-z]* > x; mv x MD5SUMS; test -s MD5SUMS")
      try await checksums(folder).check([.md5])
    }
  }

  @Test(arguments: [
    "d41d8cd98f00b204e9800998ecf8427e  ../file", "d41d8cd98f00b204e9800998ecf8427e  /etc/passwd",
    "d41d8cd98f00b204e9800998ecf8427e  ", "d41d8cd98f00b204e9800998ecf8427e file", "d41d8cd98f00b204e9800998ecf8427",
    "d41d8cd98f00b204e9800998ecf8427g  file", "MD5 (file) = d41d8cd98f00b204e9800998ecf8427e", "\\", "\u{0}",
    "d41d8cd98f00b204e9800998ecf8427e  ..", "d41d8cd98f00b204e9800998ecf8427e\t\tfile",
  ])
  func badLinesAreRefused(line: String) async throws {
    try await withTemporaryDirectory { folder in
      try folder.appending("file").write([])
      try folder.appending("MD5SUMS").write("d41d8cd98f00b204e9800998ecf8427e  file\n\(line)\n".utf8)
      await #expect {
        try await checksums(folder).check([.md5])
      } throws: { error in
        guard case ChecksumError.malformed(_, line: 2, _) = error else { return false }
        return true
      }
    }
  }

  /// Whatever is in a list: it is found right, wrong or broken.
  @Test func mutatedLists() async throws {
    try await withTemporaryDirectory { folder in
      for index in 0..<4 { try folder.appending("f\(index)").write([UInt8(index)]) }
      try await checksums(folder).write([.blake3])
      let good = try folder.appending("B3SUMS").contents()
      var state: UInt64 = 1
      func random(_ bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(state >> 33) % bound
      }
      var refused = 0
      for _ in 0..<1000 {
        var bytes = good
        for _ in 0...random(3) { bytes[random(bytes.count)] = UInt8(random(256)) }
        if random(4) == 0 { bytes.removeLast(random(bytes.count)) }
        try folder.appending("B3SUMS").write(bytes)
        do { try await checksums(folder).check([.blake3]) } catch is ChecksumError { refused += 1 }
      }
      #expect(refused > 700)
    }
  }
}
