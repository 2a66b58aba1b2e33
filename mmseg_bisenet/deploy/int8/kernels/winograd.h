// 3x3 convolutions with stride 1 by F(4x4, 3x3) of Lavin & Gray (arXiv 1509.09308), whose input transform is exact in
// 16 bits. Transformed patches and filters are quantized: a patch with a scale for each tile and point.
#pragma once

#include <string.h>

#include "layer.h"

constexpr int TILE = 4, PIXELS = 16, PATCH = 6, POINTS = 36;
constexpr int GROUP = 6;  // tiles whose products are summed, and transformed back, at the same time
constexpr int COLUMNS = 64;  // for as many output channels
constexpr int MOST = 1024;  // input channels
constexpr int FACTORS = 3 * LANES;  // floats of a tile; 36 are in use
constexpr int PRODUCTS = POINTS * COLUMNS;  // of a tile

// Six values -> the same at 0, 1, -1, 2, -2 and infinity.
inline void transform_six(const __m512i *d, __m512i *to) {
    const auto add = [](__m512i a, __m512i b) { return _mm512_add_epi16(a, b); };
    const auto sub = [](__m512i a, __m512i b) { return _mm512_sub_epi16(a, b); };
    const __m512i even = sub(d[4], _mm512_slli_epi16(d[2], 2)), odd = sub(d[3], _mm512_slli_epi16(d[1], 2));
    const __m512i near = sub(d[4], d[2]), far = _mm512_slli_epi16(sub(d[3], d[1]), 1);
    to[0] = add(_mm512_slli_epi16(sub(d[0], d[2]), 2), near);
    to[1] = add(even, odd);
    to[2] = sub(even, odd);
    to[3] = add(near, far);
    to[4] = sub(near, far);
    to[5] = sub(sub(d[5], d[3]), add(far, far));
}

// Half of 64 channels of a patch -> the same of 36 matrices, in 16 bits, each second vector.
//
// The halves are those of each 16 bytes, which _mm512_packs_epi16 puts in order again. Not inlined, because GCC would
// load the bytes of both halves at once, and spill them.
template <int HALF>
[[gnu::noinline]] void transform_patch(const Layer &layer, const uint8_t *from, __m512i *to) {
    __m512i columns[PATCH][PATCH];
    for (int j = 0; j < PATCH; j++) {
        __m512i values[PATCH], six[PATCH];
        for (int i = 0; i < PATCH; i++) {
            const __m512i bytes = _mm512_loadu_si512(from + i * layer.in_row + j * layer.in_pixel);
            const __m512i none = _mm512_setzero_si512();
            values[i] = HALF ? _mm512_unpackhi_epi8(bytes, none) : _mm512_unpacklo_epi8(bytes, none);
        }
        transform_six(values, six);
        for (int i = 0; i < PATCH; i++) columns[i][j] = six[i];
    }
    for (int i = 0; i < PATCH; i++) {
        __m512i six[PATCH];
        transform_six(columns[i], six);
        // The factors of all matrices but one have a sum of 0, so that the zero of the bytes counts only there.
        if (i == 1) six[1] = _mm512_sub_epi16(six[1], _mm512_set1_epi16(36 * layer.zero));
        for (int j = 0; j < PATCH; j++) to[2 * (i * PATCH + j)] = six[j];
    }
}

