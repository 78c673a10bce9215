// FuzzTargets: what a fuzzer feeds: one entry for each parser of bytes that come from a disk, an image or a recipe.
// The corpus of the tests runs through the same entries.
// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import Compression
import FileSystems
import PartcloneStream
import Recipe
import SystemPackage
import Volumes

/// A parser that takes bytes from outside. Whatever they are, it must return: with a result, or by throwing.
public enum FuzzTarget: String, CaseIterable, Sendable {
  /// The readers of file systems, on a ``SparseDevice``.
  case volume
  /// MBR, GPT and LVM2 labels, on a ``SparseDevice``.
  case partitions
  /// `sfdisk --dump`, parted's listing and LVM2's text, as images keep them.
  case tables
  case partclone
  /// Any compressed stream, by its magic number.
  case compressed
  case recipe

  /// - Returns: whether the parser took the input to its end.
  public func run(_ input: [UInt8]) -> Bool {
    do {
      switch self {
      case .volume: return try Self.readVolume(SparseDevice(input))
      case .partitions:
        let device = SparseDevice(input)
        let physicalVolume = try? LVMPhysicalVolume(device)
        return try PartitionTable.read(from: device) != nil || physicalVolume != nil
      case .tables:
        let text = String(decoding: input, as: UTF8.self)
        let dump = try? SfdiskDump(parsing: text, file: "input").table(sectorCount: 1 << 30)
        let print = try? PartedPrint(parsing: text, file: "input")
        let group = try? VolumeGroup(parsing: input, source: "input")
        return dump != nil || print != nil || group != nil
      case .partclone: return try Self.parsePartclone(input)
      case .compressed: return try Self.decompress(input)
      case .recipe:
        _ = try Recipe.decode(input, file: "input.yaml")
        return true
      }
    } catch {
      return false
    }
  }

  private static func readVolume(_ device: SparseDevice) throws -> Bool {
    guard let map = try FileSystems.allocationMap(of: device) else { return false }
    let covering = map.covering(device.byteCount)
    precondition(covering.bitmap.usedCount <= covering.bitmap.count, "more blocks are used than there are")
    return true
  }

  private static func parsePartclone(_ input: [UInt8]) throws -> Bool {
    let parser = VolumeStreamParser(image: "input")
    var size = UInt64.max
    // In pieces, for what is split between two of them is another way through the parser.
    for start in stride(from: 0, to: input.count, by: 1021) {
      let bytes = input.span.bytes.extracting(start..<min(start + 1021, input.count))
      try parser.parse(bytes) { event in
        switch event {
        case .header(let header): size = header.deviceSize
        case .data(let range, let offset):
          precondition(range.upperBound <= bytes.byteCount, "data outside of what was given")
          precondition(offset <= size && UInt64(range.count) <= size - offset, "data outside of the volume")
        case .keptData(let kept, let offset):
          precondition(offset <= size && UInt64(kept.count) <= size - offset, "data outside of the volume")
        case .bitmap, .verified: break
        }
      }
    }
    _ = try parser.finish()
    return true
  }

  private static func decompress(_ input: [UInt8]) throws -> Bool {
    let limit = 64 << 20
    return try waiting {
      var count = 0
      try await Decompressor(MemorySource(input), codec: nil).decompress { piece in
        count += piece.bytes.byteCount
        if count > limit { throw CancellationError() }
      }
      return true
    }
  }
}
