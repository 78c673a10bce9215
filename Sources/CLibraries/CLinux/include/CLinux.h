// Linux ioctls on block devices whose request numbers are macros Swift cannot import.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SLIPWAY_CLINUX_H
#define SLIPWAY_CLINUX_H
#include <stdint.h>

/// Size of an open block device in bytes (BLKGETSIZE64); 0 or -1 with errno set.
int slipway_block_device_size(int descriptor, uint64_t *bytes);
/// Logical sector size of an open block device in bytes (BLKSSZGET).
int slipway_block_device_sector_size(int descriptor, int *bytes);
/// Drops the kernel's buffers of a block device (BLKFLSBUF).
int slipway_block_device_flush_buffers(int descriptor);
/// Makes the kernel read the partition table again (BLKRRPART).
int slipway_block_device_reread_partitions(int descriptor);
/// Tells the device that a range holds nothing worth keeping (BLKDISCARD).
int slipway_block_device_discard(int descriptor, uint64_t offset, uint64_t length);
/// Writes zeros to a range, by the device itself where it can (BLKZEROOUT).
int slipway_block_device_zero(int descriptor, uint64_t offset, uint64_t length);
/// Deallocates a range of a regular file so that it reads as zeros (FALLOC_FL_PUNCH_HOLE).
int slipway_punch_hole(int descriptor, uint64_t offset, uint64_t length);
#endif