// The largest of each of eight vectors.
inline __m128i largest_of(const __m512i *v) {
    __m512i pairs[4], fours[2];
    for (int i = 0; i < 4; i++) {
        const __m512i a = v[2 * i], b = v[2 * i + 1];
        pairs[i] = _mm512_max_epi16(_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b));
    }
    for (int i = 0; i < 2; i++) {
        const __m512i a = pairs[2 * i], b = pairs[2 * i + 1];
        fours[i] = _mm512_max_epi16(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
    const __m512i low = _mm512_unpacklo_epi64(fours[0], fours[1]), high = _mm512_unpackhi_epi64(fours[0], fours[1]);
    const __m512i eights = _mm512_max_epi16(low, high);
    const __m256i half = _mm256_max_epi16(_mm512_castsi512_si256(eights), _mm512_extracti64x4_epi64(eights, 1));
    return _mm_max_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// All channels of a tile -> 36 matrices of bytes with 128 added, each with its own scale; `factors` are their units.
inline void quantize_tile(const Layer &layer, const uint8_t *from, uint8_t *to, float *factors) {
    alignas(64) __m512i values[MOST / 64][POINTS][2];
    alignas(64) int32_t most[FACTORS] = {}, levels[FACTORS];
    const int64_t inputs = layer.depth * 4;
    for (int64_t c = 0; c < inputs; c += 64) {
        transform_patch<0>(layer, from + c, &values[c / 64][0][0]);
        transform_patch<1>(layer, from + c, &values[c / 64][0][1]);
    }
    for (int first = 0; first < POINTS; first += 8) {
        __m512i largest[8];
        for (int i = 0; i < 8; i++) largest[i] = _mm512_setzero_si512();
        const int count = POINTS - first < 8 ? 4 : 8;  // the last four twice
        for (int64_t c = 0; c < inputs / 64; c++)
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
                const __m512i *halves = values[c][first + i % count];
                const __m512i more = _mm512_max_epi16(_mm512_abs_epi16(halves[0]), _mm512_abs_epi16(halves[1]));
                largest[i] = _mm512_max_epi16(largest[i], more);
            }
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(most + first), _mm256_cvtepi16_epi32(largest_of(largest)));
    }
    for (int i = 0; i < FACTORS; i += LANES) {  // 127 becomes the largest; values up to 127 stay as they are
        const __m512i whole = _mm512_max_epi32(_mm512_loadu_si512(most + i), _mm512_set1_epi32(128));
        const __m512 level_of = _mm512_div_ps(_mm512_set1_ps(127 * 32768), _mm512_cvtepi32_ps(whole));
        const __m512i level = _mm512_cvtps_epi32(level_of);
        _mm512_storeu_si512(levels + i, level);
        _mm512_storeu_ps(factors + i, _mm512_div_ps(_mm512_set1_ps(32768), _mm512_cvtepi32_ps(level)));
    }
    for (int i = 0; i < POINTS; i++, to += inputs) {
        const __m512i level = _mm512_set1_epi16(levels[i]);
        for (int64_t c = 0; c < inputs; c += 64) {
            const __m512i *halves = values[c / 64][i];
            const __m512i low = _mm512_mulhrs_epi16(halves[0], level), high = _mm512_mulhrs_epi16(halves[1], level);
            _mm512_storeu_si512(to + c, _mm512_xor_si512(_mm512_packs_epi16(low, high), _mm512_set1_epi8(-128)));
        }
    }
}

// (GROUP, depth) patches, `row` bytes apart, times (depth, COLUMNS), in fours of bytes.
inline void multiply(const uint8_t *patches, int64_t row, int64_t depth, const int8_t *weight, const int32_t *start,
                     int32_t *to) {
    __m512i sums[GROUP][4];
#pragma GCC unroll 6
    for (int r = 0; r < GROUP; r++)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) sums[r][v] = _mm512_loadu_si512(start + LANES * v);
    for (int64_t d = 0; d < depth; d++) multiply_fours(sums, patches + 4 * d, row, weight + 256 * d);
#pragma GCC unroll 6
    for (int r = 0; r < GROUP; r++)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) _mm512_storeu_si512(to + r * PRODUCTS + LANES * v, sums[r][v]);
}

// Of six values a to f: b + c, b - c, d + e, d - e, a + b + c and b - c + f -> four outputs.
inline void transform_four(__m512 s, __m512 d, __m512 t, __m512 e, __m512 first, __m512 last, __m512 *to) {
    to[0] = _mm512_add_ps(first, t);
    to[1] = _mm512_fmadd_ps(e, _mm512_set1_ps(2), d);
    to[2] = _mm512_fmadd_ps(t, _mm512_set1_ps(4), s);
    to[3] = _mm512_fmadd_ps(e, _mm512_set1_ps(8), last);
}

