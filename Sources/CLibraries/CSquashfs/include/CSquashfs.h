// What libsquashfs needs from C before Swift can call it: inodes with flexible arrays, and an output file that
// remembers why it failed.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SLIPWAY_CSQUASHFS_H
#define SLIPWAY_CSQUASHFS_H
#include <stddef.h>
#include <stdint.h>
#include <sqfs/predef.h>
#include <sqfs/block.h>
#include <sqfs/block_processor.h>
#include <sqfs/block_writer.h>
#include <sqfs/compressor.h>
#include <sqfs/dir.h>
#include <sqfs/dir_writer.h>
#include <sqfs/error.h>
#include <sqfs/frag_table.h>
#include <sqfs/id_table.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/meta_writer.h>
#include <sqfs/super.h>
#include <sqfs/xattr.h>
#include <sqfs/xattr_writer.h>

/// What every inode carries, with table indices instead of ids.
struct slipway_squashfs_inode {
  /// File type and permission bits, as in st_mode.
  uint16_t mode;
  uint16_t owner_index;
  uint16_t group_index;
  /// Seconds since 1970.
  uint32_t modification_time;
  /// Counts from 1.
  uint32_t number;
  uint32_t links;
  /// Index of its set of extended attributes, or 0xFFFFFFFF.
  uint32_t attributes;
};

/// An output over a descriptor that stays the caller's; NULL when out of memory.
sqfs_file_t *slipway_squashfs_file_create(int descriptor);
/// The errno of the first operation that failed on such an output, or 0.
int slipway_squashfs_file_error(const sqfs_file_t *file);

/// Writes the inode of a regular file whose data the block processor has finished with.
int slipway_squashfs_write_file(
  sqfs_meta_writer_t *writer, const struct slipway_squashfs_inode *fields, sqfs_inode_generic_t *file);
/// Writes the inode of the directory that the directory writer ended last.
int slipway_squashfs_write_directory(
  sqfs_meta_writer_t *writer, const struct slipway_squashfs_inode *fields, const sqfs_dir_writer_t *directory,
  uint32_t parent);
/// Writes the inode of a symbolic link.
int slipway_squashfs_write_symbolic_link(
  sqfs_meta_writer_t *writer, const struct slipway_squashfs_inode *fields, const void *target, size_t size);
/// Writes the inode of a character or block device, a named pipe or a socket; the device number counts for the first two.
int slipway_squashfs_write_special(
  sqfs_meta_writer_t *writer, const struct slipway_squashfs_inode *fields, uint32_t device);
#endif
