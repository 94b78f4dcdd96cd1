"""What a step teaches an approximate Hessian."""

from libc.math cimport sqrt
from libc.stdint cimport int64_t

from fastloss._columns cimport doubles
from fastloss._runtime cimport table

import numpy as np

cdef double ASTRAY = 30  # times the Hessian's is what the loss may curve along a step for it to be learnt from
cdef double FLAT = 1e-10  # of the Hessian's curvature along a step; what is less teaches nothing


def update(hessian, step, change, double least_change):
    """The Hessian that agrees with a step, by Broyden, Fletcher, Goldfarb and Shanno (BFGS).

    J. Nocedal and S. J. Wright (2006), "Numerical optimization", 2nd edition, section 6.1.

    Parameters
    ----------
    hessian : ndarray of shape (m, m), float64, in C order
        Symmetric and not negative; it becomes the other.
    step, change : ndarray of shape (m,), float64
        The step, and the change of the gradient along it.
    least_change : float
        A change of a norm no larger is rounding.

    Returns
    -------
    bool
        Whether both Hessians' curvature along the step is of one order; if not, nothing is learnt.
    """
    cdef int64_t i, m = len(step)
    if hessian.shape != (m, m) or change.shape != (m,) or not hessian.flags.c_contiguous:
        raise ValueError("hessian, step and change must fit each other")
    product = np.empty(m)
    cdef double *H = doubles(hessian)
    cdef const double *s = doubles(step)
    cdef const double *y = doubles(change)
    cdef double *turned = doubles(product)
    cdef double along, seen
    if not sqrt(table().dot(m, y, y)) > least_change:
        return True
    with nogil:
        for i in range(m):
            turned[i] = table().dot(m, H + i * m, s)
        along, seen = table().dot(m, s, turned), table().dot(m, s, y)
        if seen < ASTRAY * along and seen > FLAT * along:
            for i in range(m):
                table().add(m, y[i] / seen, y, H + i * m)
                table().add(m, -turned[i] / along, turned, H + i * m)
    return seen < ASTRAY * along or along == 0
