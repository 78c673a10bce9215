// What libisofs needs from C before Swift can call it: libisofs.h is not self-contained, takes constant text as
// `char *`, and hands out a burn_source of function pointers whose release is in libburn, which we do not link.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SLIPWAY_CISOFS_H
#define SLIPWAY_CISOFS_H
#include <stdint.h>
#include <sys/types.h>
#include <sys/stat.h>
#include <time.h>
#include <libburn/libburn.h>
#include <libisofs/libisofs.h>

/// Starts the library: names are UTF-8 whatever the locale, messages are queued, nothing is printed, and whatever
/// would leave a file's content wrong aborts the image. 1, or a libisofs error.
int slipway_iso_start(void);

/// Makes `seconds` since 1970 the present for everything the library dates by itself.
int slipway_iso_set_now(int64_t seconds);

/// Takes the oldest queued message of at least severity SORRY into `text` (4096 bytes): 1, or 0 when there is none.
int slipway_iso_next_message(char *text);

/// Appends the file at `path` behind the ISO file system as a GPT partition of a type GUID in on-disk byte order.
int slipway_iso_append_partition(IsoWriteOpts *options, int number, uint8_t mbr_type, const uint8_t *type_guid,
                                 const char *path);

/// Dates the volume descriptor; `stamp` is the same time as YYYYMMDDhhmmsscc.
int slipway_iso_set_volume_times(IsoWriteOpts *options, int64_t seconds, const char *stamp);

/// Size of the image in bytes.
int64_t slipway_iso_source_size(struct burn_source *source);

/// Takes exactly `count` more bytes of the image: `count`, 0 when the generator stopped early, -1 on an error.
int slipway_iso_source_read(struct burn_source *source, uint8_t *buffer, int count);

/// Stops the generator if it still runs, and frees the source.
void slipway_iso_source_free(struct burn_source *source);

/// A file that lives in memory only, for libraries that want a path: its descriptor, or -1 with errno set.
int slipway_memory_file(const char *name);

/// Sets room aside for a file of `bytes`; 0, or -1 with errno set where that can't be done.
int slipway_reserve_room(int descriptor, int64_t bytes);
#endif
