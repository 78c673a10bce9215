// SPDX-License-Identifier: GPL-3.0-or-later

private import Glibc

/// The order in which the inodes of a tree are numbered and written; it depends on names only.
///
/// All that a directory lists is written before the directory itself, and side by side where possible: a listing needs
/// a new header whenever it refers to another metadata block.
struct TreeOrder {
  /// Inodes in the order of their numbers, which count from 1. The root comes last.
  private(set) var inodes: [UInt32] = []
  /// The number of each inode of the tree; 0 for those that have lost all their names.
  private(set) var numbers: [UInt32]
  /// For each directory, the inode it is in.
  private var parents: [UInt32: UInt32] = [:]
  /// For each directory, where its names stand in ``sorted``.
  private var listings: [UInt32: Range<Int>] = [:]
  /// Indices of the tree's names, those of a directory together and in byte order.
  private var sorted: [UInt32] = []

  init(_ tree: Tree) {
    numbers = [UInt32](repeating: 0, count: tree.inodes.count)
    inodes.reserveCapacity(tree.inodes.count)
    sorted.reserveCapacity(tree.names.count)

    // Depth first without recursion: an archive decides how deep the tree is.
    var open: [(directory: UInt32, next: Int)] = [(Tree.root, list(Tree.root, of: tree).lowerBound)]
    while let (directory, next) = open.last {
      let listing = names(of: directory)
      if let index = sorted[next..<listing.upperBound].firstIndex(where: { tree[tree.names[Int($0)].inode].isDirectory }
      ) {
        open[open.count - 1].next = index + 1
        let child = tree.names[Int(sorted[index])].inode
        parents[child] = directory
        open.append((child, list(child, of: tree).lowerBound))
      } else {
        for name in sorted[listing] { number(tree.names[Int(name)].inode) }
        open.removeLast()
      }
    }
    number(Tree.root)
  }

  /// Where a directory's names stand in byte order.
  func names(of directory: UInt32) -> Range<Int> { listings[directory] ?? 0..<0 }

  /// The index of the tree's name at a place of the byte order.
  subscript(_ place: Int) -> Int { Int(sorted[place]) }

  /// The number of the directory that a directory is in; for the root, which is in none, the first number not in use.
  func parentNumber(of directory: UInt32) -> UInt32 {
    parents[directory].map { numbers[Int($0)] } ?? UInt32(inodes.count) + 1
  }

  /// Appends a directory's names in byte order.
  private mutating func list(_ directory: UInt32, of tree: Tree) -> Range<Int> {
    let start = sorted.count
    var name = tree[directory].payload
    while name != Tree.none {
      sorted.append(name)
      name = tree.names[Int(name)].previous
    }
    tree.text.withUnsafeBytes { text in
      guard let text = text.assumingMemoryBound(to: CChar.self).baseAddress else { return }
      sorted[start...].sort { strcmp(text + tree.names[Int($0)].start, text + tree.names[Int($1)].start) < 0 }
    }
    listings[directory] = start..<sorted.count
    return start..<sorted.count
  }

  private mutating func number(_ inode: UInt32) {
    guard numbers[Int(inode)] == 0 else { return }
    inodes.append(inode)
    numbers[Int(inode)] = UInt32(inodes.count)
  }
}
