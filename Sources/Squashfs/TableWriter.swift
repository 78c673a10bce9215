// SPDX-License-Identifier: GPL-3.0-or-later

internal import CSquashfs
private import Glibc

/// Writes the tables that follow the data: inodes, directories, fragments, ids, extended attributes.
final class TableWriter {
  private let image: ImageFile
  private let ids: OpaquePointer?
  private let attributes: OpaquePointer?
  private let inodeWriter: OpaquePointer?
  private let listingWriter: OpaquePointer?
  private let directoryWriter: OpaquePointer?
  /// What libsquashfs calls an owner or group; it searches its table from the start each time.
  private var idIndices: [UInt32: UInt16] = [:]

  init(_ image: ImageFile) throws(SquashfsError) {
    self.image = image
    ids = sqfs_id_table_create(0)
    attributes = sqfs_xattr_writer_create(0)
    inodeWriter = sqfs_meta_writer_create(image.file, image.compressor, 0)
    listingWriter = sqfs_meta_writer_create(
      image.file, image.compressor, SQFS_META_WRITER_KEEP_IN_MEMORY.rawValue)
    // Without the table of inode locations, which only a kernel needs that exports the mounted image by NFS.
    directoryWriter = listingWriter.flatMap { sqfs_dir_writer_create($0, 0) }
    let isReady = ids != nil && attributes != nil && inodeWriter != nil && directoryWriter != nil
    try image.check(isReady ? 0 : SQFS_ERROR_ALLOC.rawValue, "preparing the tables")
  }

  deinit {
    for object in [directoryWriter, listingWriter, inodeWriter, attributes, ids] {
      sqfs_destroy(object.map(UnsafeMutableRawPointer.init))
    }
  }

  func write(
    _ tree: Tree, in order: TreeOrder, attributeSets: [[ExtendedAttribute]]
  ) throws(SquashfsError) {
    image.superBlock.inode_table_start = image.size
    image.superBlock.inode_count = UInt32(order.inodes.count)

    var references = [UInt64](repeating: 0, count: tree.inodes.count)
    // In the order of first use, which makes the table a function of the tree.
    var attributeIndices = [UInt32?](repeating: nil, count: attributeSets.count)
    for inode in order.inodes {
      let node = tree[inode]
      var attributeIndex = Tree.none
      if node.attributes != Tree.none {
        let known = attributeIndices[Int(node.attributes)]
        attributeIndex = if let known { known } else { try write(attributeSets[Int(node.attributes)]) }
        attributeIndices[Int(node.attributes)] = attributeIndex
      }
      var fields = slipway_squashfs_inode(
        mode: node.mode, owner_index: try index(ofID: node.owner), group_index: try index(ofID: node.group),
        modification_time: node.modificationTime, number: order.numbers[Int(inode)], links: node.links,
        attributes: attributeIndex)
      if node.isDirectory { try writeListing(of: inode, tree, order, references) }
      references[Int(inode)] = position
      let status =
        switch mode_t(node.type) {
        case S_IFDIR:
          slipway_squashfs_write_directory(inodeWriter, &fields, directoryWriter, order.parentNumber(of: inode))
        case S_IFREG: slipway_squashfs_write_file(inodeWriter, &fields, image.inode(at: node.payload))
        case S_IFLNK:
          tree.text[tree.targets[Int(node.payload)]].withUnsafeBytes {
            slipway_squashfs_write_symbolic_link(inodeWriter, &fields, $0.baseAddress, $0.count)
          }
        default: slipway_squashfs_write_special(inodeWriter, &fields, node.payload)
        }
      try image.check(status, "writing inodes")
    }
    try writeTables(root: references[Int(Tree.root)])
  }

  /// Where the next inode goes: the metadata block's offset in the table, and the place within it in the low 16 bits.
  private var position: UInt64 {
    var block: UInt64 = 0
    var offset: UInt32 = 0
    sqfs_meta_writer_get_position(inodeWriter, &block, &offset)
    return block << 16 | UInt64(offset)
  }

  private func writeListing(
    of directory: UInt32, _ tree: Tree, _ order: TreeOrder, _ references: [UInt64]
  ) throws(SquashfsError) {
    try image.check(sqfs_dir_writer_begin(directoryWriter, 0), "writing directories")
    for place in order.names(of: directory) {
      let name = tree.names[order[place]]
      let status = tree.text.withUnsafeBytes { text in
        sqfs_dir_writer_add_entry(
          directoryWriter, text.baseAddress?.advanced(by: name.start).assumingMemoryBound(to: CChar.self),
          order.numbers[Int(name.inode)], references[Int(name.inode)], tree[name.inode].mode)
      }
      try image.check(status, "writing directories")
    }
    try image.check(sqfs_dir_writer_end(directoryWriter), "writing directories")
  }

  private func write(_ set: [ExtendedAttribute]) throws(SquashfsError) -> UInt32 {
    try image.check(sqfs_xattr_writer_begin(attributes, 0), "writing extended attributes")
    for attribute in set {
      let status = attribute.value.withUnsafeBytes {
        sqfs_xattr_writer_add(attributes, attribute.name, $0.baseAddress, $0.count)
      }
      try image.check(status, "writing extended attributes")
    }
    var index: UInt32 = 0
    try image.check(sqfs_xattr_writer_end(attributes, &index), "writing extended attributes")
    return index
  }

  private func index(ofID id: UInt32) throws(SquashfsError) -> UInt16 {
    if let index = idIndices[id] { return index }
    // The indices would allow one more, but the super block counts in 16 bits.
    guard idIndices.count < Int(UInt16.max) else {
      throw SquashfsError.tooMany(what: "different owners and groups", limit: Int(UInt16.max))
    }
    var index: UInt16 = 0
    try image.check(sqfs_id_table_id_to_index(ids, id, &index), "writing owners")
    idIndices[id] = index
    return index
  }

  private func writeTables(root: UInt64) throws(SquashfsError) {
    try image.check(sqfs_meta_writer_flush(inodeWriter), "writing inodes")
    try image.check(sqfs_meta_writer_flush(listingWriter), "writing directories")
    image.superBlock.root_inode_ref = root
    image.superBlock.directory_table_start = image.size
    try image.check(sqfs_meta_write_write_to_file(listingWriter), "writing directories")
    try image.check(
      sqfs_frag_table_write(image.fragments, image.file, &image.superBlock, image.compressor),
      "writing the fragment table")
    try image.check(
      sqfs_id_table_write(ids, image.file, &image.superBlock, image.compressor), "writing owners")
    try image.check(
      sqfs_xattr_writer_flush(attributes, image.file, &image.superBlock, image.compressor),
      "writing extended attributes")
  }
}
