"""L-BFGS: for penalties without an L1 part, where all coefficients of all outputs are used."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from fastloss.solvers.result import (
    ROUNDED,
    Monitor,
    Result,
    check_max_iter,
    check_newton,
    check_objective,
    newton_start,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from fastloss.objective import LinearObjective

MAX_ITER = 2000
MEMORY = 20  # pairs of steps and changes of the gradient
SUFFICIENT, CURVATURE = 1e-4, 0.9  # Wolfe's conditions
MAX_TRIALS = 30  # of a line search
LARGEST = 1000  # features for a preconditioner: 8 MB
ROWS = 32  # a feature, for it
ROUNDING = 16  # units in the last place of an objective
STALLED = 3  # steps in vain


def lbfgs(
    obj: LinearObjective,
    w0: ArrayLike | None = None,
    *,
    tol: float = 1e-6,
    max_iter: int | None = None,
    callback: Callable[[Result], object] | None = None,
    verbose: bool = False,
) -> Result:
    """Minimise a smooth objective by quasi-Newton steps with a limited memory, preconditioned where X is dense.

    The preconditioner is the inverse of the Hessian of one output, in the mean of them, over a part of the rows at the
    start. It is the same for all, so that what changes no probability stays out of the steps.

    Parameters
    ----------
    obj, w0, tol, max_iter, callback, verbose
        As for `fastloss.minimize`; ``max_iter`` is 2,000 by default.

    Returns
    -------
    Result

    Raises
    ------
    TypeError
        If the loss is not smooth, or the penalty has an L1 part or keeps coefficients positive.

    References
    ----------
    J. Nocedal and S. J. Wright (2006), "Numerical Optimization", 2nd edition, algorithms 7.4 and 3.5.
    """
    check_objective(obj)
    check_newton(obj, "lbfgs")
    if obj.penalty.l1 or obj.penalty.positive:
        raise TypeError(
            f"lbfgs needs a penalty without L1 and sign, such as L2; got {obj.penalty!r}; prox_newton takes any"
        )
    max_iter = check_max_iter(max_iter, MAX_ITER)
    x = newton_start(obj, w0)
    monitor = Monitor(obj, "lbfgs", tol, callback, verbose)
    value, gradient = obj.value_and_grad(x)
    # What a gradient is measured by; where there is a gap nobody asks, and a pass is saved.
    first_norm = 1.0 if obj.has_duality_gap else _norm(obj.value_and_grad(np.zeros(obj.size))[1]) or 1.0
    precondition = preconditioner(obj, x)
    pairs: deque[tuple[NDArray[np.float64], NDArray[np.float64], float]] = deque(maxlen=MEMORY)
    iteration, vain = 0, 0
    while True:
        relative = _norm(gradient) / first_norm
        gap = None if _bound(obj, gradient) <= monitor.threshold else math.inf  # a look takes three passes over X
        if monitor.look(x, iteration, relative, value, gap if obj.has_duality_gap else math.nan):
            break
        if iteration >= max_iter:
            break
        if vain >= STALLED:
            monitor.message = ROUNDED
            break
        iteration += 1
        step = -two_loops(gradient, pairs, precondition)
        slope = float(gradient @ step)
        if not slope < 0:
            pairs.clear()
            step = -precondition(gradient)
            slope = float(gradient @ step)
        if not slope < 0:
            monitor.message = ROUNDED
            break
        noise = ROUNDING * float(np.finfo(obj.X.dtype).eps) * abs(value)
        low, high, share = 0.0, math.inf, 1.0
        for _ in range(MAX_TRIALS):  # bisection for a step that satisfies Wolfe's conditions
            new = x + share * step
            new_value, new_gradient = obj.value_and_grad(new)
            if not new_value <= value + SUFFICIENT * share * slope + noise:
                high = share
            elif float(new_gradient @ step) < CURVATURE * slope:
                low = share
            else:
                break
            share = 2 * low if high == math.inf else 0.5 * (low + high)
        if not np.isfinite(new_value) or new_value > value + noise:
            monitor.message = ROUNDED
            break
        change, moved = new_gradient - gradient, new - x
        curved = float(change @ moved)
        if curved > 1e-12 * float(change @ change) * float(moved @ moved) ** 0.5:
            pairs.append((moved, change, curved))
        vain = 0 if new_value < value else vain + 1
        x, value, gradient = obj.balanced(new), new_value, new_gradient
    return monitor.finish(x, iteration)


def two_loops(
    gradient: NDArray[np.float64],
    pairs: deque[tuple[NDArray[np.float64], NDArray[np.float64], float]],
    precondition: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """The product of the inverse Hessian that the pairs tell of with a gradient."""
    q, shares = gradient.copy(), []
    for moved, change, curved in reversed(pairs):
        shares.append(float(moved @ q) / curved)
        q -= shares[-1] * change
    result = precondition(q)
    if pairs:  # in the units of the last step
        moved, change, curved = pairs[-1]
        result *= curved / float(change @ precondition(change))
    for (moved, change, curved), share in zip(pairs, reversed(shares), strict=True):
        result += (share - float(change @ result) / curved) * moved
    return result


def preconditioner(
    obj: LinearObjective, x: NDArray[np.float64]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """What divides a gradient by about the Hessian of an output; by a number where X is sparse or wide."""
    k, p, n = obj.n_outputs, obj.n_features, obj.n_samples
    if not obj.is_dense or p > LARGEST:
        unit = 1 / max(_norm(obj.value_and_grad(x)[1]), float(np.finfo(float).tiny))
        return lambda gradient: unit * gradient
    part = obj.rows(slice(None, None, max(1, n // (ROWS * p)))) or obj
    hessian = part.mean_hessian_block(x)
    hessian[np.arange(p), np.arange(p)] += 2 * obj.costs.ridge[:p]
    hessian[np.diag_indices_from(hessian)] += 1e-10 * np.trace(hessian) / len(hessian) + np.finfo(float).tiny
    inverse = np.linalg.inv(hessian)
    return lambda gradient: (gradient.reshape(k, -1) @ inverse).ravel()


def _norm(x: NDArray[np.float64]) -> float:
    return math.sqrt(float(x @ x))


def _bound(obj: LinearObjective, gradient: NDArray[np.float64]) -> float:
    """About the duality gap: what a gradient leaves, of a function that curves by the ridge at least."""
    ridge = obj.costs.ridge
    force = obj.coefficients(gradient).ravel()
    return float((force * force / (4 * np.maximum(ridge, np.finfo(float).tiny))).sum())
