// SPDX-License-Identifier: GPL-3.0-or-later
#include "CXxhash.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct slipway_xxh {
  // First, since it wants an alignment of 64 bytes.
  XXH3_state_t wide;
  XXH64_state_t narrow;
  int bits;
};

slipway_xxh *slipway_xxh_create(int bits) {
  slipway_xxh *hash = aligned_alloc(_Alignof(slipway_xxh), sizeof(slipway_xxh));
  if (!hash) return NULL;
  memset(hash, 0, sizeof *hash);
  hash->bits = bits;
  slipway_xxh_reset(hash);
  return hash;
}

void slipway_xxh_free(slipway_xxh *hash) { free(hash); }

void slipway_xxh_reset(slipway_xxh *hash) {
  if (hash->bits == 64) {
    XXH64_reset(&hash->narrow, 0);
  } else {
    XXH3_128bits_reset(&hash->wide);
  }
}

void slipway_xxh_update(slipway_xxh *hash, const void *bytes, size_t count) {
  if (hash->bits == 64) {
    XXH64_update(&hash->narrow, bytes, count);
  } else {
    XXH3_128bits_update(&hash->wide, bytes, count);
  }
}

void slipway_xxh_digest(const slipway_xxh *hash, uint64_t *low, uint64_t *high) {
  if (hash->bits == 64) {
    *low = XXH64_digest(&hash->narrow);
    *high = 0;
  } else {
    XXH128_hash_t digest = XXH3_128bits_digest(&hash->wide);
    *low = digest.low64;
    *high = digest.high64;
  }
}
