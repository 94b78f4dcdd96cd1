"""A quadratic model of a loss with K outputs a sample, for the same coordinate descent. Knows no loss.

Each coordinate is a column x of X for one of the classes. With second derivatives a (diag(p) - p p') of a sample, the
slope by a coordinate of class k is its sum over samples of x u_k,

    u_k = a p_k (z_k - s),    s = p_1 z_1 + ... + p_K z_K,

with z the change of the predictions; while steps stay within a class, u_k follows by a p_k (1 - p_k) x. Unpenalised
intercepts take off v' T^+ v / 2, where v = t + Q' (c - c0): t the sums of the K first derivatives, T the K x K sum of
the second, T^+ its pseudo-inverse, and Q their sums against the columns.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from fastloss._arrays cimport address
from fastloss._columns cimport Columns, Matrix, add, dot, doubles, length
from fastloss._costs cimport Costs
from fastloss._descent cimport Model, minimum
from fastloss._runtime cimport table

import numpy as np

cdef enum:
    SERIAL = 1 << 15  # numbers: below, threads cost more than they save
    NONE = -1


cdef class MulticlassModel(Model):
    """The model by its residuals.

    Parameters
    ----------
    columns : Columns
    places, classes : ndarray of int64, shape (m,)
        The column and the class of each coordinate; classes increase.
    p : ndarray of shape (K, n)
    a : ndarray of shape (n,)
    squares : ndarray of shape (m,)
        The second derivatives by each coordinate, the intercepts not yet eliminated.
    gradient, c : ndarray of shape (m,)
        g and c0; not changed.
    penalty : Costs
    intercepts : tuple (t, Q, T^+) of arrays of shapes (K,), (m, K), (K, K); or None
    """
    cdef Columns columns
    cdef object places, classes, p, a, turned, sums, inverse, first_sums, rows
    cdef const int64_t *places_
    cdef const int64_t *classes_
    cdef const double *p_
    cdef const double *a_
    cdef const double *turned_  # Q T^+
    cdef const double *sums_  # Q
    cdef const double *inverse_
    cdef const double *first_sums_
    cdef double *u  # of the class that a sweep is at
    cdef double *d  # what u_k changes by
    cdef int64_t n, k, n_intercepts

    def __init__(self, Columns columns, places, classes, p, a, squares, gradient, c, Costs penalty, intercepts):
        self.columns, self.n, self.k, self.p, self.a = columns, columns.n, len(p), p, a
        self.places, self.classes = (np.ascontiguousarray(index, dtype=np.int64) for index in (places, classes))
        self.places_, self.classes_ = <const int64_t *>address(self.places), <const int64_t *>address(self.classes)
        self.p_, self.a_ = doubles(p), doubles(a)
        self.rows = np.empty((2, self.n))
        self.u = doubles(self.rows)
        self.d = self.u + self.n
        if intercepts is None:
            intercepts = np.zeros(1), np.zeros((len(c), 1)), np.zeros((1, 1))
            self.n_intercepts = 0
        else:
            self.n_intercepts = self.k
        first_sums, sums, inverse = (np.ascontiguousarray(x, dtype=np.float64) for x in intercepts)
        turned = np.ascontiguousarray(sums @ inverse)
        own = squares - (turned * sums).sum(axis=1)
        # As with one output: what the intercepts do as well stays if it is free, and goes to 0 if it costs.
        least = np.where((penalty.up == 0) | (penalty.down == 0), 0.0, 1e-12 * squares)
        self.first_sums, self.sums, self.inverse, self.turned = first_sums, sums, inverse, turned
        self.first_sums_, self.sums_, self.inverse_ = doubles(first_sums), doubles(sums), doubles(inverse)
        self.turned_ = doubles(turned)
        moving = np.zeros((self.k + 1) * self.n + self.n_intercepts)  # z, s and v
        moving[len(moving) - self.n_intercepts:] = first_sums[:self.n_intercepts]
        self.set_up(gradient, c, penalty, np.where(own > 1e-12 * squares, own, least), moving)

    @property
    def n_residuals(self):
        """The rank that the Hessian may have at most."""
        return self.n * (self.k - 1)

    @property
    def profiled_slope(self):
        """g, with the intercepts eliminated."""
        return self.slope - self.turned @ self.first_sums

    @property
    def numbers(self):
        """How many numbers a sweep over all coordinates reads."""
        return self.columns.numbers * self.m // max(1, self.columns.m)

    @property
    def hessian_pays(self):
        """Whether a sweep costs no more once the Hessian is known."""
        return self.m * self.m <= 2 * self.numbers

    def hessian_cost(self, int64_t count):
        """Operations that the Hessian of so many coordinates takes, in terms of those of a sweep."""
        cdef int64_t part = self.numbers * count // max(<int64_t>1, self.m)
        return count * part // (16 if self.columns.starts is None else 1)

    def sweep_cost(self, int64_t count):
        """Operations that a sweep over so many coordinates takes, about."""
        return 2 * self.numbers * count // max(<int64_t>1, self.m)

    def hessian(self, selected, others=None, n_threads=None):
        """Second derivatives without the penalty's, over the selected coordinates; or by them and by others.

        By classes, less those of all.
        """
        count = len(selected)
        both = selected if others is None else np.concatenate([selected, others])
        rows, columns = np.arange(count), None if others is None else np.arange(count, len(both))
        places, classes, root = self.places[both], self.classes[both], np.sqrt(self.a)
        result = -self.columns.spread(places, classes, root * self.p).gram(rows, columns, n_threads)
        own = self.columns.spread(places, classes, root * np.sqrt(self.p))
        for one in np.unique(classes[:count]):
            members = np.flatnonzero(classes[:count] == one)
            if others is None:
                result[np.ix_(members, members)] += own.gram(members, None, n_threads)
            else:
                partners = count + np.flatnonzero(classes[count:] == one)
                result[np.ix_(members, partners - count)] += own.gram(members, partners, n_threads)
        others = selected if others is None else others
        result -= self.turned[selected] @ self.sums[others].T
        result[self.curvature[selected] == 0], result[:, self.curvature[others] == 0] = 0, 0
        return result

    cdef void enter(self, int64_t k) noexcept nogil:
        """Begin with a class: s is without its part until it is left."""
        cdef const double *p = self.p_ + k * self.n
        cdef const double *z = self.moving_ + k * self.n
        cdef double *s = self.moving_ + self.k * self.n
        cdef int64_t i
        for i in range(self.n):
            s[i] -= p[i] * z[i]
            self.d[i] = self.a_[i] * p[i] * (1 - p[i])
            self.u[i] = self.d[i] * z[i] - self.a_[i] * p[i] * s[i]

    cdef void leave(self, int64_t k) noexcept nogil:
        cdef const double *p = self.p_ + k * self.n
        cdef const double *z = self.moving_ + k * self.n
        cdef double *s = self.moving_ + self.k * self.n
        cdef int64_t i
        if k != NONE:
            for i in range(self.n):
                s[i] += p[i] * z[i]

    cdef void step(self, int64_t j, double change, bint entered) noexcept nogil:
        """Let follow what moves with one coordinate."""
        cdef const Matrix *x = &self.columns.matrix
        cdef double *z = self.moving_ + self.classes_[j] * self.n
        cdef double *v = self.moving_ + (self.k + 1) * self.n
        cdef int64_t e, place = self.places_[j], start = x.starts[place]
        if not entered:
            add(x, place, change, z)
        elif x.indices == NULL:
            table().add_both(self.n, change, x.data + start, self.d, z, self.u)
        else:
            table().sparse_add_both(length(x, place), change, x.data + start, x.indices + start, self.d, z, self.u)
        for e in range(self.n_intercepts):
            v[e] += change * self.sums_[j * self.n_intercepts + e]

    cdef inline double slope_of(self, int64_t j) noexcept nogil:
        """The model's slope by a coordinate of the class that u is of, without the penalty."""
        cdef const double *v = self.moving_ + (self.k + 1) * self.n
        cdef double result = self.slope_[j] + dot(&self.columns.matrix, self.places_[j], self.u)
        cdef int64_t e
        for e in range(self.n_intercepts):
            result -= self.turned_[j * self.n_intercepts + e] * v[e]
        return result

    cdef int64_t sweep(self, bint everywhere) noexcept nogil:
        cdef const double *up = self.penalty.up_
        cdef const double *down = self.penalty.down_
        cdef const double *ridge = self.penalty.ridge_
        cdef const double *curvature = self.curvature_
        cdef const Matrix *x = &self.columns.matrix
        cdef double *c = self.c_
        cdef double new
        cdef int64_t i, j, kept = 0, count = self.m if everywhere else self.n_active, spent = 0, k = NONE
        for i in range(count):
            j = i if everywhere else self.active_[i]
            if curvature[j] == 0 and ridge[j] == 0:
                continue
            if self.classes_[j] != k:
                self.leave(k)
                k = self.classes_[j]
                self.enter(k)
                spent += 4 * self.n
            new = minimum(self.slope_of(j), c[j], curvature[j], up[j], down[j], ridge[j])
            spent += length(x, self.places_[j])
            if new != c[j]:
                self.step(j, new - c[j], True)
                c[j] = new
                spent += 2 * length(x, self.places_[j])
            if new != 0:
                self.active_[kept] = <int32_t>j
                kept += 1
        self.leave(k)
        self.n_active = kept
        return spent

    cdef double value(self) noexcept nogil:
        cdef const double *s = self.moving_ + self.k * self.n
        cdef const double *v = s + self.n
        cdef const double *p
        cdef const double *z
        cdef double sum = 0, linear = 0
        cdef int64_t i, j, e
        for j in range(self.k):
            p, z = self.p_ + j * self.n, self.moving_ + j * self.n
            for i in range(self.n):
                sum += self.a_[i] * p[i] * z[i] * (z[i] - s[i])
        for j in range(self.m):
            linear += self.slope_[j] * (self.c_[j] - self.start_[j])
        for j in range(self.n_intercepts):
            for e in range(self.n_intercepts):
                sum -= v[j] * self.inverse_[j * self.n_intercepts + e] * v[e]
        return 0.5 * sum + linear + self.penalty.value_of(self.c_)

    cdef void forces(self, double *out, int threads) noexcept nogil:
        cdef const double *s = self.moving_ + self.k * self.n
        cdef const double *p
        cdef const double *z
        cdef int64_t i, j, begin = 0, end, k
        while begin < self.m:
            k, end = self.classes_[begin], begin
            while end < self.m and self.classes_[end] == k:
                end += 1
            p, z = self.p_ + k * self.n, self.moving_ + k * self.n
            for i in range(self.n):
                self.u[i] = self.a_[i] * p[i] * (z[i] - s[i])
            if threads > 1 and self.columns.numbers > SERIAL:
                for j in prange(begin, end, num_threads=threads, schedule="dynamic", chunksize=16):
                    out[j] = -self.slope_of(j)
            else:
                for j in range(begin, end):
                    out[j] = -self.slope_of(j)
            begin = end

    cdef void place(self) noexcept nogil:
        cdef double *s = self.moving_ + self.k * self.n
        cdef double *v = s + self.n
        cdef int64_t j
        memset(self.moving_, 0, (self.k + 1) * self.n * sizeof(double))
        for j in range(self.n_intercepts):
            v[j] = self.first_sums_[j]
        for j in range(self.m):
            if self.c_[j] != self.start_[j]:
                self.step(j, self.c_[j] - self.start_[j], False)
        for j in range(self.k):
            self.leave(j)  # s is nothing but these sums
