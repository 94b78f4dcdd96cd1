// A matrix as the passes see it: any layout behind one struct and one row of function pointers.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fastloss {

// Dense by rows (C order) or columns (Fortran order), compressed by rows or columns with indices of 32 or 64 bits.
enum MatrixLayout : int32_t { dense_rows, dense_columns, csr32, csr64, csc32, csc64, n_layouts };

struct Matrix {
    const void* data;
    int64_t stride;         // dense: numbers from row to row, or from column to column
    const void* indices;    // compressed: the column of each number, or its row
    const int64_t* starts;  // compressed: where each row begins, or each column; then the end
    int64_t n, p;           // rows and columns
};

// Products with blocks of rows or with single columns; null where a layout has no way to them.
template <class T>
struct MatrixOperations {
    // z += X_b w and g += X_b' r for the n rows from `start` on; z and r begin at that row.
    void (*dot_rows)(const Matrix* x, int64_t start, int64_t n, const T* w, T* z);
    void (*add_rows)(const Matrix* x, int64_t start, int64_t n, const T* r, double* g);
    // x_j' r for the columns from `start` to `stop`: rows where r is 0 count for nothing, whatever they hold.
    void (*dot_columns)(const Matrix* x, int64_t start, int64_t stop, const T* r, double* out);
    // z += the sum of w_j x_j over the columns from `start` to `stop`.
    void (*add_columns)(const Matrix* x, int64_t start, int64_t stop, const T* w, double* z);
};

// Products of dense rows X with the matrices of a model with k outputs; null where they are left to BLAS.
template <class T>
struct ProductOperations {
    int64_t lanes, panel;  // numbers in a register; outputs that are computed together
    // Packs W, k rows of p numbers, for `multiply`: panel after panel, each with its outputs side by side.
    void (*pack)(int64_t k, int64_t p, const T* w, T* packed);
    // Z = X W' for n rows of X, `stride` numbers apart.
    void (*multiply)(const T* x, int64_t stride, int64_t n, int64_t p, const T* packed, int64_t k, T* z);
    // S[c, j] += sum_i R[i, c] X[i, j] for n rows, the columns of X from `start` to `stop` and k outputs; rows of R and
    // S are `r_stride` and `sums_stride` numbers apart.
    void (*add_transposed)(const T* x, int64_t stride, int64_t n, int64_t start, int64_t stop, const T* r,
                           int64_t r_stride, int64_t k, double* sums, int64_t sums_stride);
    // to[c, i] = from[i, c] for n rows of k numbers.
    void (*transpose)(int64_t n, int64_t k, const T* from, T* to);
};

// Rows of a dense X for sums of products of their numbers; all pointers but that to X may be null.
template <class T>
struct GramRows {
    const T* x;
    int64_t stride, p;
    const int64_t* index;  // which rows: what follows goes by them; null: all
    const double* weight;  // of each row
    const double* origin;  // taken from each row, p numbers
    const double* extra;   // a number beside each row, that is weighted already
};

// Null, and `largest` 0, where BLAS is as fast.
template <class T>
struct GramOperations {
    int64_t largest;                // p for which it pays
    int64_t (*width)(int64_t p);    // of the sums
    int64_t (*scratch)(int64_t p);  // numbers, aligned to 64 bytes
    // sums[c, j] += sum_i s_i x_ic x_ij for c <= j < p, in p + 1 rows that are `width` numbers apart. In column p sums
    // of s_i x_ic and of s_i, in column p + 1 those of the extra number times x_ic. Other places hold anything.
    void (*add)(const GramRows<T>* rows, int64_t start, int64_t stop, double* scratch, double* sums);
};

}  // namespace fastloss
