// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport
import Testing

@Suite struct HFSPlusTests {
  /// Bytes of the volume and of a block, pieces of the allocation file, and bytes of a wrapper.
  static let variants = [
    (20_000_000, 512, 1, 0), (40_000_512, 4096, 1, 0), (400_001_536, 4096, 3, 0), (2_000_000_000, 4096, 14, 0),
    (300_000_000, 65536, 1, 0), (100_000_000, 512, 40, 0), (30_000_128 * 4, 8192, 1, 0),
    (20_000_256 * 2, 4096, 1, 512 * 45), (20_000_256 * 2, 512, 9, 4096 * 16), (500_000_000_000, 4096, 9, 0),
  ]

  /// The blocks that the writer has put things into, the identity that `blkid` finds, and what `partclone` has, which
  /// does not look into the extents overflow file.
  @Test(arguments: variants)
  func anEmptyVolume(byteCount: Int, blockSize: Int, pieces: Int, wrapper: Int) async throws {
    try await withTemporaryDirectory { folder in
      var volume = HFSPlusVolume(byteCount: byteCount / 512 * 512)
      (volume.blockSize, volume.allocationPieces, volume.wrapper) = (blockSize, pieces, wrapper)
      let image = folder.appending("hfsplus")
      let used = try await volume.write(image)
      let device = try FileDevice(path: image)
      let map = try #require(try FileSystems.allocationMap(of: device))
      #expect(map.warnings == [])
      let factor = blockSize / map.blockSize
      let start = wrapper / map.blockSize
      var expected = BlockBitmap(count: start + volume.byteCount / blockSize * factor)
      expected.set(0..<start)
      for run in used { expected.set((start + run.lowerBound * factor)..<(start + run.upperBound * factor)) }
      #expect(map.bitmap == expected)

      let names = try await blkid(image)
      #expect(names["TYPE"] == "hfsplus")
      #expect(map.identity.kind == .hfsplus)
      #expect(map.identity.uuid == names["UUID"])
      #expect(map.identity.label == "Lärm 3")
      #expect(map.identity.byteCount == UInt64(volume.byteCount / blockSize * blockSize))
      // The header's copy is at the very end, whether a block reaches there or not.
      let (size, whole) = map.covering(device.byteCount)
      #expect(whole[whole.count - 1] && whole.count * size == Int(device.byteCount))
      if pieces <= 8, wrapper == 0, byteCount < 10_000_000_000 {
        let theirs = try await partcloneMap("partclone.hfsp", of: image, in: folder)
        #expect(theirs.blockSize == map.blockSize)
        #expect(theirs.fileSystem == map.identity.kind.partcloneName)
        #expect(theirs.bitmap == map.bitmap)
      }
    }
  }

