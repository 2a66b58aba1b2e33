// Convolutions by their definition, with any kernel and stride.
#pragma once

#include "layer.h"

// VECTORS x 16 output channels of PIXELS outputs in a row, whose sums stay in registers. STARTS: they have first values.
template <int VECTORS, int PIXELS, bool STARTS>
void direct_block(const Layer &layer, int64_t y, int64_t x, int64_t k, const int8_t *weight) {
    const int64_t step = layer.stride * layer.in_pixel;
    const uint8_t *corner = layer.in + y * layer.stride * layer.in_row + x * step;
    __m512i sums[PIXELS][VECTORS];
    const int32_t *const starts = STARTS ? layer.starts + layer.row_of[y] + k : nullptr;
#pragma GCC unroll 12
    for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            sums[p][v] = STARTS ? _mm512_loadu_si512(starts + layer.column_of[x + p] + LANES * v) : _mm512_setzero_si512();
    for (int64_t ky = 0; ky < layer.kernel; ky++)
        for (int64_t kx = 0; kx < layer.across; kx++) {
            const uint8_t *from = corner + ky * layer.in_row + kx * layer.in_pixel;
            for (int64_t d = 0; d < layer.depth; d++) {
                multiply_fours(sums, from + 4 * d, step, weight);
                weight += 64 * VECTORS;
            }
        }
    __m512 scale[VECTORS], bias[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
        scale[v] = _mm512_loadu_ps(layer.scale + k + LANES * v);
        bias[v] = _mm512_loadu_ps(layer.bias + k + LANES * v);
    }
    if (layer.floats) {
#pragma GCC unroll 12
        for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                if (x + p < layer.width) finish(layer, y, x + p, k + LANES * v, scale[v], bias[v], sums[p][v]);
        return;
    }
    uint8_t *const to = layer.out + y * layer.out_row + x * layer.out_pixel + k;
#pragma GCC unroll 6
    for (int first = 0; first < PIXELS * VECTORS; first += 4) {  // four vectors are one of bytes
        __m512 values[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const int p = (first + i) / VECTORS, v = (first + i) % VECTORS;
            values[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[p][v]), scale[v], bias[v]);
            if (layer.shortcut) values[i] = add_shortcut(layer, y, x + p, k + LANES * v, values[i]);
        }
        const __m512i bytes = to_bytes(values);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const int p = (first + i) / VECTORS, v = (first + i) % VECTORS;
            if (x + p < layer.width) store_quarter(to + p * layer.out_pixel + LANES * v, bytes, i);
        }
    }
}

template <int VECTORS, int PIXELS>
void direct_row(const Layer &layer, int64_t y, int64_t k, const int8_t *weight) {
    const auto block = layer.starts ? direct_block<VECTORS, PIXELS, true> : direct_block<VECTORS, PIXELS, false>;
    for (int64_t x = 0; x < layer.width; x += PIXELS) block(layer, y, x, k, weight);
}

// weight: for each block of 64 output channels (the last may have 48, 32 or 16), for each row and column of the kernel
// and group of input channels: (outputs of the block, 4). A kernel on the image has one column: the bytes of a row of
// its taps lie side by side, and `depth` groups of four cover them.
// starts: of an image, for each kind of row and of column near its edges, (outputs,); `row_of` and `column_of`, with
// PIXELS more behind the last, say where these are.
EXPORTED void direct(Layer *layer) {
    const int64_t channel = layer->kernel * layer->across * layer->depth * 4;
    for (int64_t y; (y = take(*layer, 1)) < layer->height;)
        for (int64_t k = 0; k < layer->outputs; k += 64) {
            const int8_t *weight = layer->weight + k * channel;
            switch (layer->outputs - k) {
                case 16: direct_row<1, 12>(*layer, y, k, weight); break;
                case 32: direct_row<2, 12>(*layer, y, k, weight); break;
                case 48: direct_row<3, 8>(*layer, y, k, weight); break;
                default: direct_row<4, 6>(*layer, y, k, weight);
            }
        }
}
