// Products with dense matrices: what passes over X and coordinate descent need. In a pass by blocks of rows, X is read
// from memory by `dot_rows` and found in cache by `add_rows`.
#pragma once
#include <cstdint>
#include <cstring>

#include "copy.hpp"
#include "matrix.hpp"
#include "pack.hpp"
#include "vmath.hpp"

namespace fastloss {

// ---- rows

// How far ahead, in numbers of X, a pass over n rows asks for what follows; 0: not at all. X' r asks again, at half the
// distance, for what X w has asked for: of the first requests many are dropped, since only two dozen lines can be on
// their way. The CPU's own prefetchers stop at the end of each page, and with four rows side by side find no stream.
// Logistic regression, 400,000 x 100, Zen 4, over the time to read X once: 2.2 without, 1.6 where X w asks, 1.3 where
// X' r does, 1.0 where both do; the same distance for both as good, twice the distance in X' r 1.1 to 1.2.
constexpr int64_t ahead_of_dot = 32 << 10, ahead_of_add = 16 << 10;  // bytes, but at least
constexpr int64_t rows_at_once = 8;

template <class T>
FASTLOSS_INLINE int64_t numbers_ahead(const Matrix* matrix, int64_t bytes_ahead, int64_t shortest) {
    constexpr int64_t cached = 4 << 20, farthest = 512 << 10;  // what lies farther would push out what is nearer
    const int64_t bytes = std::max(int64_t(1), matrix->p * int64_t(sizeof(T)));
    const int64_t far = std::max(rows_at_once, bytes_ahead / bytes + 1);
    return matrix->n * bytes > cached && bytes >= shortest && far * bytes <= farthest ? far * matrix->stride : 0;
}

// Asks for a line of each of some rows, `ahead` numbers behind x.
template <int rows, class T>
FASTLOSS_INLINE void ask_rows(const T* x, int64_t stride, int64_t ahead) {
    if (ahead)
        for (int i = 0; i < rows; ++i) prefetch_far(reinterpret_cast<const char*>(x + i * stride + ahead));
}

#if defined(__GNUC__)
// z += X w for up to four rows, numbers from j on: in vectors, then in vectors of half the size, at the end one by one.
// The order of the sums depends on p and the instruction set alone.
template <int rows, int bytes = vector_bytes, class T>
FASTLOSS_INLINE void dot_few(const T* x, int64_t stride, int64_t p, const T* w, T* z, int64_t ahead, int64_t j = 0) {
    using P = Pack<T, bytes>;
    constexpr int64_t line = 64 / int64_t(sizeof(T));
    if (j + P::lanes <= p) {
        const T *x1 = x + (rows > 1 ? stride : 0), *x2 = x + (rows > 2 ? 2 * stride : 0),
                *x3 = x + (rows > 3 ? 3 * stride : 0);
        typename P::Vector s0 = {}, s1 = {}, s2 = {}, s3 = {};
        for (; j + P::lanes <= p; j += P::lanes) {
            if (P::lanes == line || j % line == 0) ask_rows<rows>(x + j, stride, ahead);
            const auto wj = P::load(w + j);
            s0 += P::load(x + j) * wj;
            if (rows > 1) s1 += P::load(x1 + j) * wj;
            if (rows > 2) s2 += P::load(x2 + j) * wj;
            if (rows > 3) s3 += P::load(x3 + j) * wj;
        }
        z[0] += P::sum(s0);
        if (rows > 1) z[1] += P::sum(s1);
        if (rows > 2) z[2] += P::sum(s2);
        if (rows > 3) z[3] += P::sum(s3);
    }
    if constexpr (bytes > 16)
        dot_few<rows, bytes / 2>(x, stride, p, w, z, ahead, j);
    else
        for (; j < p; ++j)
            for (int i = 0; i < rows; ++i) z[i] += x[i * stride + j] * w[j];
}

// One row, with sums enough that the latency of an addition does not hold up the read. With `used`, numbers where w is
// 0 count for nothing, whatever they are.
template <bool used = false, class T>
FASTLOSS_INLINE T dot_row(const T* x, int64_t p, const T* w) {
    using P = Pack<T, vector_bytes>;
    constexpr int lanes = P::lanes;
    const auto product = [=](int64_t j) {
        const auto a = P::load(x + j), b = P::load(w + j), product = a * b;
        return used ? (b != 0 ? product : typename P::Vector{}) : product;
    };
    typename P::Vector s0 = {}, s1 = {}, s2 = {}, s3 = {};
    int64_t j = 0;
    for (; j + 4 * lanes <= p; j += 4 * lanes) {
        s0 += product(j);
        s1 += product(j + lanes);
        s2 += product(j + 2 * lanes);
        s3 += product(j + 3 * lanes);
    }
    for (; j + lanes <= p; j += lanes) s0 += product(j);
    T sum = P::sum((s0 + s1) + (s2 + s3));
    for (; j < p; ++j) sum += used && w[j] == 0 ? T(0) : x[j] * w[j];
    return sum;
}
#else
template <bool used = false, class T>
FASTLOSS_INLINE T dot_row(const T* x, int64_t p, const T* w) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < p; ++j) sum += used && w[j] == 0 ? T(0) : x[j] * w[j];
    return sum;
}

