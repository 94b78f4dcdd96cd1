"""Squared errors by their sufficient statistics: once these are known, X is not looked at again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastloss._descent import GramModel
from fastloss._strengths import descend_along
from fastloss.solvers._model import CALLS, Memory, minimise_model
from fastloss.solvers.result import MOST_FREE, ROUNDED, STALLED, Minima, Monitor, residual_at_zero, start_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from fastloss._costs import Costs
    from fastloss._statistics import Quadratic
    from fastloss.objective import LinearObjective

MAX_STEPS, PATIENCE = 100, 5  # steps, and those that gain little
MARGIN = 0.2  # of the force that moves a feature may be missing for it to be looked at
FEW = 500  # features: calls for each model of a path take longer than descent over all of them


class QuadraticRun:
    """A run on a mean squared error plus a penalty, which can go on with another penalty.

    Parameters
    ----------
    quadratic : Quadratic
        The error.
    w : ndarray of shape (p,), optional
        Where to start, zeros by default.
    intercept : bool
        Whether points have an intercept.
    """

    def __init__(self, quadratic: Quadratic, w: NDArray[np.float64] | None = None, intercept: bool = False) -> None:
        self.quadratic, self.intercept = quadratic, intercept
        self.hessian = 2 * quadratic.A
        self.memory = Memory()
        self.last: GramModel | None = None  # of all features
        self.go(np.zeros(len(quadratic.q)) if w is None else w)

    @classmethod
    def of(cls, obj: LinearObjective, w0: ArrayLike | None) -> QuadraticRun:
        """A run on an objective's loss."""
        w = obj.coefficients(start_point(obj, w0)).copy()
        return cls(obj.quadratic(), w, obj.fit_intercept)

    def go(self, w: NDArray[np.float64], force: NDArray[np.float64] | None = None) -> None:
        """Take other coefficients; the force on them, minus the gradient of the error, may be known."""
        self.w = w
        self.force = 2 * (self.quadratic.q - self.quadratic.A @ w) if force is None else force

    @property
    def x(self) -> NDArray[np.float64]:
        """The point as the objective takes it."""
        return self.point(self.w)

    def point(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coefficients as the objective takes them: the best intercept after them, where there is one.

        Of one model or of several, a row each.
        """
        return np.concatenate([w, np.expand_dims(self.quadratic.intercept(w), -1)], axis=-1) if self.intercept else w

    @property
    def error(self) -> float:
        """The mean squared error."""
        result = self.quadratic.c - float(self.quadratic.q @ self.w) - 0.5 * float(self.force @ self.w)
        return 0.0 if result < 0 else result

    def gap(self, costs: Costs) -> float:
        """The duality gap, where what costs nothing is at its best; NaN where none is known.

        With residuals r the dual point is -2 s r / n, where s makes it feasible. Its value is less than the error by
        (1 - s)^2 times the error, and by s times the force's product with w.
        """
        if len(costs.free) == len(costs) or costs.one_sided:
            return math.nan
        scale, gap = costs.gap(self.w, self.force)
        return gap + (1 - scale) ** 2 * self.error

    def minimise(
        self,
        costs: Costs,
        wanted: float,
        max_steps: int = MAX_STEPS,
        look: Callable[[int, float], bool] | None = None,
    ) -> tuple[float, int]:
        """Go to the minimum of the error plus a penalty, to a duality gap as wanted; that gap, and the steps it took.

        `look` is called with the steps so far and the gap, and says whether to end; by default the gap does.
        """
        step, vain, least, target = 0, 0, math.inf, 0.5 * wanted
        self.settle(costs.free)
        while True:
            gap = self.gap(costs)
            if look is None:  # without a penalty there is no gap, and one step looks at all features
                over = gap <= wanted or vain >= PATIENCE or (step > 0 and math.isnan(gap))
            else:
                over = look(step, gap)
            if over or step >= max_steps:
                return gap, step
            step += 1
            self.step(costs, target)
            self.settle(costs.free)
            if self.gap(costs) > wanted:  # descent ends where the error no longer falls by its rounding
                self.polish(costs)
            # Features that have come to matter, or a model that was not solved well enough.
            vain, least = (vain + 1, min(gap, least)) if gap >= 0.5 * least else (0, gap)
            target = target / 4 if vain else target

    def step(self, costs: Costs, wanted: float) -> None:
        """Go to the minimum over the features that are not 0, cost nothing or are near to moving."""
        p, w = len(self.w), self.w.copy()
        near, _ = costs.close_to_moving(w, self.force, MARGIN)
        selected = np.union1d(np.union1d(np.flatnonzero(w), costs.free), near).astype(np.int64)
        if 2 * len(selected) > p:
            model = self.last = GramModel(self.hessian, -self.force, w, costs, self.last)
            minimise_model(model, self.error, wanted, 1, memory=self.memory)
            self.go(model.c, None if p < FEW else -model.gradient(1))  # anew, without rounding of many steps
            return
        part = self.hessian[np.ix_(selected, selected)]
        model = GramModel(part, -self.force[selected], w[selected], costs.take(selected))
        minimise_model(model, self.error, wanted, 1, features=selected, memory=self.memory)
        w[selected] = model.c
        self.go(w)

    def settle(self, free: NDArray[np.intp]) -> None:
        """Take what costs nothing to its best, all at once, unless it is too much for that."""
        if 0 < len(free) <= MOST_FREE and self.force[free].any():
            hessian, w = self.hessian[np.ix_(free, free)], self.w.copy()
            unit = np.sqrt(hessian.diagonal())
            unit[unit == 0] = 1
            w[free] += np.linalg.lstsq(hessian / np.outer(unit, unit), self.force[free] / unit, rcond=None)[0] / unit
            self.go(w)

    def polish(self, costs: Costs) -> None:
        """Go where the slopes of all coefficients off 0 vanish, if that keeps their signs and has a lower gap."""
        w, force, gap = self.w, self.force, self.gap(costs)
        used = np.flatnonzero(w)
        part = costs.take(used)
        hessian = self.hessian[np.ix_(used, used)]
        hessian[np.diag_indices_from(hessian)] += 2 * part.ridge
        try:
            new = w[used] + np.linalg.solve(hessian, force[used] - part.slope(w[used]))
        except np.linalg.LinAlgError:
            return
        if (new * w[used] > 0)[(part.up > 0) | (part.down > 0)].all():
            point = w.copy()
            point[used] = new
            self.go(point)
            if not self.gap(costs) < gap:
                self.go(w, force)

    def run(self, obj: LinearObjective, monitor: Monitor, max_iter: int, later: Iterable[LinearObjective] = ()) -> int:
        """Minimise an objective of this error; returns the number of iterations."""
        costs, residual_scale = obj.costs, residual_at_zero(obj)

        def look(step: int, gap: float) -> bool:
            if len(costs.free) and gap <= monitor.threshold:  # they may be at their best in rounding alone
                gap = obj.duality_gap(self.x)
            residual = costs.residual(self.w, self.force) / residual_scale
            if monitor.look(self.x, step, residual, self.error + costs.value(self.w), gap):
                return True
            if monitor.stalled >= STALLED:
                monitor.message = ROUNDED
            return monitor.stalled >= STALLED

        # A gradient that is so small a part of itself is that of an objective as near as the square of it.
        wanted = monitor.threshold if obj.has_duality_gap else monitor.threshold**2 * self.error
        return self.minimise(costs, wanted, max_iter, look)[1]

    def follow(
        self,
        strengths: NDArray[np.float64],
        costs_of: Callable[[float], Costs],
        wanted: float,
        max_steps: int,
        go_on: Callable[[float], Minima],
    ) -> Iterator[Minima]:
        """The minima at decreasing strengths of a penalty, whose costs are a function of the strength; no intercepts.

        Those of few features come many at a time; `go_on` minimises for a strength at which descent takes long.
        """
        first, count, p = 0, len(strengths), len(self.w)
        unit = costs_of(1.0)
        many = int(np.count_nonzero(strengths)) if p < FEW and max_steps and not len(unit.free) else 0
        points, gaps, objectives = np.empty((many, p)), np.empty(many), np.empty(many)
        model = GramModel(self.hessian, -2 * self.quadratic.q, np.zeros(p), unit) if many else None
        while first < count:
            if model is not None and first < many:
                sums = (self.quadratic.c, wanted, CALLS)
                done = descend_along(model, unit, strengths[:many], *sums, points, objectives, gaps, first)
                if done > first:
                    part, found = slice(first, done), done - first
                    ones = np.ones(found, dtype=np.intp), np.ones(found, dtype=bool)
                    yield Minima(points[part], objectives[part], gaps[part], *ones)
                if done == count:
                    return
                self.go(points[min(done, many - 1)].copy())
                first = done
            minimum = go_on(float(strengths[first]))
            if first < many:
                points[first] = self.w
            yield minimum
            first += 1
