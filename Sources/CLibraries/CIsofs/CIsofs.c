#include "CIsofs.h"
