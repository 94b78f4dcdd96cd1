"""The C interface of the layers: block kernels, the table of the chosen instruction set, the number of threads."""

from libc.stdint cimport int32_t, int64_t


cdef extern from "simd/kernel.h" nogil:
    enum:
        FASTLOSS_KERNEL_VERSION
        FASTLOSS_BAD_LABEL
        FASTLOSS_BAD_PREDICTION
        FASTLOSS_BAD_WEIGHT
        FASTLOSS_RAISED
        FASTLOSS_GOES_ON
        FASTLOSS_PAST_CACHES
    ctypedef double (*fastloss_block_f32)(
        const double *params, int64_t n, int64_t k, const float *y, const float *z, const float *weight,
        double scale, float *value, float *gradient, float *hessian, int32_t *status) noexcept nogil
    ctypedef double (*fastloss_block_f64)(
        const double *params, int64_t n, int64_t k, const double *y, const double *z, const double *weight,
        double scale, double *value, double *gradient, double *hessian, int32_t *status) noexcept nogil
    ctypedef double (*fastloss_weigh_f32)(
        const double *params, int64_t n, int64_t k, const float *y, const float *weight,
        int32_t *status) noexcept nogil
    ctypedef double (*fastloss_weigh_f64)(
        const double *params, int64_t n, int64_t k, const double *y, const double *weight,
        int32_t *status) noexcept nogil
    ctypedef struct fastloss_kernel:
        int32_t version
        int32_t label_width
        int64_t outputs
        int64_t n_params
        const double *params
        fastloss_block_f32 f32
        fastloss_block_f64 f64
        fastloss_weigh_f32 weigh_f32
        fastloss_weigh_f64 weigh_f64


cdef extern from "simd/matrix.hpp" namespace "fastloss" nogil:
    enum:
        dense_rows
        dense_columns
        csr32
        csr64
        csc32
        csc64
        n_layouts
    ctypedef struct Matrix:
        const void *data
        int64_t stride
        const void *indices
        const int64_t *starts
        int64_t n
        int64_t p


