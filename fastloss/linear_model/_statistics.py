"""Squared errors by their sufficient statistics: sums over samples that say all there is to say of a linear model.

They add up over parts of the samples, so the model of all folds but one comes from those of all less those of one, and
so do its errors on that fold, without another look at X.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastloss import _gram
from fastloss._descent import GramModel
from fastloss.solvers._model import minimise_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastloss._costs import Costs
    from fastloss.penalties import ElasticNet

BLOCK = 1 << 17  # numbers of X at a time
FEWEST_SAMPLES = 3  # a feature, for these sums to pay
MAX_STEPS, PATIENCE = 100, 5  # steps, and those that gain little
MARGIN = 0.2  # of the force that moves a feature may be missing for it to be looked at


class Quadratic(NamedTuple):
    """The mean squared error as a function of the coefficients, the intercept at its best: c - 2 q'w + w' A w."""

    A: NDArray[np.float64]
    q: NDArray[np.float64]
    c: float
    x_mean: NDArray[np.float64]  # 0 without an intercept
    y_mean: float


class Statistics:
    """Weighted sums over samples of 1, x, y, x x', x y and y^2, about an origin that takes away cancellation."""

    def __init__(self, origin: NDArray[np.float64], y_origin: float, sums: tuple[Any, ...]) -> None:
        self.origin, self.y_origin, self.sums = origin, y_origin, sums

    @classmethod
    def of(
        cls, X: Any, y: NDArray[np.float64], weight: NDArray[Any] | None, rows: Any = slice(None), like: Any = None
    ) -> Statistics:
        """Those of some rows of X, in one pass; about the origin of others, or about a mean."""
        p = X.shape[1]
        size = max(1, BLOCK // p)
        if like is None:
            first = X[slice(0, size) if isinstance(rows, slice) else rows[:size]]
            origin = np.ravel(np.asarray(first.mean(axis=0))).astype(np.float64)
            y_origin = float(y[rows].mean())
        else:
            origin, y_origin = like.origin, like.y_origin
        if isinstance(X, np.ndarray) and X.strides[1] == X.itemsize and _gram.are_here(p):
            return cls(origin, y_origin, _sums_by_kernel(X, y, weight, rows, origin, y_origin))
        total, sums, products = 0.0, np.zeros(p + 1), np.zeros((p + 1, p + 1))
        buffer = np.empty((size, p + 1))  # of x and y: it stays in cache
        for block in _blocks(len(y), rows, size):
            part = X[block]
            Z = buffer[: part.shape[0]]
            np.subtract(part if isinstance(part, np.ndarray) else part.toarray(), origin, out=Z[:, :p])
            np.subtract(y[block], y_origin, out=Z[:, p])
            if weight is None:
                total += len(Z)
                sums += np.ones(len(Z)) @ Z
            else:
                w = weight[block].astype(np.float64)
                total += float(w.sum())
                sums += w @ Z
                Z *= np.sqrt(w)[:, None]
            products += Z.T @ Z
        sxx, sxy, syy = np.ascontiguousarray(products[:p, :p]), products[:p, p].copy(), float(products[p, p])
        return cls(origin, y_origin, (total, sums[:p], float(sums[p]), sxx, sxy, syy))

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(self.origin, self.y_origin, tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)))

    def __sub__(self, other: Statistics) -> Statistics:
        return Statistics(self.origin, self.y_origin, tuple(a - b for a, b in zip(self.sums, other.sums, strict=True)))

    def quadratic(self, intercept: bool) -> Quadratic:
        """What a model of these samples minimises."""
        total, sx, sy, sxx, sxy, syy = self.sums
        if intercept:
            m, t = sx / total, sy / total
            A, q = sxx / total - np.outer(m, m), sxy / total - m * t
            return Quadratic(A, q, syy / total - t * t, m + self.origin, t + self.y_origin)
        o, u = self.origin, self.y_origin
        cross = np.outer(sx, o)
        A = (sxx + cross + cross.T) / total + np.outer(o, o)
        q = (sxy + sx * u + o * sy) / total + o * u
        return Quadratic(A, q, (syy + 2 * u * sy) / total + u * u, np.zeros_like(o), 0.0)

    def error(self, w: NDArray[np.float64], b: float) -> float:
        """The mean squared error of a model."""
        total, sx, sy, sxx, sxy, syy = self.sums
        b = b + float(self.origin @ w) - self.y_origin
        squares = syy - 2 * float(sxy @ w) + float(w @ (sxx @ w))
        return max(0.0, (squares - 2 * b * (sy - float(sx @ w))) / total + b * b)


