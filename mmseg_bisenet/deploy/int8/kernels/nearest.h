// Resizing by nearest neighbour: bytes are copied.
#pragma once

#include <string.h>

#include "layer.h"

EXPORTED void nearest(Layer *layer) {
    for (int64_t y; (y = take(*layer, 1)) < layer->height;) {
        const uint8_t *row = layer->in + layer->row_of[y] * layer->in_row;
        uint8_t *to = layer->out + y * layer->out_row;
        for (int64_t x = 0; x < layer->width; x++, to += layer->out_pixel)
            memcpy(to, row + layer->column_of[x] * layer->in_pixel, layer->outputs);
    }
}
