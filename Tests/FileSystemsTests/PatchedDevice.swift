// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import Testing

/// Another device with some bytes changed, or cut short: broken input without a copy of the whole.
struct PatchedDevice: BlockDevice {
  let base: any BlockDevice
  var patches: [UInt64: UInt8] = [:]
  var byteCount: UInt64
  var name: String { base.name }
  var sectorSize: Int { base.sectorSize }

  init(_ base: any BlockDevice) {
    self.base = base
    byteCount = base.byteCount
  }

  mutating func patch(_ bytes: [UInt8], at offset: UInt64) {
    for (index, byte) in bytes.enumerated() { patches[offset + UInt64(index)] = byte }
  }

  func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError) {
    try checkRange(offset, UInt64(buffer.byteCount))
    try base.read(at: offset, into: &buffer)
    for (position, byte) in patches where position >= offset && position - offset < UInt64(buffer.byteCount) {
      buffer.storeBytes(of: byte, toByteOffset: Int(position - offset), as: UInt8.self)
    }
  }
}

/// Reads a volume again and again with damaged structures; each time a map that fits the volume or one of our errors
/// must come back. Both outcomes must occur, or the damage was no test.
///
/// - Parameters:
///   - structures: where the structures stand that are hit, in bytes.
///   - repair: makes the checksum of the structure at an offset right again, so that what is behind it is reached.
func readDamaged(
  _ volume: any BlockDevice, structures: [Range<UInt64>], rounds: Int, seed: UInt64,
  repair: (inout PatchedDevice, Range<UInt64>) throws -> Void = { _, _ in }
) throws {
  var generator = SeededGenerator(seed: seed)
  var outcomes = (maps: 0, errors: 0, unknown: 0)
  for round in 0..<rounds {
    var damaged = PatchedDevice(volume)
    if round % 50 == 0 { damaged.byteCount = UInt64.random(in: 0..<volume.byteCount, using: &generator) & ~511 }
    for _ in 0..<Int.random(in: 1...3, using: &generator) {
      let structure = structures[Int.random(in: 0..<structures.count, using: &generator)]
      // Most fields stand at the start of a structure.
      let reach = UInt64.random(in: 1...UInt64(structure.count), using: &generator)
      let width = UInt64([1, 2, 4, 8].randomElement(using: &generator) ?? 1)
      let offset = (structure.lowerBound + UInt64.random(in: 0..<reach, using: &generator)) & ~(width - 1)
      let value =
        [0, 1, .max, 1 << 31, 1 << 63, .random(in: 0...(.max), using: &generator)]
        .randomElement(using: &generator) ?? 0
      for index in 0..<width where offset + index < volume.byteCount {
        damaged.patches[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
      }
      if Bool.random(using: &generator), structure.upperBound <= damaged.byteCount { try repair(&damaged, structure) }
    }
    do {
      _ = try FileSystems.identify(damaged)
      if let map = try FileSystems.allocationMap(of: damaged) {
        outcomes.maps += 1
        #expect(UInt64(map.bitmap.count * map.blockSize) <= damaged.byteCount)
      } else {
        outcomes.unknown += 1
      }
    } catch is FileSystemError {
      outcomes.errors += 1
    }
  }
  #expect(outcomes.maps > 0)
  #expect(outcomes.errors > rounds / 8, "\(outcomes)")
}
