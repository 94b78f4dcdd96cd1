"""A separable penalty, seen from C."""

from libc.stdint cimport int64_t


cdef class Costs:
    cdef readonly object up, down, ridge
    cdef object _free, _costly
    cdef bint flat  # no ridge
    cdef const double *up_
    cdef const double *down_
    cdef const double *ridge_
    cdef int64_t m

    cdef object places(self, bint free)
    cdef bint is_free(self, int64_t j) noexcept nogil
    cdef double residual_of(self, const double *c, const double *force) noexcept nogil
    cdef double value_of(self, const double *c) noexcept nogil
    cdef double scale_of(self, const double *force) noexcept nogil
    cdef double conjugate_of(self, const double *force, double scale) noexcept nogil
    cdef double gap_of(self, const double *c, const double *force, double *scale) noexcept nogil
    cdef double bound_of(self, const double *c, double *force, const double *curvature, double height) noexcept nogil
    cdef const double *numbers(self, x) except? NULL


cdef inline double excess_over(double force, double up, double down) noexcept nogil:
    """By how much a force is more than it takes to move a coordinate off 0."""
    return force - up if force > up else -force - down if -force > down else 0
