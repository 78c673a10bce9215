// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO
import Bytes
import Compression
import Dispatch
import Synchronization

/// A large device in a small input: the blocks that matter, and zeros everywhere else.
///
/// Layout, little-endian: the size in bytes (u64), and for each block its number (u32) and its 4096 bytes. Of two blocks
/// with one number the later counts.
public struct SparseDevice: BlockDevice {
  public static let blockSize = 4096
  /// Larger sizes are cut to this, so that a map is no burden.
  public static let maximumByteCount: UInt64 = 1 << 36

  public let name = "input"
  public let sectorSize = 512
  public let byteCount: UInt64
  private let bytes: [UInt8]
  /// Where a block begins in `bytes`.
  private let places: [UInt32: Int]

  public init(_ input: [UInt8]) {
    bytes = input
    let size = (try? input.littleEndian(UInt64.self, at: 0)) ?? 0
    byteCount = min(size, Self.maximumByteCount)
    var places: [UInt32: Int] = [:]
    for start in stride(from: 8, through: input.count - 4 - Self.blockSize, by: 4 + Self.blockSize) {
      places[(try? input.littleEndian(UInt32.self, at: start)) ?? 0] = start + 4
    }
    self.places = places
  }

  public func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError) {
    let count = buffer.byteCount
    try checkRange(offset, UInt64(count))
    buffer.withUnsafeMutableBytes { target in
      var done = 0
      while done < count {
        let position = offset + UInt64(done)
        let inside = Int(position % UInt64(Self.blockSize))
        let step = min(Self.blockSize - inside, count - done)
        let part = UnsafeMutableRawBufferPointer(rebasing: target[done..<(done + step)])
        if let place = UInt32(exactly: position / UInt64(Self.blockSize)).flatMap({ places[$0] }) {
          part.copyBytes(from: bytes[(place + inside)..<(place + inside + step)])
        } else {
          part.initializeMemory(as: UInt8.self, repeating: 0)
        }
        done += step
      }
    }
  }
}

/// A device that remembers which blocks were read, to make a ``SparseDevice``'s input of them.
public final class RecordingDevice: BlockDevice {
  private let device: any BlockDevice
  private let blocks = Mutex<Set<UInt32>>([])

  public var name: String { device.name }
  public var byteCount: UInt64 { device.byteCount }
  public var sectorSize: Int { device.sectorSize }

  public init(_ device: any BlockDevice) { self.device = device }

  public func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError) {
    try device.read(at: offset, into: &buffer)
    let size = UInt64(SparseDevice.blockSize)
    guard buffer.byteCount > 0 else { return }
    let (first, last) = (offset / size, (offset + UInt64(buffer.byteCount) - 1) / size)
    blocks.withLock { blocks in for block in first...last { blocks.insert(UInt32(truncatingIfNeeded: block)) } }
  }

  /// What was read, without the blocks that are all zeros.
  public func recorded() throws -> [UInt8] {
    var input = [UInt8](repeating: 0, count: 8)
    input.store(byteCount, at: 0)
    for block in blocks.withLock({ $0.sorted() }) {
      let start = UInt64(block) * UInt64(SparseDevice.blockSize)
      let count = Int(min(UInt64(SparseDevice.blockSize), byteCount - start))
      let bytes = try device.read(at: start, count: count)
      guard bytes.contains(where: { $0 != 0 }) else { continue }
      var header = [UInt8](repeating: 0, count: 4)
      header.store(block, at: 0)
      input += header + bytes + [UInt8](repeating: 0, count: SparseDevice.blockSize - count)
    }
    return input
  }
}

/// A compressed stream in memory.
struct MemorySource: ByteSource {
  let name = "input"
  let isSeekable = true
  private let bytes: [UInt8]
  var byteCount: UInt64? { UInt64(bytes.count) }

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  func read(at offset: UInt64, into buffer: inout MutableRawSpan) -> Int {
    guard let start = Int(exactly: offset), start < bytes.count else { return 0 }
    let count = min(buffer.byteCount, bytes.count - start)
    buffer.withUnsafeMutableBytes { $0.copyBytes(from: bytes[start..<(start + count)]) }
    return count
  }
}

/// Blocks until `body` has ended: a fuzzer calls from a thread that has nothing else to do.
func waiting<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
  let done = DispatchSemaphore(value: 0)
  let result = Mutex<Result<Value, any Error>?>(nil)
  Task.detached {
    let value: Result<Value, any Error>
    do { value = .success(try await body()) } catch { value = .failure(error) }
    result.withLock { $0 = value }
    done.signal()
  }
  done.wait()
  guard let value = result.withLock({ $0 }) else { throw CancellationError() }
  return try value.get()
}
