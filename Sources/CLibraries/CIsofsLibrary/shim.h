#include <stdint.h>
#include <sys/types.h>
#include <sys/stat.h>
#include <time.h>
#include <libburn/libburn.h>
#include <libisofs/libisofs.h>
