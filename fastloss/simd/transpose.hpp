// Rows of few numbers as registers of columns, and back: for k numbers a row, at least as many as a register holds. By
// exchanges between pairs of registers, one or two instructions for each; compilers left alone move number by number.
#pragma once
#include <utility>

#include "pack.hpp"

#if defined(__GNUC__) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define FASTLOSS_TRANSPOSES 1
#endif
#endif

#if FASTLOSS_TRANSPOSES
namespace fastloss {

// Of two registers whose numbers are in groups of d: the even groups of both, or the odd ones.
template <int d, class V, int... lane>
FASTLOSS_INLINE V even_groups(V a, V b, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(a, b, (lane & d ? int(sizeof...(lane)) + lane - d : lane)...);
}

template <int d, class V, int... lane>
FASTLOSS_INLINE V odd_groups(V a, V b, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(a, b, (lane & d ? int(sizeof...(lane)) + lane : lane + d)...);
}

// As many registers as each has lanes.
template <int lanes, class V, int d = 1>
FASTLOSS_INLINE void transpose(V* x) {
    if constexpr (d < lanes) {
        constexpr auto all = std::make_integer_sequence<int, lanes>();
        for (int i = 0; i < lanes; ++i) {
            if (i & d) continue;
            const V even = even_groups<d>(x[i], x[i + d], all), odd = odd_groups<d>(x[i], x[i + d], all);
            x[i] = even;
            x[i + d] = odd;
        }
        transpose<lanes, V, 2 * d>(x);
    }
}

template <class T, int k>
struct Rows {
    using P = Pack<T, vector_bytes>;
    using Vector = typename P::Vector;
    static constexpr int lanes = P::lanes;
    static_assert(k >= lanes, "rows of fewer numbers than a register has");

    // Squares begin at these columns; the last one overlaps with the one before.
    static constexpr int squares = (k + lanes - 1) / lanes;
    static constexpr int first(int square) { return square * lanes < k - lanes ? square * lanes : k - lanes; }

    // The columns of `lanes` rows.
    static void load(const T* rows, Vector (&columns)[k]) {
        for (int square = 0; square < squares; ++square) {
            Vector x[lanes];
            for (int i = 0; i < lanes; ++i) x[i] = P::load(rows + i * k + first(square));
            transpose<lanes>(x);
            for (int i = 0; i < lanes; ++i) columns[first(square) + i] = x[i];
        }
    }

    static void store(const Vector (&columns)[k], T* rows) {
        for (int square = 0; square < squares; ++square) {
            Vector x[lanes];
            for (int i = 0; i < lanes; ++i) x[i] = columns[first(square) + i];
            transpose<lanes>(x);
            for (int i = 0; i < lanes; ++i) P::store(rows + i * k + first(square), x[i]);
        }
    }
};

}  // namespace fastloss
#endif

namespace fastloss {

// to[c, i] = from[i, c] for n rows of k numbers: squares by registers, the rest one by one.
template <class T>
static void transpose_numbers(int64_t n, int64_t k, const T* from, T* to) {
    int64_t rows = 0, columns = 0;  // in squares
#if FASTLOSS_TRANSPOSES
    using P = Pack<T, vector_bytes>;
    rows = n / P::lanes * P::lanes, columns = k / P::lanes * P::lanes;
    for (int64_t i = 0; i < rows; i += P::lanes)
        for (int64_t c = 0; c < columns; c += P::lanes) {
            typename P::Vector x[P::lanes];
            for (int v = 0; v < P::lanes; ++v) x[v] = P::load(from + (i + v) * k + c);
            transpose<P::lanes>(x);
            for (int v = 0; v < P::lanes; ++v) P::store(to + (c + v) * n + i, x[v]);
        }
#endif
    for (int64_t i = 0; i < n; ++i)
        for (int64_t c = i < rows ? columns : 0; c < k; ++c) to[c * n + i] = from[i * k + c];
}

}  // namespace fastloss
