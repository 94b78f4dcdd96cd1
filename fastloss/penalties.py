"""Penalties on coefficients: value, proximal operator, gradient of the smooth part.

A penalty is ``sum(weights * (l1 * abs(w) + l2 * w^2))``, without 1/2, and infinite below 0 where coefficients must be
positive. What it costs to move each coordinate is all that a solver asks of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._checks import check_number
from fastloss._costs import Costs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["L1", "L2", "ElasticNet"]


def soft_threshold(w: NDArray[Any], threshold: float | NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Move every entry towards 0 by ``threshold``, and to exactly 0 where it is not larger."""
    # w - clip(w): an entry inside becomes exactly 0; NaN stays NaN.
    threshold = np.minimum(threshold, float(np.finfo(w.dtype).max)).astype(w.dtype)
    clipped = np.clip(w, -threshold, threshold)
    result: NDArray[Any] = np.subtract(w, clipped, out=out)
    return result


class ElasticNet:
    """Elastic net, ``sum(weights * (l1 * abs(w) + l2 * w^2))``.

    Parameters
    ----------
    l1, l2 : float
        Strengths, finite and >= 0. There is no 1/2 before ``l2``.
    weights : array_like of shape (p,), optional
        How much each feature's penalty counts; finite and >= 0, 0 for a feature that is not penalised. 1 by default.
    positive : bool
        Whether coefficients must be >= 0: the penalty is infinite elsewhere.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not what it may be.

    References
    ----------
    H. Zou and T. Hastie (2005), "Regularization and variable selection via the elastic net", JRSS B 67(2); for weights,
    H. Zou (2006), "The adaptive lasso and its oracle properties", JASA 101.
    """

    __slots__ = ("l1", "l2", "positive", "weights")

    l1: float
    l2: float
    weights: NDArray[np.float64] | None
    positive: bool

    def __init__(self, l1: float, l2: float, weights: ArrayLike | None = None, positive: bool = False) -> None:
        if not isinstance(positive, bool | np.bool_):
            raise TypeError(f"positive must be True or False, got {positive!r}")
        if weights is not None:
            array = np.array(weights)
            if array.dtype.kind not in "fiub":
                raise TypeError(f"weights must hold real numbers, got dtype {array.dtype}")
            if array.ndim != 1 or not (np.isfinite(array) & (array >= 0)).all():
                raise ValueError("weights must be one finite number >= 0 for each feature")
            weights = array.astype(np.float64)
            weights.flags.writeable = False
        object.__setattr__(self, "l1", check_number("l1", l1, 0, math.inf, "[)"))
        object.__setattr__(self, "l2", check_number("l2", l2, 0, math.inf, "[)"))
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "positive", bool(positive))

    def __call__(self, w: ArrayLike) -> float:
        """The penalty of the coefficients ``w``, an array of any shape; its last axis is that of the features."""
        array = _coefficients(w).astype(np.float64, copy=False)
        return self._costs_of(array).value(array.ravel())

    def prox(self, w: ArrayLike, step: float, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Proximal operator: the v that minimises ``penalty(v) + sum((v - w)^2) / (2 step)``.

        Parameters
        ----------
        w : array_like
            A point, of any shape.
        step : float
            Step size, > 0.
        out : ndarray, optional
            Takes the result; of the shape and dtype of ``w``, which it may be.

        Returns
        -------
        ndarray
            Soft-thresholded at ``step * l1``, then divided by ``1 + 2 step l2``; 0 exactly within the threshold, and
            where it would be negative but must not.

        Raises
        ------
        TypeError, ValueError
            If ``w`` does not hold real numbers, ``step`` is not a positive number, or ``out`` does not fit.
        """
        w = _coefficients(w)
        step = check_number("step", step, 0, math.inf)
        if out is not None:
            if not isinstance(out, np.ndarray) or out.dtype != w.dtype:
                raise TypeError(f"out must be an array of dtype {w.dtype}, the dtype of w; got {_kind(out)}")
            if out.shape != w.shape or not out.flags.writeable:
                raise ValueError(f"out must be writable and of the shape of w, {w.shape}; got shape {out.shape}")
        weights = 1.0 if self.weights is None else self._fitting(w)
        result = soft_threshold(w, step * self.l1 * weights, out)
        if self.l2:
            result = np.divide(result, (1 + 2 * step * self.l2 * weights), out=out, dtype=w.dtype)
        if self.positive:
            result = np.maximum(result, 0, out=out)
        return result

    def costs(self, p: int) -> Costs:
        """What each of p coordinates costs."""
        if self.weights is not None and len(self.weights) != p:
            raise ValueError(f"penalty must have one weight for each of {p} features, got {len(self.weights)}")
        weights = 1.0 if self.weights is None else self.weights
        up, ridge = np.empty(p), np.empty(p)
        up[:], ridge[:] = self.l1 * weights, self.l2 * weights
        return Costs(up, np.full(p, np.inf) if self.positive else up, ridge)

    def gradient(self, w: ArrayLike) -> NDArray[Any]:
        """Gradient of the smooth part, ``2 weights l2 w``."""
        w = _coefficients(w)
        scaled = w if self.weights is None else self._fitting(w) * w
        result: NDArray[Any] = np.multiply(2 * self.l2, scaled, dtype=scaled.dtype)
        return result

    def with_strengths(self, l1: float, l2: float) -> ElasticNet:
        """The same weights and sign, with other strengths."""
        return ElasticNet(l1, l2, self.weights, self.positive)

    def _fitting(self, w: NDArray[Any]) -> NDArray[Any]:
        assert self.weights is not None
        if w.ndim == 0 or w.shape[-1] != len(self.weights):
            raise ValueError(f"w must have {len(self.weights)} features along its last axis, got shape {w.shape}")
        return self.weights

    def _costs_of(self, w: NDArray[Any]) -> Costs:
        """What each number of an array costs, in C order."""
        if self.weights is not None:
            self._fitting(w)
        costs = self.costs(w.shape[-1] if w.ndim else 1)
        return costs.repeated(w.size // max(1, len(costs)))

    @property
    def _parameters(self) -> tuple[Any, ...]:
        return self.l1, self.l2, None if self.weights is None else self.weights.tobytes(), self.positive

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; make a new one")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ElasticNet) and self._parameters == other._parameters

    def __hash__(self) -> int:
        return hash(self._parameters)

    def _options(self) -> str:
        weights = "" if self.weights is None else f", weights=<{len(self.weights)} numbers>"
        return weights + (", positive=True" if self.positive else "")

    def __repr__(self) -> str:
        return f"ElasticNet(l1={self.l1!r}, l2={self.l2!r}{self._options()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ElasticNet, (self.l1, self.l2, self.weights, self.positive)


class L1(ElasticNet):
    """Lasso penalty, ``lam * sum(weights * abs(w))``.

    Parameters
    ----------
    lam : float
        Strength, finite and >= 0.
    weights, positive
        As for `ElasticNet`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not what it may be.
    """

    __slots__ = ()

    def __init__(self, lam: float, weights: ArrayLike | None = None, positive: bool = False) -> None:
        super().__init__(check_number("lam", lam, 0, math.inf, "[)"), 0.0, weights, positive)

    @property
    def lam(self) -> float:
        """The strength."""
        return self.l1

    def __repr__(self) -> str:
        return f"L1(lam={self.l1!r}{self._options()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return L1, (self.l1, self.weights, self.positive)


class L2(ElasticNet):
    """Ridge penalty, ``lam * sum(weights * w^2)``, without 1/2.

    Parameters
    ----------
    lam : float
        Strength, finite and >= 0.
    weights, positive
        As for `ElasticNet`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not what it may be.
    """

    __slots__ = ()

    def __init__(self, lam: float, weights: ArrayLike | None = None, positive: bool = False) -> None:
        super().__init__(0.0, check_number("lam", lam, 0, math.inf, "[)"), weights, positive)

    @property
    def lam(self) -> float:
        """The strength."""
        return self.l2

    def __repr__(self) -> str:
        return f"L2(lam={self.l2!r}{self._options()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return L2, (self.l2, self.weights, self.positive)


def _coefficients(w: ArrayLike) -> NDArray[Any]:
    """`w` as an array of float32 or float64."""
    array = np.asarray(w)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"w must hold real numbers, got dtype {array.dtype}")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _kind(x: object) -> str:
    return str(x.dtype) if isinstance(x, np.ndarray) else type(x).__name__
