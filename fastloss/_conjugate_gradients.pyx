"""Conjugate gradients for the normal equations of some columns."""

from cython.parallel cimport prange
from libc.math cimport fabs
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastloss._arrays cimport address
from fastloss._columns cimport Columns, Matrix, add, dot, doubles, length
from fastloss._runtime cimport resolve_threads, table

import numpy as np

cdef enum:
    SERIAL = 1 << 17  # numbers of the columns: below, threads cost more than they save
    PARTS = 8  # of the columns, each with a sum of its own
    SPARSE = 4  # numbers for each row of X that a part has at least


def conjugate_gradients(Columns columns, places, double weight, centre, double total, diagonal, b, start, least,
                        double ratio, int64_t budget, n_threads=None):
    """Solve (w C' C - q q' / T + D) x = b, preconditioned by the diagonal; C are the columns at `places`.

    M. R. Hestenes and E. Stiefel (1952), "Methods of conjugate gradients for solving linear systems".

    Parameters
    ----------
    columns : Columns
    places : ndarray of int64, shape (k,)
    weight, centre, total : float, ndarray of shape (k,), float
        w, q and T.
    diagonal, b, start : ndarray of shape (k,)
        D, b, and where to begin.
    least : ndarray of shape (k,)
        The residuals that will do.
    ratio : float
        As well as residuals of so small a part of the first ones.
    budget : int
        Operations after which to stop in any case.
    n_threads : int, optional
        As everywhere; it changes no bit.

    Returns
    -------
    ndarray of shape (k,), int
        The solution, and the operations done.
    """
    picked = np.ascontiguousarray(places, dtype=np.int64)
    q, d, least = (np.ascontiguousarray(x, dtype=np.float64) for x in (centre, diagonal, least))
    x = np.array(start, dtype=np.float64)
    cdef int64_t k = len(picked), n = columns.n, i, j, spent = 0, numbers = 0
    residual, step, turned, scale = (np.empty(k) for _ in range(4))
    cdef const Matrix *c = &columns.matrix
    cdef const int64_t *place = <const int64_t *>address(picked)
    cdef const double *centre_ = doubles(q)
    cdef const double *d_ = doubles(d)
    cdef const double *least_ = doubles(least)
    cdef double *x_ = doubles(x)
    cdef double *r = doubles(residual)
    cdef double *p = doubles(step)
    cdef double *a = doubles(turned)
    cdef double *s = doubles(scale)
    for i in range(k):
        numbers += length(c, place[i])
    cdef int64_t parts = max(1, min(<int64_t>PARTS, numbers // (SPARSE * n)))
    bounds = np.empty(parts + 1, dtype=np.int64)
    cdef int64_t *bound = <int64_t *>address(bounds)
    sums = np.empty((parts, n))
    cdef double *z = doubles(sums)
    cdef int threads = 1 if numbers < SERIAL else resolve_threads(n_threads)
    cdef double rz, before, along, largest, share
    cdef bint done
    split(c, place, k, numbers, parts, bound)
    residual[:] = b
    squares = columns.squares[picked]
    scale[:] = weight * squares - q * q / total + d
    scale[scale <= 1e-12 * weight * squares] = 1
    with nogil:
        multiply(c, place, k, weight, centre_, total, d_, x_, z, parts, bound, a, threads)
        largest = 0
        for j in range(k):
            r[j] -= a[j]
            largest = max(largest, fabs(r[j]))
        rz = 0
        for j in range(k):
            p[j] = r[j] / s[j]
            rz += r[j] * p[j]
        while True:
            spent += 2 * numbers
            done = True
            for j in range(k):
                if not (fabs(r[j]) <= least_[j] or fabs(r[j]) <= ratio * largest):
                    done = False
                    break
            if done or spent >= budget:
                break
            multiply(c, place, k, weight, centre_, total, d_, p, z, parts, bound, a, threads)
            along = table().dot(k, p, a)
            if not along > 0:
                break
            table().add(k, rz / along, p, x_)
            table().add(k, -rz / along, a, r)
            before, rz = rz, 0
            for j in range(k):
                rz += r[j] * r[j] / s[j]
            share = rz / before
            for j in range(k):
                p[j] = r[j] / s[j] + share * p[j]
    return x, spent


cdef void split(const Matrix *c, const int64_t *place, int64_t k, int64_t numbers, int64_t parts,
                int64_t *bound) noexcept nogil:
    """Parts of about as many numbers each."""
    cdef int64_t i, part = 1, seen = 0
    bound[0] = 0
    for i in range(k):
        seen += length(c, place[i])
        while part < parts and seen * parts >= numbers * part:
            bound[part] = i + 1
            part += 1
    while part <= parts:
        bound[part] = k
        part += 1


cdef void multiply(const Matrix *c, const int64_t *place, int64_t k, double weight, const double *centre, double total,
                   const double *d, const double *x, double *z, int64_t parts, const int64_t *bound, double *out,
                   int threads) noexcept nogil:
    """out = (w C' C - q q' / T + D) x; z is for C x, a sum for each part."""
    cdef int64_t part, j, n = c.n
    cdef double shift = table().dot(k, centre, x) / total
    if threads > 1:
        for part in prange(parts, num_threads=threads, schedule="dynamic"):
            combine(c, place, bound[part], bound[part + 1], x, z + part * n)
    else:
        for part in range(parts):
            combine(c, place, bound[part], bound[part + 1], x, z + part * n)
    for part in range(1, parts):
        table().add(n, 1.0, z + part * n, z)
    if threads > 1:
        for j in prange(k, num_threads=threads, schedule="static"):
            out[j] = weight * dot(c, place[j], z) - centre[j] * shift + d[j] * x[j]
    else:
        for j in range(k):
            out[j] = weight * dot(c, place[j], z) - centre[j] * shift + d[j] * x[j]


cdef void combine(const Matrix *c, const int64_t *place, int64_t start, int64_t stop, const double *x,
                  double *z) noexcept nogil:
    """z = C x over some of the columns."""
    cdef int64_t i
    memset(z, 0, c.n * sizeof(double))
    for i in range(start, stop):
        if x[i] != 0:
            add(c, place[i], x[i], z)
