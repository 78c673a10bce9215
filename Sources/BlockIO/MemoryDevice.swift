// SPDX-License-Identifier: GPL-3.0-or-later

/// Bytes in memory seen as a read-only device: headers taken from an image, inputs of tests and fuzzers.
public struct MemoryDevice: BlockDevice {
  public let name: String
  public let sectorSize: Int
  private let bytes: [UInt8]

  public var byteCount: UInt64 { UInt64(bytes.count) }

  public init(_ bytes: [UInt8], name: String = "memory", sectorSize: Int = 512) {
    self.bytes = bytes
    self.name = name
    self.sectorSize = sectorSize
  }

  public func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError) {
    try checkRange(offset, UInt64(buffer.byteCount))
    let part = bytes[Int(offset)..<(Int(offset) + buffer.byteCount)]
    buffer.withUnsafeMutableBytes { $0.copyBytes(from: part) }
  }
}
