"""Coordinate descent on quadratic models of some columns of X. Knows no loss.

A model of m coordinates c is

    q(c) = g'(c - c0) + |S C (c - c0)|^2 / 2 - (t + q'(c - c0))^2 / (2 T) + penalty(c),

with S^2 the second derivatives of the loss, and the last term what an unpenalised intercept takes off it: t the sum of
first derivatives, q = C' S^2 1 and T the sum of S^2. A penalty is, for each coordinate, what it costs to go up from 0,
what it costs to go down, and a ridge: an infinite cost keeps it at one side.
"""

from libc.math cimport isfinite, isinf
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from fastloss._arrays cimport address
from fastloss._columns cimport Columns, Matrix, add, dot, doubles, length
from fastloss._costs cimport Costs
from fastloss._factor cimport Factor, solve_factored
from fastloss._runtime cimport resolve_threads, table

import numpy as np

from fastloss._conjugate_gradients import conjugate_gradients

cdef enum:
    SWEEPS = 5  # of a round: one over all coordinates, the others over those that are not 0
    POINTS = SWEEPS + 1
    STRIDE = 8  # SWEEPS in whole registers
    MAX_ROUNDS = 2000  # of a descent
    LARGEST_SUPPORT = 100  # coordinates that a step takes at once; with 200 and 400 some models took longer
    SHARE = 8  # times the operations of the sweeps before are those of such steps; 1 to 16 were tried
    LARGE = 500  # coordinates: a Hessian of 2 MB
cdef double RETURNS = 0.1  # a round of less than this part of the decrease so far is the last of a rough run
cdef double ROUNDING = 1e-16  # of the loss: a round that gains less gains nothing
cdef double DEPENDENT = 1e-13  # of its own curvature is what a coordinate must add to the others
cdef double SHORTER = 0.25  # times its length, a step that leads through changes of signs
cdef double REGULAR = 1e-12  # of the trace: what is added to the system of an extrapolation


def copy_square(source, taken, target, places):
    """target[places[a], places[b]] = source[taken[a], taken[b]] for all a and b, of square matrices in C order."""
    taken, places = (np.ascontiguousarray(index, dtype=np.int64) for index in (taken, places))
    cdef const int64_t *t = <const int64_t *>address(taken)
    cdef const int64_t *p = <const int64_t *>address(places)
    cdef const double *old = doubles(source)
    cdef const double *row
    cdef double *new = doubles(target)
    cdef int64_t a, b, k, n = len(source), m = len(target), count = len(taken)
    # Both increase, mostly by one: runs of numbers side by side are copied as such.
    runs = np.flatnonzero((np.diff(taken, append=-1) != 1) | (np.diff(places, append=-1) != 1)).astype(np.int64) + 1
    cdef const int64_t *end = <const int64_t *>address(runs)
    cdef int64_t n_runs = len(runs)
    with nogil:
        for a in range(count):
            row = old + t[a] * n
            b = 0
            for k in range(n_runs):
                memcpy(new + p[a] * m + p[b], row + t[b], (end[k] - b) * sizeof(double))
                b = end[k]


