// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The records of `$MFT` that NTFS gives to its own files.
enum NTFSSystemFile {
  static let masterFileTable: UInt64 = 0
  static let logFile: UInt64 = 2
  static let volume: UInt64 = 3
  static let rootDirectory: UInt64 = 5
  static let bitmap: UInt64 = 6
  static let badClusters: UInt64 = 8
}

/// The type codes of the attributes read here.
enum NTFSAttributeType: UInt32 {
  case attributeList = 0x20
  case volumeName = 0x60
  case volumeInformation = 0x70
  case data = 0x80
  case indexRoot = 0x90
  case indexAllocation = 0xA0
  case bitmap = 0xB0
}

/// Clusters that hold a part of an attribute, or a hole that reads as zeros.
struct NTFSExtent {
  /// Where the part begins in the attribute's value, in clusters.
  let virtualCluster: UInt64
  /// Where it begins on the volume; nil for a hole.
  let cluster: UInt64?
  /// How many clusters; `virtualCluster + count` clusters have fewer than 2^63 bytes.
  let count: UInt64
}

/// The value of an attribute: in its record, or in clusters.
struct NTFSStream {
  let isResident: Bool
  /// In order from the first virtual cluster; empty for a resident value.
  var extents: [NTFSExtent]
  /// Of a resident value.
  var resident: [UInt8]
  var byteCount: UInt64
  /// Bytes from here on read as zeros.
  var initializedByteCount: UInt64

  /// A value that its record holds.
  init(resident: [UInt8]) {
    isResident = true
    extents = []
    self.resident = resident
    byteCount = UInt64(resident.count)
    initializedByteCount = byteCount
  }

  /// A value in clusters, of which none are known yet.
  /// - Parameter piece: the non-resident attribute that begins the value and so states its sizes.
  init(sizedBy piece: NTFSAttribute) throws {
    isResident = false
    extents = []
    resident = []
    byteCount = try piece.bytes.littleEndian(UInt64.self, at: 48)
    initializedByteCount = try piece.bytes.littleEndian(UInt64.self, at: 56)
  }

  var clusterCount: UInt64 { extents.last.map { $0.virtualCluster + $0.count } ?? 0 }
}

/// One attribute of a record, whose bytes were checked to be all there.
struct NTFSAttribute {
  let bytes: [UInt8]
  let isResident: Bool
  /// Of a non-resident attribute: where in the value its extents begin, in clusters.
  let firstVirtualCluster: UInt64

  init(_ bytes: [UInt8]) throws {
    self.bytes = bytes
    isResident = try bytes.span.bytes.byte(at: 8) == 0
    firstVirtualCluster = isResident ? 0 : try bytes.littleEndian(UInt64.self, at: 16)
  }

  func hasName(_ name: String) throws -> Bool {
    let count = Int(try bytes.span.bytes.byte(at: 9))
    return try NTFSAttribute.utf16(bytes, at: Int(bytes.littleEndian(UInt16.self, at: 10)), count: count) == name
  }

  /// A resident attribute's value.
  func value() throws -> [UInt8] {
    try bytes.span.bytes.array(
      at: Int(bytes.littleEndian(UInt16.self, at: 20)), count: Int(bytes.littleEndian(UInt32.self, at: 16)))
  }

  /// Text of `count` UTF-16 units; unpaired surrogates are replaced.
  static func utf16(_ bytes: [UInt8], at offset: Int, count: Int) throws -> String {
    var units: [UInt16] = []
    for index in 0..<count { units.append(try bytes.littleEndian(UInt16.self, at: offset + 2 * index)) }
    return String(decoding: units, as: UTF16.self)
  }
}

/// A record of `$MFT` with its update sequence undone.
struct NTFSRecord {
  let number: UInt64
  let bytes: [UInt8]

  var isInUse: Bool { get throws { try bytes.littleEndian(UInt16.self, at: 22) & 1 != 0 } }
  /// Counts how often the record was given to another file.
  var sequenceNumber: UInt16 { get throws { try bytes.littleEndian(UInt16.self, at: 16) } }
  /// The record this one continues, or zero.
  var baseRecord: UInt64 { get throws { try bytes.littleEndian(UInt64.self, at: 32) & Self.numberMask } }

  /// A reference has the record's number in its lower 48 bits and its sequence number above.
  static let numberMask: UInt64 = 0xFFFF_FFFF_FFFF

  /// The attributes of one type and name in this record alone.
  func attributes(_ type: NTFSAttributeType, named name: String) throws -> [NTFSAttribute] {
    var found: [NTFSAttribute] = []
    var offset = Int(try bytes.littleEndian(UInt16.self, at: 20))
    let endMark = UInt32.max
    while true {
      let code = try bytes.littleEndian(UInt32.self, at: offset)
      guard code != endMark else { return found }
      let length = Int(try bytes.littleEndian(UInt32.self, at: offset + 4))
      // Attributes have a header of 16 bytes at least, so the loop always advances.
      guard length >= 16 else { throw OutOfBounds(offset: offset, count: 16, available: length) }
      let part = try bytes.span.bytes.slice(offset, length)
      if code == type.rawValue {
        let attribute = try NTFSAttribute(part.array(at: 0, count: length))
        if try attribute.hasName(name) { found.append(attribute) }
      }
      offset += length
    }
  }
}

extension NTFSBootSector {
  /// Decodes the mapping pairs of a non-resident attribute.
  func extents(of attribute: NTFSAttribute, in volume: Volume) throws -> [NTFSExtent] {
    let bytes = attribute.bytes.span.bytes
    var offset = Int(try bytes.littleEndian(UInt16.self, at: 32))
    var extents: [NTFSExtent] = []
    var virtualCluster = attribute.firstVirtualCluster
    var cluster: Int64 = 0
    while true {
      let header = try bytes.byte(at: offset)
      guard header != 0 else { return extents }
      let countSize = Int(header & 0x0F)
      let deltaSize = Int(header >> 4)
      guard 1...8 ~= countSize, deltaSize <= 8 else { throw volume.damaged("a mapping pair of form \(header)") }
      let count = try Self.signed(bytes.slice(offset + 1, countSize))
      let (end, overflow) = virtualCluster.addingReportingOverflow(UInt64(max(0, count)))
      guard count > 0, !overflow, end <= UInt64(Int64.max) / UInt64(clusterSize) else {
        throw volume.damaged("a run of \(count) clusters from cluster \(virtualCluster) of an attribute on")
      }
      if deltaSize == 0 {
        extents.append(NTFSExtent(virtualCluster: virtualCluster, cluster: nil, count: UInt64(count)))
      } else {
        let delta = try Self.signed(bytes.slice(offset + 1 + countSize, deltaSize))
        let (sum, overflow) = cluster.addingReportingOverflow(delta)
        guard !overflow, sum >= 0, UInt64(sum) < clusterCount, UInt64(count) <= clusterCount - UInt64(sum) else {
          throw volume.damaged("a run of \(count) clusters at cluster \(cluster) + \(delta) of \(clusterCount)")
        }
        cluster = sum
        extents.append(NTFSExtent(virtualCluster: virtualCluster, cluster: UInt64(sum), count: UInt64(count)))
      }
      virtualCluster = end
      offset += 1 + countSize + deltaSize
    }
  }

  /// A two's complement number of one to eight bytes.
  private static func signed(_ bytes: RawSpan) throws -> Int64 {
    var value: Int64 = 0
    for index in 0..<bytes.byteCount { value |= Int64(try bytes.byte(at: index)) << Int64(index * 8) }
    let unused = Int64(64 - bytes.byteCount * 8)
    return (value << unused) >> unused
  }
}
