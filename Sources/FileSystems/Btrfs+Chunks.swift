// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// Where a range of logical addresses stands on this device.
struct BtrfsChunk {
  let start: UInt64
  let length: UInt64
  /// Data stripes side by side: 1 without striping.
  let width: UInt64
  let stripeLength: UInt64
  /// Stripes of each row that hold parity: 0, 1 or 2.
  let parityCount: UInt64
  /// The parts of the chunk on this device.
  let stripesHere: [Stripe]

  struct Stripe {
    /// In the chunk, counted from the first data stripe; mirrors of one stripe have the same number.
    let index: UInt64
    /// First byte on the device.
    let offset: UInt64
  }

  /// - Parameters:
  ///   - start: first logical address.
  ///   - item: a chunk item.
  init(start: UInt64, item: RawSpan, deviceID: UInt64, in volume: Volume) throws {
    self.start = start
    length = try item.littleEndian(UInt64.self, at: 0)
    stripeLength = try item.littleEndian(UInt64.self, at: 16)
    let type = try item.littleEndian(UInt64.self, at: 24)
    let stripeCount = UInt64(try item.littleEndian(UInt16.self, at: 44))
    let (_, overflow) = start.addingReportingOverflow(length)
    // The limit keeps the arithmetic on stripes from overflowing.
    guard length > 0, length <= 1 << 62, !overflow, stripeCount > 0, stripeLength.nonzeroBitCount == 1,
      4096...(1 << 20) ~= stripeLength
    else { throw volume.damaged("a chunk of \(length) bytes at logical address \(start)") }

    let profiles = type & Self.profileMask
    var copies: UInt64 = 1
    var parity: UInt64 = 0
    switch profiles {
    case Self.raid0: break
    case Self.raid10: copies = UInt64(try item.littleEndian(UInt16.self, at: 46))
    case Self.raid5: parity = 1
    case Self.raid6: parity = 2
    case 0, Self.raid1, Self.duplicated, Self.raid1c3, Self.raid1c4: copies = stripeCount
    default: throw volume.unsupported("block group profile 0x\(String(type, radix: 16))")
    }
    guard copies > 0, stripeCount.isMultiple(of: copies), stripeCount > parity else {
      throw volume.damaged("a chunk of \(stripeCount) stripes at logical address \(start)")
    }
    width = (stripeCount - parity) / copies
    parityCount = parity

    var here: [Stripe] = []
    for index in 0..<stripeCount {
      let entry = 48 + 32 * Int(index)
      guard try item.littleEndian(UInt64.self, at: entry) == deviceID else { continue }
      here.append(Stripe(index: index / copies, offset: try item.littleEndian(UInt64.self, at: entry + 8)))
    }
    guard here.count <= (profiles == Self.duplicated ? 2 : 1) else {
      throw volume.damaged("a chunk with \(here.count) stripes on one device at logical address \(start)")
    }
    stripesHere = here
  }

  /// The part of an extent that stands in a stripe: contiguous, whatever the profile.
  ///
  /// With parity it is all the rows the extent touches, for the parity depends on all of a row.
  /// - Parameters:
  ///   - offset: where the extent begins in the chunk; it must end in the chunk too.
  /// - Returns: the first byte on the device, which saturates on overflow, and the count, zero when nothing is here.
  func place(of offset: UInt64, _ length: UInt64, on stripe: Stripe) -> (start: UInt64, length: UInt64) {
    guard length > 0 else { return (stripe.offset, 0) }
    let last = offset + length - 1
    let firstUnit = offset / stripeLength
    let lastUnit = last / stripeLength
    let from: UInt64
    let to: UInt64
    if parityCount > 0 {
      from = firstUnit / width * stripeLength
      to = (lastUnit / width + 1) * stripeLength
    } else {
      // Units of this stripe are those whose number is the stripe's, modulo the width.
      let first = firstUnit + (stripe.index + width - firstUnit % width) % width
      guard first <= lastUnit else { return (stripe.offset, 0) }
      let final = lastUnit - (lastUnit % width + width - stripe.index) % width
      from = first / width * stripeLength + (first == firstUnit ? offset % stripeLength : 0)
      to = final / width * stripeLength + (final == lastUnit ? last % stripeLength + 1 : stripeLength)
    }
    let (start, overflow) = stripe.offset.addingReportingOverflow(from)
    return (overflow ? .max : start, to - from)
  }

  /// Where on this device the bytes from `offset` in the chunk can be read; empty when only other devices have them.
  func readablePlaces(of offset: UInt64) -> [UInt64] {
    stripesHere.compactMap { stripe in
      guard parityCount > 0 else {
        let place = place(of: offset, 1, on: stripe)
        return place.length > 0 ? place.start : nil
      }
      // Row by row, data and parity move on by one device.
      let unit = offset / stripeLength
      let row = unit / width
      let stripeCount = width + parityCount
      guard (unit % width + row % stripeCount) % stripeCount == stripe.index else { return nil }
      let (start, overflow) = stripe.offset.addingReportingOverflow(row * stripeLength + offset % stripeLength)
      return overflow ? nil : start
    }
  }

  private static let raid0: UInt64 = 1 << 3
  private static let raid1: UInt64 = 1 << 4
  private static let duplicated: UInt64 = 1 << 5
  private static let raid10: UInt64 = 1 << 6
  private static let raid5: UInt64 = 1 << 7
  private static let raid6: UInt64 = 1 << 8
  private static let raid1c3: UInt64 = 1 << 9
  private static let raid1c4: UInt64 = 1 << 10
  private static let profileMask: UInt64 =
    raid0 | raid1 | duplicated | raid10 | raid5 | raid6 | raid1c3 | raid1c4
}

/// All chunks, in the order of their logical addresses.
struct BtrfsChunks {
  private let chunks: [BtrfsChunk]

  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` when chunks overlap.
  init(_ unordered: [BtrfsChunk], in volume: Volume) throws {
    chunks = unordered.sorted { $0.start < $1.start }
    for (chunk, next) in zip(chunks, chunks.dropFirst()) where next.start - chunk.start < chunk.length {
      throw volume.damaged("the chunks at logical addresses \(chunk.start) and \(next.start) overlap")
    }
  }

  /// The chunk that holds a range of logical addresses; extents never cross the end of a chunk.
  func chunk(holding address: UInt64, _ length: UInt64, in volume: Volume) throws -> BtrfsChunk {
    var low = 0
    var high = chunks.count
    while low < high {
      let middle = (low + high) / 2
      if chunks[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { throw volume.damaged("no chunk has the logical address \(address)") }
    let chunk = chunks[low - 1]
    let offset = address - chunk.start
    guard offset < chunk.length, length <= chunk.length - offset else {
      throw volume.damaged("no chunk has the \(length) bytes at logical address \(address)")
    }
    return chunk
  }
}