cdef class Model:
    """What the models have in common: a point, what moves with it, and descent.

    Attributes
    ----------
    penalty : Costs
    c, start, slope, curvature : ndarray of shape (m,)
        The point, c0, g, and the second derivatives by each coordinate.
    finished, stalled : bool
        Whether the last descent came to its end; and, if it was not rough, above the bound that was wanted.
    """
    cdef void set_up(self, slope, c, Costs penalty, curvature, moving) except *:
        self.penalty, self.slope, self.start, self.c = penalty, slope, c, c.copy()
        self.curvature, self.moving = curvature, moving
        self.m, self.n_moving = len(c), len(moving)
        self.active = np.empty(self.m, dtype=np.int32)
        self.c_, self.start_, self.slope_ = doubles(self.c), doubles(c), doubles(slope)
        self.curvature_, self.moving_ = doubles(curvature), doubles(moving)
        self.active_ = <int32_t *>address(self.active)

    # What a model knows.

    cdef void prepare(self) except *:
        """Make what sweeps need that is not there yet."""

    cdef int64_t sweep(self, bint everywhere) noexcept nogil:
        """Step on each coordinate, or on each of those that were not 0 when all were stepped on; the operations."""
        return 0

    cdef double value(self) noexcept nogil:
        """The model's value, up to a constant."""
        return 0

    cdef void forces(self, double *out, int threads) noexcept nogil:
        """The negative slope of the model without its penalty."""

    cdef void place(self) noexcept nogil:
        """Find what moves with the point."""

    cdef void follow(self) noexcept nogil:
        """Find what little moves besides, where the rest has been set."""

    cdef bint step_on_support(self, int64_t *spent) noexcept nogil:
        """Go to the minimum over the coordinates that are not 0, signs kept, if the model knows it; whether it fell."""
        return False

    # What all can do.

    def objective(self):
        """The model's value, up to a constant."""
        return self.value()

    def gradient(self, n_threads=None):
        """The slope of the model without its penalty, m numbers."""
        result = np.empty(self.m)
        cdef double *out = doubles(result)
        cdef int64_t j
        cdef int threads = resolve_threads(n_threads)
        with nogil:
            self.forces(out, threads)
            for j in range(self.m):
                out[j] = -out[j]
        return result

    def move(self, c):
        """Go to the point c."""
        self.c[:] = c
        with nogil:
            self.place()

    def descend(self, double start, double height, double wanted, int64_t budget, bint rough=False, n_threads=None):
        """Coordinate descent; after some sweeps a step on all that is not 0 at once, or Anderson's extrapolation.

        Q. Bertrand and M. Massias (2021), "Anderson acceleration of coordinate descent", AISTATS.

        Parameters
        ----------
        start : float
            The model's value where the run began.
        height : float
            By how much the loss is more than it could be: about what the dual loses, times (1 - s)^2, when its point is
            scaled by s.
        wanted : float
            The bound on its suboptimality at which the model is `finished`; or a round no longer gains anything.
        budget : int
            Operations after which to stop; there is one round in any case.
        rough : bool
            Whether to stop as well once the decrease of a round is small next to what came before it.

        Returns
        -------
        int
            Operations done.
        """
        if self.memory is None:
            self.memory = np.empty(POINTS * (self.m + self.n_moving) + SWEEPS * self.m)
            self.scratch = np.empty(self.m)
        self.prepare()
        cdef double *points = doubles(self.memory)
        cdef double *force = doubles(self.scratch)
        cdef double here, before, least = ROUNDING * height
        cdef int64_t spent = 0, swept, size = self.m + self.n_moving
        cdef bint stepped = False
        cdef int k, turn = 0, threads = resolve_threads(n_threads)
        self.finished = self.stalled = False
        with nogil:
            here = self.value()
            while True:
                turn += 1
                self.save(points)
                for k in range(SWEEPS):
                    swept = self.sweep(k == 0)
                    spent += swept
                    self.swept += swept
                    self.save(points + (k + 1) * size)
                    stepped = k == 1 and self.step_on_support(&spent)
                    if stepped:
                        break
                before, here = here, self.value()
                if not before - here > (max(least, RETURNS * (start - here)) if rough else least):
                    if self.rounded:
                        self.place()
                    self.finished = True
                    self.stalled = not rough and self.bound(force, height, threads) > wanted
                    break
                if not stepped:
                    here = self.extrapolate(points, here)
                if stepped or turn % 2 == 0:
                    self.finished = self.bound(force, height, threads) <= wanted
                    if self.finished and self.rounded:
                        self.place()
                        here = self.value()
                        self.finished = self.bound(force, height, threads) <= wanted
                    if self.finished:
                        break
                if spent >= budget or turn == MAX_ROUNDS:
                    break
        return spent

    cdef double bound(self, double *force, double height, int threads) noexcept nogil:
        """How far the model may be above its minimum; the forces go where it is told."""
        self.forces(force, threads)
        return self.penalty.bound_of(self.c_, force, self.curvature_, height)

    cdef void save(self, double *point) noexcept nogil:
        memcpy(point, self.c_, self.m * sizeof(double))
        memcpy(point + self.m, self.moving_, self.n_moving * sizeof(double))

    cdef double extrapolate(self, double *points, double here) noexcept nogil:
        """Go to where the points of a round lead, if the model is lower there; its value."""
        cdef int64_t i, m = self.m, size = self.m + self.n_moving
        cdef double *steps = points + POINTS * size
        cdef double[SWEEPS][STRIDE] gram
        cdef double[SWEEPS] weights
        cdef double[SWEEPS] least
        cdef double trace = 0, total = 0, there
        cdef bint outside = False
        cdef int a, b
        for a in range(SWEEPS):
            for i in range(m):
                steps[a * m + i] = points[(a + 1) * size + i] - points[a * size + i]
            for b in range(a + 1):
                gram[a][b] = gram[b][a] = table().dot(m, steps + a * m, steps + b * m)
            for b in range(SWEEPS, STRIDE):
                gram[a][b] = 0
            trace += gram[a][a]
        for a in range(SWEEPS):
            gram[a][a] += REGULAR * trace
            least[a], weights[a] = 0, 1
        table().cholesky(SWEEPS, &gram[0][0], STRIDE, least)
        solve_factored(&gram[0][0], STRIDE, SWEEPS, weights)
        for a in range(SWEEPS):
            total += weights[a]
        if total == 0 or not isfinite(total):
            return here
        memset(self.c_, 0, m * sizeof(double))
        memset(self.moving_, 0, self.n_moving * sizeof(double))
        for a in range(SWEEPS):
            table().add(m, weights[a] / total, points + (a + 1) * size, self.c_)
            table().add(self.n_moving, weights[a] / total, points + (a + 1) * size + m, self.moving_)
        for i in range(m):
            if (self.c_[i] < 0 and isinf(self.penalty.down_[i])) or (self.c_[i] > 0 and isinf(self.penalty.up_[i])):
                self.c_[i] = 0
                outside = True
        if outside:
            self.place()
        else:
            self.follow()
        there = self.value()
        if there < here:
            return there
        points += SWEEPS * size
        memcpy(self.c_, points, m * sizeof(double))
        memcpy(self.moving_, points + m, self.n_moving * sizeof(double))
        self.follow()
        return here


