#include <lzo/lzo1x.h>

/// lzo_init() is a macro, which Swift cannot import.
static inline int slipway_lzo_init(void) { return lzo_init(); }
