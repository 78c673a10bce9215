// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes
import FileSystems
import SystemPackage
import TestSupport

/// What `blkid` finds in an image, by its own names: TYPE, UUID, LABEL, VERSION.
func blkid(_ image: FilePath) async throws -> [String: String] {
  var values: [String: String] = [:]
  for line in try await tool("blkid", "-p", "-o", "export", image.string).split(separator: "\n") {
    guard let equals = line.firstIndex(of: "=") else { continue }
    // It escapes what a shell would take apart.
    values[String(line[..<equals])] = line[line.index(after: equals)...].filter { $0 != "\\" }
  }
  return values
}

/// Writes A5 over every free block: whatever the map forgot is gone then.
func poison(_ image: FilePath, outside map: AllocationMap) throws {
  let device = try FileDevice(path: image, access: .readWrite)
  let pattern = [UInt8](repeating: 0xA5, count: 1 << 20)
  for run in map.bitmap.freeRuns {
    var offset = run.lowerBound * map.blockSize
    while offset < run.upperBound * map.blockSize {
      let count = min(pattern.count, run.upperBound * map.blockSize - offset)
      try device.write(pattern.span.bytes.extracting(0..<count), at: UInt64(offset))
      offset += count
    }
  }
}

extension BlockBitmap {
  /// The runs of free blocks, in order.
  var freeRuns: [Range<Int>] {
    var runs: [Range<Int>] = []
    var position = 0
    forEachUsedRun { used in
      if position < used.lowerBound { runs.append(position..<used.lowerBound) }
      position = used.upperBound
    }
    if position < count { runs.append(position..<count) }
    return runs
  }
}

/// A folder with files of many sizes, the same in every run.
func makeTree(_ folder: FilePath, files: Int, seed: UInt64) async throws {
  var generator = SeededGenerator(seed: seed)
  try await tool("mkdir", "-p", folder.appending("sub/deeper").string)
  for index in 0..<files {
    let place = ["", "sub", "sub/deeper"][index % 3]
    let size = [0, 1, 100, 3000, 20_000, 70_000][Int.random(in: 0..<6, using: &generator)]
    let bytes = (0..<size).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    try folder.appending("\(place.isEmpty ? "" : place + "/")file\(index).bin").write(bytes)
  }
}

/// Damages an image in many ways and reads it each time: a map that fits the volume or one of our errors must come back.
///
/// - Parameters:
///   - image: a good image; small.
///   - structures: where the structures are that are to be hit most, in bytes.
func readDamagedCopies(
  of image: [UInt8], structures: [Range<Int>], rounds: Int, seed: UInt64
) throws -> (maps: Int, errors: Int, unknown: Int) {
  var generator = SeededGenerator(seed: seed)
  var bytes = image
  var outcomes = (maps: 0, errors: 0, unknown: 0)
  for round in 0..<rounds {
    var undo: [(Int, UInt8)] = []
    var count = image.count
    if round % 10 == 0 {
      count =
        round % 20 == 0
        ? Int.random(in: 0..<min(8192, image.count), using: &generator)
        : Int.random(in: 0..<image.count, using: &generator)
    } else {
      for _ in 0..<Int.random(in: 1...(round % 3 == 0 ? 40 : 4), using: &generator) {
        let structure = structures[Int.random(in: 0..<structures.count, using: &generator)]
        let width = [1, 1, 2, 4, 8][Int.random(in: 0..<5, using: &generator)]
        let start = Int.random(in: structure, using: &generator) & ~(width - 1)
        let value: UInt64 = [0, .max, 1, 0x8000_0000, .random(in: 0...(.max), using: &generator)][
          Int.random(in: 0..<5, using: &generator)]
        for offset in 0..<width where start + offset < image.count {
          undo.append((start + offset, bytes[start + offset]))
          bytes[start + offset] = UInt8(truncatingIfNeeded: value >> UInt64(offset * 8))
        }
      }
    }
    let device = MemoryDevice(count == image.count ? bytes : Array(bytes[..<count]))
    do {
      _ = try FileSystems.identify(device)
      if let map = try FileSystems.allocationMap(of: device) {
        outcomes.maps += 1
        guard map.bitmap.count * map.blockSize <= count else { throw MapLargerThanVolume(round: round) }
      } else {
        outcomes.unknown += 1
      }
    } catch is FileSystemError {
      outcomes.errors += 1
    }
    for (offset, byte) in undo.reversed() { bytes[offset] = byte }
  }
  return outcomes
}

struct MapLargerThanVolume: Error {
  let round: Int
}

/// A small generator with a seed, so that every run of a test sees the same numbers (Steele, Lea, Flood 2014).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}
