"""Quadratic models of a loss, seen from C."""

from libc.stdint cimport int32_t, int64_t

from fastloss._costs cimport Costs


cdef class Model:
    cdef readonly Costs penalty
    cdef readonly object c, start, slope, curvature
    cdef readonly bint finished, stalled
    cdef object moving  # the numbers that depend on the point, linearly up to a constant
    cdef object memory, scratch, active
    cdef double *c_
    cdef const double *start_
    cdef const double *slope_
    cdef const double *curvature_
    cdef double *moving_
    cdef int32_t *active_
    cdef int64_t m, n_moving, n_active
    cdef int64_t swept  # operations of sweeps since the last step on the support
    cdef bint rounded  # whether sweeps know what moves in single precision only; `place` knows it exactly

    cdef void set_up(self, slope, c, Costs penalty, curvature, moving) except *
    cdef void prepare(self) except *
    cdef int64_t sweep(self, bint everywhere) noexcept nogil
    cdef double value(self) noexcept nogil
    cdef void forces(self, double *out, int threads) noexcept nogil
    cdef void place(self) noexcept nogil
    cdef void follow(self) noexcept nogil
    cdef double bound(self, double *force, double height, int threads) noexcept nogil
    cdef void save(self, double *point) noexcept nogil
    cdef double extrapolate(self, double *points, double here) noexcept nogil
    cdef bint step_on_support(self, int64_t *spent) noexcept nogil


cdef inline double minimum(double gradient, double c, double curvature, double up, double down,
                           double ridge) noexcept nogil:
    """The best value of one coordinate, where the model's slope is `gradient` at the value c."""
    cdef double target = curvature * c - gradient
    if target > up:
        return (target - up) / (curvature + 2 * ridge)
    if target < -down:
        return (target + down) / (curvature + 2 * ridge)
    return 0
