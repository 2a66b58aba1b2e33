// What the kernels take, and how results are stored. See ../__init__.py for the layout of maps.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include <atomic>
#include <initializer_list>

#define EXPORTED extern "C" __attribute__((visibility("default")))

constexpr int LANES = 16;  // int32 or float values in a vector

struct Between {
    int32_t first, second;
    float part;  // 0: the first, 1: the second
};

// One layer. `library.py` has the same fields in the same order; each takes 8 bytes. Distances are in bytes.
struct Layer {
    std::atomic<int64_t> next;  // piece of work that no thread has taken
    std::atomic<int64_t> threads;  // that have started
    const uint8_t *in;  // the pixel at the top left that the first output reads, in the padding
    int64_t in_row, in_pixel;
    uint8_t *out;  // the first pixel
    int64_t out_row, out_pixel;
    int64_t height, width, outputs;  // of the output; outputs is a multiple of 16
    int64_t depth;  // groups of four input channels
    int64_t kernel, across, stride;  // rows and columns of the kernel
    int64_t floats;  // 1: results are float32 instead of bytes
    int64_t zero;  // byte that stands for 0 in the input
    const int8_t *weight;
    const float *scale, *bias;  // result = scale * sum + bias, for each output channel
    const uint8_t *shortcut;  // a map that is added, or null
    int64_t shortcut_row, shortcut_pixel;
    const float *shortcut_scale;
    int64_t relu;  // of results in float32; bytes are clipped at 0 anyway
    const int32_t *starts;  // first values of the sums; Winograd: (outputs / 64, 36, 64); direct: see there, or null
    const int64_t *row_of, *column_of;  // for each row and column of the output: direct, of `starts`; nearest, of the input
    const float *units;  // Winograd: what a sum of 1 stands for, of that shape
    int64_t tiles;  // Winograd: of a block
    uint8_t *scratch;
    int64_t scratch_bytes;  // of a thread
    const uint8_t *order;  // depthwise: see there
    const int64_t *first;
    const float *gate, *summand;  // of gates and attention: see there; of a convolution: see put
    int64_t small_width;
    const Between *rows, *columns;
    const Layer *classifier;  // Winograd: a 1x1 convolution that alone reads the output, which is not stored then; or null
    int64_t sigmoid, more;  // attention: see there
};

// To about 2^-14.
inline __m512 sigmoid(__m512 x) {
    const __m512 power = _mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f));  // e^-x = 2^power
    const __m512 whole = _mm512_roundscale_ps(power, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 rest = _mm512_sub_ps(power, whole);
    __m512 e = _mm512_set1_ps(9.6181291e-3f);
    for (float factor : {5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f})
        e = _mm512_fmadd_ps(e, rest, _mm512_set1_ps(factor));
    return _mm512_rcp14_ps(_mm512_add_ps(_mm512_scalef_ps(e, whole), _mm512_set1_ps(1)));
}

inline int64_t take(Layer &layer, int64_t amount) { return layer.next.fetch_add(amount, std::memory_order_relaxed); }

// Adds to the sums of PIXELS x VECTORS vectors the products of four input channels of each pixel, `step` bytes apart.
template <int PIXELS, int VECTORS>
[[gnu::always_inline]] inline void multiply_fours(__m512i (&sums)[PIXELS][VECTORS], const uint8_t *from, int64_t step,
                                                  const int8_t *weight) {
    __m512i factors[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) factors[v] = _mm512_loadu_si512(weight + 64 * v);
#pragma GCC unroll 16
    for (int p = 0; p < PIXELS; p++) {
        int32_t four;
        __builtin_memcpy(&four, from + p * step, 4);
        const __m512i value = _mm512_set1_epi32(four);
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sums[p][v] = _mm512_dpbusd_epi32(sums[p][v], value, factors[v]);
    }
}

// Sixteen results in units of the output -> bytes.
inline void store_bytes(uint8_t *to, __m512 value) {
    const __m512i whole = _mm512_cvtps_epi32(_mm512_min_ps(value, _mm512_set1_ps(255)));
    const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_max_epi32(whole, _mm512_setzero_si512()));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), bytes);
}

// The same of four times sixteen, one behind the other.
inline __m512i to_bytes(const __m512 *values) {
    __m512i whole[4];
    for (int i = 0; i < 4; i++) whole[i] = _mm512_cvtps_epi32(_mm512_min_ps(values[i], _mm512_set1_ps(255)));
    const __m512i low = _mm512_packs_epi32(whole[0], whole[1]), high = _mm512_packs_epi32(whole[2], whole[3]);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
}

// Sixteen of 64 bytes; `i` is known when this is compiled.
[[gnu::always_inline]] inline void store_quarter(uint8_t *to, __m512i bytes, int i) {
    const __m128i low = i % 2 ? _mm512_extracti32x4_epi32(bytes, 1) : _mm512_castsi512_si128(bytes);
    const __m128i high = i % 2 ? _mm512_extracti32x4_epi32(bytes, 3) : _mm512_extracti32x4_epi32(bytes, 2);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), i < 2 ? low : high);
}

inline __m512 load_bytes(const uint8_t *from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from))));
}

// Sixteen channels from `k` on, in units of the output, and the shortcut.
inline __m512 add_shortcut(const Layer &layer, int64_t y, int64_t x, int64_t k, __m512 value) {
    const uint8_t *more = layer.shortcut + y * layer.shortcut_row + x * layer.shortcut_pixel + k;
    return _mm512_fmadd_ps(load_bytes(more), _mm512_loadu_ps(layer.shortcut_scale + k), value);
}

// The output of sixteen channels from `k` on, in units of the output, with the shortcut.
inline void put(const Layer &layer, int64_t y, int64_t x, int64_t k, __m512 value) {
    if (layer.shortcut) value = add_shortcut(layer, y, x, k, value);
    uint8_t *to = layer.out + y * layer.out_row + x * layer.out_pixel;
    if (layer.floats) {
        if (layer.relu) value = _mm512_max_ps(value, _mm512_setzero_ps());
        if (layer.gate) {  // a map as the output is; its values take these as their gate
            const float *gated = layer.gate + (to - layer.out) / sizeof(float) + k;
            value = _mm512_mul_ps(_mm512_loadu_ps(gated), sigmoid(value));
        }
        _mm512_storeu_ps(reinterpret_cast<float *>(to) + k, value);
    } else {
        store_bytes(to + k, value);
    }
}

// Scale and bias too.
inline void finish(const Layer &layer, int64_t y, int64_t x, int64_t k, __m512 scale, __m512 bias, __m512i sum) {
    put(layer, y, x, k, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, bias));
}
