"""A separable penalty, coordinate by coordinate: what solvers ask of it, in one pass each."""

from libc.float cimport DBL_MIN
from libc.math cimport NAN, fabs, isfinite, sqrt
from libc.stdint cimport int64_t

from fastloss._arrays cimport address

import numpy as np


cdef inline bint is_close(double force, double up, double down, double ridge, double least) noexcept nogil:
    """Whether a force is at least so large a part of what moves a coordinate off 0, and that costs anything."""
    return (force > least * up or -force > least * down) and (up > 0 or down > 0 or ridge > 0)


cdef class Costs:
    """What each coordinate of a point costs.

    Parameters
    ----------
    up, down : ndarray of shape (m,), float64
        The cost of a unit above 0 and below, >= 0; infinite where the coordinate must not go there.
    ridge : ndarray of shape (m,), float64
        The cost of its square, >= 0.
    """

    def __init__(self, up, down, ridge):
        self.up, self.down, self.ridge = (np.ascontiguousarray(cost, dtype=np.float64) for cost in (up, down, ridge))
        self.m = len(self.up)
        if not self.up.shape == self.down.shape == self.ridge.shape == (self.m,):
            raise ValueError("up, down and ridge must be of one length")
        self.up_ = <const double *>address(self.up)
        self.down_ = <const double *>address(self.down)
        self.ridge_ = <const double *>address(self.ridge)
        cdef int64_t j
        self.flat = True
        for j in range(self.m):
            self.flat = self.flat and self.ridge_[j] == 0

    def __len__(self):
        return self.m

    @property
    def free(self):
        """The coordinates that cost nothing."""
        if self._free is None:
            self._free = self.places(True)
        return self._free

    @property
    def costly(self):
        """The coordinates that cost something, and their costs."""
        if self._costly is None:
            places = self.places(False)
            self._costly = places, self.take(places)
        return self._costly

    cdef object places(self, bint free):
        """The coordinates that are free, or those that are not."""
        cdef int64_t j, count = 0
        result = np.empty(self.m, dtype=np.int64)
        cdef int64_t *place = <int64_t *>address(result)
        for j in range(self.m):
            if self.is_free(j) == free:
                place[count] = j
                count += 1
        return result[:count].copy()

    @property
    def one_sided(self):
        """Whether a coordinate costs nothing at one side of 0 and something at the other."""
        cdef int64_t j
        for j in range(self.m):
            if (self.up_[j] == 0) != (self.down_[j] == 0) and self.ridge_[j] == 0:
                return True
        return False

    def take(self, selected):
        """Of some coordinates."""
        return Costs(self.up[selected], self.down[selected], self.ridge[selected])

    def scaled(self, scales):
        """Of coordinates in other units: each is ``scales`` times what it was."""
        return Costs(self.up * scales, self.down * scales, self.ridge * scales**2)

    def repeated(self, int times):
        """The same costs for several sets of coordinates, one after the other."""
        return self if times == 1 else Costs(*(np.tile(cost, times) for cost in (self.up, self.down, self.ridge)))

    def without_ridge(self):
        """The same without the costs of squares."""
        return Costs(self.up, self.down, np.zeros(self.m))

    def value(self, c):
        """The penalty; infinite on the wrong side of 0."""
        cdef const double *x = self.numbers(c)
        return self.value_of(x)

    def slope(self, c):
        """The derivative, for coordinates that are not 0."""
        return np.where(c > 0, self.up, -self.down) + 2 * self.ridge * c

    def prox(self, c, double step):
        """The point that minimises penalty + |. - c|^2 / (2 step)."""
        cdef const double *x = self.numbers(c)
        result = np.empty(self.m)
        cdef double *out = <double *>address(result)
        cdef double up, down
        cdef int64_t j
        with nogil:
            for j in range(self.m):
                up, down = x[j] - step * self.up_[j], x[j] + step * self.down_[j]
                # Not `up > 0` alone: a number that is not one stays so.
                out[j] = (up if not up <= 0 else down if down < 0 else 0) / (1 + 2 * step * self.ridge_[j])
        return result

    def project(self, c):
        """The nearest point whose penalty is finite."""
        return np.where((c < 0) & np.isinf(self.down) | (c > 0) & np.isinf(self.up), 0.0, c)

    def excess(self, force):
        """By how much a force, a negative slope of the loss, is more than it takes to move a coordinate off 0."""
        cdef const double *x = self.numbers(force)
        result = np.empty(self.m)
        cdef double *out = <double *>address(result)
        cdef int64_t j
        with nogil:
            for j in range(self.m):
                out[j] = excess_over(x[j], self.up_[j], self.down_[j])
        return result

    def residual(self, c, force):
        """The norm of the smallest subgradient, 0 at a minimum."""
        return self.residual_of(self.numbers(c), self.numbers(force))

    def gap(self, c, force):
        """The penalty's part of a duality gap.

        Parameters
        ----------
        c, force : ndarray of shape (m,)
            A point, and the negative gradient of the loss there, which must be 0 (up to rounding) for coordinates that
            cost nothing.

        Returns
        -------
        scale : float
            What makes the force feasible, in [0, 1]: the largest factor for which the conjugate is finite.
        gap : float
            penalty(c) + conjugate(scale * force) - scale * force @ c, >= 0.
        """
        cdef double scale = 1
        cdef double gap = self.gap_of(self.numbers(c), self.numbers(force), &scale)
        return scale, gap

    def look(self, c, slope):
        """`value`, `residual` and `gap` at once, by the slope of the loss; for the gap that of what is free is 0."""
        cdef const double *x = self.numbers(c)
        cdef const double *g = self.numbers(slope)
        force = np.empty(self.m)
        cdef double *f = <double *>address(force)
        cdef double scale = 1, residual, gap
        cdef int64_t j
        with nogil:
            for j in range(self.m):
                f[j] = -g[j]
            residual = self.residual_of(x, f)
            for j in range(self.m):
                if self.is_free(j):
                    f[j] = 0  # next to large coefficients, rounding in them is not small
            gap = self.gap_of(x, f, &scale)
        return self.value_of(x), residual, scale, gap

    def scale(self, force):
        """What makes a force feasible, as for `gap`."""
        return self.scale_of(self.numbers(force))

    def close_to_moving(self, c, force, double margin):
        """The coordinates at 0 whose force is almost what moves them.

        Parameters
        ----------
        c, force : ndarray of shape (m,)
            A point, and the negative gradient of the loss there.
        margin : float
            The part of the force needed that may be missing.

        Returns
        -------
        indices : ndarray of int64
            In increasing order; without those that cost nothing.
        excess : ndarray of float64
            By how much the force is more than is needed; negative where it is less.
        """
        cdef const double *x = self.numbers(c)
        cdef const double *f = self.numbers(force)
        cdef const double *up = self.up_
        cdef const double *down = self.down_
        cdef const double *ridge = self.ridge_
        cdef double least = 1 - margin
        cdef int64_t *index
        cdef double *over
        cdef int64_t j, count = 0
        with nogil:
            for j in range(self.m):
                count += x[j] == 0 and is_close(f[j], up[j], down[j], ridge[j], least)
        indices, excess = np.empty(count, dtype=np.int64), np.empty(count)
        index, over, count = <int64_t *>address(indices), <double *>address(excess), 0
        with nogil:
            for j in range(self.m):
                if x[j] == 0 and is_close(f[j], up[j], down[j], ridge[j], least):
                    index[count], over[count] = j, fabs(f[j]) - (up[j] if f[j] > 0 else down[j])
                    count += 1
        return indices, excess

    def conjugate(self, force):
        """The penalty's convex conjugate at what makes a force feasible, as for `gap`: the scale, the conjugate."""
        cdef const double *f = self.numbers(force)
        cdef double s = self.scale_of(f)
        return s, self.conjugate_of(f, s)

    def bound(self, c, force, curvature, double height):
        """About the duality gap, from a point and the force on it alone.

        Parameters
        ----------
        c, force, curvature : ndarray of shape (m,)
            A point, the negative slope of a loss there, and its second derivative by each coordinate.
        height : float
            By how much the loss is more than it could be: about what the dual loses, times (1 - s)^2, when its point is
            scaled by s.
        """
        balanced = force.copy()
        return self.bound_of(self.numbers(c), <double *>self.numbers(balanced), self.numbers(curvature), height)

    cdef const double *numbers(self, x) except? NULL:
        """A vector's numbers, one a coordinate."""
        if x.dtype != np.float64 or x.shape != (self.m,) or (self.m > 1 and x.strides[0] != 8):
            raise TypeError(f"a contiguous float64 vector of {self.m} numbers is wanted")
        return <const double *>address(x)

    cdef bint is_free(self, int64_t j) noexcept nogil:
        return self.up_[j] == 0 and self.down_[j] == 0 and self.ridge_[j] == 0

    cdef double residual_of(self, const double *c, const double *force) noexcept nogil:
        cdef double sum = 0, rest
        cdef int64_t j
        for j in range(self.m):
            if c[j] == 0:
                rest = excess_over(force[j], self.up_[j], self.down_[j])
            else:
                rest = force[j] - (self.up_[j] if c[j] > 0 else -self.down_[j]) - 2 * self.ridge_[j] * c[j]
            sum += rest * rest
        return sqrt(sum)

    cdef double value_of(self, const double *c) noexcept nogil:
        cdef double sum = 0
        cdef int64_t j
        for j in range(self.m):
            if c[j] != 0:
                sum += (c[j] * self.up_[j] if c[j] > 0 else fabs(c[j]) * self.down_[j]) + self.ridge_[j] * c[j] * c[j]
        return sum

    cdef double scale_of(self, const double *force) noexcept nogil:
        """What makes a force feasible, as for `gap`."""
        cdef double s = 1, limit
        cdef int64_t j
        for j in range(self.m):
            if s * force[j] <= self.up_[j] and -s * force[j] <= self.down_[j]:
                continue
            if not isfinite(force[j]):
                return NAN
            if self.flat or self.ridge_[j] == 0:
                if self.up_[j] == 0 and self.down_[j] == 0:
                    continue  # rounding
                limit = self.up_[j] if force[j] > 0 else self.down_[j]
                s = limit / fabs(force[j])
        return s

    cdef double conjugate_of(self, const double *force, double scale) noexcept nogil:
        """The conjugate at a force made feasible."""
        cdef double excess, sum = 0
        cdef int64_t j
        if self.flat:
            return 0
        for j in range(self.m):
            if self.ridge_[j] > 0:
                excess = excess_over(scale * force[j], self.up_[j], self.down_[j])
                sum += excess * excess / (4 * self.ridge_[j])
        return sum

    cdef double gap_of(self, const double *c, const double *force, double *scale) noexcept nogil:
        cdef double s = self.scale_of(force), along = 0
        cdef int64_t j
        for j in range(self.m):
            if c[j] != 0:
                along += force[j] * c[j]
        scale[0] = s
        return self.value_of(c) + self.conjugate_of(force, s) - s * along

    cdef double bound_of(self, const double *c, double *force, const double *curvature, double height) noexcept nogil:
        """As `bound`; the forces on what costs nothing are set to 0."""
        cdef double rest = 0, scale, gap
        cdef int64_t j
        for j in range(self.m):
            if self.is_free(j):
                # Their dual constraint is an equation: what a step on each alone would gain.
                rest += force[j] * force[j] / max(curvature[j], DBL_MIN)
                force[j] = 0
        gap = self.gap_of(c, force, &scale)
        return gap + (1 - scale) * (1 - scale) * height + rest