// 16 channels of 36 matrices of products -> `store(i, values)` for each row of the same of 4x4 outputs.
template <typename Store>
[[gnu::always_inline]] inline void transform_products(const int32_t *from, const float *units, const float *factors,
                                                      __m512 bias, const Store &store) {
    __m512 rows[TILE][PATCH];
#pragma GCC unroll 6
    for (int j = 0; j < PATCH; j++) {
        const auto sum = [&](int i) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(from + (i * PATCH + j) * COLUMNS)); };
        const auto unit = [&](int i) {
            const int point = i * PATCH + j;
            return _mm512_mul_ps(_mm512_loadu_ps(units + point * COLUMNS), _mm512_set1_ps(factors[point]));
        };
        // All outputs have the second product of the second column as it is, so that the bias may begin there.
        const __m512 b = j == 1 ? _mm512_fmadd_ps(sum(1), unit(1), bias) : _mm512_mul_ps(sum(1), unit(1));
        const __m512 d = _mm512_mul_ps(sum(3), unit(3));
        const __m512 c_sum = sum(2), c_unit = unit(2), e_sum = sum(4), e_unit = unit(4);
        const __m512 b_and_c = _mm512_fmadd_ps(c_sum, c_unit, b), b_less_c = _mm512_fnmadd_ps(c_sum, c_unit, b);
        const __m512 d_and_e = _mm512_fmadd_ps(e_sum, e_unit, d), d_less_e = _mm512_fnmadd_ps(e_sum, e_unit, d);
        const __m512 first = _mm512_fmadd_ps(sum(0), unit(0), b_and_c), last = _mm512_fmadd_ps(sum(5), unit(5), b_less_c);
        __m512 four[TILE];
        transform_four(b_and_c, b_less_c, d_and_e, d_less_e, first, last, four);
        for (int i = 0; i < TILE; i++) rows[i][j] = four[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < TILE; i++) {
        const __m512 *m = rows[i];
        const __m512 s = _mm512_add_ps(m[1], m[2]), d = _mm512_sub_ps(m[1], m[2]);
        const __m512 t = _mm512_add_ps(m[3], m[4]), e = _mm512_sub_ps(m[3], m[4]);
        __m512 four[TILE];
        transform_four(s, d, t, e, _mm512_add_ps(m[0], s), _mm512_add_ps(m[5], d), four);
        store(i, four);
    }
}

// COLUMNS channels, from `k` on, of a tile -> bytes, (16, COLUMNS).
inline void tile_of_bytes(const Layer &layer, const int32_t *from, const float *units, const float *factors, int64_t y,
                          int64_t x, int64_t k, uint8_t *to) {
    for (int c = 0; c < COLUMNS; c += LANES) {
        const __m512 bias = _mm512_loadu_ps(layer.bias + k + c);
        transform_products(from + c, units + c, factors, bias, [&](int i, __m512 *values) {
            if (layer.shortcut)
                for (int j = 0; j < TILE; j++) values[j] = add_shortcut(layer, y + i, x + j, k + c, values[j]);
            const __m512i bytes = to_bytes(values);
#pragma GCC unroll 4
            for (int j = 0; j < TILE; j++) store_quarter(to + (i * TILE + j) * COLUMNS + c, bytes, j);
        });
    }
}

// These, less those beyond the edge.
inline void put_tile(const Layer &layer, const uint8_t *bytes, int64_t y, int64_t x, int64_t k) {
    for (int i = 0; i < TILE && y + i < layer.height; i++)
        for (int j = 0; j < TILE && x + j < layer.width; j++) {
            uint8_t *to = layer.out + (y + i) * layer.out_row + (x + j) * layer.out_pixel + k;
            _mm512_storeu_si512(to, _mm512_load_si512(bytes + (i * TILE + j) * COLUMNS));
        }
}

// The same as float32, straight to the output.
inline void put_floats(const Layer &layer, const int32_t *from, const float *units, const float *factors, int64_t y,
                       int64_t x, int64_t k) {
    for (int c = 0; c < COLUMNS; c += LANES) {
        const __m512 bias = _mm512_loadu_ps(layer.bias + k + c);
        transform_products(from + c, units + c, factors, bias, [&](int i, const __m512 *values) {
            for (int j = 0; j < TILE && y + i < layer.height && x + j < layer.width; j++)
                put(layer, y + i, x + j, k + c, values[j]);
        });
    }
}

