// Weighted sums of x x' over dense rows: the Hessian of a linear model, the sufficient statistics of a quadratic loss.
// Half of the products are enough, for G is symmetric; and the rows' weights go into a copy of some rows at a time,
// which the tiles then read by aligned registers.
//
// At p = 100 three times as fast as OpenBLAS (0.3.31, Zen 4), which also needs a weighted copy of X; at p = 500 about
// as fast. Products are of float64, also where X is not: a Hessian may stand for all there is to know of a loss.
#pragma once
#include <algorithm>
#include <type_traits>

#include "matrix.hpp"
#include "product.hpp"

namespace fastloss {

#if defined(__GNUC__) && defined(__AVX2__)
constexpr int64_t gram_bytes = 128 << 10;  // of the copy: with the rows themselves it stays in the second cache
#if defined(__AVX512F__)
constexpr int64_t gram_largest = 512;
#else
constexpr int64_t gram_largest = 256;
#endif

FASTLOSS_INLINE int64_t gram_width(int64_t p) {
    return (p + 2 + lanes_of<double> - 1) / lanes_of<double> * lanes_of<double>;
}

FASTLOSS_INLINE int64_t gram_rows(int64_t p) {
    return std::max<int64_t>(16, std::min<int64_t>(256, gram_bytes / (8 * gram_width(p))));
}

// Some rows in cache: weighted ones, with a 1 and the extra number behind them, and what they are multiplied by.
struct GramBlock {
    int64_t n, width;
    const double* right;
    const double* left;
    int64_t stride;
};

// One tile with numbers on the diagonal: rows from c on, of which those before `from` are done. It begins with the
// register in which the first of the others meets the diagonal.
template <int height>
static void add_on_diagonal(const GramBlock& block, int64_t c, int64_t from, int64_t j, int64_t registers,
                            double* sums) {
    constexpr int64_t lanes = lanes_of<double>;
    const int64_t skipped = (from - j) / lanes, count = registers - skipped, first = j + skipped * lanes;
    const auto run = [&](auto add) {
        add(block.right + first, block.width, block.n, block.left + c, block.stride, count * lanes,
            sums + c * block.width + first, block.width, from - c);
    };
    if (count == tile_width)
        run(add_tile<height, tile_width, double>);
    else if (count == 2)
        run(add_tile<height, 2, double>);
    else
        run(add_tile<height, 1, double>);
}

static void add_block(const GramBlock& block, int64_t p, double* sums) {
    constexpr int64_t lanes = lanes_of<double>;
    for (int64_t j = 0; j < block.width; j += tile_width * lanes) {
        const int64_t registers = std::min<int64_t>(tile_width, (block.width - j) / lanes);
        const auto above = [&](auto add) {
            add(block.right + j, block.width, block.n, block.left, block.stride, std::min(j, p), registers * lanes,
                sums + j, block.width);
        };
        if (j > 0) {
            if (registers == tile_width)
                above(add_panel<tile_width, double>);
            else if (registers == 2)
                above(add_panel<2, double>);
            else
                above(add_panel<1, double>);
        }
        const int64_t stop = std::min(p, j + registers * lanes);
        int64_t c = j;
        for (; c + tile_height <= stop; c += tile_height) add_on_diagonal<tile_height>(block, c, c, j, registers, sums);
        if (c < stop && tile_height <= stop)  // a whole tile that ends there takes less than its last rows one by one
            add_on_diagonal<tile_height>(block, stop - tile_height, c, j, registers, sums);
        else
            for (; c < stop; ++c) add_on_diagonal<1>(block, c, c, j, registers, sums);
    }
}

// s x, by registers as far as X goes, where `readable` numbers of it are left; what is not of this row comes where no
// sum is looked at.
FASTLOSS_INLINE void copy_weighted(const double* x, int64_t p, int64_t readable, double s, double* to) {
    using P = Pack<double, vector_bytes>;
    int64_t j = 0;
    for (; j < p && j + P::lanes <= readable; j += P::lanes) P::store(to + j, s * P::load(x + j));
    for (; j < p; ++j) to[j] = s * x[j];
}

template <class T>
static void add_gram(const GramRows<T>* rows, int64_t start, int64_t stop, double* scratch, double* sums) {
    const int64_t p = rows->p, width = gram_width(p), most = gram_rows(p);
    double *const weighted = scratch, *const copy = scratch + most * width;
    double total = sums[p * width + p];
    std::fill(weighted, weighted + most * width, 0.0);
    for (int64_t begin = start; begin < stop; begin += most) {
        const int64_t end = std::min(stop, begin + most);
        GramBlock block{0, width, weighted, copy, p};
        if constexpr (std::is_same<T, double>::value) {  // rows that all count are multiplied where they are
            bool in_place = !rows->origin && !rows->index;
            for (int64_t i = begin; in_place && rows->weight && i < end; ++i) in_place = rows->weight[i] != 0;
            if (in_place) block.left = rows->x + begin * rows->stride, block.stride = rows->stride;
        }
        for (int64_t i = begin; i < end; ++i) {
            const int64_t row = rows->index ? rows->index[i] : i;
            const double s = rows->weight ? rows->weight[row] : 1.0;
            if (s == 0) continue;  // whatever the row holds
            const T* x = rows->x + row * rows->stride;
            double* to = weighted + block.n * width;
            if (block.left == copy) {
                double* left = copy + block.n * p;
                if (rows->origin)
                    for (int64_t j = 0; j < p; ++j) left[j] = double(x[j]) - rows->origin[j];
                else
                    for (int64_t j = 0; j < p; ++j) left[j] = double(x[j]);
                for (int64_t j = 0; j < p; ++j) to[j] = s * left[j];
            } else if constexpr (std::is_same<T, double>::value) {
                copy_weighted(x, p, (stop - 1 - i) * rows->stride + p, s, to);
            }
            to[p] = s;
            to[p + 1] = rows->extra ? rows->extra[row] : 0.0;
            total += s;
            ++block.n;
        }
        add_block(block, p, sums);
    }
    sums[p * width + p] = total;
}

template <class T>
static constexpr GramOperations<T> gram_operations() {
    return {gram_largest, [](int64_t p) { return gram_width(p); },
            [](int64_t p) { return gram_rows(p) * (gram_width(p) + p); }, add_gram<T>};
}
#else
template <class T>
static constexpr GramOperations<T> gram_operations() {
    return {};
}
#endif

}  // namespace fastloss
