// value * sigmoid(resized gate) + resized summand, the end of a branch that guides another.
#pragma once

#include "layer.h"

inline __m512 between(__m512 a, __m512 b, __m512 part) { return _mm512_fmadd_ps(_mm512_sub_ps(b, a), part, a); }

inline __m512 between(const float *a, const float *b, __m512 part) {
    return between(_mm512_loadu_ps(a), _mm512_loadu_ps(b), part);
}

// gate, summand: (small height, small width, outputs) float32, or null for no summand.
// rows, columns: for each row and column of the output, between which two of the small maps it lies, and where.
EXPORTED void gate(Layer *layer) {
    const int64_t line = layer->small_width * layer->outputs;
    float *const gates = reinterpret_cast<float *>(layer->scratch + layer->threads.fetch_add(1) * layer->scratch_bytes);
    float *const summands = gates + line;
    for (int64_t y; (y = take(*layer, 1)) < layer->height;) {
        const Between row = layer->rows[y];
        const __m512 down = _mm512_set1_ps(row.part);
        for (int64_t i = 0; i < line; i += LANES) {
            const int64_t a = row.first * line + i, b = row.second * line + i;
            _mm512_storeu_ps(gates + i, between(layer->gate + a, layer->gate + b, down));
            if (layer->summand) _mm512_storeu_ps(summands + i, between(layer->summand + a, layer->summand + b, down));
        }
        for (int64_t x = 0; x < layer->width; x++) {
            const Between column = layer->columns[x];
            const __m512 across = _mm512_set1_ps(column.part);
            const int64_t a = column.first * layer->outputs, b = column.second * layer->outputs;
            const uint8_t *from = layer->in + y * layer->in_row + x * layer->in_pixel;
            uint8_t *to = layer->out + y * layer->out_row + x * layer->out_pixel;
            for (int64_t k = 0; k < layer->outputs; k += LANES) {
                const __m512 whole = _mm512_sub_ps(load_bytes(from + k), _mm512_set1_ps(layer->zero));
                const __m512 value = _mm512_mul_ps(whole, _mm512_loadu_ps(layer->scale + k));
                const __m512 share = sigmoid(between(gates + a + k, gates + b + k, across));
                __m512 result = _mm512_fmadd_ps(value, share, _mm512_loadu_ps(layer->bias + k));
                if (layer->summand) {
                    const __m512 more = between(summands + a + k, summands + b + k, across);
                    result = _mm512_fmadd_ps(more, _mm512_loadu_ps(layer->shortcut_scale + k), result);
                }
                store_bytes(to + k, result);
            }
        }
    }
}
