// SPDX-License-Identifier: GPL-3.0-or-later

private import Glibc

/// The names and inodes of a file system that is being put together, in flat arrays: some 60 bytes an entry and its name.
struct Tree {
  /// What an inode of the image is made from.
  struct Inode {
    /// File type and permission bits, as in `st_mode`.
    var mode: UInt16
    var owner: UInt32
    var group: UInt32
    var modificationTime: UInt32
    /// How many names it has; for a directory, 2 and one for each subdirectory.
    var links: UInt32
    /// Its set of extended attributes, or ``none``.
    var attributes: UInt32
    /// File: slot of its data. Symbolic link: index of its target. Device: number. Directory: its latest name.
    var payload: UInt32

    var type: UInt16 { mode & UInt16(S_IFMT) }
    var isDirectory: Bool { type == UInt16(S_IFDIR) }
  }

  /// A directory entry.
  struct Name {
    /// Where its bytes, which a NUL follows, begin in ``Tree/text``.
    var start: Int
    var length: UInt16
    /// The inode of the directory it is in.
    var directory: UInt32
    var inode: UInt32
    /// The name that was added to the same directory before it, or ``none``.
    var previous: UInt32
  }

  static let none = UInt32.max
  static let root: UInt32 = 0

  private(set) var inodes: [Inode]
  private(set) var names: [Name] = []
  private(set) var text: [UInt8] = []
  private(set) var targets: [Range<Int>] = []
  /// Open addressing with linear probing; holds indices of ``names``, or ``none``.
  private var buckets = [UInt32](repeating: none, count: 1 << 12)

  init(root: Inode) { inodes = [root] }

  subscript(_ inode: UInt32) -> Inode {
    get { inodes[Int(inode)] }
    set { inodes[Int(inode)] = newValue }
  }

  /// The index of a name in a directory, or nil when there is none.
  func find(_ name: UnsafeRawBufferPointer, in directory: UInt32) -> Int? {
    let index = buckets[bucket(of: name, in: directory)]
    return index == Self.none ? nil : Int(index)
  }

  /// Adds an inode that has no name yet.
  mutating func add(_ inode: Inode) throws(SquashfsError) -> UInt32 {
    guard inodes.count < Int(Self.none) else { throw SquashfsError.tooMany(what: "inodes", limit: inodes.count) }
    inodes.append(inode)
    return UInt32(inodes.count - 1)
  }

  /// Adds a name, which must not exist, and counts it.
  mutating func link(_ inode: UInt32, as name: UnsafeRawBufferPointer, in directory: UInt32) throws(SquashfsError) {
    guard names.count < Int(Self.none) else { throw SquashfsError.tooMany(what: "names", limit: names.count) }
    let entry = Name(
      start: text.count, length: UInt16(name.count), directory: directory, inode: inode,
      previous: self[directory].payload)
    let bucket = bucket(of: name, in: directory)
    text.append(contentsOf: name)
    text.append(0)
    names.append(entry)
    buckets[bucket] = UInt32(names.count - 1)
    self[directory].payload = UInt32(names.count - 1)
    count(inode, in: directory, by: 1)
    if names.count * 3 > buckets.count * 2 { grow() }
  }

  /// Makes an existing name stand for another inode.
  mutating func relink(_ name: Int, to inode: UInt32) {
    count(names[name].inode, in: names[name].directory, by: -1)
    names[name].inode = inode
    count(inode, in: names[name].directory, by: 1)
  }

  /// Keeps the target of a symbolic link and returns the payload for its inode.
  mutating func keep(target: [UInt8]) -> UInt32 {
    targets.append(text.count..<(text.count + target.count))
    text.append(contentsOf: target)
    return UInt32(targets.count - 1)
  }

  /// A directory counts in its parent, by its `..`; anything else counts its own names.
  private mutating func count(_ inode: UInt32, in directory: UInt32, by change: Int32) {
    let counted = self[inode].isDirectory ? directory : inode
    self[counted].links = UInt32(truncatingIfNeeded: Int64(self[counted].links) + Int64(change))
  }

  /// The bucket that holds the name, or the free one where it would go.
  private func bucket(of name: UnsafeRawBufferPointer, in directory: UInt32) -> Int {
    let mask = buckets.count - 1
    var bucket = Self.hash(name, in: directory) & mask
    while buckets[bucket] != Self.none {
      let candidate = names[Int(buckets[bucket])]
      if candidate.directory == directory, Int(candidate.length) == name.count,
        text.withUnsafeBytes({ text in
          name.elementsEqual(text[candidate.start..<(candidate.start + name.count)])
        })
      {
        break
      }
      bucket = (bucket + 1) & mask
    }
    return bucket
  }

  private mutating func grow() {
    buckets = [UInt32](repeating: Self.none, count: buckets.count * 2)
    let mask = buckets.count - 1
    text.withUnsafeBytes { text in
      for (index, name) in names.enumerated() {
        let bytes = UnsafeRawBufferPointer(rebasing: text[name.start..<(name.start + Int(name.length))])
        var bucket = Self.hash(bytes, in: name.directory) & mask
        while buckets[bucket] != Self.none { bucket = (bucket + 1) & mask }
        buckets[bucket] = UInt32(index)
      }
    }
  }

  /// Seeded at random by the process, so that no archive can be made to collide; no order depends on it.
  private static func hash(_ name: UnsafeRawBufferPointer, in directory: UInt32) -> Int {
    var hasher = Hasher()
    hasher.combine(directory)
    hasher.combine(bytes: name)
    return hasher.finalize()
  }
}
