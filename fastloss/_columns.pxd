"""Columns of doubles, seen from C."""

from libc.stdint cimport int32_t, int64_t

from fastloss._arrays cimport address
from fastloss._runtime cimport table


cdef struct Matrix:
    # Columns of doubles: dense, one after the other, or compressed.
    const double *data
    const int32_t *indices  # NULL if dense
    const int64_t *starts
    int64_t n, m


cdef class Columns:
    cdef Matrix matrix
    cdef readonly object data, indices, starts, picked
    cdef object places, _squares
    cdef readonly int64_t n, m, numbers

    cdef void products(self, const double *v, double *out, int threads) noexcept nogil


cdef inline double *doubles(x) except? NULL:
    return <double *>address(x)


cdef inline int64_t length(const Matrix *x, int64_t j) noexcept nogil:
    """How many numbers a column holds."""
    return x.n if x.indices == NULL else x.starts[j + 1] - x.starts[j]


cdef inline double dot(const Matrix *x, int64_t j, const double *v) noexcept nogil:
    if x.indices == NULL:
        return table().dot(x.n, x.data + x.starts[j], v)
    return table().sparse_dot(x.starts[j + 1] - x.starts[j], x.data + x.starts[j], x.indices + x.starts[j], v)


cdef inline void add(const Matrix *x, int64_t j, double a, double *v) noexcept nogil:
    if x.indices == NULL:
        table().add(x.n, a, x.data + x.starts[j], v)
    else:
        table().sparse_add(x.starts[j + 1] - x.starts[j], a, x.data + x.starts[j], x.indices + x.starts[j], v)
