"""How good a model is, by one function for all: NumPy and SciPy only, in float64, apart from any solver's code.

The model minimises P(w) = mean_i f(y_i, x_i'w) + lam * sum_j abs(w_j), with f half the squared error or the logistic
loss of labels 0 and 1. Its residual r_i = -f'(y_i, x_i'w), made small enough that mean_i x_ij r_i is at most lam for
every column, is a point of the dual problem; whose value there no P(w) can be less than.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlog1py, xlogy

LOSSES = ("lasso", "logistic")
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """Of one model; both in units of the loss at w = 0."""

    objective: float
    gap: float
    support: int


def at_zero(y: Vector, loss: str) -> float:
    """The loss at w = 0."""
    return float(y @ y) / (2 * len(y)) if loss == "lasso" else float(np.log(2))


def lambda_max(X: Any, y: Vector, loss: str) -> float:
    """From this penalty on, w = 0 is the solution."""
    return float(np.abs(X.T @ (y if loss == "lasso" else y - 0.5)).max()) / len(y)


def quality(X: Any, y: Vector, w: Any, lam: float, loss: str) -> Quality:
    """Objective, duality gap and support of the coefficients ``w``."""
    w = np.asarray(w, np.float64)
    n, z = len(y), X @ w
    if loss == "lasso":
        residual = y - z
        primal = float(residual @ residual) / (2 * n)
    else:
        sign = 2 * y - 1
        primal = float(np.logaddexp(0, -sign * z).mean())
        residual = sign * expit(-sign * z)
    primal += lam * float(np.abs(w).sum())
    steepest = float(np.abs(X.T @ residual).max()) / n
    point = residual * min(1.0, lam / steepest) if steepest > 0 else residual
    if loss == "lasso":
        dual = float(y @ y - (y - point) @ (y - point)) / (2 * n)
    else:
        share = np.abs(point)
        dual = -float((xlogy(share, share) + xlog1py(1 - share, -share)).mean())
    unit = at_zero(y, loss)
    return Quality(primal / unit, (primal - dual) / unit, int(np.count_nonzero(w)))


def path_quality(X: Any, y: Vector, coefs: Any, alphas: Vector, loss: str) -> Quality:
    """Of the worst model of a path, a row of ``coefs`` each; its objective is the sum of theirs."""
    if len(coefs) != len(alphas):
        raise ValueError(f"a path of {len(alphas)} models was asked for, got {len(coefs)}")
    each = [quality(X, y, w, lam, loss) for w, lam in zip(coefs, alphas, strict=True)]
    worst = max(each, key=lambda model: np.inf if np.isnan(model.gap) else model.gap)
    return Quality(sum(model.objective for model in each), worst.gap, each[-1].support)
