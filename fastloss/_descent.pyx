"""Coordinate descent on quadratic models of some columns of X. Knows no loss.

A model of m coordinates c is

    q(c) = g'(c - c0) + |S C (c - c0)|^2 / 2 - (t + q'(c - c0))^2 / (2 T) + penalty(c),

with S^2 the second derivatives of the loss, and the last term what an unpenalised intercept takes off it: t the sum of
first derivatives, q = C' S^2 1 and T the sum of S^2. A penalty is, for each coordinate, what it costs to go up from 0,
what it costs to go down, and a ridge: an infinite cost keeps it at one side.
"""

from cython.parallel cimport prange
from libc.math cimport fabs, sqrt
from libc.stdint cimport int32_t, int64_t

from fastloss._runtime cimport resolve_threads, table

import numpy as np

cdef enum:
    SERIAL = 1 << 15  # numbers: below, threads cost more than they save
    COLUMNS = 16  # a turn of a thread


cdef inline double *doubles(x) except? NULL:
    return <double *><size_t>x.ctypes.data


cdef inline double minimum(double gradient, double c, double curvature, double up, double down,
                           double ridge) noexcept nogil:
    """The best value of one coordinate, where the model's slope is `gradient` at the value c."""
    cdef double target = curvature * c - gradient
    if target > up:
        return (target - up) / (curvature + 2 * ridge)
    if target < -down:
        return (target + down) / (curvature + 2 * ridge)
    return 0


cdef struct Matrix:
    # Columns of doubles: dense, one after the other, or compressed.
    const double *data
    const int32_t *indices
    const int64_t *starts  # NULL if dense
    int64_t n, m


cdef inline double dot(const Matrix *x, int64_t j, const double *v) noexcept nogil:
    if x.starts == NULL:
        return table().dot(x.n, x.data + j * x.n, v)
    return table().sparse_dot(x.starts[j + 1] - x.starts[j], x.data + x.starts[j], x.indices + x.starts[j], v)


cdef inline void add(const Matrix *x, int64_t j, double a, double *v) noexcept nogil:
    if x.starts == NULL:
        table().add(x.n, a, x.data + j * x.n, v)
    else:
        table().sparse_add(x.starts[j + 1] - x.starts[j], a, x.data + x.starts[j], x.indices + x.starts[j], v)


cdef class Columns:
    """m columns of n doubles, a copy of some columns of X: dense in Fortran order, or compressed (CSC).

    Parameters
    ----------
    data : ndarray of float64
        Shape (n, m) in Fortran order, or the numbers of all columns.
    indices, starts : ndarray of int32, int64; or None
        Row of each number; where each column begins, then the end.
    n : int
        The number of rows.
    """
    cdef Matrix matrix
    cdef readonly object data, indices, starts
    cdef readonly int64_t n, m, numbers

    def __init__(self, data, indices, starts, int64_t n):
        self.data, self.indices, self.starts = data, indices, starts
        self.matrix.data = doubles(data)
        self.matrix.n = self.n = n
        if starts is None:
            self.matrix.m = data.shape[1]
            self.numbers = data.size
        else:
            self.matrix.indices = <const int32_t *><size_t>indices.ctypes.data
            self.matrix.starts = <const int64_t *><size_t>starts.ctypes.data
            self.matrix.m = len(starts) - 1
            self.numbers = len(data)
        self.m = self.matrix.m

    def transposed_product(self, v, n_threads):
        """C' v, m numbers."""
        result = np.empty(self.m)
        cdef double *out = doubles(result)
        cdef const double *x = doubles(v)
        cdef int64_t j
        cdef int threads = resolve_threads(n_threads) if self.numbers > SERIAL else 1
        if threads > 1:
            for j in prange(self.m, num_threads=threads, schedule="dynamic", chunksize=COLUMNS, nogil=True):
                out[j] = dot(&self.matrix, j, x)
        else:
            with nogil:
                for j in range(self.m):
                    out[j] = dot(&self.matrix, j, x)
        return result

    def combine(self, c, v):
        """v += C c; columns whose coefficient is 0 are not read."""
        cdef const double *coefficients = doubles(c)
        cdef double *out = doubles(v)
        cdef int64_t j
        with nogil:
            for j in range(self.m):
                if coefficients[j] != 0:
                    add(&self.matrix, j, coefficients[j], out)

    def to_dense(self):
        """All of them as an array of shape (n, m)."""
        if self.starts is None:
            return self.data
        result = np.zeros((self.n, self.m), order="F")
        np.add.at(result, (self.indices, np.repeat(np.arange(self.m), np.diff(self.starts))), self.data)
        return result

    def scaled(self, rows):
        """The columns with each row multiplied by a number."""
        cdef const double *factor = doubles(rows)
        result = np.empty_like(self.data)
        cdef double *out = doubles(result)
        cdef int64_t i, j
        with nogil:
            if self.matrix.starts == NULL:
                for j in range(self.m):
                    for i in range(self.n):
                        out[j * self.n + i] = factor[i] * self.matrix.data[j * self.n + i]
            else:
                for i in range(self.numbers):
                    out[i] = factor[self.matrix.indices[i]] * self.matrix.data[i]
        return Columns(result, self.indices, self.starts, self.n)

    def squares(self):
        """The sum of squares of each column."""
        result = np.empty(self.m)
        cdef double *out = doubles(result)
        cdef const double *x
        cdef int64_t i, j, count
        cdef double sum
        with nogil:
            for j in range(self.m):
                x = self.matrix.data + (j * self.n if self.matrix.starts == NULL else self.matrix.starts[j])
                if self.matrix.starts == NULL:
                    out[j] = table().dot(self.n, x, x)
                else:
                    count = self.matrix.starts[j + 1] - self.matrix.starts[j]
                    sum = 0
                    for i in range(count):
                        sum += x[i] * x[i]
                    out[j] = sum
        return result

    def gram(self, selected):
        """C_s' C_s over the columns that are selected (indices, increasing)."""
        cdef int64_t count = len(selected)
        if self.matrix.starts == NULL:
            part = self.data[:, selected] if count < self.m else self.data
            return part.T @ part
        result = np.zeros((count, count))
        column_of = np.ascontiguousarray(selected, dtype=np.int64)
        cdef double *out = doubles(result)
        cdef const int64_t *columns = <const int64_t *><size_t>column_of.ctypes.data
        scratch = np.zeros(self.n)
        cdef double *row = doubles(scratch)
        cdef int64_t a, b, k
        with nogil:
            for a in range(count):
                add(&self.matrix, columns[a], 1.0, row)
                for b in range(a + 1):
                    out[a * count + b] = out[b * count + a] = dot(&self.matrix, columns[b], row)
                for k in range(self.matrix.starts[columns[a]], self.matrix.starts[columns[a] + 1]):
                    row[self.matrix.indices[k]] = 0
        return result


