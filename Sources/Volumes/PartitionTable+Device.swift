// SPDX-License-Identifier: GPL-3.0-or-later

public import BlockIO
import Bytes

extension PartitionTable {
  /// The table of a disk.
  ///
  /// The sectors are those of the device; a file that holds the image of a disk with 4096-byte sectors is recognized by
  /// where its GPT lies.
  /// - Returns: nil when there is none: an empty disk, or a file system without partitions.
  /// - Throws: ``PartitionTableError/damaged(device:detail:)``, `DeviceError`.
  public static func read(from device: any BlockDevice) throws -> PartitionTable? {
    guard device.byteCount >= UInt64(MasterBootRecord.byteCount) else { return nil }
    let bootSector = try device.read(at: 0, count: MasterBootRecord.byteCount)
    var damage: PartitionTableError?
    for sectorSize in [device.sectorSize] + [512, 4096].filter({ $0 != device.sectorSize }) {
      do {
        if let table = try GUIDPartitionTable.read(from: device, sectorSize: sectorSize, bootSector: bootSector) {
          return table
        }
      } catch let error as PartitionTableError where damage == nil {
        damage = error
      }
    }
    if let damage { throw damage }
    if MasterBootRecord.types(of: bootSector).contains(MasterBootRecord.protectiveType) {
      throw PartitionTableError.damaged(
        device: device.name, detail: "its MBR is that of a GPT disk, but neither copy of the GPT is there")
    }
    return try MasterBootRecord.read(from: device, sectorSize: device.sectorSize, bootSector: bootSector)
  }

  /// All that makes up the table, by byte offset on the disk, in the order in which it is to be written.
  /// - Throws: ``PartitionTableError/inconsistent(detail:)``.
  public func encoded() throws -> [(offset: UInt64, bytes: [UInt8])] {
    try validate()
    switch scheme {
    case .gpt(let parameters): return GUIDPartitionTable.encoded(self, parameters)
    case .mbr(let signature): return try MasterBootRecord.encoded(self, diskSignature: signature)
    }
  }

  /// Writes the table to a disk of ``sectorCount`` sectors and waits until it is on stable storage.
  ///
  /// Boot code goes along as it stands in ``bootSector``; a code of its own in an extended boot record does not.
  /// - Throws: ``PartitionTableError``, `DeviceError`.
  public func write(to device: any WritableBlockDevice) throws {
    guard device.byteCount / UInt64(sectorSize) == sectorCount else {
      throw PartitionTableError.inconsistent(
        detail: "it is made for \(sectorCount) sectors, but \(device.name) has \(device.byteCount / UInt64(sectorSize))"
      )
    }
    for region in try encoded() { try device.write(region.bytes.span.bytes, at: region.offset) }
    try device.synchronize()
  }

  /// Throws unless the partitions lie where they may, without overlap, in a way that the format can express.
  public func validate() throws(PartitionTableError) {
    guard bootSector.count == MasterBootRecord.byteCount else {
      throw .inconsistent(detail: "a boot sector of \(bootSector.count) bytes")
    }
    guard sectorSize >= 512, sectorSize <= 4096, sectorSize.nonzeroBitCount == 1, sectorCount > 3,
      !sectorCount.multipliedReportingOverflow(by: UInt64(sectorSize)).overflow
    else { throw .inconsistent(detail: "\(sectorCount) sectors of \(sectorSize) bytes") }
    var numbers: Set<Int> = []
    for partition in partitions {
      guard numbers.insert(partition.number).inserted else {
        throw .inconsistent(detail: "there are two partitions \(partition.number)")
      }
      guard partition.count > 0, !partition.start.addingReportingOverflow(partition.count).overflow else {
        throw .inconsistent(detail: "partition \(partition.number) has \(partition.count) sectors")
      }
      switch scheme {
      case .gpt(let parameters): try validate(partition, parameters)
      case .mbr: try validateMBR(partition)
      }
    }
    if case .gpt(let parameters) = scheme { try validate(parameters) }
    if let highest = partitions.map(\.end).max(), highest > sectorCount {
      throw .doesNotFit(
        needed: highest.multipliedReportingOverflow(by: UInt64(sectorSize)).partialValue, available: byteCount)
    }
    try validateOverlap(partitions.filter { !$0.isLogical })
    try validateOverlap(partitions.filter(\.isLogical))
  }

  private func validate(_ parameters: GPTParameters) throws(PartitionTableError) {
    guard parameters.entrySize >= 128, parameters.entrySize <= 4096, parameters.entrySize.isMultiple(of: 8),
      parameters.entryCount > 0, parameters.entryCount <= GUIDPartitionTable.maximumArrayBytes / parameters.entrySize
    else { throw .inconsistent(detail: "\(parameters.entryCount) entries of \(parameters.entrySize) bytes") }
    let length = parameters.entrySectors(sectorSize: sectorSize)
    guard parameters.entriesStart >= 2, parameters.entriesStart <= parameters.firstUsable,
      parameters.firstUsable - parameters.entriesStart >= length, parameters.lastUsable >= parameters.firstUsable,
      parameters.lastUsable < sectorCount, sectorCount - parameters.lastUsable >= length + 2
    else {
      throw .inconsistent(
        detail: "usable sectors \(parameters.firstUsable) to \(parameters.lastUsable) leave no room for the table on a "
          + "disk of \(sectorCount) sectors")
    }
  }

  private func validate(_ partition: Partition, _ parameters: GPTParameters) throws(PartitionTableError) {
    guard case .gpt = partition.type, partition.number >= 1, partition.number <= parameters.entryCount else {
      throw .inconsistent(detail: "partition \(partition.number) does not belong in a GPT of \(parameters.entryCount)")
    }
    guard partition.name.utf16.count <= 36 else {
      throw .inconsistent(detail: "the name of partition \(partition.number) is longer than 36 characters")
    }
    guard partition.start >= parameters.firstUsable, partition.end - 1 <= parameters.lastUsable else {
      throw .inconsistent(
        detail: "partition \(partition.number) (sectors \(partition.start) to \(partition.end - 1)) leaves the usable "
          + "\(parameters.firstUsable) to \(parameters.lastUsable)")
    }
  }

  private func validateMBR(_ partition: Partition) throws(PartitionTableError) {
    guard case .mbr = partition.type, partition.number >= 1,
      partition.number <= 4 + MasterBootRecord.maximumLogicalPartitions
    else { throw .inconsistent(detail: "partition \(partition.number) does not belong in an MBR") }
    guard partition.start > 0, partition.start <= UInt64(UInt32.max), partition.count <= UInt64(UInt32.max) else {
      throw .inconsistent(detail: "partition \(partition.number) lies beyond what an MBR can express")
    }
    guard partition.isLogical else { return }
    guard let extended, partition.start > extended.start, partition.end <= extended.end else {
      throw .inconsistent(detail: "logical partition \(partition.number) is not inside an extended one")
    }
  }

  private func validateOverlap(_ partitions: [Partition]) throws(PartitionTableError) {
    let sorted = partitions.sorted { $0.start < $1.start }
    for (one, next) in zip(sorted, sorted.dropFirst()) where one.end > next.start {
      throw .inconsistent(detail: "partitions \(one.number) and \(next.number) overlap")
    }
  }
}
