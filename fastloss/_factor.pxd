"""Cholesky's factors, seen from C: upper triangular U, rows some numbers apart."""

from libc.stdint cimport int64_t


cdef void solve_factored(const double *u, int64_t stride, int64_t n, double *x) noexcept nogil
cdef void rotate_out(double *u, int64_t stride, int64_t n, const int64_t *place, int64_t count,
                     double *carried) noexcept nogil