cdef class ResidualModel:
    """The model by its residuals v = S C (c - c0): each step takes a dot product with a column.

    Parameters
    ----------
    columns : Columns
        S C: the columns already scaled.
    gradient : ndarray of shape (m,)
        g.
    c : ndarray of shape (m,)
        c0; not changed.
    penalty : Costs
        Of ``fastloss.penalties``.
    intercept : tuple (t, q, T) or None
    """
    cdef Columns columns
    cdef readonly object penalty, c, start, slope, curvature, residual, centre
    cdef double slope_sum, weight_sum, moved
    cdef object active

    def __init__(self, Columns columns, gradient, c, penalty, intercept):
        self.columns, self.penalty = columns, penalty
        self.start = c
        self.c = c.copy()
        self.slope = gradient
        self.residual = np.zeros(columns.n)
        self.curvature = columns.squares()
        self.moved = 0
        if intercept is None:
            self.slope_sum, self.centre, self.weight_sum = 0, np.zeros(columns.m), 1
        else:
            self.slope_sum, self.centre, self.weight_sum = intercept
            own = self.curvature - self.centre**2 / self.weight_sum
            # A constant column does nothing that the intercept does not: what is free stays, what costs goes to 0.
            least = np.where((penalty.up == 0) | (penalty.down == 0), 0.0, 1e-12 * self.curvature)
            self.curvature = np.where(own > 1e-12 * self.curvature, own, least)
        self.active = np.empty(columns.m, dtype=np.int32)

    @property
    def shift(self):
        """By how much an unpenalised intercept moves at c0, negated."""
        return self.slope_sum / self.weight_sum

    @property
    def sweep_cost(self):
        """Operations of a sweep over all coordinates, roughly."""
        return 2 * self.columns.numbers

    def hessian_cost(self, int64_t count):
        """Operations that the Hessian of so many coordinates takes, in terms of those of a sweep."""
        cdef int64_t part = self.columns.numbers * count // max(<int64_t>1, self.columns.m)
        return count * part // (32 if self.columns.starts is None else 1)

    def descend(self, int sweeps):
        """One sweep over all coordinates, and further ones over those that are then not 0.

        Returns the largest change of a coordinate times the root of its curvature, in the last sweep over all.
        """
        cdef double *c = doubles(self.c)
        cdef double *v = doubles(self.residual)
        cdef const double *slope = doubles(self.slope)
        cdef const double *curvature = doubles(self.curvature)
        cdef const double *up = doubles(self.penalty.up)
        cdef const double *down = doubles(self.penalty.down)
        cdef const double *ridge = doubles(self.penalty.ridge)
        cdef const double *centre = doubles(self.centre)
        cdef int32_t *active = <int32_t *><size_t>self.active.ctypes.data
        cdef const Matrix *x = &self.columns.matrix
        cdef double t = self.slope_sum, inverse = 1 / self.weight_sum, moved = self.moved
        cdef double largest = 0, gradient, new, change
        cdef int64_t i, j, count = x.m, kept
        cdef int sweep
        with nogil:
            for sweep in range(sweeps):
                kept = 0
                for i in range(count):
                    j = i if sweep == 0 else active[i]
                    if curvature[j] == 0 and ridge[j] == 0:
                        continue
                    gradient = slope[j] + dot(x, j, v) - centre[j] * (t + moved) * inverse
                    new = minimum(gradient, c[j], curvature[j], up[j], down[j], ridge[j])
                    if new != c[j]:
                        change = new - c[j]
                        add(x, j, change, v)
                        moved += change * centre[j]
                        c[j] = new
                        if sweep == 0:
                            largest = max(largest, fabs(change) * sqrt(curvature[j]))
                    if new != 0:
                        active[kept] = <int32_t>j
                        kept += 1
                count = kept
        self.moved = moved
        return largest

    def gradient(self, n_threads):
        """The slope of the model without its penalty, m numbers."""
        return (self.slope + self.columns.transposed_product(self.residual, n_threads)
                - self.centre * ((self.slope_sum + self.moved) / self.weight_sum))

    def intercept_step(self):
        """By how much the intercept moves with the coordinates; 0 without one."""
        return -(self.slope_sum + self.moved) / self.weight_sum

    def objective(self):
        """The model's value, up to a constant."""
        moved = self.c - self.start
        t = self.slope_sum + self.moved
        return (self.slope @ moved + 0.5 * float(self.residual @ self.residual) - 0.5 * t * t / self.weight_sum
                + self.penalty.value(self.c))

    def move(self, c):
        """Go to the point c."""
        self.c[:] = c
        moved = self.c - self.start
        self.residual[:] = 0
        self.columns.combine(moved, self.residual)
        self.moved = float(self.centre @ moved)

    def hessian(self, selected):
        """Second derivatives without the penalty's, over the selected coordinates."""
        gram = self.columns.gram(selected)
        q = self.centre[selected]
        if q.any():
            gram -= np.outer(q, q / self.weight_sum)
            still = self.curvature[selected] == 0
            gram[still], gram[:, still] = 0, 0
        return gram


