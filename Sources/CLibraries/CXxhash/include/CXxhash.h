// XXH64 and XXH3 of xxHash: its states are over-aligned, and its functions inline ones, which Swift cannot import.
// Compiled in from the header, so that nothing of it is needed at run time.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SLIPWAY_CXXHASH_H
#define SLIPWAY_CXXHASH_H
#include <stddef.h>
#include <stdint.h>

/// A digest of the bytes so far, seed 0: 64 bits (XXH64) or 128 bits (XXH3).
typedef struct slipway_xxh slipway_xxh;

/// NULL when there is no memory.
slipway_xxh *slipway_xxh_create(int bits);
void slipway_xxh_free(slipway_xxh *hash);
void slipway_xxh_reset(slipway_xxh *hash);
void slipway_xxh_update(slipway_xxh *hash, const void *bytes, size_t count);
/// The low 64 bits; of XXH3 also the high ones.
void slipway_xxh_digest(const slipway_xxh *hash, uint64_t *low, uint64_t *high);
#endif
