// TarStream: reads a tar stream entry by entry, by libarchive, with names made safe and holes filled in.
// SPDX-License-Identifier: GPL-3.0-or-later

private import CArchive
private import Glibc
public import SystemPackage

/// Reads a tar stream: ustar, pax and GNU, with long names, sparse files and extended attributes; no compression.
///
/// The reader blocks, and is used from one thread at a time. It reads to the end of the stream, padding included, so
/// that the program that writes to a pipe can end well.
public final class TarReader {
  /// The largest file that is accepted; a sparse entry of a few bytes may claim any size.
  public static let largestFile: UInt64 = 256 << 30
  /// The longest path in bytes (Linux PATH_MAX without its NUL).
  public static let longestPath = 4095

  /// Bytes of the stream that were read so far.
  public var bytesRead: UInt64 { UInt64(max(0, archive_filter_bytes(archive, 0))) }

  private let descriptor: FileDescriptor
  private let archive: OpaquePointer
  /// libarchive converts the names of pax headers from UTF-8 to the locale's character set, and normalises them on the
  /// way. In the C locale it can't, and hands out the bytes as they are.
  private let plainLocale: locale_t?

  private var atEnd = false
  private var current: TarEntry?
  /// What the current entry's data has given so far, in bytes.
  private var position: UInt64 = 0
  /// Data that libarchive holds for us, and where in the file it belongs.
  private var block = UnsafeRawBufferPointer(start: nil, count: 0)
  private var blockOffset: UInt64 = 0
  private var dataEnded = false

  /// - Parameter descriptor: where the stream comes from; stays open, and the caller's.
  /// - Throws: ``TarError`` when libarchive cannot be set up or the stream does not begin as a tar archive does.
  public init(_ descriptor: FileDescriptor) throws(TarError) {
    guard let archive = archive_read_new() else { throw TarError.outOfMemory }
    self.descriptor = descriptor
    self.archive = archive
    plainLocale = newlocale(1 << LC_CTYPE, "C", nil)
    guard archive_read_support_format_tar(archive) == ARCHIVE_OK,
      archive_read_open_fd(archive, descriptor.rawValue, 256 << 10) == ARCHIVE_OK
    else { throw failure() }
  }

  deinit {
    archive_read_free(archive)
    if let plainLocale { freelocale(plainLocale) }
  }

  /// The next entry, or nil at the end of the archive; data of the entry before that was not read is skipped.
  /// - Throws: ``TarError``; afterwards the stream cannot be read on.
  public func next() throws(TarError) -> TarEntry? {
    guard !atEnd else { return nil }
    current = nil
    block = UnsafeRawBufferPointer(start: nil, count: 0)
    position = 0
    dataEnded = false

    let previousLocale = plainLocale.flatMap { uselocale($0) }
    defer { if let previousLocale { uselocale(previousLocale) } }
    var header: OpaquePointer?
    let status = archive_read_next_header(archive, &header)
    if status == ARCHIVE_EOF {
      atEnd = true
      try finish()
      return nil
    }
    guard let header, status == ARCHIVE_OK || status == ARCHIVE_WARN && isOnlyAboutCharacters else { throw failure() }
    let entry = try TarEntry(header)
    current = entry
    return entry
  }

  /// Fills `buffer` with the current entry's data, holes as zeros.
  /// - Returns: how many bytes were stored: all of the buffer, less at the end of the data, 0 after it.
  /// - Throws: ``TarError`` when the stream ends too early, is broken, or cannot be read.
  public func read(into buffer: inout MutableRawSpan) throws(TarError) -> Int {
    guard let current else { return 0 }
    let wanted = Int(min(UInt64(buffer.byteCount), current.size - position))
    var stored = 0
    while stored < wanted {
      if block.isEmpty, !dataEnded { try readBlock(of: current) }
      // Beyond the last block there can only be a hole.
      let hole = (block.isEmpty ? current.size : blockOffset) - position
      let count: Int
      if hole > 0 {
        count = Int(min(UInt64(wanted - stored), hole))
        buffer.withUnsafeMutableBytes { target in
          _ = target[stored..<(stored + count)].initializeMemory(as: UInt8.self, repeating: 0)
        }
      } else {
        count = min(wanted - stored, block.count)
        let source = block[..<count]
        buffer.withUnsafeMutableBytes { target in
          UnsafeMutableRawBufferPointer(rebasing: target[stored..<(stored + count)]).copyBytes(from: source)
        }
        block = UnsafeRawBufferPointer(rebasing: block[count...])
        blockOffset += UInt64(count)
      }
      stored += count
      position += UInt64(count)
    }
    return stored
  }

  /// Passes over the data of the current entry that has not been read; ``next()`` does so by itself.
  public func skip() throws(TarError) {
    guard current != nil else { return }
    current = nil
    block = UnsafeRawBufferPointer(start: nil, count: 0)
    guard archive_read_data_skip(archive) == ARCHIVE_OK else { throw failure() }
  }

  private func readBlock(of entry: TarEntry) throws(TarError) {
    var start: UnsafeRawPointer?
    var count = 0
    var offset: la_int64_t = 0
    repeat {
      let status = archive_read_data_block(archive, &start, &count, &offset)
      if status == ARCHIVE_EOF {
        dataEnded = true
        return
      }
      guard status == ARCHIVE_OK else { throw failure() }
    } while count == 0
    guard let begin = UInt64(exactly: offset), begin >= position, begin <= entry.size,
      UInt64(count) <= entry.size - begin
    else {
      throw TarError.malformed(entry: entry.path.string, problem: "its sparse map is out of order or leaves the file")
    }
    block = UnsafeRawBufferPointer(start: start, count: count)
    blockOffset = begin
  }

  /// Makes sure that the archive's end was meant, and takes the padding after it.
  ///
  /// libarchive takes a stream that stops between two entries for a whole one; only the end-of-archive blocks tell.
  private func finish() throws(TarError) {
    guard archive_filter_bytes(archive, 0) - archive_read_header_position(archive) >= 512 else {
      throw TarError.truncated
    }
    var rest = [UInt8](repeating: 0, count: 64 << 10)
    do {
      for _ in 0..<Self.mostPaddingReads {
        if try rest.withUnsafeMutableBytes({ try descriptor.read(into: $0) }) == 0 { return }
      }
    } catch {
      throw TarError.cannotRead(cause: "\(error)")
    }
  }

  /// tar pads to its record size, which is 10 KiB unless asked for more; what goes far beyond is none of ours.
  private static let mostPaddingReads = 256

  /// Whether libarchive's warning says that a name is not in the locale's character set, which we don't ask for.
  private var isOnlyAboutCharacters: Bool { message.hasSuffix("current locale.") }

  private var message: String { archive_error_string(archive).map { String(cString: $0) } ?? "unknown error" }

  private func failure() -> TarError {
    let number = archive_errno(archive)
    // ARCHIVE_ERRNO_FILE_FORMAT and _MISC are no numbers of the system's.
    if number == EILSEQ || number <= 0 || message.contains("Truncated") || message.contains("truncated") {
      return .malformed(entry: current?.path.string, problem: message)
    }
    return .cannotRead(cause: message)
  }
}
