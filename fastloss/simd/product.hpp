// Products of dense rows X with matrices of some outputs: Z = X W' and S += R' X, for models with K outputs. Both keep
// a tile of the result in registers, and no more of X is copied than a panel of some rows and columns: numbers of the
// left factor are taken one by one, those of the right one by registers.
//
// Of the peak, in cache on Zen 4: 83 to 96 %, with AVX2 75 to 95 %; OpenBLAS 0.3.31 has about 60 % at K = 100, p = 500,
// with its kernels for either. The baseline, and compilers without the vectors of gcc, leave products to BLAS.
#pragma once
#include <algorithm>

#include "copy.hpp"
#include "matrix.hpp"
#include "pack.hpp"
#include "transpose.hpp"

namespace fastloss {

#if defined(__GNUC__) && defined(__AVX2__)
#if defined(__AVX512F__)
constexpr int tile_height = 8, tile_width = 3;  // registers of a tile: 24 of 32, beside what is multiplied
#else
constexpr int tile_height = 4, tile_width = 3;  // 12 of 16
#endif
constexpr int64_t few_outputs = 8;       // for which it does not pay to copy columns of X
constexpr int64_t product_depth = 1024;  // numbers of a row at a time: a panel of W stays in the second cache
constexpr int64_t product_rows = 384;    // rows of R' X at a time: the same for the columns of X

template <class T>
constexpr int64_t lanes_of = Pack<T, vector_bytes>::lanes;

// How many registers the panel takes that begins at output c of k.
template <class T>
FASTLOSS_INLINE int64_t panel_registers(int64_t c, int64_t k) {
    return std::min(int64_t(tile_width), (k - c + lanes_of<T> - 1) / lanes_of<T>);
}

template <class T>
static void pack_outputs(int64_t k, int64_t p, const T* w, T* packed) {
    for (int64_t c = 0; c < k; c += tile_width * lanes_of<T>) {
        const int64_t width = panel_registers<T>(c, k) * lanes_of<T>;
        for (int64_t j = 0; j < p; ++j)
            for (int64_t i = 0; i < width; ++i) packed[j * width + i] = c + i < k ? w[(c + i) * p + j] : T(0);
        packed += p * width;
    }
}

// z = or += x w for a few rows and one panel, whose outputs are `valid`.
template <int height, int width, class T>
FASTLOSS_INLINE void multiply_tile(const T* x, int64_t stride, int64_t p, const T* packed, int64_t k, int64_t valid,
                                   bool adds, T* z) {
    using P = Pack<T, vector_bytes>;
    typename P::Vector sums[height][width] = {};
    for (int64_t j = 0; j < p; ++j) {
        typename P::Vector w[width];
        for (int v = 0; v < width; ++v) w[v] = P::load(packed + (j * width + v) * P::lanes);
        for (int i = 0; i < height; ++i) {
            const T xij = x[i * stride + j];
            for (int v = 0; v < width; ++v) sums[i][v] += xij * w[v];
        }
    }
    T row[width * P::lanes];
    for (int i = 0; i < height; ++i) {
        for (int v = 0; v < width; ++v) P::store(row + v * P::lanes, sums[i][v]);
        T* out = z + i * k;
        if (adds)
            for (int64_t c = 0; c < valid; ++c) out[c] += row[c];
        else
            for (int64_t c = 0; c < valid; ++c) out[c] = row[c];
    }
}

template <int height, class T>
FASTLOSS_INLINE void multiply_rows(const T* x, int64_t stride, int64_t p, int64_t start, int64_t stop, const T* packed,
                                   int64_t k, T* z) {
    constexpr int64_t lanes = lanes_of<T>;
    for (int64_t c = 0; c < k; c += tile_width * lanes) {
        const int64_t registers = panel_registers<T>(c, k), valid = std::min(k - c, registers * lanes);
        const T* panel = packed + start * registers * lanes;
        const auto run = [&](auto tile) { tile(x + start, stride, stop - start, panel, k, valid, start > 0, z + c); };
        if (registers == tile_width)
            run(multiply_tile<height, tile_width, T>);
        else if (registers == 2)
            run(multiply_tile<height, 2, T>);
        else
            run(multiply_tile<height, 1, T>);
        packed += p * registers * lanes;
    }
}

template <class T>
static void multiply_outputs(const T* x, int64_t stride, int64_t n, int64_t p, const T* packed, int64_t k, T* z) {
    constexpr int64_t line = 64 / int64_t(sizeof(T));
    for (int64_t start = 0; start == 0 || start < p; start += product_depth) {
        const int64_t stop = std::min(p, start + product_depth);
        int64_t i = 0;
        for (; i + tile_height <= n; i += tile_height) {
            // The next rows come while these are computed.
            for (int row = 0; row < tile_height; ++row)
                for (int64_t j = start; j < stop; j += line)
                    prefetch_far(reinterpret_cast<const char*>(x + (i + tile_height + row) * stride + j));
            multiply_rows<tile_height>(x + i * stride, stride, p, start, stop, packed, k, z + i * k);
        }
        for (; i < n; ++i) multiply_rows<1>(x + i * stride, stride, p, start, stop, packed, k, z + i * k);
    }
}

// A tile of S: some outputs, those before `from` for nothing, and some registers of columns, of which `valid` columns
// exist. With `asks`, the rows after these come while they are multiplied.
template <int height, int width, class T, bool asks = false>
FASTLOSS_INLINE void add_tile(const T* x, int64_t stride, int64_t n, const T* r, int64_t r_stride, int64_t valid,
                              double* sums, int64_t sums_stride, int64_t from = 0) {
    using P = Pack<T, vector_bytes>;
    typename P::Vector tile[height][width] = {};
    for (int64_t i = 0; i < n; ++i) {
        typename P::Vector xi[width];
        for (int v = 0; v < width; ++v) xi[v] = P::load(x + i * stride + v * P::lanes);
        if (asks)
            for (int v = 0; v < width; ++v)
                prefetch_far(reinterpret_cast<const char*>(x + (n + i) * stride + v * P::lanes));
        for (int c = 0; c < height; ++c) {
            const T ric = r[i * r_stride + c];
            for (int v = 0; v < width; ++v) tile[c][v] += ric * xi[v];
        }
    }
    T row[width * P::lanes];
    for (int c = 0; c < height; ++c) {
        if (c < from) continue;
        for (int v = 0; v < width; ++v) P::store(row + v * P::lanes, tile[c][v]);
        double* out = sums + c * sums_stride;
        for (int64_t j = 0; j < valid; ++j) out[j] += double(row[j]);
    }
}

// S += R' X for at most product_rows rows of X and `valid` columns, for which that many registers are enough.
template <int width, class T>
static void add_panel(const T* x, int64_t stride, int64_t n, const T* r, int64_t r_stride, int64_t k, int64_t valid,
                      double* sums, int64_t sums_stride) {
    using P = Pack<T, vector_bytes>;
    constexpr int64_t columns = width * P::lanes;
    if (k == few_outputs && valid == columns) {
        add_tile<tile_height, width, T, true>(x, stride, n, r, r_stride, valid, sums, sums_stride);
        for (int c = tile_height; c < few_outputs; c += tile_height)
            add_tile<tile_height, width>(x, stride, n, r + c, r_stride, valid, sums + c * sums_stride, sums_stride);
        return;
    }
    // X is read once for each few outputs, and each row in a page of its own where rows are long: copied. What is read
    // by registers must exist, so there are zeros beside the last columns. By registers, since gcc makes `rep movs` of
    // other loops, which took 40 % of the time with AVX2.
    alignas(64) T copy[product_rows * columns];
    for (int64_t i = 0; i < n; ++i) {
        const T* from = x + i * stride;
        T* to = copy + i * columns;
        if (valid == columns)
            for (int v = 0; v < width; ++v) P::store(to + v * P::lanes, P::load(from + v * P::lanes));
        else
            for (int64_t j = 0; j < columns; ++j) to[j] = j < valid ? from[j] : T(0);
    }
    int64_t c = 0;
    const auto run = [&](auto tile) {
        tile(copy, columns, n, r + c, r_stride, valid, sums + c * sums_stride, sums_stride, 0);
    };
    for (; c + tile_height <= k; c += tile_height) run(add_tile<tile_height, width, T>);
    for (; c + 2 <= k; c += 2) run(add_tile<2, width, T>);
    for (; c < k; ++c) run(add_tile<1, width, T>);
}

template <class T>
static void add_transposed_outputs(const T* x, int64_t stride, int64_t n, int64_t start, int64_t stop, const T* r,
                                   int64_t r_stride, int64_t k, double* sums, int64_t sums_stride) {
    constexpr int64_t lanes = lanes_of<T>, panel = tile_width * lanes;
    for (int64_t j = start; j < stop; j += panel) {
        const int64_t valid = std::min(panel, stop - j);
        for (int64_t i = 0; i < n; i += product_rows) {
            const auto run = [&](auto add) {
                add(x + i * stride + j, stride, std::min(product_rows, n - i), r + i * r_stride, r_stride, k, valid,
                    sums + j, sums_stride);
            };
            if (valid <= lanes)
                run(add_panel<1, T>);
            else if (valid <= 2 * lanes)
                run(add_panel<2, T>);
            else
                run(add_panel<tile_width, T>);
        }
    }
}

template <class T>
constexpr ProductOperations<T> product_operations() {
    return {lanes_of<T>,         tile_width * lanes_of<T>,  pack_outputs<T>,
            multiply_outputs<T>, add_transposed_outputs<T>, transpose_numbers<T>};
}
#else
template <class T>
constexpr ProductOperations<T> product_operations() {
    return {};
}
#endif

}  // namespace fastloss
