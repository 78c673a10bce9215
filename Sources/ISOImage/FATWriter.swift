// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// Date and time of a directory entry.
struct FATStamp {
  let date: UInt16
  let time: UInt16

  /// - Parameter seconds: since 1970, UTC; brought into 1980 to 2107.
  init(_ seconds: Int64) {
    let fields = CalendarTime(seconds: min(max(seconds, 315_532_800), 4_354_819_199))
    date = UInt16((fields.year - 1980) << 9 | fields.month << 5 | fields.day)
    time = UInt16(fields.hour << 11 | fields.minute << 5 | min(fields.second, 59) / 2)
  }
}

/// Names of directory entries: 8.3 where that says it all, else with a long name.
enum FATName {
  /// Why a name can't be, or nil.
  static func problem(with name: String) -> String? {
    if name == "." || name == ".." { return "has a step \"\(name)\"" }
    if name.utf16.count > 255 { return "has a name longer than 255 characters" }
    if name.hasSuffix(".") || name.hasSuffix(" ") || name.hasPrefix(" ") {
      return "has a name that begins or ends with a space, or ends with a dot"
    }
    let isAllowed = name.unicodeScalars.allSatisfy {
      $0.value >= 0x20 && $0 != "\u{7F}" && !"\"*/:<>?\\|".unicodeScalars.contains($0)
    }
    return isAllowed ? nil : "has a character that FAT does not allow"
  }

  /// 32-byte entries for a name: the short one and one for every 13 characters of a long one.
  static func slotCount(of name: String) -> Int {
    exact(name) == nil ? 1 + (name.utf16.count + 12) / 13 : 1
  }

  /// The 11 bytes of a name that is 8.3 in upper case as it stands.
  static func exact(_ name: String) -> [UInt8]? {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count <= 2, (1...8).contains(parts[0].utf8.count),
      name.utf8.allSatisfy({ isShort($0) || $0 == UInt8(ascii: ".") })
    else { return nil }
    if parts.count == 2, !(1...3).contains(parts[1].utf8.count) { return nil }
    return padded(Array(parts[0].utf8), parts.count == 2 ? Array(parts[1].utf8) : [])
  }

  /// An alias for a long name: its first letters and `~N`, unlike those in `taken`.
  static func alias(for name: String, besides taken: Set<[UInt8]>) -> [UInt8] {
    func shortened(_ text: some StringProtocol, _ count: Int) -> [UInt8] {
      Array(
        text.uppercased().utf8.filter { $0 != UInt8(ascii: ".") && $0 != UInt8(ascii: " ") }
          .map { isShort($0) ? $0 : UInt8(ascii: "_") }.prefix(count))
    }
    let dot = name.lastIndex(of: ".")
    let stem = name[..<(dot ?? name.endIndex)]
    let suffix = dot.map { shortened(name[name.index(after: $0)...], 3) } ?? []
    var number = 1
    while true {
      let tail = Array("~\(number)".utf8)
      let alias = padded(shortened(stem, 8 - tail.count) + tail, suffix)
      if !taken.contains(alias) { return alias }
      number += 1
    }
  }

  private static func padded(_ stem: [UInt8], _ suffix: [UInt8]) -> [UInt8] {
    stem + [UInt8](repeating: 0x20, count: 8 - stem.count) + suffix + [UInt8](repeating: 0x20, count: 3 - suffix.count)
  }

  private static func isShort(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
    default: "!#$%&'()-@^_`{}~".utf8.contains(byte)
    }
  }
}

/// Lays a tree of folders out as FAT16.
struct FATWriter {
  private static let endOfChain: UInt16 = 0xFFFF
  private static let mediaByte: UInt8 = 0xF8
  private let geometry: FATGeometry
  private let volumeID: UInt32
  private let label: [UInt8]
  private let stamp: FATStamp
  private var bytes: [UInt8]
  private var nextCluster: UInt16 = 2

  init(geometry: FATGeometry, volumeID: UInt32, label: String, stamp: FATStamp) {
    self.geometry = geometry
    self.volumeID = volumeID
    self.label = Array(label.utf8) + [UInt8](repeating: 0x20, count: 11 - label.utf8.count)
    self.stamp = stamp
    bytes = [UInt8](repeating: 0, count: geometry.sectorCount * FATGeometry.sectorSize)
  }

  consuming func image(of root: FATFolder) -> [UInt8] {
    writeBootSector()
    setFATEntry(0, UInt16(0xFF00) | UInt16(Self.mediaByte))
    setFATEntry(1, Self.endOfChain)
    let volumeLabel: UInt8 = 0x08
    let slots = slot(label, attributes: volumeLabel, cluster: 0, size: 0) + self.slots(of: root, cluster: 0)
    bytes.store(bytes: slots, at: geometry.rootSector * FATGeometry.sectorSize)
    return bytes
  }

