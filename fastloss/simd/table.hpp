// The table of everything that is compiled once for each instruction set: how the Cython modules, compiled for the
// baseline alone, reach it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel.h"
#include "matrix.hpp"

namespace fastloss {

struct LossEntry {
    const char* name;
    int32_t label_width;
    int64_t outputs;
    fastloss_block_f32 f32;
    fastloss_block_f64 f64;
    fastloss_weigh_f32 weigh_f32;  // or null, both
    fastloss_weigh_f64 weigh_f64;
    bool streams;    // whether a gradient too large for the caches goes past them: see copy.hpp
    bool asks;       // whether the block functions heed FASTLOSS_GOES_ON
    bool goes_past;  // whether they heed FASTLOSS_PAST_CACHES
};

// What is needed for each dtype.
template <class T>
struct Operations {
    double (*sum_weights)(int64_t n, const T* weight, int32_t* status);
    MatrixOperations<T> matrix[n_layouts];
    ProductOperations<T> product;  // null where BLAS is as fast
    GramOperations<T> gram;        // the same
    void (*gather[10])(const char* data, int ndim, const ptrdiff_t* shape, const ptrdiff_t* strides, int64_t start,
                       int64_t count, T* out);
    void (*scatter)(const T* from, char* data, int ndim, const ptrdiff_t* shape, const ptrdiff_t* strides,
                    int64_t start, int64_t count);
    // exp, log, log1p, sigmoid over n numbers
    void (*vmath[4])(int64_t n, const T* x, T* out);
};

using ProductOperations_f32 = ProductOperations<float>;
using ProductOperations_f64 = ProductOperations<double>;
using GramRows_f32 = GramRows<float>;
using GramRows_f64 = GramRows<double>;
using GramOperations_f32 = GramOperations<float>;
using GramOperations_f64 = GramOperations<double>;
using MatrixOperations_f32 = MatrixOperations<float>;
using MatrixOperations_f64 = MatrixOperations<double>;
using Operations_f32 = Operations<float>;
using Operations_f64 = Operations<double>;

struct Table {
    int32_t n_losses;
    const LossEntry* losses;
    Operations_f32 f32;
    Operations_f64 f64;
    // Of copy.hpp; n in bytes.
    void (*prefetch)(const char* from, int64_t n);
    void (*stream)(const char* from, char* to, int64_t n);
    void (*stream_fence)();
    // For coordinate descent: dot products and y += a x, of dense and of compressed columns x.
    double (*dot)(int64_t n, const double* x, const double* y);
    void (*add)(int64_t n, double a, const double* x, double* y);
    void (*add_single)(int64_t n, double a, const float* x, double* y);
    void (*add_both)(int64_t n, double a, const double* x, const double* d, double* z, double* u);
    void (*rotate)(int64_t n, double c, double s, double* x, double* y);
    void (*cholesky)(int64_t n, double* a, int64_t stride, const double* least);
    double (*sparse_dot)(int64_t count, const double* x, const int32_t* index, const double* y);
    void (*sparse_add)(int64_t count, double a, const double* x, const int32_t* index, double* y);
    void (*sparse_add_both)(int64_t count, double a, const double* x, const int32_t* index, const double* d, double* z,
                            double* u);
};

}  // namespace fastloss
