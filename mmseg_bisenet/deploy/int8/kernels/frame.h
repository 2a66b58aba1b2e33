// The pixels around a map, in memory that another map used before.
#pragma once

#include <string.h>

#include "layer.h"

// in: the start of the memory, whose rows have in_row bytes; `kernel` pixels lie to the left and above, `tiles` rows are
// there in all.
EXPORTED void frame(Layer *layer) {
    const int64_t left = layer->kernel * layer->in_pixel, right = left + layer->width * layer->in_pixel;
    for (int64_t y; (y = take(*layer, 1)) < layer->tiles;) {
        uint8_t *row = const_cast<uint8_t *>(layer->in) + y * layer->in_row;
        const bool inside = y >= layer->kernel && y < layer->kernel + layer->height;
        memset(row, layer->zero, inside ? left : layer->in_row);
        if (inside) memset(row + right, layer->zero, layer->in_row - right);
    }
}
