// Max pooling of bytes.
#pragma once

#include "layer.h"

EXPORTED void max_pool(Layer *layer) {
    for (int64_t y; (y = take(*layer, 1)) < layer->height;)
        for (int64_t x = 0; x < layer->width; x++)
            for (int64_t k = 0; k < layer->outputs; k += LANES) {
                const uint8_t *from = layer->in + layer->stride * (y * layer->in_row + x * layer->in_pixel);
                __m128i most = _mm_setzero_si128();
                for (int64_t i = 0; i < layer->kernel; i++)
                    for (int64_t j = 0; j < layer->kernel; j++) {
                        const uint8_t *pixel = from + i * layer->in_row + j * layer->in_pixel + k;
                        most = _mm_max_epu8(most, _mm_loadu_si128(reinterpret_cast<const __m128i *>(pixel)));
                    }
                uint8_t *to = layer->out + y * layer->out_row + x * layer->out_pixel + k;
                _mm_storeu_si128(reinterpret_cast<__m128i *>(to), most);
            }
}
