#include "CSquashfs.h"