// Adds to the sums of a 1x1 convolution, (outputs / 16, 16, 16), what it makes of COLUMNS channels of a tile.
inline void add_scores(const Layer &layer, const uint8_t *bytes, int64_t k, int32_t *sums) {
    for (int64_t first = 0; first < layer.outputs; first += COLUMNS) {
        const int64_t count = layer.outputs - first < COLUMNS ? layer.outputs - first : COLUMNS;
        const int8_t *weight = layer.weight + first * layer.depth * 4 + k * count;
        for (int64_t v = 0; v < count; v += LANES, sums += PIXELS * LANES) {
            __m512i scores[PIXELS][1];
#pragma GCC unroll 16
            for (int p = 0; p < PIXELS; p++) scores[p][0] = _mm512_loadu_si512(sums + p * LANES);
            for (int64_t d = 0; d < COLUMNS / 4; d++)
                multiply_fours(scores, bytes + 4 * d, COLUMNS, weight + 4 * (d * count + v));
#pragma GCC unroll 16
            for (int p = 0; p < PIXELS; p++) _mm512_storeu_si512(sums + p * LANES, scores[p][0]);
        }
    }
}

// The scores of a tile, less those beyond the edge, from their sums.
inline void put_scores(const Layer &layer, const int32_t *sums, int64_t y, int64_t x) {
    for (int64_t k = 0; k < layer.outputs; k += LANES, sums += PIXELS * LANES) {
        const __m512 scale = _mm512_loadu_ps(layer.scale + k), bias = _mm512_loadu_ps(layer.bias + k);
        for (int i = 0; i < TILE && y + i < layer.height; i++)
            for (int j = 0; j < TILE && x + j < layer.width; j++)
                finish(layer, y + i, x + j, k, scale, bias, _mm512_loadu_si512(sums + (i * TILE + j) * LANES));
    }
}

// weight: for each 64 output channels, for each of 36 points and each group of input channels: (64, 4).
//
// A block of tiles is transformed at a time, so that its patches stay in the second cache; of these, GROUP are
// multiplied and transformed back at a time, so that their products stay there too. With a classifier, its sums are all
// that is kept of the results.
EXPORTED void winograd(Layer *layer) {
    const Layer *const classifier = layer->classifier;
    const int64_t across = (layer->width + TILE - 1) / TILE, down = (layer->height + TILE - 1) / TILE;
    const int64_t total = across * down, inputs = layer->depth * 4, row = POINTS * inputs;
    const int64_t scores = classifier ? PIXELS * classifier->outputs : 0;  // of a tile
    uint8_t *patches = layer->scratch + layer->threads.fetch_add(1) * layer->scratch_bytes;
    int32_t *products = reinterpret_cast<int32_t *>(patches + layer->tiles * row), *sums = products + GROUP * PRODUCTS;
    float *factors = reinterpret_cast<float *>(sums + layer->tiles * scores);
    alignas(64) uint8_t bytes[PIXELS * COLUMNS];
    for (int64_t first; (first = take(*layer, layer->tiles)) < total;) {
        const int64_t count = first + layer->tiles < total ? layer->tiles : total - first;
        const auto top = [&](int64_t t) { return (first + t) / across * TILE; };
        const auto left = [&](int64_t t) { return (first + t) % across * TILE; };
        for (int64_t t = 0; t < count; t++) {
            const uint8_t *from = layer->in + top(t) * layer->in_row + left(t) * layer->in_pixel;
            quantize_tile(*layer, from, patches + t * row, factors + t * FACTORS);
        }
        memset(sums, 0, count * scores * sizeof *sums);
        for (int64_t panel = 0; panel < layer->outputs / COLUMNS; panel++) {
            const float *units = layer->units + panel * POINTS * COLUMNS;
            const int64_t k = panel * COLUMNS;
            for (int64_t group = 0; group < count; group += GROUP) {
                for (int64_t point = 0; point < POINTS; point++) {
                    const int64_t column = panel * POINTS + point;
                    multiply(patches + group * row + point * inputs, row, layer->depth,
                             layer->weight + column * inputs * COLUMNS, layer->starts + column * COLUMNS,
                             products + point * COLUMNS);
                }
                for (int64_t t = group; t < count && t < group + GROUP; t++) {
                    const int32_t *from = products + (t - group) * PRODUCTS;
                    if (layer->floats) {
                        put_floats(*layer, from, units, factors + t * FACTORS, top(t), left(t), k);
                        continue;
                    }
                    tile_of_bytes(*layer, from, units, factors + t * FACTORS, top(t), left(t), k, bytes);
                    if (classifier)
                        add_scores(*classifier, bytes, k, sums + t * scores);
                    else
                        put_tile(*layer, bytes, top(t), left(t), k);
                }
            }
        }
        for (int64_t t = 0; classifier && t < count; t++) put_scores(*classifier, sums + t * scores, top(t), left(t));
    }
}