def _sums_by_kernel(
    X: NDArray[Any], y: NDArray[np.float64], weight: Any, rows: Any, origin: NDArray[np.float64], y_origin: float
) -> tuple[Any, ...]:
    """The sums, of a dense X with contiguous rows."""
    p, index = X.shape[1], None
    if isinstance(rows, slice):
        X, y, weight = X[rows], y[rows], None if weight is None else weight[rows]
    else:
        index = np.ascontiguousarray(rows, dtype=np.int64)
    weight = None if weight is None else np.ascontiguousarray(weight, dtype=np.float64)
    t = y - y_origin
    weighted = t if weight is None else weight * t
    products, sxy = _gram.weighted_gram(X, weight, weighted, origin, index)
    if index is not None:
        t, weighted = t[index], weighted[index]
    sx, sxx = products[:p, p].copy(), np.ascontiguousarray(products[:p, :p])
    return float(products[p, p]), sx, float(weighted.sum()), sxx, sxy, float(weighted @ t)


def _blocks(n: int, rows: Any, size: int) -> Iterator[Any]:
    if isinstance(rows, slice):
        start, stop, _ = rows.indices(n)
        for begin in range(start, stop, size):
            yield slice(begin, min(begin + size, stop))
    else:
        for begin in range(0, len(rows), size):
            yield rows[begin : begin + size]


def minimise(
    quadratic: Quadratic, penalty: ElasticNet, tol: float, start: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], float, float, int]:
    """The coefficients and intercept at the minimum of the error plus a penalty, a bound on what is missing, and steps.

    The duality gap is to be at most `tol` times the error at 0.
    """
    A, q, c = quadratic.A, quadratic.q, max(quadratic.c, 0.0)
    costs = penalty.costs(len(q))
    w = np.zeros(len(q)) if start is None else start.copy()
    wanted, vain, step = 0.5 * tol * c, 0, 0
    least = gap = math.inf
    force = 2 * (q - A @ w)
    while step < MAX_STEPS and not gap <= tol * c and vain < PATIENCE:
        step += 1
        near, _ = costs.close_to_moving(w, force, MARGIN)
        selected = np.union1d(np.union1d(np.flatnonzero(w), costs.free), near)
        model = GramModel(2 * A[np.ix_(selected, selected)], -force[selected], w[selected], costs.take(selected))
        minimise_model(model, c, wanted, 1)
        w[selected] = model.c
        force = 2 * (q - A @ w)
        gap = duality_gap(quadratic, costs, w, force)
        if math.isnan(gap):  # without a penalty all features are selected
            break
        if gap > tol * c:  # descent ends where the error no longer falls by its rounding; a Newton step goes farther
            w, force, gap = polish(quadratic, costs, w, force, gap)
        # Features that have come to matter, or a model that was not solved well enough.
        vain, least, wanted = (0, gap, wanted) if gap < 0.5 * least else (vain + 1, min(gap, least), wanted / 4)
    return w, quadratic.y_mean - float(quadratic.x_mean @ w), gap, step


def polish(
    quadratic: Quadratic, costs: Costs, w: NDArray[np.float64], force: NDArray[np.float64], gap: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Where the slopes of all coefficients off 0 vanish, if that keeps their signs and has a lower gap."""
    used = np.flatnonzero(w)
    part = costs.take(used)
    hessian = 2 * quadratic.A[used[:, np.newaxis], used]
    hessian[np.diag_indices_from(hessian)] += 2 * part.ridge
    try:
        new = w[used] + np.linalg.solve(hessian, force[used] - part.slope(w[used]))
    except np.linalg.LinAlgError:
        return w, force, gap
    if not (new * w[used] > 0).all():
        return w, force, gap
    point = w.copy()
    point[used] = new
    there = 2 * (quadratic.q - quadratic.A @ point)
    lower = duality_gap(quadratic, costs, point, there)
    return (point, there, lower) if lower < gap else (w, force, gap)


def duality_gap(quadratic: Quadratic, costs: Costs, w: NDArray[np.float64], force: NDArray[np.float64]) -> float:
    """The duality gap of the squared error, from the statistics and its negative slope; NaN without a penalty.

    With residuals r the dual point is -2 s r / n, where s makes it feasible: its value is 2 s r'y / n - s^2 r'r / n,
    less the penalty's conjugate.
    """
    if len(costs.free) == len(costs):
        return math.nan
    q, c = float(quadratic.q @ w), quadratic.c
    error = c - q - 0.5 * float(force @ w)
    scale, conjugate = costs.conjugate(force)
    return error + costs.value(w) + conjugate + scale * scale * error - 2 * scale * (c - q)
