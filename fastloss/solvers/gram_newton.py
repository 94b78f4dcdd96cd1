"""Proximal quasi-Newton with a Hessian from some of the rows: for many samples of few features."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._bfgs import update
from fastloss.solvers._ahead import Ahead, beyond, lower_of
from fastloss.solvers._quasi_newton import newton_direction
from fastloss.solvers.quadratic import QuadraticRun
from fastloss.solvers.result import (
    MOST_FREE,
    ROUNDED,
    STALLED,
    Monitor,
    Result,
    check_max_iter,
    check_newton,
    check_objective,
    newton_start,
    null_start,
    residual_at_zero,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike, NDArray

    from fastloss._costs import Costs
    from fastloss._linear_loss import Point
    from fastloss.objective import Balance, LinearObjective

MAX_ITER = 100  # steps
FEWEST = 2000  # samples, where the Hessian is of a part of them
LARGEST = 2000  # coefficients: a Hessian of 32 MB
MANY_MODELS = 20  # along a path are worth a Hessian of all features, also where there are fewer samples
PASSES = 8  # products for each number of X: about half a pass; twice as many rows gained nothing
SUFFICIENT = 1e-4  # of the predicted decrease must come true
FEW_FEATURES = 16  # the Hessian of all rows takes no longer than a pass or two
FEW_PRODUCTS = 1 << 24  # no longer than the calls of a few steps
TINY_PRODUCTS = 1 << 20  # no longer than the calls of a step
FRESH = 4  # steps by a Hessian that takes longer than these, before another; one less where it is passed on
AHEAD = 8  # models of a path that a pass looks at, the one at hand included: a register of AVX-512
KEPT = 4  # of them whose predictions are kept: passes end about two models each
ROWS_AHEAD = 20  # for each coefficient, with fewer of which the steps of so many take longer than passes
STALE = 3  # steps of a run after which the next had better begin with a Hessian of its own
RENEWED = 10  # steps after which a Hessian is computed anew: what was learnt of it may be of far away
TIGHTER = 0.01  # times what was wanted of a model is wanted of the next where the step gained nothing
SMALLEST_SHARE = 1e-10  # of a step
ROUNDING = 16  # units in the last place of an objective
NOISE = 1e-10  # of an objective: a rise by less may be one of rounding


def fits(obj: LinearObjective, models: int = 1) -> bool:
    """Whether a problem is of the shape that this solver is for: that of one model, or of several along a path."""
    few = 20 * obj.n_features if obj.loss.quadratic else max(FEWEST, 20 * obj.n_features)
    if not obj.has_many_outputs and (has_cheap_hessian(obj) or models >= MANY_MODELS):
        few = 5 * obj.n_features
    if models >= MANY_MODELS and obj.loss.quadratic:
        few = obj.n_features
    if not obj.is_dense or len(obj.costs) > LARGEST or obj.n_samples < few:
        return False
    # Where the loss is about linear, a Hessian of steps past says little of the next one.
    return not obj.gentler(obj.predict(np.zeros(obj.size)))


def gram_newton(
    obj: LinearObjective,
    w0: ArrayLike | None = None,
    *,
    tol: float = 1e-6,
    max_iter: int | None = None,
    callback: Callable[[Result], object] | None = None,
    verbose: bool = False,
) -> Result:
    """Minimise by quasi-Newton steps, each one pass over X, on a p x p model with the penalty kept as it is.

    The model's Hessian is that of a part of the rows, corrected after each step by what the step shows of the true one
    (BFGS). The run starts from the solution for part of the rows.

    Parameters
    ----------
    obj, w0, tol, max_iter, callback, verbose
        As for `fastloss.minimize`; ``max_iter`` counts steps and is 100 by default.

    Returns
    -------
    Result

    Raises
    ------
    TypeError
        If X is not dense or the loss is not smooth.

    References
    ----------
    J. D. Lee, Y. Sun and M. A. Saunders (2014), "Proximal Newton-type methods for minimizing composite functions",
    SIAM J. Optimization 24(3). R. H. Byrd et al. (2011), "On the use of stochastic Hessian information in optimization
    methods for machine learning", SIAM J. Optimization 21(3).
    """
    check_objective(obj)
    max_iter = check_max_iter(max_iter, MAX_ITER)
    run = start_gram_newton(obj, w0)
    monitor = Monitor(obj, "gram_newton", tol, callback, verbose)
    iteration = run.run(obj, monitor, max_iter)
    return monitor.finish(run.x, iteration)


def start_gram_newton(obj: LinearObjective, w0: ArrayLike | None, path: bool = False) -> GramNewton | QuadraticRun:
    """A run, which can go on with another penalty; `path`: whether more will follow."""
    check_newton(obj, "gram_newton")
    if not obj.is_dense or len(obj.costs) > LARGEST:
        raise TypeError(f"gram_newton needs a dense X and at most {LARGEST} coefficients; prox_newton takes any")
    if (path or stride(obj) == 1) and knows_all(obj):
        return QuadraticRun.of(obj, w0)
    return GramNewton(obj, w0, path)


def knows_all(obj: LinearObjective) -> bool:
    """Whether sums over the samples say all that there is to say, duality gaps included."""
    return obj.loss.quadratic and len(obj.costs.free) <= MOST_FREE


class GramNewton:
    """A run, which can go on with another penalty: where it is, and the model of the loss there.

    Parameters
    ----------
    obj : LinearObjective
    w0 : array_like of shape (obj.size,) or None
    path : bool
        Whether runs will follow. Passes then look at some of their points as well, where that is worth it; if not,
        Hessians are of all rows.
    """

    def __init__(self, obj: LinearObjective, w0: ArrayLike | None, path: bool = False) -> None:
        start = null_start(obj) if path and w0 is None else newton_start(obj, w0)
        self.hessian: NDArray[np.float64] | None = None
        self.every = 1 if path else stride(obj)
        self.fresh = 0  # after how many steps the Hessian is computed anew; 0: it is not
        if self.every == 1 and has_cheap_hessian(obj) and not obj.loss.quadratic:
            self.fresh = 1 if products(obj) <= TINY_PRODUCTS else FRESH - path
        self.ahead = Ahead()
        self.balance: Balance | None = None  # saves a pass for each gap along a path with an intercept
        self.before: NDArray[np.float64] | None = None  # the point where the last run began
        self.age = 0  # of the Hessian, in models
        if self.every > 1 and not obj.coefficients(start).any() and not path:
            part = obj.rows(slice(None, None, self.every if obj.loss.quadratic else 2 * self.every))
            if part is not None and obj.loss.quadratic:  # one step solves it, and its Hessian stays what it is
                self.hessian = sampled_hessian(obj, start, self.every)
                start = start + first_step(part, self.hessian, start)
            elif part is not None:
                start = solve_roughly(part, start)
        self.point = obj.point(start)
        self.eps = float(np.finfo(obj.X.dtype).eps)
        # Of a gradient: less is rounding.
        self.least_change = self.eps * float(np.linalg.norm(self.point.gradient))

    @property
    def x(self) -> NDArray[np.float64]:
        """Where the run is."""
        return self.point.x

    def run(self, obj: LinearObjective, monitor: Monitor, max_iter: int, later: Iterable[LinearObjective] = ()) -> int:
        """Minimise an objective that differs from the first in its penalty alone; returns the number of iterations.

        `later` are the objectives of the next runs.
        """
        costs = obj.point_costs
        models = [other.point_costs for other in islice(later, most_ahead(obj))]
        origin = self.point.x
        self.point = self.ahead.begin(costs, self.point)
        if self.before is not None and not models:  # the path may well go on as it did
            self.point = lower_of(costs, obj.point(beyond(self.before, origin)), self.point)
        self.before = origin
        self.age += 1
        if models and self.age > AHEAD:
            self.hessian = None
        iteration, share, astray, residual_scale = 0, 1.0, False, residual_at_zero(obj)
        while True:
            x, loss, gradient, _ = self.point
            cost, residual, scale, gap = costs.look(x, gradient)
            fun, height = loss + cost, loss - obj.least_loss
            gap = certificate(obj, self.point, scale, gap, height, monitor.threshold, self.balance)
            if monitor.look(x, iteration, residual / residual_scale, fun, gap) or iteration >= max_iter:
                break
            if share == 1 and monitor.stalled >= STALLED:
                monitor.message = ROUNDED
                break
            iteration += 1
            if models and iteration > STALE:
                models, self.hessian = [], None
            elif iteration % RENEWED == 0:
                self.hessian = None
            if self.hessian is None:
                centre = self.ahead.middle(self.point) if models else self.point
                every = stride(obj) if models else self.every  # those who share it learn the rest
                self.hessian, self.age = sampled_hessian(obj, centre.x, every, centre.z), 0
                if models and obj.fit_intercept and centre.z is not None and not len(obj.costs.free):
                    self.balance = obj.balance_at(centre.z)
            hessian = self.hessian
            # A gradient that is so small a part of itself is that of an objective as near as the square of it.
            wanted = monitor.threshold if obj.has_duality_gap else monitor.threshold**2 * height
            wanted *= TIGHTER**monitor.stalled
            step, predicted = newton_direction(hessian, x, gradient, costs, height, wanted)
            step = obj.balanced(step)
            new = x + share * step
            if models:
                targets = self.ahead.targets(hessian, self.point, models, height, wanted)
                found, *others = obj.points([new, *targets], KEPT)
                self.ahead.take(hessian, others, models, self.least_change)
            else:
                found = obj.point(new)
            allowed, size = SUFFICIENT * share * predicted, max(abs(fun), height)
            rise = found.loss + costs.value(new) - fun
            lower = rise <= ROUNDING * self.eps * size - allowed
            if not lower and rise <= NOISE * size:  # predictions may be sums of large numbers
                lower = slope_along(costs, found, new - x) <= share * predicted
            # A step that fails has shown how the loss curves along it all the same, unless it led astray.
            renewed = self.fresh > 0 and iteration % self.fresh == 0
            if not (lower and renewed):
                astray |= not update(hessian, new - x, found.gradient - gradient, self.least_change)
            if models and (astray or not lower):  # what it shares with others does not suit it: alone from here on
                models, self.hessian, astray = [], None, False
            elif astray and self.every > 1:  # the rows of the sample are unlike the others
                self.hessian, self.every, astray = None, 1, False
            if not lower:
                if self.hessian is not None:  # else that of the step is thrown away, and its length says nothing
                    share /= 2
                if share < SMALLEST_SHARE:
                    monitor.message = ROUNDED
                    break
                continue
            if astray or renewed:
                self.hessian = None
            self.point, share, astray = found, 1.0, False
        if iteration > STALE:
            self.hessian = None
        return iteration


def slope_along(costs: Costs, point: Point, step: NDArray[np.float64]) -> float:
    """The slope at the end of a step; it says whether the objective fell where rounding hides that.

    It rose by no more, and of a parabola fell if that is less than the fall from its start to its least.

    W. W. Hager and H. Zhang (2005), "A new conjugate gradient method with guaranteed descent and an efficient line
    search", SIAM J. Optimization 16(1).
    """
    at_zero = -costs.excess(-point.gradient)
    return float(np.where(point.x == 0, at_zero, point.gradient + costs.slope(point.x)) @ step)


def most_ahead(obj: LinearObjective) -> int:
    """How many models ahead a pass looks: none where it is not passes that take the time."""
    if obj.loss.quadratic or has_cheap_hessian(obj) or obj.n_samples < ROWS_AHEAD * obj.size:
        return 0
    return max(0, min(AHEAD, obj.most_points) - 1)


def products(obj: LinearObjective) -> int:
    """Of numbers of X, in a Hessian of all rows."""
    return obj.n_samples * obj.n_features**2


def has_cheap_hessian(obj: LinearObjective) -> bool:
    """Whether that of all rows is worth its time at each step, or every few."""
    return obj.n_features <= FEW_FEATURES or products(obj) <= FEW_PRODUCTS


def stride(obj: LinearObjective) -> int:
    """Of how many rows one goes into the Hessian: it then costs about as much as a pass, and errs by a small part."""
    if products(obj) <= FEW_PRODUCTS:
        return 1
    rows = max(64 * obj.n_features, PASSES * obj.n_samples // len(obj.costs))
    return max(1, obj.n_samples // rows)


def first_step(part: LinearObjective, hessian: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the minimum for a part of the rows, of a quadratic loss."""
    loss, gradient = part.loss_and_gradient(x)
    height = loss - part.least_loss
    return newton_direction(hessian, x, gradient, part.point_costs, height, 1e-4 * height)[0]


