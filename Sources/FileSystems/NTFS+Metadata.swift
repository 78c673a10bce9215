// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The metadata files of an NTFS volume, read through `$MFT`.
struct NTFSMetadata {
  let volume: Volume
  let boot: NTFSBootSector
  /// `$MFT` itself; at first only as far as its first record says.
  private(set) var masterFileTable: NTFSStream

  /// Finds all of `$MFT`.
  ///
  /// When its extents do not fit into its first record, the rest stands in records that an attribute list names;
  /// each of these lies in the extents already known.
  init(_ volume: Volume, _ boot: NTFSBootSector) throws {
    self.volume = volume
    self.boot = boot
    masterFileTable = NTFSStream(resident: [])
    let bytes = try volume.read(
      "$MFT", at: boot.masterFileTable * UInt64(boot.clusterSize), count: boot.recordSize)
    try volume.parsing("$MFT") {
      let first = NTFSRecord(number: 0, bytes: try undoUpdateSequence(bytes, signature: "FILE", "$MFT"))
      guard let stream = try value(of: first.attributes(.data, named: "")), let extent = stream.extents.first,
        extent.cluster == boot.masterFileTable
      else { throw volume.damaged("$MFT does not begin where the boot sector says") }
      masterFileTable = stream
      for number in try continuations(of: first, .data, named: "") {
        let record = try continuation(number, of: first)
        try append(record.attributes(.data, named: ""), to: &masterFileTable)
      }
      try checkComplete(masterFileTable, of: 0)
    }
  }

  /// A record of `$MFT`.
  func record(_ number: UInt64) throws -> NTFSRecord {
    let (offset, overflow) = number.multipliedReportingOverflow(by: UInt64(boot.recordSize))
    guard !overflow else { throw volume.damaged("record \(number) of $MFT") }
    let bytes = try read(masterFileTable, at: offset, count: boot.recordSize)
    return NTFSRecord(
      number: number, bytes: try undoUpdateSequence(bytes, signature: "FILE", "record \(number) of $MFT"))
  }

  /// The value of an attribute of the file whose base record has this number, or nil when it has none such.
  func stream(of file: UInt64, _ type: NTFSAttributeType, named name: String = "") throws -> NTFSStream? {
    try volume.parsing("record \(file) of $MFT") {
      let base = try record(file)
      var pieces = try base.attributes(type, named: name)
      for number in try continuations(of: base, type, named: name) {
        pieces += try continuation(number, of: base).attributes(type, named: name)
      }
      let stream = try value(of: pieces)
      if let stream { try checkComplete(stream, of: file) }
      return stream
    }
  }

