"""Penalties on coefficients: value, proximal operator, gradient of the smooth part.

A penalty is ``l1 * sum(abs(w)) + l2 * sum(w^2)``, without 1/2. Its ``l1`` and ``l2`` are all that an objective or a
solver asks of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._checks import check_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["L1", "L2", "ElasticNet"]


def soft_threshold(w: NDArray[Any], threshold: float, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Move every entry towards 0 by ``threshold``, and to exactly 0 where it is not larger."""
    # w - clip(w): an entry inside becomes exactly 0; NaN stays NaN.
    threshold = min(threshold, float(np.finfo(w.dtype).max))
    clipped = np.clip(w, -threshold, threshold)
    result: NDArray[Any] = np.subtract(w, clipped, out=out)
    return result


class ElasticNet:
    """Elastic net, ``l1 * sum(abs(w)) + l2 * sum(w^2)``.

    Parameters
    ----------
    l1, l2 : float
        Strengths, finite and >= 0. There is no 1/2 before ``l2``.

    Raises
    ------
    TypeError, ValueError
        If a strength is not a finite number >= 0.

    References
    ----------
    H. Zou and T. Hastie (2005), "Regularization and variable selection via the elastic net", JRSS B 67(2).
    """

    __slots__ = ("l1", "l2")

    l1: float
    l2: float

    def __init__(self, l1: float, l2: float) -> None:
        object.__setattr__(self, "l1", check_number("l1", l1, 0, math.inf, "[)"))
        object.__setattr__(self, "l2", check_number("l2", l2, 0, math.inf, "[)"))

    def __call__(self, w: ArrayLike) -> float:
        """The penalty of the coefficients ``w``, an array of any shape."""
        w = _coefficients(w).astype(np.float64, copy=False).ravel()
        return self.l1 * float(np.abs(w).sum()) + self.l2 * float(w @ w)

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
            Soft-thresholded at ``step * l1``, then divided by ``1 + 2 step l2``; 0 exactly within the threshold.

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
        result = soft_threshold(w, step * self.l1, out)
        if self.l2:
            result = np.divide(result, 1 + 2 * step * self.l2, out=out)
        return result

    def gradient(self, w: ArrayLike) -> NDArray[Any]:
        """Gradient of the smooth part, ``2 l2 w``."""
        return 2 * self.l2 * _coefficients(w)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; make a new one")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ElasticNet) and (self.l1, self.l2) == (other.l1, other.l2)

    def __hash__(self) -> int:
        return hash((self.l1, self.l2))

    def __repr__(self) -> str:
        return f"ElasticNet(l1={self.l1!r}, l2={self.l2!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ElasticNet, (self.l1, self.l2)


class L1(ElasticNet):
    """Lasso penalty, ``lam * sum(abs(w))``.

    Parameters
    ----------
    lam : float
        Strength, finite and >= 0.

    Raises
    ------
    TypeError, ValueError
        If ``lam`` is not a finite number >= 0.
    """

    __slots__ = ()

    def __init__(self, lam: float) -> None:
        super().__init__(check_number("lam", lam, 0, math.inf, "[)"), 0.0)

    @property
    def lam(self) -> float:
        """The strength."""
        return self.l1

    def __repr__(self) -> str:
        return f"L1(lam={self.l1!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return L1, (self.l1,)


class L2(ElasticNet):
    """Ridge penalty, ``lam * sum(w^2)``, without 1/2.

    Parameters
    ----------
    lam : float
        Strength, finite and >= 0.

    Raises
    ------
    TypeError, ValueError
        If ``lam`` is not a finite number >= 0.
    """

    __slots__ = ()

    def __init__(self, lam: float) -> None:
        super().__init__(0.0, check_number("lam", lam, 0, math.inf, "[)"))

    @property
    def lam(self) -> float:
        """The strength."""
        return self.l2

    def __repr__(self) -> str:
        return f"L2(lam={self.l2!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return L2, (self.l2,)


def _coefficients(w: ArrayLike) -> NDArray[Any]:
    """`w` as an array of float32 or float64."""
    array = np.asarray(w)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"w must hold real numbers, got dtype {array.dtype}")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _kind(x: object) -> str:
    return str(x.dtype) if isinstance(x, np.ndarray) else type(x).__name__
