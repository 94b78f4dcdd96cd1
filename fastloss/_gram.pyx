"""Weighted sums of (x, 1)(x, 1)' over the rows of a dense X: Hessians and sufficient statistics.

Rows go through in chunks, whose number depends on the sizes alone; each has sums of its own, which are added up in the
order of the rows: results are the same to the last bit for any number of threads.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uintptr_t

from fastloss._arrays cimport address
from fastloss._runtime cimport GramRows_f32, GramRows_f64, resolve_threads, table

import numpy as np

cdef enum:
    SERIAL = 1 << 22  # products of two numbers: up to so many, starting threads costs more than it saves
    CHUNKS = 16
    LEAST_PRODUCTS = 1 << 20  # of a chunk: 40 us
    MOST_BYTES = 1 << 24  # of the sums of all chunks


def are_here(int64_t p):
    """Whether the instruction set in use has sums for so many columns; BLAS is as fast where not."""
    return 0 < p <= table().f64.gram.largest


def weighted_gram(X, weight=None, extra=None, origin=None, index=None, n_threads=None):
    """The sum of s (x - o, 1)(x - o, 1)' over rows, and of e (x - o).

    Parameters
    ----------
    X : ndarray of shape (n, p), float32 or float64
        Rows are contiguous; `are_here(p)`. All is computed in float64.
    weight : ndarray of shape (n,), float64, optional
        s of each row, 1 by default; rows of weight 0 are not read.
    extra : ndarray of shape (n,), float64, optional
        e of each row.
    origin : ndarray of shape (p,), float64, optional
        o, zeros by default.
    index : ndarray of int64, optional
        The rows, all by default; weight and extra are those of all.
    n_threads : int, optional
        As everywhere.

    Returns
    -------
    ndarray of shape (p + 1, p + 1), ndarray of shape (p,)
        The second is 0 without `extra`.
    """
    cdef int64_t n = len(X) if index is None else len(index), p = X.shape[1], width = table().f64.gram.width(p)
    cdef int64_t size = (table().f64.gram.scratch(p) + 7) // 8 * 8, rows = p + 1, i
    cdef int64_t chunks = min(n * p * p // (2 * LEAST_PRODUCTS), MOST_BYTES // (8 * width * rows), <int64_t>CHUNKS)
    chunks = max(chunks, 1)
    cdef int threads = 1 if n * p * p <= 2 * SERIAL else min(<int64_t>resolve_threads(n_threads), chunks)
    sums, scratch = np.zeros((chunks, rows, width)), np.empty(chunks * size + 8)
    cdef double *memory = <double *>((<uintptr_t>address(scratch) + 63) // 64 * 64)
    cdef double *out = <double *>address(sums)
    cdef const void *x = address(X)
    cdef const int64_t *which = <const int64_t *>address(index)
    cdef const double *s = <const double *>address(weight)
    cdef const double *o = <const double *>address(origin)
    cdef const double *e = <const double *>address(extra)
    cdef bint single = X.dtype.itemsize == 4
    cdef GramRows_f32 f32 = GramRows_f32(<const float *>x, X.strides[0] // 4, p, which, s, o, e)
    cdef GramRows_f64 f64 = GramRows_f64(<const double *>x, X.strides[0] // 8, p, which, s, o, e)
    for i in prange(chunks, num_threads=threads, schedule="dynamic", nogil=True):
        if single:
            table().f32.gram.add(
                &f32, n * i // chunks, n * (i + 1) // chunks, memory + i * size, out + i * rows * width)
        else:
            table().f64.gram.add(
                &f64, n * i // chunks, n * (i + 1) // chunks, memory + i * size, out + i * rows * width)
    total = sums[0] if chunks == 1 else sums.sum(axis=0)
    result = np.empty((rows, rows))
    mirror(rows, width, <const double *>address(total), <double *>address(result))
    return result, total[:p, rows].copy()


cdef void mirror(int64_t rows, int64_t width, const double *upper, double *out) noexcept nogil:
    cdef int64_t i, j
    for i in range(rows):
        for j in range(i, rows):
            out[i * rows + j] = out[j * rows + i] = upper[i * width + j]
