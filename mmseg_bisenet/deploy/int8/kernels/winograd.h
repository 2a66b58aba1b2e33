// 3x3 convolutions with stride 1 by F(4x4, 3x3) of Lavin & Gray (arXiv 1509.09308), whose input transform is exact in
// 16 bits. Transformed patches and filters are quantized: a patch with a scale for each tile and point.
#pragma once

#include "layer.h"

constexpr int TILE = 4, PATCH = 6, POINTS = 36;
constexpr int ROWS = 6;  // tiles whose products are summed at the same time
constexpr int GROUP = 12;  // tiles whose products are transformed back together, a multiple of ROWS
constexpr int COLUMNS = 64;  // for as many output channels
constexpr int MOST = 1024;  // input channels
constexpr int FACTORS = 3 * LANES;  // floats of a tile; 36 are in use
constexpr int PRODUCTS = POINTS * COLUMNS;  // of a tile

// Six values -> the same at 0, 1, -1, 2, -2 and infinity.
inline void transform_six(const __m512i *d, int64_t step, __m512i *to) {
    const auto add = [](__m512i a, __m512i b) { return _mm512_add_epi16(a, b); };
    const auto sub = [](__m512i a, __m512i b) { return _mm512_sub_epi16(a, b); };
    const __m512i d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    const __m512i even = sub(d4, _mm512_slli_epi16(d2, 2)), odd = sub(d3, _mm512_slli_epi16(d1, 2));
    const __m512i near = sub(d4, d2), far = _mm512_slli_epi16(sub(d3, d1), 1);
    to[0] = add(_mm512_slli_epi16(sub(d0, d2), 2), near);
    to[1] = add(even, odd);
    to[2] = sub(even, odd);
    to[3] = add(near, far);
    to[4] = sub(near, far);
    to[5] = sub(sub(d5, d3), add(far, far));
}

// 32 channels of a patch -> the same of 36 matrices, in 16 bits; `largest` takes their absolute values.
inline void transform_patch(const Layer &layer, const uint8_t *from, __m512i *to, __m512i *largest) {
    const __m512i zero = _mm512_set1_epi16(layer.zero);
    __m512i grid[PATCH][PATCH], columns[PATCH][PATCH];
    for (int i = 0; i < PATCH; i++)
        for (int j = 0; j < PATCH; j++) {
            const uint8_t *pixel = from + i * layer.in_row + j * layer.in_pixel;
            const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(pixel));
            grid[i][j] = _mm512_sub_epi16(_mm512_cvtepu8_epi16(bytes), zero);
        }
    for (int j = 0; j < PATCH; j++) transform_six(&grid[0][j], PATCH, columns[j]);
    for (int i = 0; i < PATCH; i++) transform_six(&columns[0][i], PATCH, to + i * PATCH);
    for (int i = 0; i < POINTS; i++) largest[i] = _mm512_max_epi16(largest[i], _mm512_abs_epi16(to[i]));
}

inline uint16_t largest_of(__m512i values) {
    const __m256i half = _mm256_max_epi16(_mm512_castsi512_si256(values), _mm512_extracti64x4_epi64(values, 1));
    const __m128i quarter = _mm_max_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return ~_mm_extract_epi16(_mm_minpos_epu16(_mm_xor_si128(quarter, _mm_set1_epi16(-1))), 0);
}

// All channels of a tile -> 36 matrices of bytes with 128 added, each with its own scale; `factors` are their units.
inline void quantize_tile(const Layer &layer, const uint8_t *from, uint8_t *to, float *factors) {
    alignas(64) __m512i values[MOST / 32 * POINTS];
    __m512i largest[POINTS];
    alignas(64) int32_t most[3 * LANES] = {}, levels[3 * LANES];
    for (int i = 0; i < POINTS; i++) largest[i] = _mm512_setzero_si512();
    const int64_t inputs = layer.depth * 4;
    for (int64_t c = 0; c < inputs; c += 32) transform_patch(layer, from + c, values + c / 32 * POINTS, largest);
    for (int i = 0; i < POINTS; i++) most[i] = largest_of(largest[i]);
    for (int i = 0; i < 3 * LANES; i += LANES) {  // 127 becomes the largest; values up to 127 stay as they are
        const __m512i whole = _mm512_max_epi32(_mm512_loadu_si512(most + i), _mm512_set1_epi32(128));
        const __m512 level_of = _mm512_div_ps(_mm512_set1_ps(127 * 32768), _mm512_cvtepi32_ps(whole));
        const __m512i level = _mm512_cvtps_epi32(level_of);
        _mm512_storeu_si512(levels + i, level);
        _mm512_storeu_ps(factors + i, _mm512_div_ps(_mm512_set1_ps(32768), _mm512_cvtepi32_ps(level)));
    }
    for (int i = 0; i < POINTS; i++, to += inputs) {
        const __m512i level = _mm512_set1_epi16(levels[i]);
        for (int64_t c = 0; c < inputs; c += 32) {
            const __m256i bytes = _mm512_cvtsepi16_epi8(_mm512_mulhrs_epi16(values[c / 32 * POINTS + i], level));
            const __m256i positive = _mm256_xor_si256(bytes, _mm256_set1_epi8(-128));
            _mm256_storeu_si256(reinterpret_cast<__m256i *>(to + c), positive);
        }
    }
}

