// SPDX-License-Identifier: GPL-3.0-or-later

internal import CSquashfs

/// Hands the data of files to the compressors, small files sorted by kind.
///
/// Files smaller than a block share blocks with their neighbours, which compress better when they are alike. So they
/// wait until some MiB are together, and go on ordered by the suffix of their names. The order depends on the input
/// only.
struct DataWriter {
  private let image: ImageFile
  private let blockSize: Int
  /// The data of the small files that wait, and behind it what the current file has so far.
  private var waiting: [UInt8] = []
  private var waitingFiles: [SmallFile] = []
  /// The file being written, as long as it is small.
  private var current: SmallFile?

  private struct SmallFile {
    var slot: UInt32
    var range: Range<Int>
    var suffix: String
  }

  /// How much of small files is put in order at a time: more gains next to nothing.
  private static let window = 8 << 20

  init(_ image: ImageFile, blockSize: Int) {
    self.image = image
    self.blockSize = blockSize
    waiting.reserveCapacity(Self.window + 2 * blockSize)
  }

  /// Begins a file and returns the slot of its inode.
  mutating func begin(suffix: String, compressed: Bool) throws(SquashfsError) -> UInt32 {
    let slot = image.makeSlot()
    if compressed {
      current = SmallFile(slot: slot, range: waiting.count..<waiting.count, suffix: suffix)
    } else {
      // One uncompressed tail would leave the whole block that it shares with other files uncompressed.
      try image.beginFile(slot, flags: SQFS_BLK_DONT_COMPRESS.rawValue | SQFS_BLK_DONT_FRAGMENT.rawValue)
    }
    return slot
  }

  mutating func append(_ bytes: RawSpan) throws(SquashfsError) {
    if let current, waiting.count - current.range.lowerBound + bytes.byteCount < blockSize {
      bytes.withUnsafeBytes { waiting.append(contentsOf: $0) }
      return
    }
    if let current {
      try image.beginFile(current.slot, flags: 0)
      try image.append(waiting.span.bytes.extracting(current.range.lowerBound..<waiting.count))
      waiting.removeSubrange(current.range.lowerBound...)
      self.current = nil
    }
    try image.append(bytes)
  }

  mutating func end() throws(SquashfsError) {
    if var current {
      current.range = current.range.lowerBound..<waiting.count
      waitingFiles.append(current)
      self.current = nil
      if waiting.count >= Self.window { try flush() }
    } else {
      try image.endFile()
    }
  }

  /// Hands on the files that wait.
  mutating func flush() throws(SquashfsError) {
    waitingFiles.sort { ($0.suffix, $0.slot) < ($1.suffix, $1.slot) }
    for file in waitingFiles {
      try image.beginFile(file.slot, flags: 0)
      try image.append(waiting.span.bytes.extracting(file.range))
      try image.endFile()
    }
    waitingFiles.removeAll(keepingCapacity: true)
    waiting.removeAll(keepingCapacity: true)
  }
}