  @Test func capitalLettersMayCount() async throws {
    try await withTemporaryDirectory { folder in
      var volume = HFSPlusVolume(byteCount: 20_000_000 / 512 * 512)
      volume.isCaseSensitive = true
      let image = folder.appending("hfsx")
      let used = try await volume.write(image)
      let map = try #require(try FileSystems.allocationMap(of: FileDevice(path: image)))
      #expect(map.bitmap.usedCount == used.reduce(0) { $0 + $1.count })
      #expect(map.identity.uuid == (try await blkid(image)["UUID"]))
      var other = PatchedDevice(try FileDevice(path: image))
      other.patch([0, 6], at: 1026)
      #expect(
        throws: FileSystemError.unsupported(volume: image.string, kind: .hfsplus, feature: "version 6")
      ) { try FileSystems.identify(other) }
    }
  }

  struct State: Sendable, CustomTestStringConvertible {
    let journal: HFSPlusVolume.Journal?
    /// The second byte of the attributes: 1 unmounted, 8 inconsistent, 20 journaled.
    let attributes: UInt8
    let version: String
    let recovery: String?
    var testDescription: String { "\(attributes) \(version) \(recovery ?? "clean")" }
  }

  @Test(
    arguments: [
      State(journal: nil, attributes: 1, version: "10.0", recovery: nil),
      State(journal: nil, attributes: 0, version: "10.0", recovery: "it is not marked as unmounted"),
      State(
        journal: nil, attributes: 9, version: "10.0",
        recovery: "it is marked as inconsistent, so it means to be checked"),
      State(journal: .empty, attributes: 0x21, version: "HFSJ", recovery: nil),
      // All that was written has reached its place; macOS mounts it as it is.
      State(journal: .empty, attributes: 0x20, version: "HFSJ", recovery: nil),
      State(journal: .toBeInitialised, attributes: 0x20, version: "HFSJ", recovery: nil),
      State(journal: .full, attributes: 0x21, version: "HFSJ", recovery: "its journal holds changes"),
      // Linux writes past the journal.
      State(journal: .empty, attributes: 0x20, version: "H+Lx", recovery: "it is not marked as unmounted"),
    ])
  func whatWasNotUnmountedNeedsRecovery(state: State) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("hfsplus")
      var volume = HFSPlusVolume(byteCount: 20_000_000 / 512 * 512)
      volume.journal = state.journal
      try await volume.write(image)
      var device = PatchedDevice(try FileDevice(path: image))
      device.patch([state.attributes], at: 1024 + 6)
      device.patch(Array(state.version.utf8), at: 1024 + 8)
      guard let recovery = state.recovery else {
        #expect(try FileSystems.allocationMap(of: device) != nil)
        return
      }
      #expect(
        throws: FileSystemError.needsRecovery(volume: image.string, kind: .hfsplus, detail: recovery)
      ) { try FileSystems.allocationMap(of: device) }
    }
  }

  @Test func aJournalElsewhereIsRefused() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("hfsplus")
      var volume = HFSPlusVolume(byteCount: 20_000_000 / 512 * 512)
      volume.journal = .elsewhere
      try await volume.write(image)
      #expect(
        throws: FileSystemError.unsupported(
          volume: image.string, kind: .hfsplus, feature: "a journal on another device")
      ) { try FileSystems.allocationMap(of: FileDevice(path: image)) }
    }
  }

  @Test func aBitmapThatDisagreesWithTheHeaderIsRefused() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("hfsplus")
      let used = try await HFSPlusVolume(byteCount: 40_000_000 / 512 * 512).write(image)
      var device = PatchedDevice(try FileDevice(path: image))
      // The header, the extents overflow file, the catalog, the allocation file.
      device.patch([0x7F], at: UInt64(used[3].lowerBound) * 4096)
      #expect(throws: FileSystemError.self) { try FileSystems.allocationMap(of: device) }
    }
  }

  @Test func otherContentsAreNotHFSPlus() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("hfsplus")
      var volume = HFSPlusVolume(byteCount: 20_000_000 / 512 * 512)
      volume.wrapper = 512 * 45
      try await volume.write(image)
      var device = PatchedDevice(try FileDevice(path: image))
      #expect(try FileSystems.identify(device)?.kind == .hfsplus)
      // Plain HFS, with nothing in it.
      device.patch([0, 0], at: 1024 + 124)
      #expect(try FileSystems.identify(device) == nil)
    }
  }

  @Test(.timeLimit(.minutes(2)), arguments: [0, 512 * 45]) func damageGivesAnErrorOrAMap(wrapper: Int) async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("hfsplus")
      var volume = HFSPlusVolume(byteCount: 20_000_000 / 512 * 512)
      (volume.blockSize, volume.allocationPieces, volume.journal, volume.wrapper) = (512, 9, .empty, wrapper)
      let used = try await volume.write(image)
      let structures = used.prefix(5).map { UInt64(wrapper + $0.lowerBound * 512) }
      let header = UInt64(wrapper + 1024)
      try readDamaged(
        try FileDevice(path: image),
        structures: [header..<(header + 280), 1024..<1160] + structures.dropFirst().map { $0..<($0 + 300) }
          + structures[1...2].map { ($0 + 4096)..<($0 + 4096 + 200) },
        rounds: 6000, seed: 12)
    }
  }
}
