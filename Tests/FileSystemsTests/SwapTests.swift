// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct SwapTests {
  private let uuid = "c1b9d5a2-f162-11cf-9ece-0020afc76f16"

  /// Byte for byte what `mkswap` writes into an empty volume.
  @Test(
    arguments: [
      ("4M", 4096, "SWAP"), ("40K", 4096, ""), ("4195K", 4096, "exactly15bytes!"),
      ("1M", 8192, "sixteen or more bytes"),
      ("3M", 16384, "a b"), ("2M", 32768, "c-d"), ("5M", 65536, "x"), ("15T", 4096, "huge"),
    ])
  func headerIsThatOfMkswap(size: String, pageSize: Int, label: String) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("volume")
      try await tool("truncate", "-s", size, image.string)
      if label.isEmpty {
        try await tool("mkswap", "-p", "\(pageSize)", "-U", uuid, image.string)
      } else {
        try await tool("mkswap", "-p", "\(pageSize)", "-U", uuid, "-L", label, image.string)
      }
      let device = try FileDevice(path: image)
      let page = try SwapHeader.write(
        uuid: uuid, label: label.isEmpty ? nil : label, byteCount: device.byteCount, pageSize: pageSize)
      #expect(page == (try device.read(at: 0, count: pageSize)))

      let header = try #require(try SwapHeader(device))
      let found = try await blkid(image)
      #expect(found["TYPE"] == "swap")
      #expect(header.uuid == found["UUID"])
      #expect(header.label == found["LABEL"])
      #expect(header.pageSize == pageSize)
      #expect(!header.isHibernated)
      let identity = try #require(try FileSystems.identify(device))
      #expect(identity.kind == .swap)
      #expect(identity.byteCount == device.byteCount / UInt64(pageSize) * UInt64(pageSize))
    }
  }

  /// What is put on an empty volume is found by `blkid`, in either case of the UUID, or without one.
  @Test func blkidFindsAFreshHeader() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("volume")
      try image.write(try SwapHeader.write(uuid: uuid.uppercased(), label: "new", byteCount: 1 << 20))
      try await tool("truncate", "-s", "1M", image.string)
      var found = try await blkid(image)
      #expect(found["UUID"] == uuid)
      #expect(found["LABEL"] == "new")
      try image.write(try SwapHeader.write(uuid: nil, label: nil, byteCount: 1 << 20))
      try await tool("truncate", "-s", "1M", image.string)
      found = try await blkid(image)
      #expect(found["TYPE"] == "swap")
      #expect(found["UUID"] == nil)
      #expect(found["LABEL"] == nil)
    }
  }

  /// `mkswap` cuts a larger volume to 17179869180 KiB, which leaves FFFFFFFE as the last page.
  @Test func pagesAreCountedIn32Bits() throws {
    let page = try SwapHeader.write(uuid: nil, label: nil, byteCount: 1 << 50)
    #expect(try page.littleEndian(UInt32.self, at: 1028) == 0xFFFF_FFFE)
  }

  @Test func onlyTheHeaderIsUsed() throws {
    var bytes = try SwapHeader.write(uuid: uuid, label: nil, byteCount: 1 << 20) + [UInt8](repeating: 7, count: 1 << 20)
    let map = try #require(try FileSystems.allocationMap(of: MemoryDevice(bytes)))
    #expect(map.blockSize == 4096)
    #expect(map.bitmap.count == 256)
    #expect(map.bitmap.nextUsedRun(from: 0) == 0..<1)
    #expect(map.bitmap.usedCount == 1)
    bytes.removeLast(1 << 20)
    #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: MemoryDevice(bytes)) }
  }

  /// A suspended system lies in it: `blkid` has another name for it then, and all of it counts.
  @Test(arguments: ["S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"], [4096, 16384, 65536])
  func aSuspendedSystemIsKept(signature: String, pageSize: Int) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("volume")
      var bytes = try SwapHeader.write(uuid: uuid, label: "sleep", byteCount: 1 << 20, pageSize: pageSize)
      bytes.store(bytes: [UInt8](repeating: 0, count: 10), at: pageSize - 10)
      bytes.store(bytes: Array(signature.utf8), at: pageSize - 10)
      try image.write(bytes)
      try await tool("truncate", "-s", "1M", image.string)
      let found = try await blkid(image)
      #expect(found["TYPE"] == "swsuspend")
      let device = try FileDevice(path: image)
      let header = try #require(try SwapHeader(device))
      #expect(header.isHibernated)
      #expect(header.uuid == found["UUID"])
      #expect(header.label == found["LABEL"])
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.bitmap.usedCount == (1 << 20) / pageSize)
      #expect(map.warnings.count == 1)
    }
  }

  @Test func aHeaderOfTheOtherByteOrderIsRead() throws {
    var page = try SwapHeader.write(uuid: uuid, label: "sparc", byteCount: 1 << 20, pageSize: 8192)
    page.storeBigEndian(UInt32(1), at: 1024)
    page.storeBigEndian(UInt32(127), at: 1028)
    let header = try #require(try SwapHeader(MemoryDevice(page)))
    #expect(header.pageCount == 128)
    #expect(header.label == "sparc")
  }

  @Test func whatCannotBeMadeIsRefused() {
    #expect(throws: SwapHeaderError.tooSmall(byteCount: 40959, needed: 40960)) {
      try SwapHeader.write(uuid: nil, label: nil, byteCount: 40959)
    }
    #expect(throws: SwapHeaderError.pageSize(1000)) {
      try SwapHeader.write(uuid: nil, label: nil, byteCount: 1 << 20, pageSize: 1000)
    }
    #expect(throws: SwapHeaderError.notAUUID("c1b9")) {
      try SwapHeader.write(uuid: "c1b9", label: nil, byteCount: 1 << 20)
    }
  }

  @Test(.timeLimit(.minutes(1))) func damagedInputEndsInAnErrorOrAMap() throws {
    let image =
      try SwapHeader.write(uuid: uuid, label: "x", byteCount: 1 << 17) + [UInt8](repeating: 0, count: (1 << 17) - 4096)
    let outcomes = try readDamagedCopies(of: image, structures: [1024..<1072, 4086..<4096], rounds: 3000, seed: 8)
    #expect(outcomes.maps > 100)
    #expect(outcomes.errors > 100)
    #expect(outcomes.unknown > 100)
  }
}