cdef class ResidualModel(Model):
    """The model by its residuals S C (c - c0): each step takes a dot product with a column.

    Parameters
    ----------
    columns : Columns
        S C: the columns already scaled; or C, if all of S is one number.
    weight : float
        Its square; 1 if the columns are scaled.
    gradient : ndarray of shape (m,)
        g.
    c : ndarray of shape (m,)
        c0; not changed.
    penalty : Costs
    intercept : tuple (t, q, T) or None
    """
    cdef readonly Columns columns
    cdef object centre
    cdef const double *centre_
    cdef double weight, slope_sum, weight_sum, moved

    def __init__(self, Columns columns, double weight, gradient, c, Costs penalty, intercept):
        self.columns = columns
        self.weight = weight
        curvature = weight * columns.squares
        self.moved = 0
        if intercept is None:
            self.slope_sum, self.centre, self.weight_sum = 0, np.zeros(columns.m), 1
        else:
            self.slope_sum, self.centre, self.weight_sum = intercept
            own = curvature - self.centre**2 / self.weight_sum
            # A constant column does nothing that the intercept does not: what is free stays, what costs goes to 0.
            least = np.where((penalty.up == 0) | (penalty.down == 0), 0.0, 1e-12 * curvature)
            curvature = np.where(own > 1e-12 * curvature, own, least)
        self.centre_ = doubles(self.centre)
        self.set_up(gradient, c, penalty, curvature, np.zeros(columns.n))

    @property
    def n_residuals(self):
        """The rank that the Hessian may have at most."""
        return self.n_moving

    def sweep_cost(self, int64_t count):
        """Operations that a sweep over so many coordinates takes, about."""
        return 2 * self.columns.numbers * count // max(<int64_t>1, self.columns.m)

    @property
    def profiled_slope(self):
        """g, with the intercept eliminated."""
        return self.slope - self.centre * (self.slope_sum / self.weight_sum)

    def hessian_cost(self, int64_t count):
        """Operations that the Hessian of so many coordinates takes, in terms of those of a sweep."""
        cdef int64_t part = self.columns.numbers * count // max(<int64_t>1, self.columns.m)
        return count * part // (16 if self.columns.starts is None else 1)

    cdef int64_t sweep(self, bint everywhere) noexcept nogil:
        cdef const double *up = self.penalty.up_
        cdef const double *down = self.penalty.down_
        cdef const double *ridge = self.penalty.ridge_
        cdef const double *curvature = self.curvature_
        cdef const Matrix *x = &self.columns.matrix
        cdef double *c = self.c_
        cdef double *v = self.moving_
        cdef double t = self.slope_sum, inverse = 1 / self.weight_sum, moved = self.moved, gradient, new, change
        cdef int64_t i, j, kept = 0, count = self.m if everywhere else self.n_active, spent = 0
        for i in range(count):
            j = i if everywhere else self.active_[i]
            if curvature[j] == 0 and ridge[j] == 0:
                continue
            gradient = self.slope_[j] + self.weight * dot(x, j, v) - self.centre_[j] * (t + moved) * inverse
            new = minimum(gradient, c[j], curvature[j], up[j], down[j], ridge[j])
            spent += length(x, j)
            if new != c[j]:
                change = new - c[j]
                add(x, j, change, v)
                moved += change * self.centre_[j]
                c[j] = new
                spent += length(x, j)
            if new != 0:
                self.active_[kept] = <int32_t>j
                kept += 1
        self.n_active = kept
        self.moved = moved
        return spent

    cdef double value(self) noexcept nogil:
        cdef double t = self.slope_sum + self.moved
        cdef double slope = 0
        cdef int64_t j
        for j in range(self.m):
            slope += self.slope_[j] * (self.c_[j] - self.start_[j])
        return (slope + 0.5 * self.weight * table().dot(self.n_moving, self.moving_, self.moving_)
                - 0.5 * t * t / self.weight_sum + self.penalty.value_of(self.c_))

    cdef void forces(self, double *out, int threads) noexcept nogil:
        cdef double shift = (self.slope_sum + self.moved) / self.weight_sum
        cdef int64_t j
        self.columns.products(self.moving_, out, threads)
        for j in range(self.m):
            out[j] = self.centre_[j] * shift - self.weight * out[j] - self.slope_[j]

    cdef void place(self) noexcept nogil:
        cdef int64_t j
        memset(self.moving_, 0, self.n_moving * sizeof(double))
        for j in range(self.m):
            if self.c_[j] != self.start_[j]:
                add(&self.columns.matrix, j, self.c_[j] - self.start_[j], self.moving_)
        self.follow()

    cdef void follow(self) noexcept nogil:
        cdef int64_t j
        self.moved = 0
        for j in range(self.m):
            self.moved += self.centre_[j] * (self.c_[j] - self.start_[j])

    def solve(self, places, pull, start, least, double ratio, int64_t budget, n_threads):
        """Solve for some coordinates what the Hessian and the penalty's ridge send to `pull`; the operations it took.

        As `conjugate_gradients`.
        """
        return conjugate_gradients(
            self.columns, places, self.weight, self.centre[places], self.weight_sum, 2 * self.penalty.ridge[places],
            pull, start, least, ratio, budget, n_threads)

    @property
    def hessian_pays(self):
        """Whether a sweep costs no more once the Hessian is known."""
        return self.m * self.m <= 2 * self.columns.numbers

    def hessian(self, selected, others=None, n_threads=None):
        """Second derivatives without the penalty's, over the selected coordinates; or by them and by others."""
        gram = self.columns.gram(selected, others, n_threads)
        gram *= self.weight
        others = selected if others is None else others
        q = self.centre[selected]
        if q.any():
            gram -= np.outer(q, self.centre[others] / self.weight_sum)
            gram[self.curvature[selected] == 0], gram[:, self.curvature[others] == 0] = 0, 0
        return gram


