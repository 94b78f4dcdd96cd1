"""One quadratic at decreasing strengths of its penalty: all models in one loop, each from the last. Knows no loss."""

from libc.math cimport isinf
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastloss._arrays cimport address
from fastloss._costs cimport Costs
from fastloss._descent cimport Model

import numpy as np


def descend_along(Model model, Costs unit, strengths, double loss, double wanted, int64_t budget, points,
                  objectives, gaps, int64_t first=0):
    """Minimise for one strength after the other, as long as coordinate descent does so soon.

    Each model begins as far beyond the last as the strengths say, where that is lower: without a ridge the minimum is
    linear in the strength as long as no coordinate comes or goes.

    Parameters
    ----------
    model : Model
        That of a loss which it is equal to, not near to, and which is >= 0; it moves, and its penalty changes.
    unit : Costs
        The penalty where its strength is 1; every coordinate costs something.
    strengths : ndarray of shape (k,), contiguous, float64
        Decreasing, > 0.
    loss : float
        Where the model starts.
    wanted : float
        The duality gap to reach.
    budget : int
        Operations for each model, about.
    points, objectives, gaps : ndarray of shape (k, m), (k,) and (k,), contiguous, float64
        Take the minima, the sums of loss and penalty, and the duality gaps; the points before `first` are known.
    first : int
        The first of the strengths to minimise for.

    Returns
    -------
    int
        The first strength whose gap was not reached; k if all were. Its point is taken all the same.
    """
    cdef int64_t i, j, m = model.m, k = len(strengths)
    cdef Costs costs = Costs(unit.up.copy(), unit.down.copy(), unit.ridge.copy())  # changed in place
    cdef const double *s = <const double *>address(strengths)
    cdef double *point = <double *>address(points)
    cdef double *objective = <double *>address(objectives)
    cdef double *gap = <double *>address(gaps)
    cdef double *last
    cdef double *force
    cdef double share, there
    if model.rounded:
        return first
    scratch = np.empty(m)
    force = <double *>address(scratch)
    model.penalty = costs
    for i in range(first, k):
        scale(unit, s[i], costs)
        last = point + (i - 1) * m
        share = (s[i] - s[i - 1]) / (s[i - 1] - s[i - 2]) if i > 1 and s[i - 1] < s[i - 2] else 0
        for j in range(m):
            model.c_[j] = 0 if i == 0 else last[j] + share * (last[j] - last[j - m]) if share else last[j]
            if i > 0 and model.c_[j] * last[j] <= 0:
                model.c_[j] = 0
        model.place()
        gap[i] = gap_of(model, loss, force)
        if not gap[i] <= wanted:
            memcpy(point + i * m, model.c_, m * sizeof(double))
            there = model.value()
            if share and not go_to(model, last) < there:
                go_to(model, point + i * m)
            model.descend(0, loss_of(model, loss), 0.5 * wanted, budget)
            model.place()  # without the rounding of all its steps
            gap[i] = gap_of(model, loss, force)
        memcpy(point + i * m, model.c_, m * sizeof(double))
        objective[i] = loss + model.value()
        if not gap[i] <= wanted:
            return i
    return k


cdef void scale(Costs unit, double strength, Costs out) noexcept nogil:
    cdef double *up = <double *>out.up_
    cdef double *down = <double *>out.down_
    cdef double *ridge = <double *>out.ridge_
    cdef int64_t j
    for j in range(unit.m):  # infinite costs are so at any strength
        up[j] = unit.up_[j] if isinf(unit.up_[j]) else strength * unit.up_[j]
        down[j] = unit.down_[j] if isinf(unit.down_[j]) else strength * unit.down_[j]
        ridge[j] = strength * unit.ridge_[j]


cdef double loss_of(Model model, double loss) noexcept nogil:
    """The loss where the model is; `loss` is where it starts."""
    return loss + model.value() - model.penalty.value_of(model.c_)


cdef double gap_of(Model model, double loss, double *force) noexcept nogil:
    return model.bound(force, loss_of(model, loss), 1)


cdef double go_to(Model model, const double *point) noexcept nogil:
    """Move to a point; the model's value there."""
    memcpy(model.c_, point, model.m * sizeof(double))
    model.place()
    return model.value()