def solve_roughly(part: LinearObjective, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """A few Newton steps on a part of the rows."""
    costs = part.point_costs
    loss, gradient = part.loss_and_gradient(x)
    threshold = 1e-4 * abs(loss)
    for _ in range(8):
        step, predicted = newton_direction(
            sampled_hessian(part, x, 1), x, gradient, costs, loss - part.least_loss, threshold
        )
        before = loss + costs.value(x)
        share = 1.0
        while share > 1e-3:
            new = x + share * step
            new_loss, new_gradient = part.loss_and_gradient(new)
            if new_loss + costs.value(new) <= before - SUFFICIENT * share * predicted:
                break
            share /= 2
        else:
            break
        x, loss, gradient = new, new_loss, new_gradient
        if predicted < 1e-3 * abs(before):
            break
    return x


def sampled_hessian(
    obj: LinearObjective, x: NDArray[np.float64], every: int, z: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """The loss's second derivatives by coefficients and intercept, from one row of so many; z: its predictions."""
    if every == 1:
        return obj.hessian(x, z)
    part = obj.rows(slice(None, None, every)) or obj
    result = part.hessian(x)
    unseen = np.flatnonzero(result.diagonal() == 0)
    if part is not obj and len(unseen):  # of columns with few numbers, none of them in these rows
        result[unseen, unseen] = obj.hessian_diagonal(x, unseen)
    return result


def certificate(
    obj: LinearObjective,
    point: Point,
    scale: float,
    gap: float,
    height: float,
    threshold: float,
    balance: Balance | None = None,
) -> float:
    """The duality gap, or a bound on it that needs no look at the samples; infinite where that is not yet worth it.

    Scale and gap are the penalty's part, as `Costs.look` finds them.
    """
    if not obj.has_duality_gap:
        return math.nan
    if not obj.fit_intercept and len(obj.costs.free) == 0:
        # The conjugate is convex: on the way to 0 it is at most what lies between its ends.
        bound = gap + (1 - scale) * ((1 - scale) * point.loss if obj.loss.quadratic else height)
        if bound <= threshold:
            return bound
    if gap + (1 - scale) ** 2 * height > threshold:
        return math.inf
    by = math.inf if balance is None else obj.gap_by(point, balance)
    return by if by < math.inf else obj.gap_of(point)
