// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO
import Bytes

/// A logical volume seen as a device: its bytes where they lie on the devices of its group, without device-mapper.
public struct LogicalVolumeDevice<Base: BlockDevice>: BlockDevice {
  public let name: String
  public let byteCount: UInt64
  public let sectorSize: Int
  private let bases: [Base]
  private let segments: [Segment]

  private struct Segment {
    let start: UInt64
    let byteCount: UInt64
    let stripeByteCount: UInt64
    let areas: [VolumeGroup.Area]
  }

  /// Bytes that lie in a row on one device.
  private struct Piece {
    let base: Int
    let offset: UInt64
    let count: UInt64
  }

  /// - Parameters:
  ///   - volume: one of the group's, of striped and linear segments only.
  ///   - bases: the devices of the group's physical volumes, in their order.
  ///   - name: for messages.
  /// - Throws: `DeviceError` when a device is too small for its physical volume, or one is missing.
  /// - Returns: nil when the volume has segments of another type.
  public init?(
    _ volume: VolumeGroup.LogicalVolume, of group: VolumeGroup, on bases: [Base], name: String
  ) throws(DeviceError) {
    guard bases.count == group.physicalVolumes.count else { throw .notADevice(device: name) }
    for (base, physical) in zip(bases, group.physicalVolumes) { try base.checkRange(0, physical.end) }
    var segments: [Segment] = []
    for segment in volume.segments {
      guard case .striped(let stripe, let areas) = segment.layout else { return nil }
      segments.append(
        Segment(start: segment.start, byteCount: segment.byteCount, stripeByteCount: stripe, areas: areas))
    }
    self.segments = segments
    self.bases = bases
    self.name = name
    byteCount = volume.byteCount
    sectorSize = bases.map(\.sectorSize).max() ?? 512
  }

  /// The first bytes of a range that lie in a row, at most `limit` of them; the offset lies inside the volume.
  private func piece(at offset: UInt64, limit: UInt64) -> Piece {
    var low = 0
    var high = segments.count - 1
    while low < high {
      let middle = (low + high + 1) / 2
      if segments[middle].start <= offset { low = middle } else { high = middle - 1 }
    }
    let segment = segments[low]
    let (chunk, inside) = (offset - segment.start).quotientAndRemainder(dividingBy: segment.stripeByteCount)
    let (row, column) = chunk.quotientAndRemainder(dividingBy: UInt64(segment.areas.count))
    let area = segment.areas[Int(column)]
    return Piece(
      base: area.physicalVolume, offset: area.start + row * segment.stripeByteCount + inside,
      count: min(limit, segment.stripeByteCount - inside))
  }

  public func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws(DeviceError) {
    let count = buffer.byteCount
    try checkRange(offset, UInt64(count))
    var done = 0
    while done < count {
      let piece = piece(at: offset + UInt64(done), limit: UInt64(count - done))
      var part = buffer.part(done..<(done + Int(piece.count)))
      try bases[piece.base].read(at: piece.offset, into: &part)
      done += Int(piece.count)
    }
  }

  public func willRead(at offset: UInt64, count: UInt64) {
    guard offset < byteCount else { return }
    let count = min(count, byteCount - offset)
    var done: UInt64 = 0
    while done < count {
      let piece = piece(at: offset + done, limit: count - done)
      bases[piece.base].willRead(at: piece.offset, count: piece.count)
      done += piece.count
    }
  }
}

extension LogicalVolumeDevice: WritableBlockDevice where Base: WritableBlockDevice {
  public func write(_ bytes: RawSpan, at offset: UInt64) throws(DeviceError) {
    let count = bytes.byteCount
    try checkRange(offset, UInt64(count))
    var done = 0
    while done < count {
      let piece = piece(at: offset + UInt64(done), limit: UInt64(count - done))
      try bases[piece.base].write(bytes.extracting(done..<(done + Int(piece.count))), at: piece.offset)
      done += Int(piece.count)
    }
  }

  public func zero(at offset: UInt64, count: UInt64) throws(DeviceError) {
    try checkRange(offset, count)
    var done: UInt64 = 0
    while done < count {
      let piece = piece(at: offset + done, limit: count - done)
      try bases[piece.base].zero(at: piece.offset, count: piece.count)
      done += piece.count
    }
  }

  public func synchronize() throws(DeviceError) { for base in bases { try base.synchronize() } }
}
