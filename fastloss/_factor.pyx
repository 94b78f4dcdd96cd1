"""Cholesky's factorisation of a matrix whose rows and columns come and go."""

from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from fastloss._arrays cimport address
from fastloss._columns cimport doubles
from fastloss._runtime cimport resolve_threads, table

import numpy as np

cdef enum:
    SERIAL = 1 << 18  # products: below, threads cost more than they save


cdef void solve_factored(const double *u, int64_t stride, int64_t n, double *x) noexcept nogil:
    """Solve U' U x = b in place."""
    cdef int64_t i
    forward(u, stride, n, 0, 1, x)
    for i in range(n - 1, -1, -1):
        x[i] -= table().dot(n - i - 1, u + i * stride + i + 1, x + i + 1)
        x[i] /= u[i * stride + i]


cdef class Factor:
    """A = U' U, with A symmetric and positive definite and U upper triangular; A has no rows at first.

    Attributes
    ----------
    count : int
        How many rows A has.
    """
    def __cinit__(self):
        self.clear()

    def clear(self):
        """Let all rows go."""
        self.count = self.stride = 0
        self.memory = None
        self.u = NULL

    cdef void reserve(self, int64_t count) except *:
        """Make room for so many rows."""
        if count <= self.stride:
            return
        memory = np.empty(((count + count // 2 + 7) // 8 * 8,) * 2)  # whole registers, for `take`
        if self.count:
            memory[:self.count, :self.count] = self.memory[:self.count, :self.count]
        self.memory, self.stride = memory, len(memory)
        self.u = doubles(memory)

    def set(self, matrix):
        """Take another A, whole; a LinAlgError, and no rows, where it is not positive definite."""
        self.count = 0
        lower = np.linalg.cholesky(matrix)
        self.reserve(len(lower))
        self.memory[:len(lower), :len(lower)] = lower.T
        self.count = len(lower)

    @property
    def pivots(self):
        """The square of U's diagonal: what is left of A's where the rows before have had their part."""
        return self.memory[:self.count, :self.count].diagonal() ** 2 if self.count else np.empty(0)

    def enter(self, rows, own, least, n_threads=None):
        """Add rows at the end, but those that depend on others.

        Parameters
        ----------
        rows : ndarray of shape (k, count), float64
            The new rows of A, as far as the old ones go.
        own : ndarray of shape (k, k), float64
            The rest of them.
        least : ndarray of shape (k,), float64
            The pivots must be more.
        n_threads : int, optional
            As everywhere; it changes no bit.

        Returns
        -------
        ndarray of bool of shape (k,)
            Which were added.
        """
        turned = np.array(rows, dtype=np.float64, order="C")
        corner = np.array(own, dtype=np.float64, order="C")
        bounds = np.ascontiguousarray(least, dtype=np.float64)
        cdef int64_t k = len(turned), old = self.count, i, j, r, q, kept = 0
        if turned.shape != (k, old) or corner.shape != (k, k) or bounds.shape != (k,):
            raise ValueError("rows, own and least must be of shapes (k, count), (k, k) and (k,)")
        self.reserve(old + k)
        result, index = np.zeros(k, dtype=bool), np.empty(k, dtype=np.int64)
        cdef double *x = doubles(turned)
        cdef double *c = doubles(corner)
        cdef const double *bound = doubles(bounds)
        cdef int64_t *entered = <int64_t *>address(index)
        cdef int threads = 1 if k * old * old <= SERIAL else min(<int64_t>resolve_threads(n_threads), k)
        cdef int t
        cdef double pivot
        for t in prange(threads, num_threads=threads, schedule="static", nogil=True):
            forward(self.u, self.stride, old, k * t // threads, k * (t + 1) // threads, x)
        with nogil:
            for r in range(k):
                pivot = c[r * k + r] - table().dot(old, x + r * old, x + r * old)
                # In place of what A has there, c comes to hold U's rows for the new columns; row q, column r.
                for q in range(kept):
                    i = entered[q]
                    c[i * k + r] = c[r * k + i] - table().dot(old, x + i * old, x + r * old)
                    for j in range(q):
                        c[i * k + r] -= c[entered[j] * k + i] * c[entered[j] * k + r]
                    c[i * k + r] /= c[i * k + i]
                    pivot -= c[i * k + r] * c[i * k + r]
                if pivot > bound[r]:
                    c[r * k + r] = sqrt(pivot)
                    entered[kept] = r
                    kept += 1
            for i in range(old):
                for q in range(kept):
                    self.u[i * self.stride + old + q] = x[entered[q] * old + i]
            for q in range(kept):
                for r in range(q, kept):
                    self.u[(old + q) * self.stride + old + r] = c[entered[q] * k + entered[r]]
        self.count = old + kept
        result[index[:kept]] = True
        return result

    def leave(self, places):
        """Take some rows and columns away, by their increasing places; the others keep their order."""
        gone = np.ascontiguousarray(places, dtype=np.int64)
        if len(gone) == 0:
            return
        if not (0 <= gone[0] and gone[len(gone) - 1] < self.count and (np.diff(gone) > 0).all()):
            raise ValueError("places must be increasing and of rows that are there")
        cdef int64_t count = len(gone)
        scratch = np.empty((count, self.count - count))
        cdef const int64_t *place = <const int64_t *>address(gone)
        cdef double *carried = doubles(scratch)
        with nogil:
            self.rotate_out(place, count, carried)

    cdef void rotate_out(self, const int64_t *place, int64_t count, double *carried) noexcept nogil:
        """As `leave`, with room for count rows of what is left.

        What a row that leaves had of those after it is added to them by Givens rotations.
        """
        cdef int64_t n = self.count, kept = n - count, i, q, seen = 0, new = 0
        cdef double *row
        cdef double *out
        cdef double *v
        cdef double length
        for i in range(n):
            row = self.u + i * self.stride
            if seen < count and place[seen] == i:
                v = carried + seen * kept
                compact(row, i, n, place + seen, count - seen, v + new)
                seen += 1
                continue
            out = self.u + new * self.stride
            compact(row, i, n, place + seen, count - seen, out + new)
            for q in range(seen):
                v = carried + q * kept
                length = sqrt(out[new] * out[new] + v[new] * v[new])
                table().rotate(kept - new, out[new] / length, v[new] / length, out + new, v + new)
            new += 1
        self.count = kept

    cdef void take(self, const double *matrix, int64_t m, const int32_t *places, int64_t count, const double *ridge,
                   double dependent, double *scratch) noexcept nogil:
        """Take another A, few rows of a matrix with m, and twice the ridge; there must be room.

        What depends on others, all but so small a part of it, is left out: it is next to 0 in solutions. `scratch` is
        for a number each.
        """
        cdef int64_t a, b, j
        cdef double *row = self.u
        for a in range(count):
            j = places[a]
            memset(row, 0, (count + 7) // 8 * 8 * sizeof(double))
            for b in range(a, count):
                row[b] = matrix[j * m + places[b]]
            row[a] += 2 * ridge[j]
            scratch[a] = dependent * row[a]
            row += self.stride
        table().cholesky(count, self.u, self.stride, scratch)
        self.count = count

    def solve(self, b):
        """x with A x = b."""
        result = np.array(b, dtype=np.float64)
        if result.shape != (self.count,):
            raise ValueError("b must have a number for each row")
        cdef double *x = doubles(result)
        with nogil:
            solve_factored(self.u, self.stride, self.count, x)
        return result


cdef void forward(const double *u, int64_t stride, int64_t n, int64_t first, int64_t last, double *x) noexcept nogil:
    """Solve U' x = b in place, for some of the vectors of n numbers."""
    cdef int64_t i, r
    cdef const double *row
    for i in range(n):
        row = u + i * stride
        for r in range(first, last):
            x[r * n + i] /= row[i]
            table().add(n - i - 1, -x[r * n + i], row + i + 1, x + r * n + i + 1)


cdef void compact(const double *row, int64_t start, int64_t stop, const int64_t *gone, int64_t count,
                  double *out) noexcept nogil:
    """Copy numbers from start to stop, but those that are gone; to where they are or before, in one row."""
    cdef int64_t i, q, last
    for q in range(count + 1):
        last = gone[q] if q < count else stop
        for i in range(start, last):
            out[0] = row[i]
            out += 1
        start = last + 1