// (ROWS, depth) patches, `row` bytes apart, times (depth, COLUMNS), in fours of bytes.
inline void multiply(const uint8_t *patches, int64_t row, int64_t depth, const int8_t *weight, const int32_t *start,
                     int32_t *to) {
    __m512i sums[ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) sums[r][v] = _mm512_loadu_si512(start + LANES * v);
    for (int64_t d = 0; d < depth; d++) multiply_fours(sums, patches + 4 * d, row, weight + 256 * d);
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) _mm512_storeu_si512(to + r * PRODUCTS + LANES * v, sums[r][v]);
}

// Six values -> four outputs.
inline void transform_four(const __m512 *m, int64_t step, __m512 *to) {
    const __m512 s = _mm512_add_ps(m[step], m[2 * step]), d = _mm512_sub_ps(m[step], m[2 * step]);
    const __m512 t = _mm512_add_ps(m[3 * step], m[4 * step]), e = _mm512_sub_ps(m[3 * step], m[4 * step]);
    to[0] = _mm512_add_ps(_mm512_add_ps(m[0], s), t);
    to[1] = _mm512_fmadd_ps(e, _mm512_set1_ps(2), d);
    to[2] = _mm512_fmadd_ps(t, _mm512_set1_ps(4), s);
    to[3] = _mm512_add_ps(_mm512_fmadd_ps(e, _mm512_set1_ps(8), d), m[5 * step]);
}

// 16 channels, from `k` on, of 36 matrices of products -> the same of 4x4 outputs, less those beyond the edge.
inline void transform_products(const Layer &layer, const int32_t *from, const float *units, const float *factors,
                               int64_t y, int64_t x, int64_t k) {
    const __m512 bias = _mm512_loadu_ps(layer.bias + k);
    __m512 grid[PATCH][PATCH], columns[PATCH][TILE], values[TILE];
    for (int i = 0; i < PATCH; i++)
        for (int j = 0; j < PATCH; j++, from += COLUMNS, units += COLUMNS, factors++) {
            const __m512 unit = _mm512_mul_ps(_mm512_loadu_ps(units), _mm512_set1_ps(*factors));
            grid[i][j] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(from)), unit);
        }
    for (int j = 0; j < PATCH; j++) transform_four(&grid[0][j], PATCH, columns[j]);
    for (int i = 0; i < TILE && y + i < layer.height; i++) {
        transform_four(&columns[0][i], TILE, values);
        for (int j = 0; j < TILE && x + j < layer.width; j++)
            put(layer, y + i, x + j, k, _mm512_add_ps(values[j], bias));
    }
}

// weight: for each 64 output channels, for each of 36 points and each group of input channels: (64, 4).
//
// A block of tiles is transformed at a time, so that its patches stay in the second cache; of these, GROUP are
// multiplied and transformed back at a time, so that their products stay there too.
EXPORTED void winograd(Layer *layer) {
    const int64_t across = (layer->width + TILE - 1) / TILE, down = (layer->height + TILE - 1) / TILE;
    const int64_t total = across * down, inputs = layer->depth * 4, row = POINTS * inputs;
    uint8_t *patches = layer->scratch + layer->threads.fetch_add(1) * layer->scratch_bytes;
    int32_t *products = reinterpret_cast<int32_t *>(patches + layer->tiles * row);
    float *factors = reinterpret_cast<float *>(products + GROUP * PRODUCTS);
    for (int64_t first; (first = take(*layer, layer->tiles)) < total;) {
        const int64_t count = first + layer->tiles < total ? layer->tiles : total - first;
        for (int64_t t = 0; t < count; t++) {
            const int64_t y = (first + t) / across * TILE, x = (first + t) % across * TILE;
            const uint8_t *from = layer->in + y * layer->in_row + x * layer->in_pixel;
            quantize_tile(*layer, from, patches + t * row, factors + t * FACTORS);
        }
        for (int64_t panel = 0; panel < layer->outputs / COLUMNS; panel++) {
            const float *units = layer->units + panel * POINTS * COLUMNS;
            for (int64_t group = 0; group < count; group += GROUP) {
                for (int64_t point = 0; point < POINTS; point++) {
                    const int64_t column = panel * POINTS + point;
                    for (int64_t t = 0; t < GROUP; t += ROWS)
                        multiply(patches + (group + t) * row + point * inputs, row, layer->depth,
                                 layer->weight + column * inputs * COLUMNS, layer->starts + column * COLUMNS,
                                 products + t * PRODUCTS + point * COLUMNS);
                }
                for (int64_t t = group; t < count && t < group + GROUP; t++) {
                    const int64_t y = (first + t) / across * TILE, x = (first + t) % across * TILE;
                    for (int c = 0; c < COLUMNS; c += LANES)
                        transform_products(*layer, products + (t - group) * PRODUCTS + c, units + c,
                                           factors + t * FACTORS, y, x, panel * COLUMNS + c);
                }
            }
        }
    }
}
