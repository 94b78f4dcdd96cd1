// Products with dense matrices: what passes over X and coordinate descent need. In a pass by blocks of rows, X is read
// from memory by `dot_rows` and found in cache by `add_rows`.
#pragma once
#include <cstdint>
#include <cstring>

#include "copy.hpp"
#include "matrix.hpp"
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
// With `used`, numbers where w is 0 count for nothing, whatever they are. With `asks`, those `ahead` are asked for.
template <bool used = false, bool asks = false, class T>
FASTLOSS_INLINE T dot_row(const T* x, int64_t p, const T* w, int64_t ahead = 0) {
    typedef T Vector __attribute__((vector_size(vector_bytes)));
    constexpr int lanes = vector_bytes / sizeof(T);
    const auto product = [=](int64_t j) {
        Vector a, b;
        std::memcpy(&a, x + j, sizeof a);
        std::memcpy(&b, w + j, sizeof b);
        const Vector product = a * b;
        return used ? (b != 0 ? product : Vector{}) : product;
    };
    Vector s0 = {}, s1 = {}, s2 = {}, s3 = {};
    int64_t j = 0;
    for (; j + 4 * lanes <= p; j += 4 * lanes) {
        if (asks) prefetch(reinterpret_cast<const char*>(x + j + ahead), 4 * vector_bytes);
        s0 += product(j);
        s1 += product(j + lanes);
        s2 += product(j + 2 * lanes);
        s3 += product(j + 3 * lanes);
    }
    for (; j + lanes <= p; j += lanes) s0 += product(j);
    s0 = (s0 + s1) + (s2 + s3);
    T sum = 0;
    for (int k = 0; k < lanes; ++k) sum += s0[k];
    for (; j < p; ++j) sum += used && w[j] == 0 ? T(0) : x[j] * w[j];
    return sum;
}
#else
template <bool used = false, bool asks = false, class T>
FASTLOSS_INLINE T dot_row(const T* x, int64_t p, const T* w, int64_t = 0) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < p; ++j) sum += used && w[j] == 0 ? T(0) : x[j] * w[j];
    return sum;
}
#endif

template <class T>
FASTLOSS_INLINE void prefetch_rows(const T* x, int64_t stride, int64_t p, int64_t n) {
    if (stride == p)
        prefetch(reinterpret_cast<const char*>(x), n * p * int64_t(sizeof(T)));
    else
        for (int64_t i = 0; i < n; ++i) prefetch(reinterpret_cast<const char*>(x + i * stride), p * int64_t(sizeof(T)));
}

// z += X w for n rows of p numbers, `stride` numbers apart. Several short rows side by side share the reads of w and
// the end of their sums. The CPU's own prefetchers lose their way at each page and rest while add_rows works on what
// has come: so what is read 8 KiB further on is asked for, and at the end the rows of the next call (400,000 x 100,
// float64: 9.7 ms without either, 6.5 with the first, 5.7 with both; reading X 4.8).
template <class T>
static void dense_dot_rows(const Matrix* matrix, int64_t start, int64_t n, const T* w, T* z) {
    constexpr int64_t bytes_ahead = 8192, bytes_next = 16384, cached = 4 << 20;
    const int64_t stride = matrix->stride, p = matrix->p, bytes = std::max(int64_t(1), p * int64_t(sizeof(T)));
    const T* x = static_cast<const T*>(matrix->data) + start * stride;
    const bool asks = matrix->n * bytes > cached;
    int64_t i = 0;
    if (bytes >= 2048) {
        // As many rows ahead, or within a long one.
        const int64_t ahead =
            bytes < bytes_ahead ? (bytes_ahead / bytes + 1) * stride : bytes_ahead / int64_t(sizeof(T));
        if (asks)
            for (; i < n; ++i) z[i] += dot_row<false, true>(x + i * stride, p, w, ahead);
        for (; i < n; ++i) z[i] += dot_row(x + i * stride, p, w);
    } else {
        const int64_t ahead = (bytes_ahead / bytes + 1) * stride;
        for (; i + 4 <= n; i += 4) {
            if (asks) prefetch_rows(x + i * stride + ahead, stride, p, 4);
            dot_few<4>(x + i * stride, stride, p, w, z + i);
        }
        for (; i < n; ++i) dot_few<1>(x + i * stride, stride, p, w, z + i);
    }
    if (asks) prefetch_rows(x + n * stride, stride, p, std::min(n, bytes_next / bytes));
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
static void dense_add_rows(const Matrix* matrix, int64_t start, int64_t n, const T* r, double* g) {
    const int64_t stride = matrix->stride, p = matrix->p;
    const T* x = static_cast<const T*>(matrix->data) + start * stride;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) add_few<8>(x + i * stride, stride, p, r + i, g);
    for (; i < n; ++i) add_few<1>(x + i * stride, stride, p, r + i, g);
}

// x' r of n numbers, of which those where r is 0 count for nothing, whatever they are; every 512 products in double.
template <class T>
FASTLOSS_INLINE double dot_used(int64_t n, const T* x, const T* r) {
    double sum = 0;
    for (int64_t start = 0; start < n; start += 512) {
        const int64_t stop = start + 512 < n ? start + 512 : n;
        sum += double(dot_row<true>(x + start, stop - start, r + start));
    }
    return sum;
}

// Blocks of rows of a matrix in Fortran order: a piece of each column.
template <class T>
static void columns_dot_rows(const Matrix* matrix, int64_t start, int64_t n, const T* w, T* z) {
    const T* x = static_cast<const T*>(matrix->data) + start;
    for (int64_t j = 0; j < matrix->p; ++j, x += matrix->stride) {
        const T wj = w[j];
        if (wj == 0) continue;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) z[i] += wj * x[i];
    }
}

template <class T>
static void columns_add_rows(const Matrix* matrix, int64_t start, int64_t n, const T* r, double* g) {
    const T* x = static_cast<const T*>(matrix->data) + start;
    for (int64_t j = 0; j < matrix->p; ++j, x += matrix->stride) g[j] += dot_used(n, x, r);
}

template <class T>
static void columns_dot_columns(const Matrix* matrix, int64_t start, int64_t stop, const T* r, double* out) {
    const T* x = static_cast<const T*>(matrix->data);
    for (int64_t j = start; j < stop; ++j) out[j] = dot_used(matrix->n, x + j * matrix->stride, r);
}

template <class T>
constexpr MatrixOperations<T> dense_rows_operations() {
    return {dense_dot_rows<T>, dense_add_rows<T>, nullptr, nullptr};
}

template <class T>
constexpr MatrixOperations<T> dense_columns_operations() {
    return {columns_dot_rows<T>, columns_add_rows<T>, columns_dot_columns<T>, nullptr};
}

// For coordinate descent, in double.
static double dot(int64_t n, const double* x, const double* y) { return dot_row(x, n, y); }

static void add(int64_t n, double a, const double* x, double* y) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

// z += a x and u += a d x, number by number.
static void add_both(int64_t n, double a, const double* x, const double* d, double* z, double* u) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        const double change = a * x[i];
        z[i] += change;
        u[i] += d[i] * change;
    }
}

static void add_single(int64_t n, double a, const float* x, double* y) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] += a * double(x[i]);
}

}  // namespace fastloss
