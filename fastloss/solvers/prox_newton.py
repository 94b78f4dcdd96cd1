"""Proximal Newton on working sets: for many features, and for sparse X."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._descent import ResidualModel
from fastloss.solvers._model import minimise_model
from fastloss.solvers.result import Monitor, Result, check_objective, start_point

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from fastloss._descent import Columns
    from fastloss.objective import LinearObjective
    from fastloss.penalties import Costs

SMALLEST_SET = 100
INNER = 0.3  # of the gap of all is what the working set is solved to
MARGIN = 0.2  # of the force that moves a feature may be missing for it to join a working set
ROUGH = 10  # times the tolerance is what the features outside must owe for a set not to be the last
NEWTON_STEPS = 30  # for a working set
SUFFICIENT = 1e-4  # of the predicted decrease must come true


class Point:
    """Where the solver is: coefficients, predictions, and what the loss says of them."""

    def __init__(self, obj: LinearObjective, x: NDArray[np.float64]) -> None:
        self.obj = obj
        self.w, self.b = x[: obj.n_features].copy(), float(x[-1]) if obj.fit_intercept else 0.0
        self.go(obj.predict(x))

    def go(self, z: NDArray[np.float64]) -> None:
        """Take new predictions."""
        self.z = z
        self.loss, self.first, self.second = self.obj.derivatives(z)

    def fit_intercept(self) -> None:
        """Newton's steps for the intercept alone, until its slope is small next to what it sums."""
        for _ in range(20):
            slope, curvature = float(self.first.sum()), float(self.second.sum())
            if abs(slope) <= 1e-12 * float(np.abs(self.first).sum()) or not curvature > 0:
                return
            before, step = (self.z, self.loss, self.first, self.second), -slope / curvature
            self.go(self.z + step)
            while not self.loss <= before[1] and abs(step) > 1e-12:
                step /= 2
                self.go(before[0] + step)
            if not self.loss <= before[1]:
                self.z, self.loss, self.first, self.second = before
                return
            self.b += step

    @property
    def x(self) -> NDArray[np.float64]:
        """The point as the objective takes it."""
        return np.append(self.w, self.b) if self.obj.fit_intercept else self.w.copy()


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

    Parameters
    ----------
    obj, w0, tol, max_iter, callback, verbose
        As for `fastloss.minimize`; ``max_iter`` counts working sets and is 200 by default.

    Returns
    -------
    Result
    """
    check_objective(obj)
    max_iter = 200 if max_iter is None else max_iter
    point = Point(obj, start_point(obj, w0))
    monitor = Monitor(obj, "prox_newton", tol, callback, verbose)
    costs = obj.costs
    selected = np.empty(0, dtype=np.int64)
    iteration = 0
    while True:
        if obj.fit_intercept:
            point.fit_intercept()
        first = obj.feasible(point.first, point.second)
        force = -obj.correlate(first)
        scale, gap = costs.gap(point.w, force)
        gap += (1 - scale) ** 2 * point.loss
        fun = point.loss + costs.value(point.w)
        exact = math.inf
        if gap <= 2 * monitor.threshold:
            exact = obj.gap_at(point.w, fun, first, force)
        if monitor.look(point.x, iteration, gap, fun, exact) or iteration >= max_iter:
            break
        iteration += 1
        outside = gap_outside(costs, point, force, selected)
        rough = outside > ROUGH * monitor.threshold
        wanted = INNER * max(outside, monitor.threshold)
        selected = working_set(costs, point.w, force)
        solve_on(obj, point, selected, costs.take(selected), -force[selected], wanted, rough)
    return monitor.finish(point.x, iteration)


def gap_outside(
    costs: Costs, point: Point, force: NDArray[np.float64], selected: NDArray[np.int64]
) -> float:
    """The gap that would be left if the working set were solved to the end: what the other features owe."""
    others = force.copy()
    others[selected] = 0
    scale, _ = costs.gap(np.zeros_like(point.w), others)
    return (1 - scale) * costs.value(point.w) + (1 - scale) ** 2 * point.loss


def working_set(costs: Costs, w: NDArray[np.float64], force: NDArray[np.float64]) -> NDArray[np.int64]:
    """The features that are not 0, and as many of those that most want to leave it."""
    support = np.flatnonzero(w)
    limit = np.where(force > 0, costs.up, costs.down)
    want = np.abs(force) - limit
    want[support] = -np.inf
    count = max(SMALLEST_SET, len(support))
    count = min(count, len(w) - len(support))
    if count > 0:
        chosen = np.argpartition(-want, count - 1)[:count] if count < len(w) else np.arange(len(w))
        chosen = chosen[want[chosen] > -MARGIN * limit[chosen]]
    else:
        chosen = np.empty(0, dtype=np.int64)
    return np.union1d(np.union1d(support, costs.free), chosen).astype(np.int64)


def solve_on(
    obj: LinearObjective,
    point: Point,
    selected: NDArray[np.int64],
    costs: Costs,
    slope: NDArray[np.float64],
    wanted: float,
    rough: bool,
) -> None:
    """Newton's steps over the selected features, until their own gap is about `wanted`."""
    columns = obj.columns(selected)
    c = point.w[selected]
    before = math.inf
    for _ in range(NEWTON_STEPS):
        scale, gap = costs.gap(c, -slope)
        gap += (1 - scale) ** 2 * point.loss
        if gap <= wanted or gap > 0.9 * before or (rough and before < math.inf):
            break
        before = gap
        root = np.sqrt(point.second)
        intercept = None
        if obj.fit_intercept:
            q = columns.transposed_product(point.second, obj.n_threads)
            intercept = (float(point.first.sum()), q, float(point.second.sum()))
        model = ResidualModel(columns.scaled(root), slope, c, costs, intercept)
        target = 0.9 * wanted if obj.loss.quadratic else max(0.1 * gap, 0.5 * wanted)
        start = model.objective()
        model = minimise_model(model, point.loss, target, obj.n_threads, rough)
        predicted = start - model.objective()
        c = take_step(obj, point, columns, c, model.c - c, intercept, costs, predicted)
        point.w[selected] = c
        slope = columns.transposed_product(point.first, obj.n_threads)


def take_step(
    obj: LinearObjective,
    point: Point,
    columns: Columns,
    c: NDArray[np.float64],
    step: NDArray[np.float64],
    intercept: tuple[Any, ...] | None,
    costs: Costs,
    predicted: float,
) -> NDArray[np.float64]:
    """Go along the step as far as the objective falls by a part of what was predicted."""
    change = np.zeros(columns.n)
    columns.combine(step, change)
    shift = 0.0
    if intercept is not None:
        t, q, total = intercept
        shift = -(t + float(q @ step)) / total
        change += shift
    z, here, share = point.z, point.loss + costs.value(c), 1.0
    while True:
        new = c + step if share == 1 else c + share * step
        point.go(z + share * change)
        there = point.loss + costs.value(new)
        if there <= here - SUFFICIENT * share * predicted + 1e-14 * abs(here) or share < 1e-6:
            break
        share /= 2
    point.b += share * shift
    return new
