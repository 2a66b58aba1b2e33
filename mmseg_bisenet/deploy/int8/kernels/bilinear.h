// Bilinear resizing of bytes, whose scale and zero stay.
#pragma once

#include "gate.h"

// rows, columns: for each row and column of the output, between which two of the input it lies, and where.
EXPORTED void bilinear(Layer *layer) {
    for (int64_t y; (y = take(*layer, 1)) < layer->height;) {
        const Between row = layer->rows[y];
        const uint8_t *upper = layer->in + row.first * layer->in_row, *lower = layer->in + row.second * layer->in_row;
        const __m512 down = _mm512_set1_ps(row.part);
        uint8_t *to = layer->out + y * layer->out_row;
        for (int64_t x = 0; x < layer->width; x++, to += layer->out_pixel) {
            const Between column = layer->columns[x];
            const __m512 across = _mm512_set1_ps(column.part);
            const int64_t left = column.first * layer->in_pixel, right = column.second * layer->in_pixel;
            for (int64_t k = 0; k < layer->outputs; k += LANES) {
                const __m512 a = between(load_bytes(upper + left + k), load_bytes(lower + left + k), down);
                const __m512 b = between(load_bytes(upper + right + k), load_bytes(lower + right + k), down);
                store_bytes(to + k, between(a, b, across));
            }
        }
    }
}
