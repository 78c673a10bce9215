// SPDX-License-Identifier: GPL-3.0-or-later
#define _GNU_SOURCE
#include "CIsofs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

int slipway_iso_start(void) {
  int result = iso_init_with_flag(1);
  if (result < 0) return result;
  if (iso_set_local_charset("UTF-8", 0) <= 0) return ISO_CHARSET_CONV_ERROR;
  if (iso_set_msgs_severities("SORRY", "NEVER", "") <= 0) return ISO_ERROR;
  result = iso_set_abort_severity("SORRY");
  return result < 0 ? result : ISO_SUCCESS;
}

int slipway_iso_set_now(int64_t seconds) {
  time_t now = seconds;
  return iso_nowtime(&now, 1);
}

int slipway_iso_next_message(char *text) {
  int code, image;
  char severity[80];
  return iso_obtain_msgs("SORRY", &code, &image, text, severity) == 1;
}

int slipway_iso_append_partition(IsoWriteOpts *options, int number, uint8_t mbr_type, const uint8_t *type_guid,
                                 const char *path) {
  int result = iso_write_opts_set_partition_img(options, number, mbr_type, (char *)path, 0);
  if (result < 0) return result;
  result = iso_write_opts_set_part_type_guid(options, number, (uint8_t *)type_guid, 1);
  if (result < 0) return result;
  return iso_write_opts_set_appended_as_gpt(options, 1);
}

int slipway_iso_set_volume_times(IsoWriteOpts *options, int64_t seconds, const char *stamp) {
  return iso_write_opts_set_pvd_times(options, seconds, seconds, 0, 0, (char *)stamp);
}

int64_t slipway_iso_source_size(struct burn_source *source) { return source->get_size(source); }

int slipway_iso_source_read(struct burn_source *source, uint8_t *buffer, int count) {
  return source->read_xt(source, buffer, count);
}

void slipway_iso_source_free(struct burn_source *source) {
  source->cancel(source);
  source->free_data(source);
  free(source);
}

int slipway_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC); }

int slipway_reserve_room(int descriptor, int64_t bytes) { return fallocate(descriptor, 0, 0, bytes); }