  /// A part of a value; what is beyond its initialised size is zeros.
  func read(_ stream: NTFSStream, at offset: UInt64, count: Int) throws -> [UInt8] {
    guard UInt64(count) <= stream.byteCount, offset <= stream.byteCount - UInt64(count) else {
      throw volume.damaged(
        "\(count) bytes at byte \(offset) of a metadata file that has only \(stream.byteCount) bytes")
    }
    if stream.isResident { return try stream.resident.span.bytes.array(at: Int(offset), count: count) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    let clusterSize = UInt64(boot.clusterSize)
    // Extents and sizes were checked to stay below 2^63 bytes.
    let end = min(offset + UInt64(count), stream.initializedByteCount)
    var index = stream.extents.partitioningIndex { ($0.virtualCluster + $0.count) * clusterSize > offset }
    while offset + UInt64(bytes.count) < end {
      guard index < stream.extents.count else { throw volume.damaged("a metadata file lacks clusters") }
      let extent = stream.extents[index]
      let skipped = offset + UInt64(bytes.count) - extent.virtualCluster * clusterSize
      let part = Int(min(end - offset - UInt64(bytes.count), extent.count * clusterSize - skipped))
      if let cluster = extent.cluster {
        bytes += try volume.read("a metadata file", at: cluster * clusterSize + skipped, count: part)
      } else {
        bytes += repeatElement(0, count: part)
      }
      index += 1
    }
    bytes += repeatElement(0, count: count - bytes.count)
    return bytes
  }

  /// Puts back the last two bytes of each 512 bytes, which hold the update sequence number on disk.
  func undoUpdateSequence(
    _ record: [UInt8], signature: String, _ what: @autoclosure () -> String
  ) throws -> [UInt8] {
    var bytes = record
    guard bytes.starts(with: signature.utf8) else { throw volume.damaged("\(what()) does not begin with \(signature)") }
    let arrayOffset = Int(try bytes.littleEndian(UInt16.self, at: 4))
    let arrayCount = Int(try bytes.littleEndian(UInt16.self, at: 6))
    guard arrayCount == bytes.count / 512 + 1 else {
      throw volume.damaged("\(what()) has \(arrayCount) update sequence numbers for \(bytes.count) bytes")
    }
    let number = try record.littleEndian(UInt16.self, at: arrayOffset)
    for index in 1..<arrayCount {
      guard try record.littleEndian(UInt16.self, at: index * 512 - 2) == number else {
        throw volume.damaged("\(what()) was not written completely")
      }
      bytes.store(try record.littleEndian(UInt16.self, at: arrayOffset + 2 * index), at: index * 512 - 2)
    }
    return bytes
  }

  // MARK: Attributes in several records

  /// The records, other than the base record itself, that hold pieces of an attribute: those that the base record's
  /// attribute list names, in its order, which is that of the value.
  private func continuations(
    of base: NTFSRecord, _ type: NTFSAttributeType, named name: String
  ) throws -> [UInt64] {
    let lists = try base.attributes(.attributeList, named: "")
    guard let list = try value(of: lists) else { return [] }
    let limit: UInt64 = 256 << 10  // Windows' own
    guard list.byteCount <= limit else {
      throw volume.damaged("record \(base.number) of $MFT has an attribute list of \(list.byteCount) bytes")
    }
    let bytes = try read(list, at: 0, count: Int(list.byteCount))
    var numbers: [UInt64] = []
    var seen: Set<UInt64> = [base.number]
    var offset = 0
    let headerSize = 26
    while offset + headerSize <= bytes.count {
      let length = Int(try bytes.littleEndian(UInt16.self, at: offset + 4))
      guard length >= headerSize else {
        throw volume.damaged("an attribute list entry of \(length) bytes in record \(base.number) of $MFT")
      }
      let number = try bytes.littleEndian(UInt64.self, at: offset + 16) & NTFSRecord.numberMask
      if try bytes.littleEndian(UInt32.self, at: offset) == type.rawValue,
        try NTFSAttribute.utf16(bytes, at: offset + Int(bytes[offset + 7]), count: Int(bytes[offset + 6])) == name,
        seen.insert(number).inserted
      {
        numbers.append(number)
      }
      offset += length
    }
    return numbers
  }

  private func continuation(_ number: UInt64, of base: NTFSRecord) throws -> NTFSRecord {
    let record = try record(number)
    guard try record.isInUse, try record.baseRecord == base.number else {
      throw volume.damaged("record \(number) of $MFT does not continue record \(base.number)")
    }
    return record
  }

  /// Puts the pieces of an attribute together; nil when there are none.
  private func value(of pieces: [NTFSAttribute]) throws -> NTFSStream? {
    guard let first = pieces.min(by: { $0.firstVirtualCluster < $1.firstVirtualCluster }) else { return nil }
    guard !first.isResident else { return NTFSStream(resident: try first.value()) }
    var stream = try NTFSStream(sizedBy: first)
    try append(pieces, to: &stream)
    return stream
  }

  private func append(_ pieces: [NTFSAttribute], to stream: inout NTFSStream) throws {
    for piece in pieces.sorted(by: { $0.firstVirtualCluster < $1.firstVirtualCluster }) {
      guard !piece.isResident, piece.firstVirtualCluster == stream.clusterCount else {
        throw volume.damaged("an attribute continues at cluster \(piece.firstVirtualCluster), not where it ended")
      }
      stream.extents += try boot.extents(of: piece, in: volume)
    }
  }

  private func checkComplete(_ stream: NTFSStream, of file: UInt64) throws {
    let available = stream.clusterCount * UInt64(boot.clusterSize)
    guard stream.isResident || stream.byteCount <= available else {
      throw volume.damaged(
        "record \(file) of $MFT has clusters for \(available) bytes of an attribute of \(stream.byteCount) bytes")
    }
  }
}

extension Array {
  /// The first index whose element satisfies a condition that, once true, stays true.
  fileprivate func partitioningIndex(where condition: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if condition(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
