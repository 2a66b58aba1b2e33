// Attention over channels: the mean of each, a matrix, and a map times the factors that it gives.
#pragma once

#include "layer.h"

// out: (outputs,) float32, scale * (the sum of the bytes less their zero).
EXPORTED void mean(Layer *layer) {
    constexpr int VECTORS = 4;
    const float zeros = static_cast<float>(layer->zero * layer->height * layer->width);
    for (int64_t k; (k = take(*layer, VECTORS * LANES)) < layer->outputs;) {
        __m512i sums[VECTORS];
        for (int v = 0; v < VECTORS; v++) sums[v] = _mm512_setzero_si512();
        for (int64_t y = 0; y < layer->height; y++)
            for (int64_t x = 0; x < layer->width; x++) {
                const uint8_t *from = layer->in + y * layer->in_row + x * layer->in_pixel + k;
                for (int v = 0; v < VECTORS; v++) {  // behind the last channel too, for nothing
                    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + v * LANES));
                    sums[v] = _mm512_add_epi32(sums[v], _mm512_cvtepu8_epi32(bytes));
                }
            }
        for (int v = 0; v < VECTORS && k + v * LANES < layer->outputs; v++) {
            const __m512 sum = _mm512_sub_ps(_mm512_cvtepi32_ps(sums[v]), _mm512_set1_ps(zeros));
            float *to = reinterpret_cast<float *>(layer->out) + k + v * LANES;
            _mm512_storeu_ps(to, _mm512_mul_ps(sum, _mm512_loadu_ps(layer->scale + k + v * LANES)));
        }
    }
}

// A matrix times a vector. in: (depth,) float32; weight: (depth, outputs) float32.
EXPORTED void linear(Layer *layer) {
    const float *in = reinterpret_cast<const float *>(layer->in), *weight = reinterpret_cast<const float *>(layer->weight);
    for (int64_t k; (k = LANES * take(*layer, 1)) < layer->outputs;) {
        __m512 sum = _mm512_loadu_ps(layer->bias + k);
        for (int64_t d = 0; d < layer->depth; d++)
            sum = _mm512_fmadd_ps(_mm512_loadu_ps(weight + d * layer->outputs + k), _mm512_set1_ps(in[d]), sum);
        if (layer->relu) sum = _mm512_max_ps(sum, _mm512_setzero_ps());
        if (layer->sigmoid) sum = sigmoid(sum);
        _mm512_storeu_ps(reinterpret_cast<float *>(layer->out) + k, sum);
    }
}

// value * factor + summand + another map. gate: the factors, less 1 with `more`; summand; each (outputs,) float32, or null
// for none.
EXPORTED void scaled(Layer *layer) {
    for (int64_t y; (y = take(*layer, 1)) < layer->height;)
        for (int64_t x = 0; x < layer->width; x++) {
            const uint8_t *from = layer->in + y * layer->in_row + x * layer->in_pixel;
            uint8_t *to = layer->out + y * layer->out_row + x * layer->out_pixel;
            for (int64_t k = 0; k < layer->outputs; k += LANES) {
                const __m512 scale = _mm512_loadu_ps(layer->scale + k);
                __m512 factor = scale, result = _mm512_loadu_ps(layer->bias + k);
                if (layer->gate) factor = _mm512_mul_ps(scale, _mm512_loadu_ps(layer->gate + k));
                if (layer->more) factor = _mm512_add_ps(factor, scale);
                if (layer->summand) {
                    const __m512 unit = _mm512_loadu_ps(layer->shortcut_scale + k);
                    result = _mm512_fmadd_ps(_mm512_loadu_ps(layer->summand + k), unit, result);
                }
                const __m512 whole = _mm512_sub_ps(load_bytes(from + k), _mm512_set1_ps(layer->zero));
                result = _mm512_fmadd_ps(whole, factor, result);
                if (layer->shortcut) result = add_shortcut(*layer, y, x, k, result);
                store_bytes(to + k, result);
            }
        }
}
