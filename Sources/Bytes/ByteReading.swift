// Bytes: fixed-layout reading and writing in either byte order, checksums, identifiers.
// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// A read that would leave the bytes at hand: the structure is cut short or lies about its size.
public struct OutOfBounds: Failure, Equatable {
  /// Where the read would have begun, in bytes.
  public let offset: Int
  /// How many bytes it wanted.
  public let count: Int
  /// How many bytes there are in all.
  public let available: Int

  public init(offset: Int, count: Int, available: Int) {
    self.offset = offset
    self.count = count
    self.available = available
  }

  public var reason: String { "expected \(count) bytes at offset \(offset), but there are only \(available) bytes" }
  public var exitCode: ExitCode { .invalidData }
}

extension RawSpan {
  /// The `count` bytes from `offset` on.
  /// - Throws: ``OutOfBounds`` when they are not all there.
  @_lifetime(copy self)
  public func slice(_ offset: Int, _ count: Int) throws(OutOfBounds) -> RawSpan {
    guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
      throw OutOfBounds(offset: offset, count: count, available: byteCount)
    }
    return extracting(offset..<(offset + count))
  }

  /// An integer in little-endian byte order at a byte offset.
  @inlinable
  public func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type, at offset: Int
  ) throws(OutOfBounds) -> T {
    guard offset >= 0, byteCount >= MemoryLayout<T>.size, offset <= byteCount - MemoryLayout<T>.size else {
      throw OutOfBounds(offset: offset, count: MemoryLayout<T>.size, available: byteCount)
    }
    return T(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
  }

  /// An integer in big-endian byte order at a byte offset.
  @inlinable
  public func bigEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type, at offset: Int
  ) throws(OutOfBounds) -> T {
    try littleEndian(type, at: offset).byteSwapped
  }

  /// A byte.
  @inlinable
  public func byte(at offset: Int) throws(OutOfBounds) -> UInt8 { try littleEndian(UInt8.self, at: offset) }

  /// Text of at most `count` bytes that ends at the first NUL; bytes that are not UTF-8 are replaced.
  public func text(at offset: Int, count: Int) throws(OutOfBounds) -> String {
    let field = try slice(offset, count)
    var bytes: [UInt8] = []
    for index in 0..<count {
      let byte = field.unsafeLoad(fromByteOffset: index, as: UInt8.self)
      if byte == 0 { break }
      bytes.append(byte)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// A copy of `count` bytes from `offset` on.
  public func array(at offset: Int, count: Int) throws(OutOfBounds) -> [UInt8] {
    let part = try slice(offset, count)
    return part.withUnsafeBytes { [UInt8]($0) }
  }
}

/// The same reads on an array, for headers that were read whole.
extension Array where Element == UInt8 {
  @inlinable
  public func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type, at offset: Int
  ) throws(OutOfBounds) -> T {
    try span.bytes.littleEndian(type, at: offset)
  }

  @inlinable
  public func bigEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type, at offset: Int
  ) throws(OutOfBounds) -> T {
    try span.bytes.bigEndian(type, at: offset)
  }

  public func text(at offset: Int, count: Int) throws(OutOfBounds) -> String {
    try span.bytes.text(at: offset, count: count)
  }
}

/// Fixed-layout writing, for headers built in an array.
extension Array where Element == UInt8 {
  /// Stores an integer in little-endian byte order over the bytes at `offset`, which must exist.
  public mutating func store<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    for index in 0..<MemoryLayout<T>.size {
      self[offset + index] = UInt8(truncatingIfNeeded: value >> T(index * 8))
    }
  }

  /// Stores an integer in big-endian byte order over the bytes at `offset`, which must exist.
  public mutating func storeBigEndian<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    store(value.byteSwapped, at: offset)
  }

  /// Stores bytes over those at `offset`, which must exist.
  public mutating func store(bytes: some Collection<UInt8>, at offset: Int) {
    replaceSubrange(offset..<(offset + bytes.count), with: bytes)
  }

  /// Appends an integer in little-endian byte order.
  public mutating func append<T: FixedWidthInteger>(littleEndian value: T) {
    for index in 0..<MemoryLayout<T>.size { append(UInt8(truncatingIfNeeded: value >> T(index * 8))) }
  }
}
