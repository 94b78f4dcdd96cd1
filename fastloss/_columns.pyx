"""Some columns of X, dense or compressed, and the products that coordinate descent asks of them."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t

from fastloss._arrays cimport address
from fastloss._runtime cimport Matrix as Rows, dense_rows, resolve_threads, table

import numpy as np

cdef enum:
    SERIAL = 1 << 15  # numbers: below, threads cost more than they save
    COLUMNS = 16  # a turn of a thread
    ROWS = 256  # the same, of dense columns
    LITTLE = 1 << 21  # products
    MANY = 200  # columns: BLAS then multiplies as much faster as it takes to copy the others for it


cdef double scale(const Matrix *x, int64_t j, const double *factor, double *out) noexcept nogil:
    """A column of C with each row multiplied by a number, to its place in `out`; the sum of its squares."""
    cdef int64_t i, size = length(x, j)
    cdef const double *column = x.data + x.starts[j]
    if x.indices == NULL:
        out += j * size
        for i in range(size):
            out[i] = factor[i] * column[i]
    else:
        out += x.starts[j]
        for i in range(size):
            out[i] = factor[x.indices[x.starts[j] + i]] * column[i]
    return table().dot(size, out, out)


cdef void add_rows(const Matrix *x, int64_t start, int64_t stop, const double *c, double *v) noexcept nogil:
    """v += C c for some rows of dense columns."""
    cdef int64_t j
    for j in range(x.m):
        if c[j] != 0:
            table().add(stop - start, c[j], x.data + x.starts[j] + start, v + start)


cdef class Columns:
    """m columns of n doubles: dense, or compressed (CSC).

    Parameters
    ----------
    data : ndarray of float64
        Dense: shape (n, m) with contiguous columns. Compressed: the numbers of all columns.
    indices, starts : ndarray of int32, int64; or None
        Row of each number; where each column begins, then the end.
    n : int
        The number of rows.
    picked : ndarray of int64, optional
        Of dense data only these columns, in place.
    """
    def __init__(self, data, indices, starts, int64_t n, picked=None):
        self.data, self.indices, self.starts, self.picked = data, indices, starts, picked
        self.matrix.data = doubles(data)
        self.matrix.n = self.n = n
        if starts is None:
            picked = np.arange(data.shape[1]) if picked is None else picked
            self.places = np.ascontiguousarray(picked * (data.strides[1] // 8), dtype=np.int64)
            self.m = len(picked)
            self.numbers = n * self.m
        else:
            self.matrix.indices = <const int32_t *>address(indices)
            self.places = starts
            self.m = len(starts) - 1
            self.numbers = len(data)
        self.matrix.starts = <const int64_t *>address(self.places)
        self.matrix.m = self.m

    cdef void products(self, const double *v, double *out, int threads) noexcept nogil:
        cdef int64_t j
        if threads > 1 and self.numbers > SERIAL:
            for j in prange(self.m, num_threads=threads, schedule="dynamic", chunksize=COLUMNS):
                out[j] = dot(&self.matrix, j, v)
        else:
            for j in range(self.m):
                out[j] = dot(&self.matrix, j, v)

    def transposed_product(self, v, n_threads):
        """C' v, m numbers."""
        result = np.empty(self.m)
        cdef double *out = doubles(result)
        cdef const double *x = doubles(v)
        cdef int threads = resolve_threads(n_threads)
        with nogil:
            self.products(x, out, threads)
        return result

    def combine(self, c, v, n_threads=None):
        """v += C c; columns whose coefficient is 0 are not read. Threads take rows each, so they are for dense ones."""
        cdef const double *coefficients = doubles(c)
        cdef double *out = doubles(v)
        cdef int64_t j, start
        cdef int threads = 1
        if self.starts is None and self.numbers > SERIAL and self.n > ROWS:
            threads = resolve_threads(n_threads)
        if threads > 1:
            for start in prange(0, self.n, ROWS, num_threads=threads, schedule="static", nogil=True):
                add_rows(&self.matrix, start, min(self.n, start + ROWS), coefficients, out)
        else:
            with nogil:
                for j in range(self.m):
                    if coefficients[j] != 0:
                        add(&self.matrix, j, coefficients[j], out)

    def to_dense(self):
        """All of them as an array of shape (n, m) in Fortran order."""
        if self.starts is None:
            return self.data if self.picked is None else np.take(self.data.T, self.picked, axis=0).T
        result = np.zeros((self.n, self.m), order="F")
        np.add.at(result, (self.indices, np.repeat(np.arange(self.m), np.diff(self.starts))), self.data)
        return result

    def scaled(self, rows, n_threads=None):
        """A copy of the columns, with each row multiplied by a number."""
        cdef const double *factor = doubles(rows)
        result = np.empty((self.n, self.m), order="F") if self.starts is None else np.empty(self.numbers)
        squares = np.empty(self.m)
        cdef double *out = doubles(result)
        cdef double *square = doubles(squares)
        cdef int64_t j
        cdef int threads = 1 if self.numbers <= SERIAL else resolve_threads(n_threads)
        if threads > 1:
            for j in prange(self.m, num_threads=threads, schedule="static", nogil=True):
                square[j] = scale(&self.matrix, j, factor, out)
        else:
            with nogil:
                for j in range(self.m):
                    square[j] = scale(&self.matrix, j, factor, out)
        columns = Columns(result, self.indices, self.starts, self.n)
        columns._squares = squares
        return columns

    def products_by(self, places, groups, vectors, n_threads):
        """The product of some columns, each with the vector of its group; as for `spread`."""
        places, groups = (np.ascontiguousarray(index, dtype=np.int64) for index in (places, groups))
        cdef const int64_t *place = <const int64_t *>address(places)
        cdef const int64_t *group = <const int64_t *>address(groups)
        cdef const double *v = doubles(vectors)
        cdef int64_t a, count = len(places)
        cdef int threads = resolve_threads(n_threads)
        result = np.empty(count)
        cdef double *out = doubles(result)
        with nogil:
            if threads > 1 and self.numbers > SERIAL:
                for a in prange(count, num_threads=threads, schedule="dynamic", chunksize=COLUMNS):
                    out[a] = dot(&self.matrix, place[a], v + group[a] * self.n)
            else:
                for a in range(count):
                    out[a] = dot(&self.matrix, place[a], v + group[a] * self.n)
        return result

    def squares_by(self, places, groups, weights):
        """The sum of squares of some columns, with weights by group; as for `spread`."""
        places, groups = (np.ascontiguousarray(index, dtype=np.int64) for index in (places, groups))
        cdef const int64_t *place = <const int64_t *>address(places)
        cdef const int64_t *group = <const int64_t *>address(groups)
        cdef const double *all_weights = doubles(weights)
        cdef const double *weight
        cdef const double *x
        cdef const int32_t *index
        cdef int64_t a, i, count = len(places)
        cdef double sum
        result = np.empty(count)
        cdef double *out = doubles(result)
        with nogil:
            for a in range(count):
                x, weight = self.matrix.data + self.matrix.starts[place[a]], all_weights + group[a] * self.n
                sum = 0
                if self.matrix.indices == NULL:
                    for i in range(self.n):
                        sum += weight[i] * x[i] * x[i]
                else:
                    index = self.matrix.indices + self.matrix.starts[place[a]]
                    for i in range(length(&self.matrix, place[a])):
                        sum += weight[index[i]] * x[i] * x[i]
                out[a] = sum
        return result

    def spread(self, places, groups, factors):
        """Copies of columns, each with its rows multiplied by the numbers of its group.

        Parameters
        ----------
        places, groups : ndarray of int64, shape (count,)
            Which column, which row of the factors.
        factors : ndarray of float64, shape (k, n), in C order
        """
        places, groups = (np.ascontiguousarray(index, dtype=np.int64) for index in (places, groups))
        cdef const int64_t *place = <const int64_t *>address(places)
        cdef const int64_t *group = <const int64_t *>address(groups)
        cdef const double *all_factors = doubles(factors)
        cdef const double *factor
        cdef const double *x
        cdef const int32_t *index
        cdef double *out
        cdef int32_t *rows
        cdef int64_t a, i, size, count = len(places), n = self.n
        cdef bint dense = self.starts is None
        if dense:
            data, indices, starts = np.empty((n, count), order="F"), None, None
        else:
            starts = np.concatenate([[0], np.cumsum(np.diff(self.starts)[places])])
            data, indices = np.empty(starts[count]), np.empty(starts[count], dtype=np.int32)
        out = doubles(data)
        rows = NULL
        if not dense:
            rows = <int32_t *>address(indices)
        with nogil:
            for a in range(count):
                size = length(&self.matrix, place[a])
                x = self.matrix.data + self.matrix.starts[place[a]]
                factor = all_factors + group[a] * n
                if dense:
                    for i in range(n):
                        out[i] = factor[i] * x[i]
                else:
                    index = self.matrix.indices + self.matrix.starts[place[a]]
                    for i in range(size):
                        rows[i] = index[i]
                        out[i] = factor[index[i]] * x[i]
                    rows += size
                out += size
        return Columns(data, indices, starts, n)

    @property
    def squares(self):
        """The sum of squares of each column."""
        cdef const double *x
        cdef double *out
        cdef int64_t j
        if self._squares is None:
            self._squares = np.empty(self.m)
            out = doubles(self._squares)
            with nogil:
                for j in range(self.m):
                    x = self.matrix.data + self.matrix.starts[j]
                    out[j] = table().dot(length(&self.matrix, j), x, x)
        return self._squares

    def gram(self, selected, others=None, n_threads=None):
        """C_s' C_s over the columns that are selected (indices, increasing); or C_s' C_o with others."""
        in_place = others is not None and self.picked is None and len(others) == self.m
        if self.starts is None and others is not None and not in_place and len(selected) < MANY:
            return self._gram_beside(selected, others, n_threads)
        if self.starts is None and others is None and len(selected) * len(selected) * self.n <= LITTLE:
            return self._small_gram(selected)
        if self.starts is None:
            part = self._dense_part(selected)
            return part @ (part if others is None else self._dense_part(others)).T
        return self._compressed_gram(selected, others)

    def _small_gram(self, selected):
        """C_s' C_s where waking the threads of BLAS takes longer than the products."""
        result = np.empty((len(selected), len(selected)))
        cdef double *out = doubles(result)
        picked = np.ascontiguousarray(selected, dtype=np.int64)
        cdef const int64_t *j = <const int64_t *>address(picked)
        cdef int64_t a, b, count = len(selected)
        with nogil:
            for a in range(count):
                for b in range(a + 1):
                    out[a * count + b] = out[b * count + a] = dot(&self.matrix, j[a],
                                                                  self.matrix.data + self.matrix.starts[j[b]])
        return result

    def _gram_beside(self, selected, others, n_threads):
        """C_s' C_o of dense columns, few of which are selected: the others are read where they are."""
        part, result = np.ascontiguousarray(self._dense_part(selected)), np.zeros((len(others), len(selected)))
        picked = np.ascontiguousarray(others, dtype=np.int64)
        cdef const int64_t *j = <const int64_t *>address(picked)
        cdef double *out = doubles(result)
        cdef int64_t b, k = len(selected), count = len(others)
        cdef Rows rows = Rows(address(part), self.n, NULL, NULL, k, self.n)
        cdef int threads = 1 if k * count * self.n <= LITTLE else resolve_threads(n_threads)
        for b in prange(count, num_threads=threads, schedule="dynamic", chunksize=COLUMNS, nogil=True):
            table().f64.matrix[dense_rows].dot_rows(
                &rows, 0, k, self.matrix.data + self.matrix.starts[j[b]], out + b * k)
        return result.T

    def _dense_part(self, selected):
        """Some columns, as the rows of an array."""
        if self.picked is not None:
            selected = self.picked[selected]
        elif len(selected) == self.m:
            return self.data.T
        return np.take(self.data.T, selected, axis=0)

    def _compressed_gram(self, selected, others):
        """C_s' C_o of compressed columns; of C_s' C_s half the products."""
        cdef bint symmetric = others is None
        rows = np.ascontiguousarray(selected, dtype=np.int64)
        columns = rows if symmetric else np.ascontiguousarray(others, dtype=np.int64)
        result, scratch = np.empty((len(rows), len(columns))), np.zeros(self.n)
        cdef double *out = doubles(result)
        cdef double *v = doubles(scratch)
        cdef const int64_t *row = <const int64_t *>address(rows)
        cdef const int64_t *column = <const int64_t *>address(columns)
        cdef int64_t a, b, k, n_rows = len(rows), n_columns = len(columns)
        with nogil:
            for a in range(n_rows):
                add(&self.matrix, row[a], 1.0, v)
                for b in range(a + 1 if symmetric else n_columns):
                    out[a * n_columns + b] = dot(&self.matrix, column[b], v)
                    if symmetric:
                        out[b * n_columns + a] = out[a * n_columns + b]
                for k in range(self.matrix.starts[row[a]], self.matrix.starts[row[a] + 1]):
                    v[self.matrix.indices[k]] = 0
        return result
