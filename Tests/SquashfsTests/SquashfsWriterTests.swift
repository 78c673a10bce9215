// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import Squashfs
import SystemPackage
import TestSupport
import Testing

private let plain = Metadata(permissions: 0o644)

extension SquashfsWriter {
  /// A whole file at once.
  func addFile(
    _ path: FilePath, _ contents: [UInt8], _ metadata: Metadata = plain, compressed: Bool = true
  ) throws(SquashfsError) {
    try beginFile(path, metadata, compressed: compressed)
    try append(contents.span.bytes)
    try endFile()
  }
}

@Suite struct SquashfsWriterTests {
  /// The tree of a tar that has all there is, equal entry by entry as unsquashfs and Python's tarfile see them.
  @Test(arguments: [1, 3]) func equalsTheTar(workers: Int) async throws {
    try await withTemporaryDirectory { directory in
      let (tar, image) = (directory.appending("all.tar"), directory.appending("all.squashfs"))
      try await tool("python3", "-c", Self.everything, tar.string)
      let statistics = try convert(tar: tar, to: image, SquashfsOptions(level: 1, blockSize: 4096, workers: workers))
      let expected = try await TreeListing.tar(tar)
      #expect(try await TreeListing.squashfs(image).difference(from: expected).map(\.self) == [])
      #expect(expected.count > 60)
      #expect(statistics.bytes == UInt64(try image.contents().count))
      #expect(statistics.droppedAttributes == 1)

      let attributes = try await tool("rdsquashfs", "-x", "usr/ping", image.string)
      #expect(
        Set(attributes.split(separator: "\n")) == [
          "security.capability=0x0100000200200000000000000000000000000000", "user.note=text",
        ])
      let opaque = try await tool("rdsquashfs", "-x", "usr", image.string)
      #expect(opaque.contains("trusted.overlay.opaque=y"))
      #expect(try await tool("rdsquashfs", "--stat", "usr/one", image.string).contains("Hard link count: 3"))
      #expect(try await tool("rdsquashfs", "--stat", "dev/null2", image.string).contains("Hard link count: 2"))
      #expect(try await tool("rdsquashfs", "--stat", "usr/deep", image.string).contains("Hard link count: 3"))
    }
  }

  @Test func doesNotDependOnWorkersOrOrderOfMetadata() async throws {
    try await withTemporaryDirectory { directory in
      let contents = (0..<40).map { number in
        var generator = SplitMix(state: UInt64(number))
        return (0..<(number * 3000)).map { _ in UInt8.random(in: 0...20, using: &generator) }
      }
      func write(_ name: String, workers: Int, reversed: Bool) throws -> [UInt8] {
        let path = directory.appending(name)
        let writer = try SquashfsWriter(
          path: path, options: SquashfsOptions(level: 2, blockSize: 8192, workers: workers))
        let numbers = Array(0..<500)
        for number in reversed ? numbers.reversed() : numbers {
          let attributes = [ExtendedAttribute(name: "user.\(number % 7)", value: [UInt8(number % 7)])]
          let metadata = Metadata(permissions: 0o755, owner: UInt32(number % 11), extendedAttributes: attributes)
          try writer.add(.directory, at: FilePath("d\(number % 13)/\(number)"), metadata)
          try writer.add(.symbolicLink(target: Array("\(number)".utf8)), at: FilePath("s\(number)"), metadata)
          try writer.beginFile(FilePath("d\(number % 5)/empty\(number)"), metadata)
          try writer.endFile()
        }
        for (number, data) in contents.enumerated() { try writer.addFile(FilePath("f\(number).\(number % 3)"), data) }
        _ = try writer.finish()
        return try path.contents()
      }
      let first = try write("a", workers: 1, reversed: false)
      #expect(try write("b", workers: 4, reversed: false) == first)
      #expect(try write("c", workers: 2, reversed: true) == first)
      #expect(try write("d", workers: 4, reversed: true) == first)
    }
  }

  @Test func holdsLargeDirectories() async throws {
    try await withTemporaryDirectory { directory in
      let image = directory.appending("large.squashfs")
      let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 1))
      for number in 0..<70_000 {
        try writer.addFile(FilePath("many/\(number)"), number % 1000 == 0 ? Array("\(number)".utf8) : [])
      }
      for number in 0..<300 { try writer.add(.directory, at: FilePath("dirs/\(number)"), Metadata(permissions: 0o700)) }
      #expect(try writer.finish().inodes == 70_000 + 300 + 3)
      let listing = try await tool("unsquashfs", "-lc", image.string).split(separator: "\n")
      #expect(listing.filter { $0.hasPrefix("squashfs-root/many/") }.count == 70_000)
      #expect(listing.filter { $0.hasPrefix("squashfs-root/dirs/") }.count == 300)
      #expect(try await tool("unsquashfs", "-cat", image.string, "many/69000") == "69000")
      // rdsquashfs looks names up in another way than unsquashfs.
      #expect(try await tool("rdsquashfs", "-c", "many/33000", image.string) == "33000")
      #expect(try await tool("rdsquashfs", "--stat", "dirs", image.string).contains("Hard link count: 302"))
    }
  }

  @Test func holdsFilesOfMoreThanFourGiB() async throws {
    try await withTemporaryDirectory { directory in
      let image = directory.appending("big.squashfs")
      let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 1, blockSize: 1 << 20))
      let zeros = [UInt8](repeating: 0, count: 1 << 20)
      try writer.beginFile("big", plain)
      for _ in 0..<4100 { try writer.append(zeros.span.bytes) }
      try writer.append(Array("the end".utf8).span.bytes)
      try writer.endFile()
      #expect(try writer.finish().inputBytes == 4100 << 20 + 7)
      #expect(try image.contents().count == 4096)
      #expect(try await shell("unsquashfs -cat \(image.string) big | wc -c") == "4299161607\n")
      #expect(
        try await shell("unsquashfs -cat \(image.string) big | tail -c 8 | od -An -c")
          == "  \\0   t   h   e       e   n   d\n")
    }
  }

  @Test func holdsAsManyIDsAsTheFormat() async throws {
    try await withTemporaryDirectory { directory in
      for (count, fits) in [(65_535, true), (65_536, false)] {
        let image = directory.appending("\(count).squashfs")
        let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 1))
        for id in 0..<count {
          try writer.add(.fifo, at: FilePath("\(id)"), Metadata(permissions: 0o600, owner: UInt32(id) << 4, group: 0))
        }
        if fits {
          _ = try writer.finish()
          let line = try #require(
            try await tool("unsquashfs", "-lln", image.string).split(separator: "\n").first { $0.hasSuffix("/65534") })
          #expect(line.contains(" 1048544/0 "))
        } else {
          #expect(throws: SquashfsError.tooMany(what: "different owners and groups", limit: 65_535)) {
            try writer.finish()
          }
        }
      }
    }
  }

  /// `unsquashfs` lists device numbers as old kernels had them and ids with a sign, so these are asked of `rdsquashfs`.
  @Test func holdsLargeNumbers() async throws {
    try await withTemporaryDirectory { directory in
      let image = directory.appending("image")
      let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 1))
      let metadata = Metadata(permissions: 0o600, owner: .max - 1, group: .max)
      try writer.add(.characterDevice(major: 4095, minor: 1_048_575), at: "c", metadata)
      try writer.add(.blockDevice(major: 8, minor: 256), at: "b", metadata)
      try writer.add(.socket, at: "s", metadata)
      _ = try writer.finish()
      let character = try await tool("rdsquashfs", "--stat", "c", image.string)
      #expect(character.contains("Device number: 4095:1048575 "))
      #expect(character.contains("UID: 4294967294 ") && character.contains("GID: 4294967295 "))
      #expect(try await tool("rdsquashfs", "--stat", "b", image.string).contains("Device number: 8:256 "))
      #expect(try await tool("unsquashfs", "-ll", image.string).contains("srw-------"))
    }
  }

  @Test func laterEntriesWin() async throws {
    try await withTemporaryDirectory { directory in
      let image = directory.appending("later.squashfs")
      let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 1, modificationTime: 77))
      try writer.addFile("made/on/the/way", Array("old".utf8))
      try writer.addFile("made/on/the/way", Array("new".utf8), Metadata(permissions: 0o600, owner: 5))
      try writer.addHardLink("kept", to: "made/on/the/way")
      try writer.add(.symbolicLink(target: Array("x".utf8)), at: "made/on/the/way", plain)
      try writer.add(.directory, at: "made", Metadata(permissions: 0o2711, owner: 3, modificationTime: 9))
      try writer.add(.directory, at: "", Metadata(permissions: 0o1777, group: 4, modificationTime: 8))
      try writer.add(.directory, at: "empty", plain)
      try writer.addFile("empty", Array("file".utf8))
      try writer.addFile("/absolute", [])
      let statistics = try writer.finish()
      #expect(statistics.inodes == 8)
      let digest = { (text: String) in try await shell("printf '\(text)' | sha256sum | cut -d' ' -f1 | tr -d '\\n'") }
      #expect(
        try await TreeListing.squashfs(image).difference(from: [
          "'.' dir 1777 0 4 8  names [\"'.'\"]",
          "'absolute' file 644 0 0 0 0 \(try await digest("")) names [\"'absolute'\"]",
          "'empty' file 644 0 0 0 4 \(try await digest("file")) names [\"'empty'\"]",
          "'kept' file 600 5 0 0 3 \(try await digest("new")) names [\"'kept'\"]",
          "'made' dir 2711 3 0 9  names [\"'made'\"]",
          "'made/on' dir 755 0 0 77  names [\"'made/on'\"]",
          "'made/on/the' dir 755 0 0 77  names [\"'made/on/the'\"]",
          "'made/on/the/way' link 644 0 0 0 x names [\"'made/on/the/way'\"]",
        ]).map(\.self) == [])
      // One link needs no count.
      #expect(try await !tool("rdsquashfs", "--stat", "kept", image.string).contains("Hard link count"))
    }
  }

  @Test func appearsOnlyWhenComplete() async throws {
    try await withTemporaryDirectory { directory in
      let image = directory.appending("image")
      let listing = { try FileManager.default.contentsOfDirectory(atPath: directory.string) }
      do {
        let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 1, workers: 3))
        try writer.addFile("file", [UInt8](repeating: 7, count: 3_000_000))
        try writer.beginFile("unfinished", plain)
        try writer.append([1, 2, 3].span.bytes)
        #expect(try listing().count == 1 && !listing().contains("image"))
      }
      #expect(try listing() == [])

      try image.write(Array("before".utf8))
      let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 1))
      #expect(try image.contents() == Array("before".utf8))
      _ = try writer.finish()
      #expect(try listing() == ["image"])
      #expect(try await tool("unsquashfs", "-lc", image.string).hasSuffix("squashfs-root\n"))
      #expect(throws: SquashfsError.cannotCreate(file: "/nonexistent/image", errno: ENOENT)) {
        try SquashfsWriter(path: "/nonexistent/image")
      }
    }
  }

  @Test func storesUncompressedOnRequest() async throws {
    try await withTemporaryDirectory { directory in
      let image = directory.appending("image")
      let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 19))
      let text = Array(repeating: "the same over and over ", count: 20_000).joined()
      try writer.addFile("stored", Array(text.utf8), compressed: false)
      let bytes = try writer.finish().bytes
      #expect(bytes > text.utf8.count && bytes < text.utf8.count + 8192)
      #expect(try await tool("unsquashfs", "-cat", image.string, "stored") == text)
    }
  }

  @Test func refusesWhatCannotBeStored() async throws {
    try await withTemporaryDirectory { try expectRefusals(in: $0) }
  }

  private func expectRefusals(in directory: FilePath) throws {
    let writer = try SquashfsWriter(path: directory.appending("image"), options: SquashfsOptions(level: 1))
    try writer.addFile("file", [1])
    try writer.add(.directory, at: "dir/sub", plain)
    func refuses(_ problem: String, _ body: () throws -> Void) {
      #expect {
        try body()
      } throws: { error in
        guard case SquashfsError.invalidEntry(_, let found) = error else { return false }
        return found.contains(problem)
      }
    }
    let fifo = SpecialEntry.fifo
    refuses("not a directory") { try writer.add(fifo, at: "file/below", plain) }
    refuses("not empty") { try writer.add(fifo, at: "dir", plain) }
    refuses("root") { try writer.add(fifo, at: "/", plain) }
    refuses("no names") { try writer.add(fifo, at: "dir/../x", plain) }
    let longest = String(repeating: "n", count: 256)
    try writer.add(fifo, at: FilePath(longest), plain)
    refuses("256 bytes") { try writer.add(fifo, at: FilePath(longest + "n"), plain) }
    refuses("4095 bytes") {
      try writer.add(fifo, at: FilePath(Array(repeating: "deep", count: 1000).joined(separator: "/")), plain)
    }
    refuses("target") { try writer.add(.symbolicLink(target: []), at: "link", plain) }
    refuses("target") { try writer.add(.symbolicLink(target: [UInt8](repeating: 65, count: 4096)), at: "link", plain) }
    refuses("target") { try writer.add(.symbolicLink(target: [65, 0, 65]), at: "link", plain) }
    refuses("device number") { try writer.add(.characterDevice(major: 4096, minor: 0), at: "device", plain) }
    refuses("device number") { try writer.add(.blockDevice(major: 0, minor: 1 << 20), at: "device", plain) }
    refuses("directory dir") { try writer.addHardLink("link", to: "dir") }
    refuses("itself") { try writer.addHardLink("file", to: "file") }
    for (name, size, problem) in [
      ("user.", 1, "no place"), ("other.name", 1, "no place"), ("user.\(longest)", 1, "no place"), ("", 0, "no place"),
      ("user.large", 65_537, "65536 bytes"),
    ] {
      let attributes = [ExtendedAttribute(name: name, value: [UInt8](repeating: 1, count: size))]
      refuses(problem) {
        try writer.add(fifo, at: "attributes", Metadata(permissions: 0, extendedAttributes: attributes))
      }
    }
    for target: FilePath in ["missing", "file/below", "/"] {
      #expect(throws: SquashfsError.missingHardLinkTarget(path: "link", target: target)) {
        try writer.addHardLink("link", to: target)
      }
    }
    #expect(try writer.finish().inodes == 5)

    for options in [
      SquashfsOptions(level: 0), SquashfsOptions(level: 23), SquashfsOptions(blockSize: 2048),
      SquashfsOptions(blockSize: 5000), SquashfsOptions(blockSize: 2 << 20), SquashfsOptions(workers: 0),
    ] {
      #expect(throws: SquashfsError.self) { try SquashfsWriter(path: directory.appending("x"), options: options) }
    }
  }

  @Test func holdsSetsOfLargeAttributes() async throws {
    try await withTemporaryDirectory { directory in
      let image = directory.appending("image")
      let writer = try SquashfsWriter(path: image, options: SquashfsOptions(level: 1))
      let large = [UInt8](repeating: 0x41, count: 65_536)
      for number in 0..<20 {
        // The same large value in different sets, and a set that several files share.
        try writer.addFile(
          FilePath("\(number)"), [],
          Metadata(
            permissions: 0o600,
            extendedAttributes: [
              .init(name: "user.a", value: large), .init(name: "user.b", value: [UInt8(number / 2)]),
            ]))
      }
      #expect(try writer.finish().bytes < 100_000)
      let text = try await tool("rdsquashfs", "-x", "19", image.string)
      #expect(text.contains("user.a=" + String(repeating: "A", count: 65_536)) && text.contains("user.b="))
    }
  }

  @Test func setsTimesBack() async throws {
    try await withTemporaryDirectory { directory in
      let image = directory.appending("image")
      let writer = try SquashfsWriter(
        path: image, options: SquashfsOptions(level: 1, modificationTime: 1000, latestTime: 500))
      for (name, time) in [("early", -5), ("in time", 400), ("late", 600), ("far", Int64.max)] {
        try writer.add(.fifo, at: FilePath(name), Metadata(permissions: 0o600, modificationTime: time))
      }
      _ = try writer.finish()
      let times = try await TreeListing.squashfs(image).map { line in
        line.components(separatedBy: " names")[0].components(separatedBy: "fifo 600 0 0 ").last ?? ""
      }
      #expect(times == ["'.' dir 755 0 0 500 ", "0 ", "500 ", "400 ", "500 "])
    }
  }

  /// Hard links to nothing, to themselves, and entries below files, from a tar.
  @Test func refusesHostileTars() async throws {
    try await withTemporaryDirectory { directory in
      let tar = directory.appending("hostile.tar")
      for (entries, reason) in [
        ("file('f'); link('a', 'missing')", "which is not there"),
        ("link('a', 'a')", "which is not there"),
        ("file('f'); link('f', 'f')", "itself"),
        ("file('f'); file('f/below')", "not a directory"),
        ("file('x' * 300)", "longer than 256"),
        ("file('f', **{'SCHILY.xattr.nonsense': 'x'})", "no place"),
        ("file('f', **{'SCHILY.xattr.user.' + 'x' * 300: 'x'})", "no place"),
        ("file('f', **{'SCHILY.xattr.user.large': 'x' * 70000})", "65536 bytes"),
        ("file('d/' * 2500 + 'f')", "4095 bytes"),
      ] {
        try await tool(
          "python3", "-c",
          """
          import tarfile
          with tarfile.open('\(tar.string)', 'w', format=tarfile.PAX_FORMAT) as tar:
            def file(name, **pax):
              entry = tarfile.TarInfo(name); entry.pax_headers = pax; tar.addfile(entry)
            def link(name, target):
              entry = tarfile.TarInfo(name); entry.type = tarfile.LNKTYPE; entry.linkname = target; tar.addfile(entry)
            \(entries)
          """)
        do {
          try convert(tar: tar, to: directory.appending("image"))
          Issue.record("accepted: \(entries)")
        } catch {
          #expect("\(error)".contains(reason), "\(entries)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.string) == ["hostile.tar"])
      }
    }
  }

  /// Writes a tar with every kind of entry, in an order in which directories come after their contents.
  private static let everything = #"""
    import io, random, sys, tarfile
    random.seed(7)
    with tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT) as tar:
      def add(name, type=tarfile.REGTYPE, data=b'', mode=0o644, uid=0, gid=0, mtime=1700000000, target='', device=(0, 0), **pax):
        entry = tarfile.TarInfo(name)
        entry.type, entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = type, len(data), mode, uid, gid, mtime
        entry.linkname, (entry.devmajor, entry.devminor), entry.pax_headers = target, device, pax
        tar.addfile(entry, io.BytesIO(data))
      add('./', tarfile.DIRTYPE, mode=0o1755, uid=1, gid=2, mtime=3)
      add('./usr/one', data=b'shared')
      add('./a-link', tarfile.LNKTYPE, target='./usr/one')
      add('./zz-link', tarfile.LNKTYPE, target='./a-link')
      add('./usr/deep/er/set-id', data=b'x' * 4096, mode=0o6711, uid=2147483647, gid=70000)
      for name in ['usr/deep/er', 'usr/deep', 'many', 'data']: add(name, tarfile.DIRTYPE, mode=0o700, mtime=4294967295)
      add('usr', tarfile.DIRTYPE, mode=0o755, mtime=0, **{'SCHILY.xattr.trusted.overlay.opaque': 'y'})
      add('usr/ping', data=b'elf', mode=0o755, **{'SCHILY.xattr.security.capability':
        '\x01\0\0\x02\0 ' + '\0' * 14, 'SCHILY.xattr.user.note': 'text', 'SCHILY.xattr.system.other': 'acl'})
      add('dev', tarfile.DIRTYPE, mode=0o755)
      add('dev/null', tarfile.CHRTYPE, mode=0o666, device=(1, 3))
      add('dev/null2', tarfile.LNKTYPE, target='dev/null')
      add('dev/tty', tarfile.CHRTYPE, mode=0o600, device=(5, 255))
      add('dev/sda', tarfile.BLKTYPE, mode=0o660, gid=6, device=(8, 255))
      add('dev/pipe', tarfile.FIFOTYPE, mode=0o600)
      add('whiteout', tarfile.CHRTYPE, mode=0, device=(0, 0))
      add('soft', tarfile.SYMTYPE, mode=0o777, target='../up//x/')
      add('soft2', tarfile.LNKTYPE, target='soft')
      add('softer', tarfile.SYMTYPE, mode=0o777, target='t' * 4095)
      add('n' * 255, data=b'long name')
      add('with space and \u00e4\u4e2d', data=b'utf-8')
      add('empty')
      for size in [1, 4095, 4096, 4097, 8192, 100000, 1000003]:
        add('data/text%d.txt' % size, data=(b'some text, ' * (size // 10 + 1))[:size])
        add('data/random%d.bin' % size, data=random.randbytes(size))
        add('data/zero%d' % size, data=bytes(size))
        add('data/copy%d' % size, data=(b'some text, ' * (size // 10 + 1))[:size])
        add('data/holes%d' % size, data=(bytes(size // 2) + b'in between' * 5 + bytes(size))[:size])
      for number in range(20): add('many/%d' % number, data=b'%d' % number, uid=number)
    """#
}
