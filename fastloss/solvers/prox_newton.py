"""Proximal Newton on working sets: for many features, and for sparse X."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss.solvers._ahead import beyond
from fastloss.solvers._model import Memory, minimise_model
from fastloss.solvers.result import (
    ROUNDED,
    Monitor,
    Result,
    check_max_iter,
    check_newton,
    check_objective,
    newton_start,
    residual_at_zero,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike, NDArray

    from fastloss._costs import Costs
    from fastloss._selection import Selection
    from fastloss.objective import LinearObjective
    from fastloss.solvers._model import Model

MAX_ITER = 200  # working sets
SMALLEST_SET, FEW = 100, 100  # features at least that join a working set; of all one in so many at least
INNER = 0.3  # of the gap of all is what the working set is solved to
MARGIN = 0.2  # of the force that moves a feature may be missing for it to join a working set
NEAR = 0.15  # the same, for features that must be in a set for it to be used again
TOO_LARGE = 2  # times the set that is wanted is one that is not used again
ROUGH = 10  # times the tolerance is what the features outside must owe for a set not to be the last
NEWTON_STEPS = 30  # for a working set
LOOSE, TIGHT = 0.1, 0.01  # of the gap before is what a model of a loss that is not quadratic is solved to
TRUSTED, DOUBTED = 1.5, 3  # times what a model was solved to is the gap after its step: at most, or more
SUFFICIENT = 1e-4  # of the predicted decrease must come true
STALLED, LEAST = 3, 1e-6  # working sets in vain, the last of them solved to this part of the tolerance
SMALLEST_SHARE = 1e-8  # of a step
FLAT = 1.5  # times the predicted decrease is one of a loss that hardly curves: of one that does not, twice
NEARBY, STAGE = 1e-2, 20  # the tolerance on the way to a loss, and working sets for each loss of the way
ROUNDING = 1e-14  # of an objective


class ProxNewton:
    """A run, which can go on with another penalty: where it is, and what the loss says of the place.

    Parameters
    ----------
    obj : LinearObjective
    w0 : array_like of shape (obj.size,) or None
    path : bool
        Whether other penalties will follow; it makes no difference here.
    """

    z: NDArray[np.float64]
    loss: float
    first: NDArray[np.float64]
    second: Any
    _forces: tuple[NDArray[np.float64], ...] | None

    def __init__(self, obj: LinearObjective, w0: ArrayLike | None, path: bool = False) -> None:
        x = newton_start(obj, w0)
        self.obj = obj
        self.w = obj.coefficients(x).ravel()  # class after class
        self.b = x.reshape(obj.n_outputs, -1)[:, -1].copy() if obj.fit_intercept else np.zeros(obj.n_outputs)
        self.selected = np.flatnonzero(self.w)  # the working set
        self.selection: tuple[NDArray[np.int64], Selection] | None = None  # of the last working set
        self.memory = Memory()
        self.before: NDArray[np.float64] | None = None  # the coefficients where the last run began
        self.ends: list[NDArray[np.float64]] = []  # what pulled at the features where the last two runs ended
        self.accuracy = LOOSE  # to which models are solved, a part of the gap before
        self.direct = False  # whether no other losses are on the way
        self.go(obj.predict(x))

    @property
    def x(self) -> NDArray[np.float64]:
        """The point as the objective takes it."""
        if not self.obj.fit_intercept:
            return self.obj.balanced(self.w)
        return self.obj.balanced(np.column_stack([self.w.reshape(len(self.b), -1), self.b]).ravel())

    @property
    def height(self) -> float:
        """By how much the loss is more than it could be."""
        return self.loss - self.obj.least_loss

    @property
    def curvatures(self) -> Any:
        """The second derivatives as Newton's method takes them."""
        return self.obj.curvatures(self.z, self.first, self.second)

    def go(self, z: NDArray[np.float64]) -> None:
        """Take new predictions."""
        self.place = (z, *self.obj.derivatives(z), None)

    @property
    def place(self) -> Any:
        """The predictions, and what is known of them: loss, first and second derivatives, forces if they are."""
        return self.z, self.loss, self.first, self.second, self._forces

    @place.setter
    def place(self, place: Any) -> None:
        self.z, self.loss, self.first, self.second, self._forces = place

    def forces(self) -> tuple[NDArray[np.float64], ...]:
        """First derivatives that are feasible for the dual; what pulls at the features by them, and by the true ones.

        The two differ where features cost nothing: what is feasible does not move these.
        """
        if self._forces is None:
            first = self.obj.feasible(self.first, self.second)
            force = self.obj.correlate(-first)
            pull = force if len(self.obj.costs.free) == 0 else self.obj.correlate(-self.first)
            self._forces = first, force, pull
        return self._forces

    def fit_intercept(self) -> None:
        """Newton's steps for the intercepts alone, until their slopes are small next to what they sum."""
        for _ in range(20):
            step = self.obj.intercept_step(self.first, self.curvatures)
            if step is None:
                return
            before, z, loss = self.place, self.z, self.loss
            self.go(z + step)
            while not self.loss <= loss and np.abs(step).max() > 1e-12:
                step = step / 2
                self.go(z + step)
            if not self.loss <= loss:
                self.place = before
                return
            self.b = self.b + step

    def run(self, obj: LinearObjective, monitor: Monitor, max_iter: int, later: Iterable[LinearObjective] = ()) -> int:
        """Minimise an objective that differs from the first in its penalty alone; returns the number of iterations.

        `later` are the objectives of the next runs; they make no difference here.
        """
        self.obj, costs, origin = obj, obj.costs, None if obj.loss.quadratic else self.w.copy()
        extrapolated = self.extrapolate()
        iteration, tighter, residual_scale = 0, 1.0, residual_at_zero(obj)
        while True:
            if obj.fit_intercept:
                self.fit_intercept()
            value = costs.value(self.w)
            fun, gap, residual = self.loss + value, math.inf, 0.0
            foreseen = self.foresee(monitor.threshold) if extrapolated and iteration == 0 else None
            if foreseen is not None:
                force = pull = foreseen
            else:
                first, force, pull = self.forces()
                if obj.has_duality_gap:
                    gap = obj.gap_at(fun, first, force)
                else:
                    gap, residual = math.nan, costs.residual(self.w, pull)
            if monitor.look(self.x, iteration, residual / residual_scale, fun, gap) or iteration >= max_iter:
                break
            if monitor.stalled >= STALLED and tighter < LEAST:
                monitor.message = ROUNDED
                break
            if iteration == 0 and (approach := self.approach(max_iter)):
                iteration = approach
                continue
            iteration += 1
            outside = self.gap_outside(force, value)
            least = monitor.threshold if obj.has_duality_gap else monitor.threshold * self.height
            before, self.selected = self.selected, self.working_set(force)
            # A set that comes again was not solved well enough.
            again = iteration > 1 and np.array_equal(before, self.selected)
            rough = outside > ROUGH * least and not again
            tighter = tighter / 10 if again else 1.0
            # What is foreseen chooses a set, but Newton's models want true slopes.
            slope = -pull[self.selected] if foreseen is None else None
            self.solve_selected(slope, INNER * max(outside, tighter * least), rough)
        self.before = origin
        if self._forces is not None and origin is not None:
            self.ends = [*self.ends[-1:], self._forces[2]]
        return iteration

    def extrapolate(self) -> bool:
        """Go as far again as from the end of the run before to that of the last, if that is lower; signs stay."""
        if self.before is None or self.selection is None:
            return False
        selected, selection = self.selection
        c = self.w[selected]
        further = beyond(self.before[selected], c)
        start, here = self.place, self.loss + self.obj.costs.value(self.w)
        change, shift = selection.change(further - c)
        self.go(self.z + change)
        self.w[selected] = further
        lower = self.loss + self.obj.costs.value(self.w) < here
        if lower:
            self.b = self.b + shift
        else:
            self.w[selected] = c
            self.place = start
        return lower

    def foresee(self, threshold: float) -> NDArray[np.float64] | None:
        """What pulls at the features after `extrapolate`, as far again from end to end: enough for a working set.

        It is exact for the last working set. None where the gap may be at the threshold: then all are looked at.
        """
        obj = self.obj
        if len(self.ends) < 2 or self.selection is None or not obj.has_duality_gap or len(obj.costs.free):
            return None
        selected, selection = self.selection
        force = 2 * self.ends[1] - self.ends[0]
        force[selected] = -selection.slope(self.first)
        scale, gap = obj.costs.gap(self.w, force)
        return force if gap + (1 - scale) ** 2 * self.height > threshold else None

    def approach(self, max_iter: int) -> int:
        """Come near where the loss is about linear, by way of losses that are not; the number of iterations."""
        iteration, start = 0, (self.w, self.b, self.selected, self.z)
        before = self.loss + self.obj.costs.value(self.w)
        for easier in [] if self.direct else self.obj.gentler(self.z):
            other = ProxNewton(easier, self.x)
            other.direct = True
            monitor = Monitor(easier, "prox_newton", NEARBY)
            iteration += other.run(easier, monitor, min(STAGE, max_iter - iteration))
            self.w, self.b, self.selected = other.w, other.b, other.selected
            self.go(other.z)
        if self.loss + self.obj.costs.value(self.w) > before:
            self.w, self.b, self.selected, z = start
            self.go(z)
        return iteration

    def gap_outside(self, force: NDArray[np.float64], value: float) -> float:
        """The gap that is left if the working set is solved to the end: what the other features owe.

        `value` is that of the penalty.
        """
        others, costs = force.copy(), self.obj.costs
        others[self.selected] = 0
        others[costs.free] = 0
        scale = costs.scale(others)
        return (1 - scale) * value + (1 - scale) ** 2 * self.height

    def working_set(self, force: NDArray[np.float64]) -> NDArray[np.int64]:
        """The features that are not 0 or cost nothing, and as many of those that most want to leave 0.

        The set before, if it has all that would move and is not much too large: its columns and Hessian are there.
        """
        costs, before = self.obj.costs, self.selected
        support = np.union1d(before[self.w[before] != 0], costs.free)
        others, excess = costs.close_to_moving(self.w, force, MARGIN)
        count = max(SMALLEST_SET, len(self.w) // FEW, len(support))
        moving = costs.close_to_moving(self.w, force, NEAR)[0]
        if len(others) > count:
            others = others[np.argpartition(-excess, count - 1)[:count]]
        wanted = np.union1d(support, others).astype(np.int64)
        kept = 0 < len(before) <= TOO_LARGE * len(wanted) and np.isin(moving, before, assume_unique=True).all()
        return before if kept and np.isin(support, before, assume_unique=True).all() else wanted

    def solve_selected(self, slope: NDArray[np.float64] | None, wanted: float, rough: bool) -> None:
        """Newton's steps over the working set, until its own gap is about `wanted`; from the slopes, if known."""
        obj, costs = self.obj, self.obj.costs.take(self.selected)
        if self.selection is None or self.selection[0] is not self.selected:
            self.selection = self.selected, obj.select(self.selected)
        selection = self.selection[1]
        slope = selection.slope(self.first) if slope is None else slope
        c = self.w[self.selected]
        before, target, curvature = math.inf, math.inf, selection.curve(self.curvatures)
        for step in range(NEWTON_STEPS):
            gap = costs.bound(c, -slope, curvature, self.height)
            if step and (rough or gap <= wanted or gap > 0.9 * before):
                break
            if step:
                curvature = selection.curve(self.curvatures)
                self.adapt(gap, target)
            before = gap
            model: Model = selection.model(self.first, slope, c, costs)
            target = 0.9 * wanted if obj.loss.quadratic else max(self.accuracy * gap, 0.5 * wanted)
            start = model.objective()
            if not obj.loss.quadratic:
                self.memory.forget()
            model = minimise_model(model, self.height, target, obj.n_threads, rough, self.selected, self.memory)
            c = self.take_step(selection, c, model.c - c, costs, start - model.objective())
            self.w[self.selected] = c
            slope = selection.slope(self.first)

    def adapt(self, gap: float, target: float) -> None:
        """Along a path, where models are near the loss from the first step on, solve those further that prove true.

        A model was solved to the target; the gap is that after its step.
        """
        if self.before is not None and gap <= TRUSTED * target:
            self.accuracy = max(TIGHT, 0.1 * self.accuracy)
        elif gap > DOUBTED * target:
            self.accuracy = min(LOOSE, 10 * self.accuracy)

    def take_step(
        self,
        selection: Selection,
        c: NDArray[np.float64],
        step: NDArray[np.float64],
        costs: Costs,
        predicted: float,
    ) -> NDArray[np.float64]:
        """Go along the step as far as the objective falls by a part of what was predicted.

        Further, where the loss curves less than its model, as one does that is about linear there.
        """
        change, shift = selection.change(step)
        start, z, here, share = self.place, self.z, self.loss + costs.value(c), 1.0
        while True:
            new = c + step if share == 1 else c + share * step
            self.go(z + share * change)
            there = self.loss + costs.value(new)
            if there <= here - SUFFICIENT * share * predicted + ROUNDING * abs(here):
                break
            share /= 2
            if share <= SMALLEST_SHARE:
                self.place = start
                return c
        while share >= 1 and here - there > FLAT * predicted > ROUNDING * abs(here):
            best, further = self.place, c + 2 * share * step
            self.go(z + 2 * share * change)
            there_too = self.loss + costs.value(further)
            if not there_too < there:
                self.place = best
                break
            new, there, share = further, there_too, 2 * share
        self.b = self.b + share * shift
        return new


def prox_newton(
    obj: LinearObjective,
    w0: ArrayLike | None = None,
    *,
    tol: float = 1e-6,
    max_iter: int | None = None,
    callback: Callable[[Result], object] | None = None,
    verbose: bool = False,
) -> Result:
    """Minimise by Newton's method with the penalty kept as it is, on growing sets of features.

    Each step minimises a quadratic model of the loss plus the penalty over the working set: the features that are not 0
    and those that most want to leave 0. Coordinate descent does so, extrapolated, with Newton steps where they pay.

    Parameters
    ----------
    obj, w0, tol, max_iter, callback, verbose
        As for `fastloss.minimize`; ``max_iter`` counts working sets and is 200 by default.

    Returns
    -------
    Result

    Raises
    ------
    TypeError
        If the loss is not smooth.

    References
    ----------
    J. D. Lee, Y. Sun and M. A. Saunders (2014), "Proximal Newton-type methods for minimizing composite functions",
    SIAM J. Optimization 24(3). M. Massias, A. Gramfort and J. Salmon (2018), "Celer: a fast solver for the lasso with
    dual extrapolation", ICML: working sets. Q. Bertrand and M. Massias (2021), "Anderson acceleration of coordinate
    descent", AISTATS.
    """
    check_objective(obj)
    check_newton(obj, "prox_newton")
    max_iter = check_max_iter(max_iter, MAX_ITER)
    run = ProxNewton(obj, w0)
    monitor = Monitor(obj, "prox_newton", tol, callback, verbose)
    iteration = run.run(obj, monitor, max_iter)
    return monitor.finish(run.x, iteration)
