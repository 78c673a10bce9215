// SPDX-License-Identifier: GPL-3.0-or-later
#define _GNU_SOURCE
#include "CLinux.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

int slipway_block_device_size(int descriptor, uint64_t *bytes) {
  return ioctl(descriptor, BLKGETSIZE64, bytes);
}

int slipway_block_device_sector_size(int descriptor, int *bytes) {
  return ioctl(descriptor, BLKSSZGET, bytes);
}

int slipway_block_device_flush_buffers(int descriptor) {
  return ioctl(descriptor, BLKFLSBUF, 0);
}

int slipway_block_device_reread_partitions(int descriptor) {
  return ioctl(descriptor, BLKRRPART, 0);
}

int slipway_block_device_discard(int descriptor, uint64_t offset, uint64_t length) {
  uint64_t range[2] = {offset, length};
  return ioctl(descriptor, BLKDISCARD, range);
}

int slipway_block_device_zero(int descriptor, uint64_t offset, uint64_t length) {
  uint64_t range[2] = {offset, length};
  return ioctl(descriptor, BLKZEROOUT, range);
}

int slipway_punch_hole(int descriptor, uint64_t offset, uint64_t length) {
  return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
}
