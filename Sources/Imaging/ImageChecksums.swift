// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Glibc
import ImageStore
public import Reporting
public import SystemPackage

/// A digest in whose name Clonezilla lists the files of an image.
public enum ChecksumKind: String, Sendable, CaseIterable {
  case md5 = "MD5SUMS"
  case sha1 = "SHA1SUMS"
  case blake2b = "B2SUMS"
  case blake3 = "B3SUMS"

  /// The list in the image, as `md5sum`, `sha1sum`, `b2sum` and `b3sum` print it.
  public var fileName: String { rawValue }

  /// Bytes of a digest.
  var byteCount: Int {
    switch self {
    case .md5: 16
    case .sha1: 20
    case .blake2b: 64
    case .blake3: 32
    }
  }

  fileprivate func makeDigest() -> any StreamingDigest {
    switch self {
    case .md5: MD5()
    case .sha1: SHA1()
    case .blake2b: BLAKE2b()
    case .blake3: BLAKE3()
    }
  }
}

/// Why the files of an image are not those its lists of checksums were made of.
public enum ChecksumError: Failure, Equatable {
  case differs(image: String, findings: [String])
  case malformed(list: String, line: Int, cause: String)

  public var reason: String {
    switch self {
    case .differs(let image, let findings):
      "\(image) is not as its lists of checksums say:\n" + findings.map { "  | \($0)" }.joined(separator: "\n")
    case .malformed(let list, let line, let cause): "\(list), line \(line): \(cause)"
    }
  }

  public var remedy: String? {
    switch self {
    case .differs: "fetch the files from another copy of the image"
    case .malformed: "make the list anew, or leave out the option that asks for it"
    }
  }

  public var exitCode: ExitCode { .invalidData }
}

/// The lists of checksums in an image: `MD5SUMS` and its like, one line for each file.
///
/// A line is the digest in hexadecimal digits, two blanks (or a blank and a star) and the name. A name with a backslash
/// or a line break is written with `\\` and `\n`, and its line begins with a backslash (GNU coreutils manual,
/// "md5sum invocation").
public struct ImageChecksums: Sendable {
  private let folder: FilePath
  private let reporter: Reporter

  /// - Parameters:
  ///   - folder: a complete image.
  ///   - reporter: takes progress and warnings.
  public init(_ folder: FilePath, reporter: Reporter) {
    self.folder = folder
    self.reporter = reporter
  }

  /// Makes lists of all files but the lists themselves and hidden ones. A list has its name only when it is complete.
  /// - Throws: `ImageError`.
  public func write(_ kinds: [ChecksumKind]) async throws {
    guard !kinds.isEmpty else { return }
    let sizes = try files()
    let digests = try await digests(
      sizes.keys.sorted().map { ($0, kinds) }, title: "making \(Self.names(kinds))", sizes: sizes)
    for kind in kinds {
      var text = ""
      for name in sizes.keys.sorted() {
        let escaped = name.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
        text += "\(escaped == name ? "" : "\\")\(Self.hexadecimal(digests[name]?[kind] ?? []))  \(escaped)\n"
      }
      try write(text, as: kind.fileName)
    }
  }

  /// Checks the files against the lists, every one, also after one was found damaged.
  ///
  /// A list that is missing is only warned of, as in Clonezilla, and so are files that no list names.
  /// - Throws: ``ChecksumError``, `ImageError`.
  public func check(_ kinds: [ChecksumKind]) async throws {
    let sizes = try files()
    var expected: [String: [ChecksumKind: [UInt8]]] = [:]
    var found: [ChecksumKind] = []
    for kind in kinds where !found.contains(kind) {
      guard let list = try list(kind) else {
        reporter.warning("\(folder) has no \(kind.fileName); it is not checked")
        continue
      }
      found.append(kind)
      for (name, digest) in list { expected[name, default: [:]][kind] = digest }
      // The lists may name one another, as each is made in the presence of those before it.
      let unlisted = sizes.keys.filter { list[$0] == nil }.sorted()
      if !unlisted.isEmpty {
        reporter.warning("\(folder.appending(kind.fileName)) does not name \(unlisted.joined(separator: ", "))")
      }
    }
    guard !found.isEmpty else { return }
    let present = expected.keys.filter { isFile($0) }.sorted()
    let digests = try await digests(
      present.map { name in (name, found.filter { expected[name]?[$0] != nil }) },
      title: "checking \(Self.names(found))", sizes: sizes)
    var findings: [String] = []
    for name in expected.keys.sorted() {
      for kind in found {
        guard let digest = expected[name]?[kind] else { continue }
        if let actual = digests[name]?[kind] {
          if actual != digest { findings.append("\(name) is not the file that \(kind.fileName) names") }
        } else {
          findings.append("\(name), which \(kind.fileName) names, is missing")
        }
      }
    }
    guard findings.isEmpty else { throw ChecksumError.differs(image: folder.string, findings: findings) }
    reporter.note("\(folder): \(expected.count) files are as \(Self.names(found)) say")
  }

  private static func names(_ kinds: [ChecksumKind]) -> String { kinds.map(\.fileName).joined(separator: ", ") }

  private static func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  // MARK: Files

