// An image (height, width, 3) -> the same with a fourth channel, whose value is `zero`.
#pragma once

#include "layer.h"

EXPORTED void pixels(Layer *layer) {
    alignas(64) uint8_t order[64];
    for (int i = 0; i < 64; i++) order[i] = i / 4 * 3 + i % 4;
    const __m512i places = _mm512_load_si512(order);
    const __m512i constant = _mm512_set1_epi32(static_cast<int32_t>(static_cast<uint32_t>(layer->zero) << 24));
    for (int64_t y; (y = take(*layer, 1)) < layer->height;) {
        const uint8_t *from = layer->in + y * layer->in_row;
        uint8_t *to = layer->out + y * layer->out_row;
        for (int64_t x = 0; x < layer->width; x += LANES) {
            const int64_t count = layer->width - x < LANES ? layer->width - x : LANES;
            const __m512i bytes = _mm512_maskz_loadu_epi8((1ull << 3 * count) - 1, from + 3 * x);
            const __m512i four = _mm512_maskz_permutexvar_epi8(0x7777777777777777ull, places, bytes);
            _mm512_mask_storeu_epi32(to + 4 * x, (1u << count) - 1, _mm512_or_si512(four, constant));
        }
    }
}
