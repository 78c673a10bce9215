// What libisofs needs from C before Swift can call it: libisofs.h is not self-contained.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SLIPWAY_CISOFS_H
#define SLIPWAY_CISOFS_H
#include <stdint.h>
#include <sys/types.h>
#include <sys/stat.h>
#include <time.h>
#include <libburn/libburn.h>
#include <libisofs/libisofs.h>
#endif
