"""Quadratic models without the coordinates that cost nothing: what is left once these follow the others."""

from libc.stdint cimport int64_t

from fastloss._arrays cimport address
from fastloss._columns cimport doubles
from fastloss._runtime cimport table

import numpy as np

# Of its own second derivative is what a coordinate must add to those before it; less is rounding.
cdef double DEPENDENT = 1e-13


cdef class Elimination:
    """Gauss's elimination of the free coordinates of a model g' s + s' H s / 2 of steps s.

    Parameters
    ----------
    hessian : ndarray of shape (m, m)
        H, symmetric and not negative; not changed.
    gradient : ndarray of shape (m,)
        g; not changed.
    free, kept : ndarray of int64
        The coordinates, f that go and k that stay.

    Attributes
    ----------
    hessian, gradient : ndarray of shape (k, k), (k,)
        Those of the model that is left: the least of the first over the free coordinates, for any step of the others.
        A coordinate that does nothing which the free ones do not has next to no second derivative.
    fall : float
        By how much the model falls where the others stay.
    """
    cdef readonly object hessian, gradient
    cdef readonly double fall
    cdef object matrix, slope, pivots, free, kept
    cdef int64_t m

    def __init__(self, hessian, gradient, free, kept):
        cdef int64_t m = len(gradient), f = len(free), k = len(kept), a, b, i
        if hessian.shape != (m, m) or f + k != m:
            raise ValueError("hessian, free and kept must fit the gradient")
        self.m, self.free, self.kept = m, free, kept
        self.matrix, self.slope = np.array(hessian, dtype=np.float64, order="C"), np.array(gradient, dtype=np.float64)
        self.pivots, self.hessian, self.gradient = np.zeros(f), np.empty((k, k)), np.empty(k)
        diagonal = self.matrix.diagonal().copy()
        cdef const double *own = doubles(diagonal)
        cdef double *A = doubles(self.matrix)
        cdef double *g = doubles(self.slope)
        cdef double *pivots = doubles(self.pivots)
        cdef double *rest = doubles(self.hessian)
        cdef double *left = doubles(self.gradient)
        cdef const int64_t *gone = <const int64_t *>address(free)
        cdef const int64_t *stays = <const int64_t *>address(kept)
        cdef double fall = 0
        with nogil:
            for a in range(f):
                i = gone[a]
                if not A[i * m + i] > DEPENDENT * own[i]:
                    continue
                pivots[a] = A[i * m + i]
                fall += 0.5 * g[i] * g[i] / pivots[a]
                for b in range(a + 1, f):
                    subtract(A, g, m, i, gone[b])
                for b in range(k):
                    subtract(A, g, m, i, stays[b])
            for a in range(k):
                i = stays[a]
                left[a] = g[i]
                for b in range(k):
                    rest[a * k + b] = A[i * m + stays[b]]
            for a in range(k):
                i = stays[a]
                if not A[i * m + i] > DEPENDENT * own[i]:
                    for b in range(k):
                        rest[a * k + b] = rest[b * k + a] = 0
                    rest[a * k + a] = DEPENDENT * own[i]
        self.fall = fall

    def step(self, part):
        """The whole step, where that of the kept coordinates is `part`."""
        result = np.zeros(self.m)
        result[self.kept] = part
        cdef int64_t a, i, f = len(self.free), m = self.m
        cdef const double *A = doubles(self.matrix)
        cdef const double *g = doubles(self.slope)
        cdef const double *pivots = doubles(self.pivots)
        cdef const int64_t *gone = <const int64_t *>address(self.free)
        cdef double *x = doubles(result)
        with nogil:
            for a in range(f - 1, -1, -1):
                i = gone[a]
                if pivots[a] > 0:
                    x[i] = -(g[i] + table().dot(m, A + i * m, x)) / pivots[a]
        return result


cdef void subtract(double *A, double *g, int64_t m, int64_t i, int64_t j) noexcept nogil:
    """Make coordinate j's slope what it is where coordinate i is at its best."""
    cdef double share = A[i * m + j] / A[i * m + i]
    if share != 0:
        table().add(m, -share, A + i * m, A + j * m)
        g[j] -= share * g[i]
