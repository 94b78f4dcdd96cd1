"""Squared errors by their sufficient statistics: sums over samples that say all there is to say of a linear model.

They add up over parts of the samples, so the model of all folds but one comes from those of all less those of one, and
so do its errors on that fold, without another look at X.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastloss import _gram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK = 1 << 17  # numbers of X at a time


class Quadratic(NamedTuple):
    """The mean squared error as a function of the coefficients, the intercept at its best: c - 2 q'w + w' A w."""

    A: NDArray[np.float64]
    q: NDArray[np.float64]
    c: float
    x_mean: NDArray[np.float64]  # 0 without an intercept
    y_mean: float

    def intercept(self, w: NDArray[np.float64]) -> Any:
        """The best intercept of one model, or of several, a row each; 0 without one."""
        return self.y_mean - w @ self.x_mean


class Statistics:
    """Weighted sums over samples of 1, x, y, x x', x y and y^2, about an origin that takes away cancellation."""

    def __init__(self, origin: NDArray[np.float64], y_origin: float, sums: tuple[Any, ...]) -> None:
        self.origin, self.y_origin, self.sums = origin, y_origin, sums

    @classmethod
    def of(
        cls,
        X: Any,
        y: NDArray[np.float64],
        weight: NDArray[Any] | None,
        rows: Any = slice(None),
        like: Any = None,
        centred: bool = True,
        n_threads: int | None = None,
    ) -> Statistics:
        """Those of some rows of X, in one pass; about the origin of others, or about a mean unless not `centred`."""
        p = X.shape[1]
        size = max(1, BLOCK // p, p // 4)  # fewer, and adding up p^2 sums takes the time
        if not centred:
            origin, y_origin = np.zeros(p), 0.0
        elif like is None:
            first = X[slice(0, size) if isinstance(rows, slice) else rows[:size]]
            origin = np.ravel(np.asarray(first.mean(axis=0))).astype(np.float64)
            y_origin = float(y[rows].mean())
        else:
            origin, y_origin = like.origin, like.y_origin
        if isinstance(X, np.ndarray) and X.strides[1] == X.itemsize and _gram.are_here(p):
            return cls(origin, y_origin, _sums_by_kernel(X, y, weight, rows, origin, y_origin, n_threads))
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
        A = sxx / total
        if o.any():
            cross = np.outer(sx / total, o)
            A += cross + cross.T + np.outer(o, o)
        q = (sxy + sx * u + o * sy) / total + o * u
        return Quadratic(A, q, (syy + 2 * u * sy) / total + u * u, np.zeros_like(o), 0.0)

    def errors(self, W: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean squared errors of models, coefficients of shape (k, p) and intercepts (k,)."""
        total, sx, sy, sxx, sxy, syy = self.sums
        b = b + W @ self.origin - self.y_origin
        squares = syy - 2 * W @ sxy + ((W @ sxx) * W).sum(axis=1)
        result: NDArray[np.float64] = np.maximum((squares - 2 * b * (sy - W @ sx)) / total + b * b, 0.0)
        return result


def _sums_by_kernel(
    X: NDArray[Any],
    y: NDArray[np.float64],
    weight: Any,
    rows: Any,
    origin: NDArray[np.float64],
    y_origin: float,
    n_threads: int | None,
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
    products, sxy = _gram.weighted_gram(X, weight, weighted, origin if origin.any() else None, index, n_threads)
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