template <int rows, class T>
FASTLOSS_INLINE void dot_few(const T* x, int64_t stride, int64_t p, const T* w, T* z, int64_t) {
    for (int i = 0; i < rows; ++i) z[i] += dot_row(x + i * stride, p, w);
}
#endif

// z += X w for n rows of p numbers, `stride` numbers apart. Several rows side by side share the reads of w and the end
// of their sums.
template <class T>
static void dense_dot_rows(const Matrix* matrix, int64_t start, int64_t n, const T* w, T* z) {
    const int64_t stride = matrix->stride, p = matrix->p;
    const int64_t ahead = numbers_ahead<T>(matrix, ahead_of_dot, 256);  // for less, too many requests
    const T* x = static_cast<const T*>(matrix->data) + start * stride;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) dot_few<4>(x + i * stride, stride, p, w, z + i, ahead);
    for (; i < n; ++i) dot_few<1>(x + i * stride, stride, p, w, z + i, ahead);
}

// g += X' r for a few rows.
template <int rows, class T>
FASTLOSS_INLINE void add_few(const T* x, int64_t stride, int64_t p, const T* r, double* g, int64_t ahead) {
    constexpr int64_t line = 64 / int64_t(sizeof(T));
    T factor[rows];
    for (int i = 0; i < rows; ++i) factor[i] = r[i];
    const auto add = [&](int64_t start, int64_t count) {
        ask_rows<rows>(x + start, stride, ahead);
#pragma omp simd
        for (int64_t j = start; j < start + count; ++j) {
            T sum = 0;
            for (int i = 0; i < rows; ++i) sum += factor[i] * x[i * stride + j];
            g[j] += double(sum);
        }
    };
    int64_t start = 0;
    for (; start + line <= p; start += line) add(start, line);
    if (start < p) add(start, p - start);
}

// g += X' r for the same rows. Eight rows are added in T before they join the sum over all rows, which is double:
// g is then read and written once for eight rows of X.
template <class T>
static void dense_add_rows(const Matrix* matrix, int64_t start, int64_t n, const T* r, double* g) {
    const int64_t stride = matrix->stride, p = matrix->p;
    const T* x = static_cast<const T*>(matrix->data) + start * stride;
    const int64_t ahead = numbers_ahead<T>(matrix, ahead_of_add, 0);
    int64_t i = 0;
    for (; i + rows_at_once <= n; i += rows_at_once) add_few<rows_at_once>(x + i * stride, stride, p, r + i, g, ahead);
    for (; i < n; ++i) add_few<1>(x + i * stride, stride, p, r + i, g, ahead);
}

// ---- columns

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

// A Givens rotation of two rows: x, y = c x + s y, c y - s x.
static void rotate(int64_t n, double c, double s, double* x, double* y) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        const double before = x[i];
        x[i] = c * before + s * y[i];
        y[i] = c * y[i] - s * before;
    }
}

static void add_single(int64_t n, double a, const float* x, double* y) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] += a * double(x[i]);
}

}  // namespace fastloss
