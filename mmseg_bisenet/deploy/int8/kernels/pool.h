// Max pooling of bytes.
#pragma once

#include "layer.h"

// 16 or 64 channels.
template <typename Vector>
inline void largest(const Layer &layer, const uint8_t *from, uint8_t *to) {
    Vector most = {};
    for (int64_t i = 0; i < layer.kernel; i++)
        for (int64_t j = 0; j < layer.kernel; j++) {
            Vector more;
            __builtin_memcpy(&more, from + i * layer.in_row + j * layer.in_pixel, sizeof more);
            most = more > most ? more : most;
        }
    __builtin_memcpy(to, &most, sizeof most);
}

EXPORTED void max_pool(Layer *layer) {
    typedef uint8_t Bytes16 __attribute__((vector_size(16)));
    typedef uint8_t Bytes64 __attribute__((vector_size(64)));
    for (int64_t y; (y = take(*layer, 1)) < layer->height;)
        for (int64_t x = 0; x < layer->width; x++) {
            const uint8_t *from = layer->in + layer->stride * (y * layer->in_row + x * layer->in_pixel);
            uint8_t *to = layer->out + y * layer->out_row + x * layer->out_pixel;
            int64_t k = 0;
            for (; k + 64 <= layer->outputs; k += 64) largest<Bytes64>(*layer, from + k, to + k);
            for (; k < layer->outputs; k += LANES) largest<Bytes16>(*layer, from + k, to + k);
        }
}
