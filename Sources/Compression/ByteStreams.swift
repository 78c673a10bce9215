// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// Where the bytes of a stream come from: a file, several volumes joined, a connection.
///
/// A seekable source may be asked for any offset, from several threads at once. Any other is read by one thread at a
/// time, each read beginning where the one before ended.
public protocol ByteSource: Sendable {
  /// What messages call it.
  var name: String { get }
  var isSeekable: Bool { get }
  /// Its size, where it is known; a seekable source always knows.
  var byteCount: UInt64? { get }
  /// Reads bytes from `offset` on; may block.
  /// - Returns: how many bytes were read: fewer than `buffer` holds only when there is a reason, 0 only at the end.
  func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws -> Int
  /// Names an offset for messages: the volume it lies in, where there are several.
  func place(of offset: UInt64) -> String
}

extension ByteSource {
  public func place(of offset: UInt64) -> String { "\(name) at offset \(offset)" }

  /// Reads until `buffer` is full or the source ends.
  /// - Returns: how many bytes were read.
  public func readFully(at offset: UInt64, into buffer: inout MutableRawSpan) throws -> Int {
    let count = buffer.byteCount
    var done = 0
    while done < count {
      var rest = buffer.part(done..<count)
      let got = try read(at: offset + UInt64(done), into: &rest)
      if got == 0 { break }
      done += got
    }
    return done
  }
}

/// Where the bytes of a stream go. Used by one task at a time.
public protocol ByteSink {
  /// Takes the next bytes; may block.
  mutating func write(_ bytes: RawSpan) throws
  /// Says that all was written. Only then may the stream appear under its final name.
  mutating func finish() throws
}

/// What a stream is made of, frame after frame.
public protocol FrameSource: Sendable {
  /// Lays the next bytes of the stream into `frame`; may block.
  /// - Returns: how many bytes it laid from the start of `frame`; 0 at the end.
  mutating func fill(_ frame: inout MutableRawSpan) throws -> Int
}
