"""The scale of a Huber regression, found together with its coefficients."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastloss.linear_model._fit import fit
from fastloss.losses import Huber
from fastloss.objective import LinearObjective
from fastloss.penalties import ElasticNet as Penalty

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

INNER, ROUGHLY = 1e-4, 1e-2  # the tolerance for each scale, and the relative error at which Newton's method takes over
FARTHEST = 16.0  # below where it is begun a scale is looked for, in logarithms: below it is that of a perfect fit
LARGEST = 2000  # coefficients for Newton's method
MAX_STEPS = 50
OPTIMAL = 1e-10  # of a gradient's terms is what may be left of it


def fit_huber(
    X: Any,
    y: NDArray[np.float64],
    weight: NDArray[Any] | None,
    epsilon: float,
    penalty: Penalty,
    intercept: bool,
    tol: float,
    max_calls: int,
    start: tuple[NDArray[np.float64], float] | None,
) -> tuple[NDArray[np.float64], float, float, int]:
    """Minimise sum v (s + s H(r / s)) + penalty(w) over w, b and s; see `HuberRegressor`.

    Returns
    -------
    coefficients, intercept, scale, iterations
    """
    v = np.ones(len(y)) if weight is None else weight.astype(np.float64)
    total, p = float(v.sum()), X.shape[1]
    x = np.zeros(p + intercept)
    if start is not None:
        x[:], first = start[0][: len(x)], start[1]
    else:
        x[p:] = np.median(y[v > 0])
        first = float(np.average(np.abs(y - x[p:].sum()), weights=v))

    def slope(scale: float) -> float:
        """By the scale, of the minimum over everything else, over the sum of the weights."""
        nonlocal x
        strength = scale / (2 * total)
        loss, part = Huber(delta=epsilon * scale), Penalty(strength * penalty.l1, strength * penalty.l2)
        objective = LinearObjective(X, y, loss, part, sample_weight=weight, fit_intercept=intercept)
        x = fit(objective, INNER, None, x, warn=False).x
        ratio = np.abs(y - X @ x[:p] - x[p:].sum()) / scale
        return 1 - float(v @ np.minimum(ratio, epsilon) ** 2) / total

    first = first or 1.0
    scale, calls = root(slope, first, max(tol, ROUGHLY), max_calls)
    perfect = scale <= first * math.exp(-FARTHEST) * (1 + 1e-9)
    optimal = False
    if len(x) <= LARGEST:
        x, scale, steps, optimal = polish(X, y, v, epsilon, penalty, x, scale, perfect)
        calls += steps
    if not optimal and not perfect and calls < max_calls:
        scale, more = root(slope, scale, tol, max_calls - calls)
        calls += more
    if calls >= max_calls and not optimal:
        warnings.warn(
            f"The scale was not found within max_iter={max_calls} iterations.", ConvergenceWarning, stacklevel=4
        )
    return x[:p], float(x[p:].sum()), scale, calls


def root(slope: Callable[[float], float], first: float, tol: float, max_calls: int) -> tuple[float, int]:
    """Where an increasing function of a positive number is 0, to a relative error; and how often it was called.

    A bracket by steps that double, then the Illinois method, both on the logarithm. A function that stays above 0 has
    its root at 0: the result is then a tiny part of where it was begun with.
    """
    a = b = math.log(first)
    fa = fb = slope(first)
    calls, step = 1, 0.5
    lowest = a - FARTHEST
    while fa > 0 and calls < max_calls and a > lowest:
        b, fb = a, fa
        a = max(a - step, lowest)
        fa, calls, step = slope(math.exp(a)), calls + 1, 2 * step
    while fb < 0 and calls < max_calls:
        a, fa = b, fb
        b += step
        fb, calls, step = slope(math.exp(b)), calls + 1, 2 * step
    if fa > 0:
        return math.exp(a), calls
    side = 0
    while fa < 0 < fb and b - a > tol and calls < max_calls:
        c = b - fb * (b - a) / (fb - fa)
        if not a < c < b:
            c = 0.5 * (a + b)
        fc, calls = slope(math.exp(c)), calls + 1
        if fc <= 0:
            a, fa, fb = c, fc, fb / 2 if side < 0 else fb
        if fc >= 0:
            b, fb, fa = c, fc, fa / 2 if side > 0 else fa
        side = -1 if fc < 0 else 1
    return math.exp(a if abs(fa) < abs(fb) else b), calls


def polish(
    X: Any,
    y: NDArray[np.float64],
    v: NDArray[np.float64],
    epsilon: float,
    penalty: Penalty,
    x: NDArray[np.float64],
    scale: float,
    fixed: bool,
) -> tuple[NDArray[np.float64], float, int, bool]:
    """Newton's method on coefficients that are not 0, intercept and scale at once; whether it ends at a minimum.

    Where the scale is fixed it is that of a perfect fit.
    """
    p = X.shape[1]
    used = np.flatnonzero(x[:p]) if penalty.l1 else np.arange(p)
    part = X[:, used] if len(used) < p else X
    dense = part if isinstance(part, np.ndarray) else part.toarray()
    Z = np.column_stack([dense, np.ones((len(y), len(x) - p))]).astype(np.float64)
    signs = np.sign(x[used])

    def evaluate(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64], float]:
        u, s = point[:-1], point[-1]
        w = u[: len(used)]
        r = y - Z @ u
        inside = np.abs(r) <= epsilon * s
        clipped = np.clip(r, -epsilon * s, epsilon * s)
        value = float(v @ (s + (2 * np.abs(r) - np.abs(clipped)) * np.abs(clipped) / s)) + penalty(w)
        terms = -2 * v * clipped / s
        gradient = np.append(Z.T @ terms, float(v.sum()) - float(v @ clipped**2) / s**2)
        gradient[: len(used)] += penalty.l1 * signs + 2 * penalty.l2 * w
        size = float(np.abs(terms).max() * np.abs(Z).sum(axis=0).max() + v.sum())
        q = np.column_stack([Z, r / s])[inside] * np.sqrt(2 * v[inside] / s)[:, None]
        hessian = q.T @ q
        hessian[np.arange(len(used)), np.arange(len(used))] += 2 * penalty.l2
        if fixed:
            gradient[-1], hessian[-1], hessian[:, -1] = 0, 0, 0
        return value, gradient, hessian, size

    point, steps = np.append(x[np.append(used, np.arange(p, len(x)))], scale), 0
    value, gradient, hessian, size = evaluate(point)
    while steps < MAX_STEPS and np.abs(gradient).max() > 1e-15 * size:
        steps += 1
        step, share = np.linalg.lstsq(hessian, -gradient, rcond=1e-15)[0], 1.0
        while share > 1e-6:
            new = point + share * step
            if new[-1] > 0 and (new[: len(used)] * signs >= 0).all() | (penalty.l1 == 0):
                there = evaluate(new)
                if there[0] <= value + 1e-15 * abs(value):
                    break
            share /= 2
        else:
            break
        before = float(np.abs(gradient).max())
        point, (value, gradient, hessian, size) = new, there
        if float(np.abs(gradient).max()) > 0.5 * before and before <= OPTIMAL * size:
            break
    result = x.copy()
    result[np.append(used, np.arange(p, len(x)))] = point[:-1]
    optimal = bool(np.abs(gradient).max() <= OPTIMAL * size)
    if optimal and penalty.l1:  # the others must want to stay at 0
        r = y - X @ result[:p] - result[p:].sum()
        s = point[-1]
        force = X.T @ (2 * v * np.clip(r, -epsilon * s, epsilon * s) / s)
        optimal = bool((np.abs(np.delete(force, used)) <= penalty.l1 * (1 + 1e-9)).all())
    return result, float(point[-1]), steps, optimal
