// Depthwise 3x3 convolutions, with one or several outputs for each input channel.
#pragma once

#include "layer.h"

// Three rows of a column, 16 channels each -> for each of 16 output channels its three bytes, and one of no meaning.
inline __m512i column(const uint8_t *from, int64_t row, __m512i order) {
    const auto load = [&](int64_t i) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i * row)); };
    __m512i rows = _mm512_castsi128_si512(load(0));
    rows = _mm512_inserti32x4(rows, load(1), 1);
    rows = _mm512_inserti32x4(rows, load(2), 2);
    return _mm512_permutexvar_epi8(order, rows);
}

template <int STRIDE>
void depthwise_row(const Layer &layer, int64_t y, int64_t k) {
    const __m512i order = _mm512_loadu_si512(layer.order + 4 * k);
    const int8_t *weight = layer.weight + 12 * k;
    const __m512i left = _mm512_loadu_si512(weight), middle = _mm512_loadu_si512(weight + 64);
    const __m512i right = _mm512_loadu_si512(weight + 128);
    const __m512 scale = _mm512_loadu_ps(layer.scale + k), bias = _mm512_loadu_ps(layer.bias + k);
    const uint8_t *from = layer.in + y * STRIDE * layer.in_row + layer.first[k / LANES];
    __m512i a = column(from, layer.in_row, order);
    __m512i b = STRIDE == 1 ? column(from + layer.in_pixel, layer.in_row, order) : a;
    for (int64_t x = 0; x < layer.width; x++) {
        from += STRIDE * layer.in_pixel;
        if (STRIDE == 2) b = column(from - layer.in_pixel, layer.in_row, order);
        const __m512i c = column(STRIDE == 1 ? from + layer.in_pixel : from, layer.in_row, order);
        __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), a, left);
        sum = _mm512_dpbusd_epi32(sum, b, middle);
        sum = _mm512_dpbusd_epi32(sum, c, right);
        finish(layer, y, x, k, scale, bias, sum);
        a = STRIDE == 1 ? b : c;
        b = c;
    }
}

// weight: for each 16 output channels and each column of the kernel: (16, 4), of three rows and a zero.
// order, first: for each 16 output channels, where `column` finds their bytes, (64,), and their first input channel.
EXPORTED void depthwise(Layer *layer) {
    const auto row = layer->stride == 1 ? depthwise_row<1> : depthwise_row<2>;
    for (int64_t y; (y = take(*layer, 1)) < layer->height;)
        for (int64_t k = 0; k < layer->outputs; k += LANES) row(*layer, y, k);
}
