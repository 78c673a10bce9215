// SPDX-License-Identifier: GPL-3.0-or-later
#include "CSquashfs.h"
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_ATTRIBUTES 0xFFFFFFFF

// libsquashfs reports any failure of its own file as SQFS_ERROR_IO and loses the errno: "disk full" would be unknown.
struct output {
  sqfs_file_t base;
  int descriptor;
  int error;
  sqfs_u64 size;
};

static int failed(struct output *output) {
  if (output->error == 0) output->error = errno;
  return SQFS_ERROR_IO;
}

static int output_read_at(sqfs_file_t *file, sqfs_u64 offset, void *buffer, size_t size) {
  struct output *output = (struct output *)file;
  char *position = buffer;
  while (size > 0) {
    ssize_t count = pread(output->descriptor, position, size, (off_t)offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(output);
    if (count == 0) return SQFS_ERROR_OUT_OF_BOUNDS;
    position += count;
    offset += (sqfs_u64)count;
    size -= (size_t)count;
  }
  return 0;
}

static int output_write_at(sqfs_file_t *file, sqfs_u64 offset, const void *buffer, size_t size) {
  struct output *output = (struct output *)file;
  const char *position = buffer;
  while (size > 0) {
    ssize_t count = pwrite(output->descriptor, position, size, (off_t)offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(output);
    position += count;
    offset += (sqfs_u64)count;
    size -= (size_t)count;
  }
  if (offset > output->size) output->size = offset;
  return 0;
}

static sqfs_u64 output_get_size(const sqfs_file_t *file) { return ((const struct output *)file)->size; }

static int output_truncate(sqfs_file_t *file, sqfs_u64 size) {
  struct output *output = (struct output *)file;
  if (ftruncate(output->descriptor, (off_t)size) != 0) return failed(output);
  output->size = size;
  return 0;
}

static void output_destroy(sqfs_object_t *object) { free(object); }

sqfs_file_t *slipway_squashfs_file_create(int descriptor) {
  struct output *output = calloc(1, sizeof(*output));
  if (output == NULL) return NULL;
  output->descriptor = descriptor;
  output->base.read_at = output_read_at;
  output->base.write_at = output_write_at;
  output->base.get_size = output_get_size;
  output->base.truncate = output_truncate;
  ((sqfs_object_t *)output)->destroy = output_destroy;
  return &output->base;
}

int slipway_squashfs_file_error(const sqfs_file_t *file) { return ((const struct output *)file)->error; }

static void fill(sqfs_inode_generic_t *inode, const struct slipway_squashfs_inode *fields) {
  inode->base.mode = fields->mode;
  inode->base.uid_idx = fields->owner_index;
  inode->base.gid_idx = fields->group_index;
  inode->base.mod_time = fields->modification_time;
  inode->base.inode_number = fields->number;
}

int slipway_squashfs_write_file(
  sqfs_meta_writer_t *writer, const struct slipway_squashfs_inode *fields, sqfs_inode_generic_t *file) {
  fill(file, fields);
  if (fields->links > 1 || fields->attributes != NO_ATTRIBUTES) {
    int status = sqfs_inode_make_extended(file);
    if (status != 0) return status;
  }
  if (file->base.type == SQFS_INODE_EXT_FILE) {
    file->data.file_ext.nlink = fields->links;
    file->data.file_ext.xattr_idx = fields->attributes;
  }
  // The library puts the whole block list on the stack, which a sparse file of some hundred GiB overflows: it writes
  // the inode without the list, and the list follows in parts.
  size_t count = file->payload_bytes_used / sizeof(sqfs_u32);
  sqfs_u32 used = file->payload_bytes_used;
  file->payload_bytes_used = 0;
  int status = sqfs_meta_writer_write_inode(writer, file);
  file->payload_bytes_used = used;
  sqfs_u32 part[1024];
  for (size_t done = 0; status == 0 && done < count;) {
    size_t take = count - done < 1024 ? count - done : 1024;
    for (size_t index = 0; index < take; index++) part[index] = htole32(file->extra[done + index]);
    status = sqfs_meta_writer_append(writer, part, take * sizeof(part[0]));
    done += take;
  }
  return status;
}

int slipway_squashfs_write_directory(
  sqfs_meta_writer_t *writer, const struct slipway_squashfs_inode *fields, const sqfs_dir_writer_t *directory,
  uint32_t parent) {
  sqfs_inode_generic_t *inode = sqfs_dir_writer_create_inode(directory, 0, fields->attributes, parent);
  if (inode == NULL) return SQFS_ERROR_ALLOC;
  fill(inode, fields);
  if (inode->base.type == SQFS_INODE_DIR) {
    inode->data.dir.nlink = fields->links;
  } else {
    inode->data.dir_ext.nlink = fields->links;
  }
  int status = sqfs_meta_writer_write_inode(writer, inode);
  sqfs_free(inode);
  return status;
}

int slipway_squashfs_write_symbolic_link(
  sqfs_meta_writer_t *writer, const struct slipway_squashfs_inode *fields, const void *target, size_t size) {
  sqfs_inode_generic_t *inode = calloc(1, sizeof(*inode) + size);
  if (inode == NULL) return SQFS_ERROR_ALLOC;
  fill(inode, fields);
  inode->base.type = fields->attributes == NO_ATTRIBUTES ? SQFS_INODE_SLINK : SQFS_INODE_EXT_SLINK;
  inode->data.slink_ext.nlink = fields->links;
  inode->data.slink_ext.target_size = (sqfs_u32)size;
  inode->data.slink_ext.xattr_idx = fields->attributes;
  memcpy(inode->extra, target, size);
  int status = sqfs_meta_writer_write_inode(writer, inode);
  free(inode);
  return status;
}

int slipway_squashfs_write_special(
  sqfs_meta_writer_t *writer, const struct slipway_squashfs_inode *fields, uint32_t device) {
  sqfs_inode_generic_t inode;
  memset(&inode, 0, sizeof(inode));
  fill(&inode, fields);
  int extended = fields->attributes != NO_ATTRIBUTES;
  switch (fields->mode & S_IFMT) {
  case S_IFCHR: inode.base.type = extended ? SQFS_INODE_EXT_CDEV : SQFS_INODE_CDEV; break;
  case S_IFBLK: inode.base.type = extended ? SQFS_INODE_EXT_BDEV : SQFS_INODE_BDEV; break;
  case S_IFIFO: inode.base.type = extended ? SQFS_INODE_EXT_FIFO : SQFS_INODE_FIFO; break;
  case S_IFSOCK: inode.base.type = extended ? SQFS_INODE_EXT_SOCKET : SQFS_INODE_SOCKET; break;
  default: return SQFS_ERROR_ARG_INVALID;
  }
  if (S_ISCHR(fields->mode) || S_ISBLK(fields->mode)) {
    inode.data.dev_ext.nlink = fields->links;
    inode.data.dev_ext.devno = device;
    inode.data.dev_ext.xattr_idx = fields->attributes;
  } else {
    inode.data.ipc_ext.nlink = fields->links;
    inode.data.ipc_ext.xattr_idx = fields->attributes;
  }
  return sqfs_meta_writer_write_inode(writer, &inode);
}
