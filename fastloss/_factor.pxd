"""Cholesky's factors, seen from C."""

from libc.stdint cimport int32_t, int64_t


cdef class Factor:
    cdef readonly int64_t count
    cdef int64_t stride
    cdef object memory
    cdef double *u  # row i begins at i * stride, with whatever before its place i

    cdef void reserve(self, int64_t count) except *
    cdef void rotate_out(self, const int64_t *place, int64_t count, double *carried) noexcept nogil
    cdef void take(self, const double *matrix, int64_t m, const int32_t *places, int64_t count, const double *ridge,
                   double dependent, double *scratch) noexcept nogil


cdef void solve_factored(const double *u, int64_t stride, int64_t n, double *x) noexcept nogil