  private mutating func writeBootSector() {
    bytes.store(bytes: [0xEB, 0x3C, 0x90], at: 0)
    bytes.store(bytes: Array("MSWIN4.1".utf8), at: 3)
    bytes.store(UInt16(FATGeometry.sectorSize), at: 11)
    bytes.store(UInt8(geometry.sectorsPerCluster), at: 13)
    bytes.store(UInt16(FATGeometry.reservedSectors), at: 14)
    bytes.store(UInt8(2), at: 16)
    bytes.store(UInt16(FATGeometry.rootSlots), at: 17)
    if let small = UInt16(exactly: geometry.sectorCount) {
      bytes.store(small, at: 19)
    } else {
      bytes.store(UInt32(geometry.sectorCount), at: 32)
    }
    bytes.store(Self.mediaByte, at: 21)
    bytes.store(UInt16(geometry.fatSectors), at: 22)
    // Geometry: 32 sectors a track, 64 heads.
    bytes.store(UInt16(32), at: 24)
    bytes.store(UInt16(64), at: 26)
    bytes.store(UInt8(0x80), at: 36)
    bytes.store(UInt8(0x29), at: 38)
    bytes.store(volumeID, at: 39)
    bytes.store(bytes: label, at: 43)
    bytes.store(bytes: Array("FAT16   ".utf8), at: 54)
    // Code: wait for ever (hlt; jmp), since nothing here is started by a BIOS.
    bytes.store(bytes: [0xF4, 0xEB, 0xFD], at: 62)
    bytes.store(bytes: [0x55, 0xAA], at: 510)
  }

  private mutating func setFATEntry(_ index: UInt16, _ value: UInt16) {
    for copy in 0..<2 {
      let sector = FATGeometry.reservedSectors + copy * geometry.fatSectors
      bytes.store(value, at: sector * FATGeometry.sectorSize + Int(index) * 2)
    }
  }

  /// Takes the next clusters for `count` bytes and chains them; 0 for none.
  private mutating func allocate(_ count: Int) -> UInt16 {
    let clusters = UInt16(count.rounded(up: geometry.clusterSize) / geometry.clusterSize)
    guard clusters > 0 else { return 0 }
    let first = nextCluster
    for cluster in first..<(first + clusters) {
      setFATEntry(cluster, cluster == first + clusters - 1 ? Self.endOfChain : cluster + 1)
    }
    nextCluster += clusters
    return first
  }

  private mutating func store(_ content: [UInt8], cluster: UInt16) {
    guard cluster >= 2 else { return }
    let offset = geometry.dataSector * FATGeometry.sectorSize + Int(cluster - 2) * geometry.clusterSize
    bytes.store(bytes: content, at: offset)
  }

  /// Writes what is in a folder, and returns its directory entries without `.` and `..`.
  private mutating func slots(of folder: FATFolder, cluster parent: UInt16) -> [UInt8] {
    var slots: [UInt8] = []
    var taken = Set(folder.entries.compactMap { FATName.exact($0.name) })
    for entry in folder.entries {
      let exact = FATName.exact(entry.name)
      let short = exact ?? FATName.alias(for: entry.name, besides: taken)
      taken.insert(short)
      if exact == nil { slots += longNameSlots(entry.name, short: short) }
      switch entry.content {
      case .file(let content):
        let cluster = allocate(content.count)
        store(content, cluster: cluster)
        let archive: UInt8 = 0x20
        slots += slot(short, attributes: archive, cluster: cluster, size: UInt32(content.count))
      case .folder(let inner):
        let directory: UInt8 = 0x10
        let cluster = allocate((inner.slotCount + 2) * 32)
        let dots = [(".", cluster), ("..", parent)].flatMap { name, target in
          slot(
            Array(name.utf8) + [UInt8](repeating: 0x20, count: 11 - name.utf8.count), attributes: directory,
            cluster: target, size: 0)
        }
        store(dots + self.slots(of: inner, cluster: cluster), cluster: cluster)
        slots += slot(short, attributes: directory, cluster: cluster, size: 0)
      }
    }
    return slots
  }

  private func slot(_ name: [UInt8], attributes: UInt8, cluster: UInt16, size: UInt32) -> [UInt8] {
    var slot = [UInt8](repeating: 0, count: 32)
    slot.store(bytes: name, at: 0)
    slot.store(attributes, at: 11)
    slot.store(stamp.time, at: 14)
    slot.store(stamp.date, at: 16)
    slot.store(stamp.date, at: 18)
    slot.store(stamp.time, at: 22)
    slot.store(stamp.date, at: 24)
    slot.store(cluster, at: 26)
    slot.store(size, at: 28)
    return slot
  }

  /// The long name's entries, its end first; UTF-16, NUL-ended, filled up with FFFF.
  private func longNameSlots(_ name: String, short: [UInt8]) -> [UInt8] {
    let checksum = short.reduce(UInt8(0)) { ($0 >> 1 | $0 << 7) &+ $1 }
    var units = Array(name.utf16)
    let count = (units.count + 12) / 13
    if units.count % 13 != 0 { units.append(0) }
    units += [UInt16](repeating: 0xFFFF, count: count * 13 - units.count)
    var slots: [UInt8] = []
    for index in (0..<count).reversed() {
      var slot = [UInt8](repeating: 0, count: 32)
      let lastEntry: UInt8 = index == count - 1 ? 0x40 : 0
      slot[0] = UInt8(index + 1) | lastEntry
      slot[11] = 0x0F
      slot[13] = checksum
      let places = Array(stride(from: 1, to: 11, by: 2)) + Array(stride(from: 14, to: 26, by: 2)) + [28, 30]
      for (place, unit) in zip(places, units[(index * 13)..<(index * 13 + 13)]) { slot.store(unit, at: place) }
      slots += slot
    }
    return slots
  }
}
