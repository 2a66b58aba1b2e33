// The kernels of ../library.py, each a function that all threads call at the same time.
#include "attention.h"
#include "depthwise.h"
#include "direct.h"
#include "frame.h"
#include "gate.h"
#include "pixels.h"
#include "pool.h"
#include "winograd.h"