cdef class GramModel(Model):
    """The model by its Hessian: a step on a coordinate that stays where it is costs nothing.

    Parameters
    ----------
    hessian : ndarray of shape (m, m)
        That of the loss, intercept already eliminated.
    gradient, c : ndarray of shape (m,)
        g, with the intercept eliminated, and c0; not changed.
    penalty : Costs
    like : GramModel, optional
        Another one of the same Hessian.
    """
    cdef readonly object matrix
    cdef object single  # the matrix over its largest number, where it is large: half the bytes
    cdef const double *matrix_
    cdef const float *single_
    cdef double unit
    # For steps on the coordinates that are not 0: the factor of their Hessian, some numbers each, and which have left.
    cdef Factor factor
    cdef object support, gone
    cdef double *support_
    cdef int64_t *gone_

    def __init__(self, hessian, gradient, c, Costs penalty, GramModel like=None):
        self.matrix = np.ascontiguousarray(hessian)
        self.matrix_ = doubles(self.matrix)
        self.rounded = len(c) >= LARGE
        if like is not None:
            self.unit, self.single, self.single_ = like.unit, like.single, like.single_
        curvature = np.empty(len(c))
        cdef double *own = doubles(curvature)
        cdef int64_t j, m = len(c)
        for j in range(m):
            own[j] = max(self.matrix_[j * m + j], 0)
        self.set_up(gradient, c, penalty, curvature, gradient.copy())

    cdef void prepare(self) except *:
        cdef int64_t most = min(self.m, <int64_t>LARGEST_SUPPORT)
        if self.factor is None:
            self.factor = Factor()
            self.factor.reserve(most)
            self.support, self.gone = np.empty(most * (2 + most)), np.empty(most, dtype=np.int64)
            self.support_, self.gone_ = doubles(self.support), <int64_t *>address(self.gone)
        if self.rounded and self.single is None:
            self.unit = np.diagonal(self.matrix).max() or 1.0
            self.single = np.empty(self.matrix.shape, dtype=np.float32)
            np.multiply(self.matrix, 1 / self.unit, out=self.single, dtype=np.float64, casting="same_kind")
            self.single_ = <const float *>address(self.single)

    cdef int64_t sweep(self, bint everywhere) noexcept nogil:
        cdef const double *up = self.penalty.up_
        cdef const double *down = self.penalty.down_
        cdef const double *ridge = self.penalty.ridge_
        cdef const double *curvature = self.curvature_
        cdef double *c = self.c_
        cdef double new
        cdef int64_t i, j, kept = 0, m = self.m, count = m if everywhere else self.n_active, spent = count
        for i in range(count):
            j = i if everywhere else self.active_[i]
            if curvature[j] == 0 and ridge[j] == 0:
                continue
            new = minimum(self.moving_[j], c[j], curvature[j], up[j], down[j], ridge[j])
            if new != c[j]:
                if self.rounded:
                    table().add_single(m, (new - c[j]) * self.unit, self.single_ + j * m, self.moving_)
                else:
                    table().add(m, new - c[j], self.matrix_ + j * m, self.moving_)
                c[j] = new
                spent += m
            if new != 0:
                self.active_[kept] = <int32_t>j
                kept += 1
        self.n_active = kept
        return spent

    cdef double value(self) noexcept nogil:
        cdef double sum = 0
        cdef int64_t j
        for j in range(self.m):
            sum += (self.c_[j] - self.start_[j]) * (self.slope_[j] + self.moving_[j])
        return 0.5 * sum + self.penalty.value_of(self.c_)

    cdef void forces(self, double *out, int threads) noexcept nogil:
        cdef int64_t j
        for j in range(self.m):
            out[j] = -self.moving_[j]

    cdef void place(self) noexcept nogil:
        cdef int64_t j, m = self.m
        memcpy(self.moving_, self.slope_, m * sizeof(double))
        for j in range(m):
            if self.c_[j] != self.start_[j]:
                table().add(m, self.c_[j] - self.start_[j], self.matrix_ + j * m, self.moving_)

    cdef bint step_on_support(self, int64_t *spent) noexcept nogil:
        cdef int64_t k = self.n_active, gone = k, anew, rotated, cost, budget = SHARE * self.swept
        cdef bint fell = False
        while 0 < gone and k <= LARGEST_SUPPORT:
            anew, rotated = k * k * k // 6, 2 * gone * k * k
            cost = k * self.m + min(anew, rotated)
            budget -= cost
            if budget < 0:
                break
            self.swept = 0
            spent[0] += cost
            if rotated < anew:
                self.factor.rotate_out(self.gone_, gone, self.support_)
            else:
                self.factor.take(
                    self.matrix_, self.m, self.active_, k, self.penalty.ridge_, DEPENDENT, self.support_)
            if not self.support_step():
                break
            fell = True
            gone = k - self.n_active
            k = self.n_active
        return fell

    cdef bint support_step(self) noexcept nogil:
        """A step to the minimum over the coordinates that are not 0; whether the model fell.

        What would change its sign goes to 0. Where the model is not lower there, the step is made shorter, down to the
        first such change. Coordinates that depend on others stay where they are.
        """
        cdef int64_t a, j, k = self.n_active
        cdef double *step = self.support_
        cdef double *old = step + k
        cdef double here = self.value(), first = 1, share = 1
        for a in range(k):
            j = self.active_[a]
            old[a] = self.c_[j]
            step[a] = -(self.moving_[j] + (self.penalty.up_[j] if old[a] > 0 else -self.penalty.down_[j])
                        + 2 * self.penalty.ridge_[j] * old[a])
        solve_factored(self.factor.u, self.factor.stride, k, step)
        for a in range(k):
            j = self.active_[a]
            if (old[a] + step[a]) * old[a] < 0 and (self.penalty.up_[j] > 0 or self.penalty.down_[j] > 0):
                first = min(first, -old[a] / step[a])
        while not self.falls(old, step, share, here):
            if share == first:
                break
            share = max(first, SHORTER * share)
        else:
            return True
        for a in range(k):
            self.c_[self.active_[a]] = old[a]
        self.place()
        return False

    cdef bint falls(self, const double *old, const double *step, double share, double here) noexcept nogil:
        """Go so much of a step; whether the model is lower. If so, what has come to 0 leaves the active coordinates."""
        cdef int64_t a, j, k = self.n_active, kept = 0
        cdef double new
        cdef bint turns
        for a in range(k):
            j = self.active_[a]
            new = old[a] + share * step[a]
            turns = new * old[a] <= 0 or -old[a] / step[a] == share
            self.c_[j] = 0 if turns and (self.penalty.up_[j] > 0 or self.penalty.down_[j] > 0) else new
        self.place()
        if not self.value() < here:
            return False
        for a in range(k):
            j = self.active_[a]
            if self.c_[j] != 0:
                self.active_[kept] = <int32_t>j
                kept += 1
            else:
                self.gone_[a - kept] = a
        self.n_active = kept
        return True

    def sweep_cost(self, int64_t count):
        """Operations that a sweep over so many coordinates takes at most."""
        return count * self.m

    def hessian(self, selected, others=None, n_threads=None):
        """Second derivatives without the penalty's, over the selected coordinates; or by them and by others."""
        if others is not None:
            return self.matrix[np.ix_(selected, others)]
        result = np.empty((len(selected),) * 2)
        copy_square(self.matrix, selected, result, np.arange(len(selected)))
        return result
