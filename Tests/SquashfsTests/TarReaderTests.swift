// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import SystemPackage
import TarStream
import TestSupport
import Testing

/// What a tar holds, read by ``TarReader``: the oracle's listing has the same form.
struct TarListing {
  var entries: [TarEntry] = []
  var contents: [FilePath: [UInt8]] = [:]

  init(_ path: FilePath, bufferSize: Int = 5000) throws {
    let descriptor = try FileDescriptor.open(path, .readOnly)
    defer { try? descriptor.close() }
    let reader = try TarReader(descriptor)
    var buffer = [UInt8](repeating: 0xEE, count: bufferSize)
    while let entry = try reader.next() {
      entries.append(entry)
      guard entry.kind == .file else { continue }
      var data: [UInt8] = []
      while true {
        var span = buffer.mutableSpan
        var bytes = span.mutableBytes
        let count = try reader.read(into: &bytes)
        if count == 0 { break }
        data += buffer[..<count]
      }
      contents[entry.path] = data
    }
  }
}

@Suite struct TarReaderTests {
  @Test func readsWhatGNUTarWrites() async throws {
    try await withTemporaryDirectory { directory in
      try await shell(
        """
        cd \(directory.string); mkdir -p tree/empty tree/deep
        cd tree
        head -c 100000 /dev/urandom > data; touch nothing; chmod 6755 data
        ln data hard; ln -s ../outside//x/ deep/soft; mkfifo pipe
        long=$(printf 'n%.0s' $(seq 200)); mkdir $long; echo long > $long/$long
        truncate -s 10M deep/sparse; printf begin | dd of=deep/sparse conv=notrunc status=none
        printf middle | dd of=deep/sparse conv=notrunc bs=1 seek=5000000 status=none
        cd ..
        for format in gnu pax; do
          tar --format=$format --sparse --xattrs --numeric-owner --owner=0 --group=70000 --mtime=@1700000000.5 \
            -cf $format.tar -C tree .
        done
        """)
      for format in ["gnu", "pax"] {
        let listing = try TarListing(directory.appending("\(format).tar"))
        let byPath = Dictionary(uniqueKeysWithValues: listing.entries.map { ($0.path.string, $0) })
        let long = String(repeating: "n", count: 200)
        #expect(
          Set(byPath.keys) == [
            "", "empty", "deep", "data", "nothing", "hard", "deep/soft", "pipe", long, "\(long)/\(long)", "deep/sparse",
          ])
        #expect(byPath[""]?.kind == .directory)
        #expect(byPath["deep/soft"]?.kind == .symbolicLink(target: Array("../outside//x/".utf8)))
        #expect(byPath["pipe"]?.kind == .fifo)
        // GNU tar archives whichever of two names it meets first as the file.
        let link = try #require([byPath["data"], byPath["hard"]].compactMap { $0 }.first { $0.kind != .file })
        let first: FilePath = link.path == "hard" ? "data" : "hard"
        #expect(link.kind == .hardLink(target: first))
        #expect(byPath[first.string]?.permissions == 0o6755)
        for entry in listing.entries {
          #expect(entry.owner == 0 && entry.group == 70000 && entry.modificationTime == 1_700_000_000)
        }
        #expect(listing.contents["deep/sparse"] == (try directory.appending("tree/deep/sparse").contents()))
        #expect(listing.contents[first] == (try directory.appending("tree/data").contents()))
        #expect(listing.contents["nothing"] == [])
        #expect(byPath["deep/sparse"]?.size == 10 << 20)
      }
    }
  }

  /// Names in any bytes, also while the process has a UTF-8 locale: libarchive must neither convert nor normalise.
  @Test func keepsNamesByteForByte() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("names.tar")
      try await tool(
        "python3", "-c",
        """
        import tarfile, io
        with tarfile.open('\(path.string)', 'w', format=tarfile.PAX_FORMAT) as tar:
          for name in ['e\\u0301', '\\u00e9', '\\u4e2d\\u6587' * 60, 'latin\\udce9' + 'x' * 120]:
            tar.addfile(tarfile.TarInfo(name))
            link = tarfile.TarInfo('to ' + name[:9]); link.type = tarfile.SYMTYPE; link.linkname = name
            tar.addfile(link)
        """)
      let expected: [[UInt8]] = [
        [0x65, 0xCC, 0x81], [0xC3, 0xA9], Array(String(repeating: "\u{4E2D}\u{6587}", count: 60).utf8),
        Array("latin".utf8) + [0xE9] + Array(repeating: UInt8(ascii: "x"), count: 120),
      ]
      for locale in ["C", "C.UTF-8"] {
        setlocale(LC_ALL, locale)
        defer { setlocale(LC_ALL, "C") }
        let listing = try TarListing(path)
        let names = listing.entries.filter { $0.kind == .file }.map { entry in
          entry.path.withPlatformString { [UInt8](UnsafeRawBufferPointer(start: $0, count: strlen($0))) }
        }
        let targets = listing.entries.compactMap { entry -> [UInt8]? in
          if case .symbolicLink(let target) = entry.kind { target } else { nil }
        }
        #expect(names == expected, "in locale \(locale)")
        #expect(targets == expected, "in locale \(locale)")
      }
    }
  }

  @Test func readsDevicesOwnersAndAttributes() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("devices.tar")
      try await tool(
        "python3", "-c",
        """
        import tarfile
        with tarfile.open('\(path.string)', 'w', format=tarfile.PAX_FORMAT) as tar:
          def add(name, type, major=0, minor=0, **pax):
            entry = tarfile.TarInfo(name); entry.type = type; entry.devmajor = major; entry.devminor = minor
            entry.uid = 4294967294; entry.gid = 3000000; entry.mtime = 1; entry.pax_headers = pax
            tar.addfile(entry)
          add('c', tarfile.CHRTYPE, 4095, 1048575)
          add('whiteout', tarfile.CHRTYPE)
          add('b', tarfile.BLKTYPE, 8, 1)
          add('cap', tarfile.REGTYPE, **{'SCHILY.xattr.security.capability': '\\x01\\x00\\x00\\x02\\x00 \\x00',
            'SCHILY.xattr.user.note': 'text', 'SCHILY.acl.access': 'user::rw-,user:5:r--,group::r--,mask::r--,other::r--'})
        """)
      let entries = try TarListing(path).entries
      #expect(
        entries.map(\.kind) == [
          .characterDevice(major: 4095, minor: 1_048_575), .characterDevice(major: 0, minor: 0),
          .blockDevice(major: 8, minor: 1), .file,
        ])
      #expect(entries.allSatisfy { $0.owner == 4_294_967_294 && $0.group == 3_000_000 })
      let last = try #require(entries.last)
      #expect(
        Set(last.extendedAttributes) == [
          ExtendedAttribute(name: "security.capability", value: [1, 0, 0, 2, 0, 0x20, 0]),
          ExtendedAttribute(name: "user.note", value: Array("text".utf8)),
        ])
      #expect(last.hasAccessControlList)
      #expect(!entries[0].hasAccessControlList)
    }
  }

  @Test(arguments: ["../up", "a/../../b", "x/.."])
  func refusesNamesThatLeadOut(name: String) async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("bad.tar")
      try await tool(
        "python3", "-c",
        "import tarfile\nwith tarfile.open('\(path.string)', 'w') as t: t.addfile(tarfile.TarInfo('\(name)'))")
      #expect(throws: TarError.unsafeName(name: name, problem: "it leads out of the tree")) { try TarListing(path) }
    }
  }

  @Test func stripsLeadingSlashesAndDots() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("odd.tar")
      try await tool(
        "python3", "-c",
        """
        import tarfile
        with tarfile.open('\(path.string)', 'w') as tar:
          for name in ['/etc/a', './b', './/c/./d', '.']:
            tar.addfile(tarfile.TarInfo(name))
          link = tarfile.TarInfo('l'); link.type = tarfile.LNKTYPE; link.linkname = './/etc/a'
          tar.addfile(link)
        """)
      let entries = try TarListing(path).entries
      #expect(entries.map(\.path) == ["etc/a", "b", "c/d", "", "l"])
      #expect(entries.last?.kind == .hardLink(target: "etc/a"))
    }
  }

  /// Every cut of a small archive is an error: also one between two entries, which libarchive takes for the end.
  @Test func noticesEveryTruncation() async throws {
    try await withTemporaryDirectory { directory in
      try await shell(
        """
        cd \(directory.string); mkdir t; head -c 3000 /dev/urandom > t/a; echo b > t/b
        tar --format=pax -b 1 -cf whole.tar -C t a b
        """)
      let whole = try directory.appending("whole.tar").contents()
      let cut = directory.appending("cut.tar")
      #expect(try TarListing(directory.appending("whole.tar")).entries.count == 2)
      for length in stride(from: 0, to: whole.count - 1024, by: 128) {
        try cut.write(whole[..<length])
        #expect(throws: TarError.self, "cut at \(length) of \(whole.count)") { try TarListing(cut) }
      }
    }
  }

  @Test func refusesAFileThatClaimsTooMuch() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("huge.tar")
      // An old GNU sparse header whose real size is 2^50 bytes, with no data at all.
      try await tool(
        "python3", "-c",
        """
        import tarfile
        entry = tarfile.TarInfo('huge'); entry.type = b'S'
        header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
        header[386:398] = b'00000000000\\0'; header[398:410] = b'00000000000\\0'
        header[483:495] = (0x80 << 88 | 1 << 50).to_bytes(12, 'big')
        header[148:156] = b' ' * 8
        header[148:156] = b'%06o\\0 ' % sum(header[:512])
        open('\(path.string)', 'wb').write(bytes(header) + bytes(1024))
        """)
      #expect(throws: TarError.tooLarge(entry: "huge", size: 1 << 50)) { try TarListing(path) }
    }
  }

  @Test func refusesWhatIsNoTar() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory.appending("no.tar")
      for bytes in [[], Array("hello".utf8), [UInt8](repeating: 0x55, count: 4096)] {
        try path.write(bytes)
        #expect(throws: TarError.self) { try TarListing(path) }
      }
    }
  }

  /// Broken headers give an error or entries within bounds, and neither a trap nor a hang.
  @Test func survivesMutations() async throws {
    try await withTemporaryDirectory { directory in
      try await shell(
        """
        cd \(directory.string); mkdir t; cd t; head -c 700 /dev/urandom > a; ln a b; ln -s a c
        truncate -s 1M s; echo x >> s; setfattr -n user.x -v y a; cd ..
        tar --format=pax --sparse --xattrs -b 1 -cf pax.tar -C t .; tar --format=gnu --sparse -b 1 -cf gnu.tar -C t .
        """)
      let broken = directory.appending("broken.tar")
      var generator = SplitMix(state: 42)
      var refused = 0
      for original in [try directory.appending("pax.tar").contents(), try directory.appending("gnu.tar").contents()] {
        for _ in 0..<1500 {
          var bytes = original
          for _ in 0..<Int.random(in: 1...4, using: &generator) {
            bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
          }
          if generator.next() % 4 == 0 { fixChecksums(&bytes) }
          try broken.write(bytes)
          do { _ = try TarListing(broken, bufferSize: 1 << 20) } catch { refused += error is TarError ? 1 : 10_000_000 }
        }
      }
      #expect(refused > 0 && refused < 10_000_000)
    }
  }

  /// Makes the checksum of every block that looks like a header right again, so that the change gets further.
  private func fixChecksums(_ bytes: inout [UInt8]) {
    for start in stride(from: 0, to: bytes.count - 511, by: 512)
    where bytes[(start + 257)..<(start + 262)].elementsEqual("ustar".utf8) {
      bytes.replaceSubrange((start + 148)..<(start + 156), with: Array("        ".utf8))
      let sum = bytes[start..<(start + 512)].reduce(0) { $0 + Int($1) }
      let text = String(sum, radix: 8)
      bytes.replaceSubrange(
        (start + 148)..<(start + 156), with: Array((String(repeating: "0", count: 6 - text.count) + text + "\0 ").utf8))
    }
  }
}

/// A random number generator whose numbers are the same on every run.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
