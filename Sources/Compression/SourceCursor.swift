// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// Reads a source from its start to its end, with a look at what comes next. Used by one thread at a time.
final class SourceCursor: @unchecked Sendable {
  let source: any ByteSource
  /// Where the next byte stands in the source.
  private(set) var offset: UInt64 = 0
  /// Bytes read from the source and not yet taken.
  private var ahead: [UInt8] = []

  init(_ source: any ByteSource) { self.source = source }

  /// Names an offset for messages.
  func place(of offset: UInt64) -> String { source.place(of: offset) }

  /// The next bytes, which stay to be read; fewer than `count` at the end only.
  func peek(_ count: Int) throws -> [UInt8] {
    if ahead.count < count {
      var more = [UInt8](repeating: 0, count: count - ahead.count)
      var span = more.mutableSpan
      var raw = span.mutableBytes
      let got = try source.readFully(at: offset + UInt64(ahead.count), into: &raw)
      ahead += more.prefix(got)
    }
    return Array(ahead.prefix(count))
  }

  /// The next bytes; fewer than `count` at the end only.
  func take(_ count: Int) throws -> [UInt8] {
    let bytes = try peek(count)
    ahead.removeFirst(bytes.count)
    offset += UInt64(bytes.count)
    return bytes
  }

  /// Reads until `buffer` is full or the source ends.
  /// - Returns: how many bytes were read.
  func read(into buffer: inout MutableRawSpan) throws -> Int {
    let kept = min(ahead.count, buffer.byteCount)
    if kept > 0 {
      buffer.withUnsafeMutableBytes { $0.copyBytes(from: ahead.prefix(kept)) }
      ahead.removeFirst(kept)
    }
    var rest = buffer.part(kept..<buffer.byteCount)
    let got = try source.readFully(at: offset + UInt64(kept), into: &rest)
    offset += UInt64(kept + got)
    return kept + got
  }
}