  /// Names and sizes of what `*` names for a shell, without the lists.
  private func files() throws(ImageError) -> [String: UInt64] {
    guard let stream = opendir(folder.string) else { throw .cannotRead(file: folder.string, errno: errno) }
    defer { closedir(stream) }
    var files: [String: UInt64] = [:]
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard !name.hasPrefix("."), ChecksumKind(rawValue: name) == nil, let size = size(name) else { continue }
      files[name] = size
    }
    return files
  }

  /// Size of a regular file in bytes; nil when it is none.
  private func size(_ name: String) -> UInt64? {
    var status = stat()
    guard stat(folder.appending(name).string, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    return UInt64(max(0, status.st_size))
  }

  private func isFile(_ name: String) -> Bool { size(name) != nil }

  private func write(_ text: String, as name: String) throws(ImageError) {
    let partial = folder.appending(".\(name).partial")
    do {
      let descriptor = try FileDescriptor.open(
        partial, .writeOnly, options: [.create, .truncate, .closeOnExec],
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
      try descriptor.closeAfter {
        _ = try descriptor.writeAll(text.utf8)
        guard fsync(descriptor.rawValue) == 0 else { throw Errno(rawValue: errno) }
      }
      guard rename(partial.string, folder.appending(name).string) == 0 else { throw Errno(rawValue: errno) }
    } catch {
      unlink(partial.string)
      throw .cannotWrite(file: folder.appending(name).string, errno: (error as? Errno ?? .ioError).rawValue)
    }
  }

  // MARK: Lists

  /// Longer than the list of any image.
  private static let maximumListByteCount = 16 << 20

  /// What a list says: digests by name; nil when there is no such list.
  private func list(_ kind: ChecksumKind) throws -> [String: [UInt8]]? {
    let path = folder.appending(kind.fileName)
    guard isFile(kind.fileName) else { return nil }
    var bytes: [UInt8] = []
    try Self.read(path) { part in
      guard bytes.count + part.byteCount <= Self.maximumListByteCount else {
        throw ChecksumError.malformed(list: path.string, line: 1, cause: "the file is too large for a list")
      }
      part.withUnsafeBytes { bytes += $0 }
    }
    var list: [String: [UInt8]] = [:]
    for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
      guard !line.isEmpty else { continue }
      guard let (name, digest) = Self.entry(line, kind) else {
        throw ChecksumError.malformed(
          list: path.string, line: index + 1,
          cause: "expected \(kind.byteCount * 2) hexadecimal digits, two blanks and the name of a file of the image")
      }
      list[name] = digest
    }
    return list
  }

  private static func entry(_ line: ArraySlice<UInt8>, _ kind: ChecksumKind) -> (name: String, digest: [UInt8])? {
    let isEscaped = line.first == UInt8(ascii: "\\")
    let line = isEscaped ? line.dropFirst() : line
    let digits = line.prefix(kind.byteCount * 2).compactMap { Character(UnicodeScalar($0)).hexDigitValue }
    let rest = line.dropFirst(kind.byteCount * 2)
    let mark = rest.prefix(2).map { Character(UnicodeScalar($0)) }
    guard digits.count == kind.byteCount * 2, mark == [" ", " "] || mark == [" ", "*"] else { return nil }
    var name = String(decoding: rest.dropFirst(2), as: UTF8.self)
    if isEscaped {
      // A break first: what stands for a backslash may be followed by an n.
      name = name.split(separator: "\\\\", omittingEmptySubsequences: false)
        .map { $0.replacing("\\n", with: "\n") }.joined(separator: "\\")
    }
    if name.hasPrefix("./") { name.removeFirst(2) }
    // Only files of the image itself: a list must not make us read anything else.
    guard !name.isEmpty, !name.contains("/"), name != ".", name != ".." else { return nil }
    return (name, stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) })
  }

  // MARK: Digests

  /// Files that are read at once.
  private static let width = max(1, min(4, sysconf(Int32(_SC_NPROCESSORS_ONLN))))

  private func digests(
    _ work: [(name: String, kinds: [ChecksumKind])], title: String, sizes: [String: UInt64]
  ) async throws -> [String: [ChecksumKind: [UInt8]]] {
    let total = work.reduce(UInt64(0)) { $0 &+ (sizes[$1.name] ?? 0) }
    return try await reporter.step(title, total: total) { meter in
      try await withThrowingTaskGroup(of: (String, [ChecksumKind: [UInt8]]).self) { group in
        var results: [String: [ChecksumKind: [UInt8]]] = [:]
        for (index, (name, kinds)) in work.enumerated() {
          if index >= Self.width, let (done, digests) = try await group.next() { results[done] = digests }
          group.addTask { (name, try digests(of: name, kinds, meter)) }
        }
        for try await (name, digests) in group { results[name] = digests }
        return results
      }
    }
  }

  private func digests(
    of name: String, _ kinds: [ChecksumKind], _ meter: ProgressMeter
  ) throws -> [ChecksumKind: [UInt8]] {
    var digests = kinds.map { $0.makeDigest() }
    try Self.read(folder.appending(name)) { part in
      for index in digests.indices { digests[index].update(part) }
      meter.advance(by: part.byteCount)
    }
    return Dictionary(zip(kinds, digests.map { $0.digest() })) { first, _ in first }
  }

  /// Reads a file to its end, a MiB at a time.
  private static func read(_ path: FilePath, _ body: (RawSpan) throws -> Void) throws {
    do {
      let descriptor = try FileDescriptor.open(path, .readOnly, options: [.closeOnExec, .nonBlocking])
      try descriptor.closeAfter {
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
          try Task.checkCancellation()
          let count = try buffer.withUnsafeMutableBytes { try descriptor.read(into: $0) }
          guard count > 0 else { return }
          try body(buffer.span.bytes.extracting(0..<count))
        }
      }
    } catch let error as Errno {
      throw ImageError.cannotRead(file: path.string, errno: error.rawValue)
    }
  }
}