cdef class GramModel:
    """The model by its Hessian: a step on a coordinate that stays where it is costs nothing.

    Parameters
    ----------
    hessian : ndarray of shape (m, m)
        That of the loss, intercept already eliminated.
    gradient, c : ndarray of shape (m,)
        g, with the intercept eliminated, and c0; not changed.
    penalty : Costs
        Of ``fastloss.penalties``.
    """
    cdef readonly object penalty, c, start, slope, curvature, matrix
    cdef object current

    def __init__(self, hessian, gradient, c, penalty):
        self.matrix, self.penalty = np.ascontiguousarray(hessian), penalty
        self.slope, self.current = gradient, gradient.copy()
        self.start, self.c = c, c.copy()
        self.curvature = np.maximum(np.diagonal(hessian), 0)

    @property
    def sweep_cost(self):
        """Operations of a sweep, roughly: only coordinates that are not 0 cost anything."""
        return len(self.c) * (np.count_nonzero(self.c) + 1)

    def hessian_cost(self, int64_t count):
        """Operations that the Hessian of so many coordinates takes, in terms of those of a sweep."""
        return count * count // 4

    def descend(self, int sweeps):
        """As `ResidualModel.descend`; here every sweep is over all coordinates."""
        cdef double *c = doubles(self.c)
        cdef double *gradient = doubles(self.current)
        cdef const double *hessian = doubles(self.matrix)
        cdef const double *curvature = doubles(self.curvature)
        cdef const double *up = doubles(self.penalty.up)
        cdef const double *down = doubles(self.penalty.down)
        cdef const double *ridge = doubles(self.penalty.ridge)
        cdef int64_t j, m = len(self.c)
        cdef double largest = 0, new, change
        cdef int sweep
        with nogil:
            for sweep in range(sweeps):
                for j in range(m):
                    if curvature[j] == 0 and ridge[j] == 0:
                        continue
                    new = minimum(gradient[j], c[j], curvature[j], up[j], down[j], ridge[j])
                    if new != c[j]:
                        change = new - c[j]
                        table().add(m, change, hessian + j * m, gradient)
                        c[j] = new
                        if sweep == 0:
                            largest = max(largest, fabs(change) * sqrt(curvature[j]))
        return largest

    def gradient(self, n_threads=None):
        """The slope of the model without its penalty, m numbers."""
        return self.current

    def objective(self):
        """The model's value, up to a constant."""
        moved = self.c - self.start
        return 0.5 * (moved @ (self.slope + self.current)) + self.penalty.value(self.c)

    def move(self, c):
        """Go to the point c."""
        self.c[:] = c
        moved = self.c - self.start
        changed = np.flatnonzero(moved)
        self.current[:] = self.slope
        if len(changed):
            self.current += moved[changed] @ self.matrix[changed]

    def hessian(self, selected):
        """Second derivatives without the penalty's, over the selected coordinates."""
        return self.matrix[np.ix_(selected, selected)]
