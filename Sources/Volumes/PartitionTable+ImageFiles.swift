// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// The binary and geometry files that a Clonezilla image keeps beside the text of a partition table.
extension PartitionTable {
  /// What `sgdisk -b` writes (`sda-gpt.gdisk`): protective MBR, primary and backup header (512 bytes each), entries.
  /// - Returns: nil for an MBR table.
  public func gdiskBackup() -> [UInt8]? {
    guard case .gpt(let parameters) = scheme else { return nil }
    let (primary, backup, entries) = GUIDPartitionTable.copies(of: self, parameters)
    func sector(_ bytes: [UInt8]) -> [UInt8] { bytes + [UInt8](repeating: 0, count: 512 - bytes.count) }
    return GUIDPartitionTable.protectiveSector(of: self) + sector(GUIDPartitionTable.headerBytes(primary))
      + sector(GUIDPartitionTable.headerBytes(backup)) + entries
  }

  /// The table in what `sgdisk -b` wrote.
  ///
  /// - Parameters:
  ///   - sectorSize: logical sector size of the source disk in bytes, which the file does not tell.
  ///   - sectorCount: its size in such sectors.
  ///   - name: the file's name, for errors.
  /// - Throws: ``PartitionTableError/damaged(device:detail:)``.
  public init(
    gdiskBackup bytes: [UInt8], sectorSize: Int, sectorCount: UInt64, name: String
  ) throws(PartitionTableError) {
    self = try Self.assembled(
      bootSector: bytes.prefix(512), header: bytes.dropFirst(512).prefix(512), entries: bytes.dropFirst(1536),
      sectorSize: sectorSize, sectorCount: sectorCount, name: name)
  }

  /// The table in the first 34 sectors of 512 bytes of a disk (`sda-gpt-1st`).
  ///
  /// - Parameters: as for ``init(gdiskBackup:sectorSize:sectorCount:name:)``.
  /// - Throws: ``PartitionTableError/damaged(device:detail:)``, also when the entries lie elsewhere or go on behind
  ///   these sectors.
  public init(
    gptFirst bytes: [UInt8], sectorSize: Int, sectorCount: UInt64, name: String
  ) throws(PartitionTableError) {
    self = try Self.assembled(
      bootSector: bytes.prefix(512), header: bytes.dropFirst(sectorSize).prefix(sectorSize),
      entries: bytes.dropFirst(2 * sectorSize), sectorSize: sectorSize, sectorCount: sectorCount, name: name)
  }

  /// The table in the last sectors of a disk (`sda-gpt-2nd`), with what only the first ones have.
  ///
  /// Clonezilla's copy begins one sector late: it lacks the first sector of the entries, which comes from `first`. The
  /// checksum tells whether the two belong together.
  /// - Parameters:
  ///   - second: the last 32 or 33 sectors of 512 bytes.
  ///   - first: the first 34, whose header may be damaged.
  /// - Throws: ``PartitionTableError/damaged(device:detail:)``.
  public init(
    gptSecond second: [UInt8], first: [UInt8], sectorCount: UInt64, name: String
  ) throws(PartitionTableError) {
    let sectorSize = 512
    let isLate = second.count == 32 * sectorSize
    let lacking = isLate ? Array(first.dropFirst(2 * sectorSize).prefix(sectorSize)) : []
    self = try Self.assembled(
      bootSector: first.prefix(512), header: second.suffix(sectorSize),
      entries: (lacking + second.dropLast(sectorSize))[...], sectorSize: sectorSize, sectorCount: sectorCount,
      name: name)
  }

  private static func assembled(
    bootSector: ArraySlice<UInt8>, header: ArraySlice<UInt8>, entries: ArraySlice<UInt8>, sectorSize: Int,
    sectorCount: UInt64, name: String
  ) throws(PartitionTableError) -> PartitionTable {
    do {
      guard bootSector.count == MasterBootRecord.byteCount else { throw GUIDPartitionTable.Defect.broken("no MBR") }
      let header = try GUIDPartitionTable.header(Array(header), sectorSize: sectorSize, sectorCount: sectorCount)
      var parameters = header.parameters
      parameters.entriesStart = 2
      let table = PartitionTable(
        scheme: .gpt(parameters), sectorSize: sectorSize, sectorCount: sectorCount, bootSector: Array(bootSector),
        partitions: try GUIDPartitionTable.partitions(Array(entries), header: header))
      try table.validate()
      return table
    } catch let error as PartitionTableError {
      throw error
    } catch GUIDPartitionTable.Defect.broken(let detail) {
      throw .damaged(device: name, detail: detail)
    } catch {
      throw .damaged(device: name, detail: "there is no GPT header")
    }
  }

  /// The geometry as Clonezilla keeps it (`sda-chs.sf`): with 255 heads and 63 sectors a track, as every BIOS
  /// translates a disk of more than 8 GB.
  public var geometryText: String { "cylinders=\(sectorCount / (255 * 63))\nheads=255\nsectors=63\n" }
}
