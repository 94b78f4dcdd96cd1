// Products with compressed matrices: by rows (CSR) and by columns (CSC).
#pragma once
#include "matrix.hpp"
#include "vmath.hpp"

namespace fastloss {

// The sum of x_k v[index_k], with sums enough that the latency of an addition does not hold up the loads.
template <class T, class Index, class V>
FASTLOSS_INLINE double sparse_dot(int64_t count, const T* x, const Index* index, const V* v) {
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    int64_t k = 0;
    for (; k + 4 <= count; k += 4) {
        s0 += double(x[k]) * double(v[index[k]]);
        s1 += double(x[k + 1]) * double(v[index[k + 1]]);
        s2 += double(x[k + 2]) * double(v[index[k + 2]]);
        s3 += double(x[k + 3]) * double(v[index[k + 3]]);
    }
    for (; k < count; ++k) s0 += double(x[k]) * double(v[index[k]]);
    return (s0 + s1) + (s2 + s3);
}

// The same without what lies where v is 0: X may hold anything in a row that is left out.
template <class T, class Index, class V>
FASTLOSS_INLINE double sparse_dot_used(int64_t count, const T* x, const Index* index, const V* v) {
    double s0 = 0, s1 = 0;
    const auto term = [=](int64_t k) {
        const V r = v[index[k]];
        return r == 0 ? 0.0 : double(x[k]) * double(r);
    };
    int64_t k = 0;
    for (; k + 2 <= count; k += 2) {
        s0 += term(k);
        s1 += term(k + 1);
    }
    if (k < count) s0 += term(k);
    return s0 + s1;
}

// v[index_k] += a x_k
template <class T, class Index>
FASTLOSS_INLINE void sparse_add(int64_t count, double a, const T* x, const Index* index, double* v) {
    for (int64_t k = 0; k < count; ++k) v[index[k]] += a * double(x[k]);
}

template <class T, class Index>
struct Compressed {
    const T* data;
    const Index* indices;
    const int64_t* starts;

    explicit Compressed(const Matrix* x)
        : data(static_cast<const T*>(x->data)), indices(static_cast<const Index*>(x->indices)), starts(x->starts) {}
    int64_t count(int64_t i) const { return starts[i + 1] - starts[i]; }
    const T* numbers(int64_t i) const { return data + starts[i]; }
    const Index* places(int64_t i) const { return indices + starts[i]; }
};

template <class T, class Index>
static void csr_dot_rows(const Matrix* x, int64_t start, int64_t n, const T* w, T* z) {
    const Compressed<T, Index> m(x);
    for (int64_t i = 0; i < n; ++i)
        z[i] += T(sparse_dot(m.count(start + i), m.numbers(start + i), m.places(start + i), w));
}

template <class T, class Index>
static void csr_add_rows(const Matrix* x, int64_t start, int64_t n, const T* r, double* g) {
    const Compressed<T, Index> m(x);
    for (int64_t i = 0; i < n; ++i)
        sparse_add(m.count(start + i), double(r[i]), m.numbers(start + i), m.places(start + i), g);
}

template <class T, class Index>
static void csc_dot_columns(const Matrix* x, int64_t start, int64_t stop, const T* r, double* out) {
    const Compressed<T, Index> m(x);
    for (int64_t j = start; j < stop; ++j) out[j] = sparse_dot_used(m.count(j), m.numbers(j), m.places(j), r);
}

template <class T, class Index>
static void csc_add_columns(const Matrix* x, int64_t start, int64_t stop, const T* w, double* z) {
    const Compressed<T, Index> m(x);
    for (int64_t j = start; j < stop; ++j)
        if (w[j] != 0) sparse_add(m.count(j), double(w[j]), m.numbers(j), m.places(j), z);
}

template <class T, class Index>
constexpr MatrixOperations<T> csr_operations() {
    return {csr_dot_rows<T, Index>, csr_add_rows<T, Index>, nullptr, nullptr};
}

template <class T, class Index>
constexpr MatrixOperations<T> csc_operations() {
    return {nullptr, nullptr, csc_dot_columns<T, Index>, csc_add_columns<T, Index>};
}

// For coordinate descent.
static double sparse_dot_f64(int64_t count, const double* x, const int32_t* index, const double* y) {
    return sparse_dot(count, x, index, y);
}

static void sparse_add_f64(int64_t count, double a, const double* x, const int32_t* index, double* y) {
    sparse_add(count, a, x, index, y);
}

static void sparse_add_both(int64_t count, double a, const double* x, const int32_t* index, const double* d, double* z,
                            double* u) {
    for (int64_t k = 0; k < count; ++k) {
        const double change = a * x[k];
        z[index[k]] += change;
        u[index[k]] += d[index[k]] * change;
    }
}

}  // namespace fastloss