cdef extern from "simd/table.hpp" namespace "fastloss" nogil:
    struct LossEntry:
        const char *name
        int32_t label_width
        int64_t outputs
        fastloss_block_f32 f32
        fastloss_block_f64 f64
        fastloss_weigh_f32 weigh_f32
        fastloss_weigh_f64 weigh_f64
        bint streams
        bint asks
        bint goes_past
    cppclass MatrixOperations_f32:
        void (*dot_rows)(const Matrix *x, int64_t start, int64_t n, const float *w, float *z) noexcept nogil
        void (*add_rows)(const Matrix *x, int64_t start, int64_t n, const float *r, double *g) noexcept nogil
        void (*dot_columns)(const Matrix *x, int64_t start, int64_t stop, const float *r, double *out) noexcept nogil
        void (*add_columns)(const Matrix *x, int64_t start, int64_t stop, const float *w, double *z) noexcept nogil
    cppclass MatrixOperations_f64:
        void (*dot_rows)(const Matrix *x, int64_t start, int64_t n, const double *w, double *z) noexcept nogil
        void (*add_rows)(const Matrix *x, int64_t start, int64_t n, const double *r, double *g) noexcept nogil
        void (*dot_columns)(const Matrix *x, int64_t start, int64_t stop, const double *r, double *out) noexcept nogil
        void (*add_columns)(const Matrix *x, int64_t start, int64_t stop, const double *w, double *z) noexcept nogil
    cppclass ProductOperations_f32:
        int64_t lanes, panel
        void (*pack)(int64_t k, int64_t p, const float *w, float *packed) noexcept nogil
        void (*multiply)(const float *x, int64_t stride, int64_t n, int64_t p, const float *packed, int64_t k,
                         float *z) noexcept nogil
        void (*add_transposed)(const float *x, int64_t stride, int64_t n, int64_t start, int64_t stop, const float *r,
                               int64_t r_stride, int64_t k, double *sums, int64_t sums_stride) noexcept nogil
        void (*transpose)(int64_t n, int64_t k, const float *source, float *to) noexcept nogil
    ctypedef struct GramRows_f32:
        const float *x
        int64_t stride
        int64_t p
        const int64_t *index
        const double *weight
        const double *origin
        const double *extra
    cppclass GramOperations_f32:
        int64_t largest
        int64_t (*width)(int64_t p) noexcept nogil
        int64_t (*scratch)(int64_t p) noexcept nogil
        void (*add)(const GramRows_f32 *rows, int64_t start, int64_t stop, double *scratch, double *sums) noexcept nogil
    cppclass Operations_f32:
        double (*sum_weights)(int64_t n, const float *weight, int32_t *status) noexcept nogil
        MatrixOperations_f32 matrix[n_layouts]
        ProductOperations_f32 product
        GramOperations_f32 gram
        void (**gather)(const char *data, int ndim, const Py_ssize_t *shape, const Py_ssize_t *strides,
                        int64_t start, int64_t count, float *out) noexcept nogil
        void (*scatter)(const float *src, char *data, int ndim, const Py_ssize_t *shape, const Py_ssize_t *strides,
                        int64_t start, int64_t count) noexcept nogil
        void (**vmath)(int64_t n, const float *x, float *out) noexcept nogil
    cppclass ProductOperations_f64:
        int64_t lanes, panel
        void (*pack)(int64_t k, int64_t p, const double *w, double *packed) noexcept nogil
        void (*multiply)(const double *x, int64_t stride, int64_t n, int64_t p, const double *packed, int64_t k,
                         double *z) noexcept nogil
        void (*add_transposed)(const double *x, int64_t stride, int64_t n, int64_t start, int64_t stop, const double *r,
                               int64_t r_stride, int64_t k, double *sums, int64_t sums_stride) noexcept nogil
        void (*transpose)(int64_t n, int64_t k, const double *source, double *to) noexcept nogil
    ctypedef struct GramRows_f64:
        const double *x
        int64_t stride
        int64_t p
        const int64_t *index
        const double *weight
        const double *origin
        const double *extra
    cppclass GramOperations_f64:
        int64_t largest
        int64_t (*width)(int64_t p) noexcept nogil
        int64_t (*scratch)(int64_t p) noexcept nogil
        void (*add)(const GramRows_f64 *rows, int64_t start, int64_t stop, double *scratch, double *sums) noexcept nogil
    cppclass Operations_f64:
        double (*sum_weights)(int64_t n, const double *weight, int32_t *status) noexcept nogil
        MatrixOperations_f64 matrix[n_layouts]
        ProductOperations_f64 product
        GramOperations_f64 gram
        void (**gather)(const char *data, int ndim, const Py_ssize_t *shape, const Py_ssize_t *strides,
                        int64_t start, int64_t count, double *out) noexcept nogil
        void (*scatter)(const double *src, char *data, int ndim, const Py_ssize_t *shape, const Py_ssize_t *strides,
                        int64_t start, int64_t count) noexcept nogil
        void (**vmath)(int64_t n, const double *x, double *out) noexcept nogil
    cppclass Table:
        int32_t n_losses
        const LossEntry *losses
        Operations_f32 f32
        Operations_f64 f64
        void (*prefetch)(const char *src, int64_t n) noexcept nogil
        void (*stream)(const char *src, char *to, int64_t n) noexcept nogil
        void (*stream_fence)() noexcept nogil
        double (*dot)(int64_t n, const double *x, const double *y) noexcept nogil
        void (*add)(int64_t n, double a, const double *x, double *y) noexcept nogil
        void (*add_single)(int64_t n, double a, const float *x, double *y) noexcept nogil
        void (*add_both)(int64_t n, double a, const double *x, const double *d, double *z, double *u) noexcept nogil
        void (*rotate)(int64_t n, double c, double s, double *x, double *y) noexcept nogil
        void (*cholesky)(int64_t n, double *a, int64_t stride, const double *least) noexcept nogil
        double (*sparse_dot)(int64_t count, const double *x, const int32_t *index, const double *y) noexcept nogil
        void (*sparse_add)(int64_t count, double a, const double *x, const int32_t *index, double *y) noexcept nogil
        void (*sparse_add_both)(int64_t count, double a, const double *x, const int32_t *index, const double *d,
                                double *z, double *u) noexcept nogil


cdef const Table *table() noexcept nogil
cdef int resolve_threads(object n_threads) except -1
