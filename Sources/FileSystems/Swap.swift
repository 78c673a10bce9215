// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO
import Bytes
public import Reporting

/// The header of a Linux swap area: its first page.
///
/// Bytes 0 to 1023 belong to boot loaders. At 1024: version (u32, 1), number of the last page (u32), number of bad
/// pages (u32), UUID (16 bytes), label (16 bytes). The signature is in the last ten bytes of the page.
/// Source: Linux, include/linux/swap.h (`union swap_header`).
public struct SwapHeader: Sendable, Equatable {
  /// In bytes: a power of two from 4096 to 65536.
  public let pageSize: Int
  /// Pages from the start of the volume to the end of the area, the header's page among them.
  public let pageCount: UInt64
  public let uuid: String?
  public let label: String?
  /// Holds the memory of a suspended system: all of it counts then.
  public let isHibernated: Bool

  /// Reads the header.
  /// - Returns: nil when the volume holds something else.
  /// - Throws: `DeviceError`.
  public init?(_ device: any BlockDevice) throws {
    for pageSize in Self.pageSizes where device.byteCount >= UInt64(pageSize) {
      let signature = try device.read(at: UInt64(pageSize - 10), count: 10)
      let isHibernated = Self.suspendSignatures.contains { signature.starts(with: $0) }
      guard isHibernated || signature.elementsEqual(Self.signature) else { continue }
      let bytes = try device.read(at: 1024, count: 44)
      // A machine of the other byte order may have made it.
      let isLittleEndian = try bytes.littleEndian(UInt32.self, at: 0) == 1
      guard try isLittleEndian || bytes.bigEndian(UInt32.self, at: 0) == 1 else { continue }
      let lastPage = try isLittleEndian ? bytes.littleEndian(UInt32.self, at: 4) : bytes.bigEndian(UInt32.self, at: 4)
      guard lastPage > 0 else { continue }
      self.pageSize = pageSize
      self.isHibernated = isHibernated
      pageCount = UInt64(lastPage) + 1
      uuid = UUIDText.text(of: bytes[12..<28])
      label = labelText(of: bytes[28..<44])
      return
    }
    return nil
  }

  /// A fresh header as `mkswap` writes it; the rest of the area needs no preparation.
  ///
  /// - Parameters:
  ///   - uuid: RFC 4122 text; nil for none.
  ///   - label: nil for none; cut to 15 bytes.
  ///   - byteCount: size of the volume.
  ///   - pageSize: that of the machine which will use it.
  /// - Returns: the first page of the volume.
  /// - Throws: ``SwapHeaderError``.
  public static func write(
    uuid: String?, label: String?, byteCount: UInt64, pageSize: Int = 4096
  ) throws(SwapHeaderError) -> [UInt8] {
    guard pageSizes.contains(pageSize) else { throw .pageSize(pageSize) }
    let pageCount = min(byteCount / UInt64(pageSize), UInt64(UInt32.max))
    guard pageCount >= minimumPageCount else {
      throw .tooSmall(byteCount: byteCount, needed: minimumPageCount * UInt64(pageSize))
    }
    var page = [UInt8](repeating: 0, count: pageSize)
    page.store(UInt32(1), at: 1024)
    page.store(UInt32(pageCount - 1), at: 1028)
    if let uuid {
      guard let bytes = UUIDText.bytes(of: uuid) else { throw .notAUUID(uuid) }
      page.store(bytes: bytes, at: 1036)
    }
    if let label { page.store(bytes: Array(label.utf8.prefix(15)), at: 1052) }
    page.store(bytes: Array(signature), at: pageSize - 10)
    return page
  }

  private static let pageSizes = [4096, 8192, 16384, 32768, 65536]
  /// What `mkswap` insists on.
  private static let minimumPageCount: UInt64 = 10
  private static let signature = "SWAPSPACE2".utf8
  /// What takes the signature's place while the system is suspended: kernel, uswsusp, TuxOnIce.
  private static let suspendSignatures: [[UInt8]] = [
    Array("S1SUSPEND".utf8), Array("S2SUSPEND".utf8), Array("ULSUSPEND".utf8), Array("LINHIB0001".utf8),
    [0xED, 0xC3, 0x02, 0xE9, 0x98, 0x56, 0xE5, 0x0C],
  ]
}

/// Why no swap header can be made.
public enum SwapHeaderError: Failure, Equatable {
  case pageSize(Int)
  case tooSmall(byteCount: UInt64, needed: UInt64)
  case notAUUID(String)

  public var reason: String {
    switch self {
    case .pageSize(let size): "a swap area cannot have pages of \(size) bytes"
    case .tooSmall(let byteCount, let needed): "a swap area needs at least \(needed) bytes, but there are \(byteCount)"
    case .notAUUID(let text): "the UUID of a swap area cannot be `\(text)`"
    }
  }

  public var exitCode: ExitCode { .invalidData }
}

/// Linux swap: its header is used and nothing else, unless a suspended system lies in it.
struct Swap: FileSystemReader {
  private let volume: Volume
  private let header: SwapHeader
  let identity: FileSystemIdentity

  init?(_ device: any BlockDevice) throws {
    guard let header = try SwapHeader(device) else { return nil }
    volume = Volume(device: device, kind: .swap)
    self.header = header
    identity = FileSystemIdentity(
      kind: .swap, uuid: header.uuid, label: header.label, byteCount: header.pageCount * UInt64(header.pageSize))
  }

  func allocationMap() throws -> AllocationMap {
    guard identity.byteCount <= volume.device.byteCount else {
      throw volume.damaged(
        "\(header.pageCount) pages of \(header.pageSize) bytes do not fit the volume's \(volume.device.byteCount) bytes"
      )
    }
    var bitmap = BlockBitmap(count: Int(header.pageCount), used: header.isHibernated)
    bitmap.set(0..<1)
    return AllocationMap(
      identity: identity, blockSize: header.pageSize, bitmap: bitmap,
      warnings: header.isHibernated ? ["it holds the memory of a suspended system and is copied whole"] : [])
  }
}
