// Products of a block of rows of a dense C-ordered matrix: what a pass over X needs. X is read from memory by
// `dot_rows` and found in cache by `add_rows`.
#pragma once
#include <cstdint>

#include "vmath.hpp"

namespace fastloss {

// The rows' elements are added in several SIMD lanes, in T: the order depends on p and the instruction set alone.
template <int rows, class T>
FASTLOSS_INLINE void dot_few(const T* x, int64_t stride, int64_t p, const T* w, T* z) {
    const T *x0 = x, *x1 = x + (rows > 1 ? stride : 0), *x2 = x + (rows > 2 ? 2 * stride : 0),
            *x3 = x + (rows > 3 ? 3 * stride : 0);
    T s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (int64_t j = 0; j < p; ++j) {
        s0 += x0[j] * w[j];
        if (rows > 1) s1 += x1[j] * w[j];
        if (rows > 2) s2 += x2[j] * w[j];
        if (rows > 3) s3 += x3[j] * w[j];
    }
    const T sums[4] = {s0, s1, s2, s3};
    for (int i = 0; i < rows; ++i) z[i] += sums[i];
}

#if defined(__GNUC__)
#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

// One row, with sums enough that neither the latency of an addition nor its instructions hold up the read. In the
// vectors of gcc and clang: left to `omp simd`, gcc takes the four sums through memory (a sixth of the time of a pass).
template <class T>
FASTLOSS_INLINE T dot_row(const T* x, int64_t p, const T* w) {
    typedef T Vector __attribute__((vector_size(vector_bytes)));
    constexpr int lanes = vector_bytes / sizeof(T);
    const auto product = [=](int64_t j) {
        Vector a, b;
        std::memcpy(&a, x + j, sizeof a);
        std::memcpy(&b, w + j, sizeof b);
        return a * b;
    };
    Vector s0 = {}, s1 = {}, s2 = {}, s3 = {};
    int64_t j = 0;
    for (; j + 4 * lanes <= p; j += 4 * lanes) {
        s0 += product(j);
        s1 += product(j + lanes);
        s2 += product(j + 2 * lanes);
        s3 += product(j + 3 * lanes);
    }
    for (; j + lanes <= p; j += lanes) s0 += product(j);
    s0 = (s0 + s1) + (s2 + s3);
    T sum = 0;
    for (int k = 0; k < lanes; ++k) sum += s0[k];
    for (; j < p; ++j) sum += x[j] * w[j];
    return sum;
}
#else
template <class T>
FASTLOSS_INLINE T dot_row(const T* x, int64_t p, const T* w) {
    T z = 0;
    dot_few<1>(x, p, p, w, &z);
    return z;
}
#endif

// z += X w for n rows of p numbers, `stride` numbers apart. Several rows side by side share the reads of w and the end
// of their sums; but where they are longer than a few cache lines and shorter than a page, the prefetchers follow only
// the plain order of the addresses (p = 100, float64: reading X, 1.7 times as long as that order).
template <class T>
static void dot_rows(const T* x, int64_t stride, int64_t n, int64_t p, const T* w, T* z) {
    int64_t i = 0;
    const int64_t bytes = p * int64_t(sizeof(T));
    if (bytes >= 256 && bytes < 4096) {
        for (; i < n; ++i) z[i] += dot_row(x + i * stride, p, w);
    } else {
        for (; i + 4 <= n; i += 4) dot_few<4>(x + i * stride, stride, p, w, z + i);
        for (; i < n; ++i) dot_few<1>(x + i * stride, stride, p, w, z + i);
    }
}

template <int rows, class T>
FASTLOSS_INLINE void add_few(const T* x, int64_t stride, int64_t p, const T* r, double* g) {
    T factor[rows];
    for (int i = 0; i < rows; ++i) factor[i] = r[i];
#pragma omp simd
    for (int64_t j = 0; j < p; ++j) {
        T sum = 0;
        for (int i = 0; i < rows; ++i) sum += factor[i] * x[i * stride + j];
        g[j] += double(sum);
    }
}

// g += X' r for the same rows. Eight rows are added in T before they join the sum over all rows, which is double:
// g is then read and written once for eight rows of X.
template <class T>
static void add_rows(const T* x, int64_t stride, int64_t n, int64_t p, const T* r, double* g) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) add_few<8>(x + i * stride, stride, p, r + i, g);
    for (; i < n; ++i) add_few<1>(x + i * stride, stride, p, r + i, g);
}

}  // namespace fastloss
