"""Compressed X against the matrices of a model with many outputs: X_b W' and R' (X_b, 1) for blocks of rows.

Knows no loss.

Every number of a product is summed by itself and in the order in which X is stored, so that threads do not show.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t

from fastloss._runtime cimport resolve_threads

import numpy as np

cdef extern from *:
    """
    template <class A, class B>
    static inline void add_multiple(int64_t k, A a, const B* __restrict x, A* __restrict y) {
        for (int64_t c = 0; c < k; ++c) y[c] += a * x[c];
    }

    // N outputs of a row at a time, in registers.
    template <int N, class T, class Index>
    static inline void dot(int64_t count, const T* data, const Index* indices, int64_t k, const T* W, T* out) {
        T sums[N] = {};
        for (int64_t i = 0; i < count; ++i) {
            const T* w = W + indices[i] * k;
            for (int c = 0; c < N; ++c) sums[c] += data[i] * w[c];
        }
        for (int c = 0; c < N; ++c) out[c] = sums[c];
    }

    template <class T, class Index>
    static inline void dot_row(int64_t count, const T* data, const Index* indices, int64_t k, const T* W, T* out) {
        int64_t c = 0;
        for (; c + 8 <= k; c += 8) dot<8>(count, data, indices, k, W + c, out + c);
        if (c + 4 <= k) {
            dot<4>(count, data, indices, k, W + c, out + c);
            c += 4;
        }
        for (; c < k; ++c) dot<1>(count, data, indices, k, W + c, out + c);
    }
    """
    void add_multiple[A, B](int64_t k, A a, const B *x, A *y) noexcept nogil
    void dot_row[T, Index](int64_t count, const T *data, const Index *indices, int64_t k, const T *W,
                           T *out) noexcept nogil

cdef enum:
    SERIAL = 1 << 17  # products of two numbers, 50 us: up to so many, threads cost more than they save
    TURN = 64  # rows of a thread at a time
    LEAST_WIDTH = 4  # outputs for a thread, which reads all of X for them

ctypedef fused index:
    int32_t
    int64_t


def count_rows(const index[::1] indices, const int64_t[::1] starts, int64_t[::1] counts):
    """Add the numbers of each row of CSC to `counts`; whether each column has them in the order of rows."""
    cdef int64_t i, j
    cdef bint ordered = True
    with nogil:
        for j in range(starts.shape[0] - 1):
            for i in range(starts[j], starts[j + 1]):
                counts[indices[i]] += 1
                if i > starts[j] and indices[i] < indices[i - 1]:
                    ordered = False
    return ordered


def copy_rows(const floating[::1] data, const index[::1] indices, const int64_t[::1] starts, int64_t[::1] cursors,
              bint ordered, int64_t first, int64_t[::1] places, floating[::1] data_out, index[::1] indices_out):
    """Copy rows of CSC into the form of CSR, columns in order.

    Parameters
    ----------
    cursors : where to begin in each column; moves to behind these rows, if the numbers of columns are in order
    first : the first row
    places : for each row, where it begins in the outputs; becomes where it ends
    """
    cdef int64_t i, j, stop, row, n = places.shape[0]
    with nogil:
        for j in range(starts.shape[0] - 1):
            i, stop = cursors[j], starts[j + 1]
            while i < stop:
                row = indices[i] - first
                if 0 <= row < n:
                    data_out[places[row]] = data[i]
                    indices_out[places[row]] = <index>j
                    places[row] += 1
                elif ordered and row >= n:
                    break
                i += 1
            if ordered:
                cursors[j] = i


def times(const floating[::1] data, const index[::1] indices, const int64_t[::1] begins, const int64_t[::1] ends,
          const floating[:, ::1] W, floating[:, ::1] out, n_threads):
    """Write X_b W, for W of shape (p, K): row i of X_b has the numbers from begins[i] to ends[i]."""
    cdef int64_t turn, n = begins.shape[0]
    cdef int threads = resolve_threads(n_threads)
    if threads > 1 and (ends[n - 1] - begins[0]) * W.shape[1] > SERIAL:
        for turn in prange((n + TURN - 1) // TURN, num_threads=threads, schedule="dynamic", nogil=True):
            dot_rows(data, indices, begins, ends, W, out, turn * TURN, min(n, (turn + 1) * TURN))
    else:
        with nogil:
            dot_rows(data, indices, begins, ends, W, out, 0, n)


cdef void dot_rows(const floating[::1] data, const index[::1] indices, const int64_t[::1] begins,
                   const int64_t[::1] ends, const floating[:, ::1] W, floating[:, ::1] out,
                   int64_t start, int64_t stop) noexcept nogil:
    cdef int64_t i
    for i in range(start, stop):
        dot_row(ends[i] - begins[i], &data[begins[i]], &indices[begins[i]], W.shape[1], &W[0, 0], &out[i, 0])


def new_sums(int64_t p, int64_t k, n_threads):
    """Zeros for `add_transposed`, the k outputs in as many parts as threads may work on: shape (parts, p, width)."""
    cdef int64_t parts = max(<int64_t>1, min(<int64_t>resolve_threads(n_threads), k // LEAST_WIDTH))
    cdef int64_t width = (k + parts - 1) // parts
    return np.zeros(((k + width - 1) // width, p, width))


def add_transposed(const floating[::1] data, const index[::1] indices, const int64_t[::1] begins,
                   const int64_t[::1] ends, const floating[:, ::1] R, double[:, :, ::1] sums):
    """Add (X_b, 1)' R, in float64. Each part is a thread's own: no two write to a cache line in turn."""
    cdef int64_t part, parts = sums.shape[0], n = begins.shape[0]
    if parts > 1 and (ends[n - 1] - begins[0]) * R.shape[1] > SERIAL:
        for part in prange(parts, num_threads=parts, schedule="static", nogil=True):
            add_part(data, indices, begins, ends, R, sums, part)
    else:
        with nogil:
            for part in range(parts):
                add_part(data, indices, begins, ends, R, sums, part)


cdef void add_part(const floating[::1] data, const index[::1] indices, const int64_t[::1] begins,
                   const int64_t[::1] ends, const floating[:, ::1] R, double[:, :, ::1] sums,
                   int64_t part) noexcept nogil:
    cdef int64_t i, row, first = part * sums.shape[2], k = min(sums.shape[2], R.shape[1] - first)
    for row in range(begins.shape[0]):
        for i in range(begins[row], ends[row]):
            add_multiple(k, <double>data[i], &R[row, first], &sums[part, indices[i], 0])
        add_multiple(k, <double>1, &R[row, first], &sums[part, sums.shape[1] - 1, 0])
