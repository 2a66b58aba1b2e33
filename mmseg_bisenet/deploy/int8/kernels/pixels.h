// An image (height, width, 3) -> the same with pixels around it.
#pragma once

#include <string.h>

#include "layer.h"

EXPORTED void pixels(Layer *layer) {
    for (int64_t y; (y = take(*layer, 1)) < layer->height;)
        memcpy(layer->out + y * layer->out_row, layer->in + y * layer->in_row, 3 * layer->width);
}
