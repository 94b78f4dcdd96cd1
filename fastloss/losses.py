"""The losses: small immutable objects over the compiled kernels.

A class here says what its kernel is called, which parameters it takes, and what the words for its domain are. Its
arithmetic stands in ``simd/losses.hpp``. Methods common to all losses are inherited from ``_reduce.BlockLoss``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastloss._arrays import as_real_array
from fastloss._checks import check_number
from fastloss._reduce import BlockLoss

__all__ = [
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CategoricalCrossEntropy",
    "Huber",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredError",
]

Array = NDArray[np.float64]

#: Every loss class of the package by the name of its class; tests, benchmarks and docs run over it.
REGISTRY: dict[str, type[Loss]] = {}

# Of its gradient is what a loss curves at least in the eyes of Newton's method, or steps go too far: predictions have a
# natural unit here, that of logarithms, and this ends a step after 20.
LINEAR = 0.05
CURVED = 0.01  # of its parabola's curvature is what a sample gets where Huber's loss is linear, and enough others curve
BLOCK = 1 << 14  # samples whose conjugates are found at a time: what is found on the way stays in cache


class Loss(BlockLoss):
    """Base class of all losses: immutable, compared and hashed by class and parameters, safe to pickle and to share."""

    #: What labels and predictions may be, in the words of error messages.
    label_domain: str = "numbers, not NaN"
    prediction_domain: str = "real numbers"
    #: Whether the gradient is continuous.
    smooth: ClassVar[bool] = True
    #: Whether the second derivative is constant.
    quadratic: ClassVar[bool] = False

    @property
    def many_outputs(self) -> bool:
        """Whether a sample has a row of predictions."""
        return False

    @property
    def convex(self) -> bool | None:
        """Whether the loss is convex in the predictions; None: not known."""
        return True

    @property
    def has_curvature(self) -> bool:
        """Whether second-order solvers know enough of the second derivative."""
        return self.smooth

    _parameters: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ == __name__:
            REGISTRY[cls.__name__] = cls

    def _setup(self, kernel: str, values: Sequence[float], weighs: bool = False, **parameters: Any) -> None:
        """Bind the kernel with its C parameters, and remember the parameters of the constructor."""
        self._bind(kernel, values, weighs)
        object.__setattr__(self, "_parameters", parameters)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._parameters:
            return self._parameters[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; make a new one with another {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._parameters.items())})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._parameters == other._parameters

    def __hash__(self) -> int:
        return hash((type(self), *self._parameters.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._parameters)

    def __copy__(self) -> Loss:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Loss:
        return self

    def labels_ok(self, y_true: NDArray[Any], k: int) -> tuple[NDArray[np.bool_], str]:
        """Which labels are in the domain for k outputs, and the domain in words."""
        return ~np.isnan(y_true), self.label_domain

    def _curvatures(self, y_true: Array, y_pred: Array, first: Array, second: Array, n_features: int) -> Array:
        """The second derivatives as Newton's method takes them: not 0 where the loss is about linear."""
        return second if self.quadratic else np.maximum(second, LINEAR * np.abs(first))

    def _gentler(self, y_true: Array, y_pred: Array) -> list[tuple[Loss, float]]:
        """Losses on the way to this one from one that curves at most samples; each with how many times this it is.

        Empty where this one curves enough for Newton's method.
        """
        return []

    @property
    def has_conjugate(self) -> bool:
        """Whether `conjugate` is written down for this loss."""
        return type(self).conjugate is not Loss.conjugate

    def conjugate(self, y_true: Array, u: Array) -> Array:
        """Convex conjugate of each sample's loss, sup over z of u z - loss(y, z); inf outside its domain.

        Parameters
        ----------
        y_true, u : ndarray of shape (n,)
            Labels and dual variables; the domain of ``u`` holds every value of the gradient.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        TypeError
            If the conjugate of this loss is not known here: duality gaps then are not either.
        """
        raise TypeError(f"{self!r} has no conjugate here, so that a duality gap is not known")

    def _sum_of_conjugates(self, y_true: Array, u: Array, weights: Array | None, n_threads: int | None) -> float:
        """The sum of s conjugate(u / s) for weights s > 0, or 1 where there are none; in float64."""
        total = 0.0
        for start in range(0, len(u), BLOCK):
            rows = slice(start, start + BLOCK)
            if weights is None:
                total += float(self.conjugate(y_true[rows], u[rows]).sum())
            else:
                total += float(weights[rows] @ self.conjugate(y_true[rows], u[rows] / weights[rows]))
        return total


def _rebuild(cls: type[Loss], parameters: dict[str, Any]) -> Loss:
    return cls(**parameters)


class SquaredError(Loss):
    """Squared error, (y - p)^2 without 1/2: its mean is the mean squared error.

    The value is taken in float64 for float32 as well, so that residuals of 1e20 do not overflow.
    """

    quadratic = True

    def __init__(self) -> None:
        self._setup("squared_error", ())

    def conjugate(self, y_true: Array, u: Array) -> Array:  # noqa: D102
        return u * y_true + u * u / 4


class AbsoluteError(Loss):
    """Absolute error, abs(y - p). At y = p the gradient is 0, a subgradient."""

    smooth = False

    def __init__(self) -> None:
        self._setup("absolute_error", ())


class Huber(Loss):
    """Huber's loss of r = p - y: r^2 / 2 where abs(r) <= delta, delta (abs(r) - delta / 2) outside.

    Parameters
    ----------
    delta : float
        Where the loss turns from quadratic to linear; > 0.

    Raises
    ------
    TypeError, ValueError
        If ``delta`` is not a positive number.

    References
    ----------
    P. J. Huber (1964), "Robust estimation of a location parameter", Annals of Mathematical Statistics 35(1).
    """

    def __init__(self, delta: float = 1.0) -> None:
        delta = check_number("delta", delta, 0, math.inf)
        self._setup("huber", (delta,), delta=delta)

    def conjugate(self, y_true: Array, u: Array) -> Array:  # noqa: D102
        inside = np.abs(u) <= self.delta * (1 + _slack(u))
        return np.where(inside, u * y_true + u * u / 2, np.inf)

    def _curvatures(self, y_true: Array, y_pred: Array, first: Array, second: Array, n_features: int) -> Array:
        linear = np.flatnonzero((second == 0) & (first != 0))
        if len(linear) == 0:
            return second
        # That of the parabola which touches the loss and stays above it, so that every step goes down; the less of it,
        # the fewer samples are where the loss is linear. Little of it where the others say what all features do: then
        # steps are Newton's, and few.
        part = (len(linear) / len(first)) ** 2
        if np.count_nonzero(second) >= n_features:
            part *= CURVED
        result = second.copy()
        result[linear] = part * np.abs(first[linear] / (y_pred[linear] - y_true[linear]))
        return result

    def _gentler(self, y_true: Array, y_pred: Array) -> list[tuple[Loss, float]]:
        # About absolute errors: K. Madsen and H. B. Nielsen (1993), "A finite smoothing algorithm for linear l1
        # estimation", SIAM J. Optimization 3(2).
        times = float(np.median(np.abs(y_pred - y_true))) / self.delta
        if not 10 < times < math.inf:
            return []
        return [(Huber(self.delta * 10.0**k), 10.0**k) for k in range(math.ceil(math.log10(times)), 0, -1)]


class Quantile(Loss):
    """Pinball loss of u = y - p: q u where u >= 0, (q - 1) u where u < 0; minimised by the q-quantile.

    At u = 0 the gradient is 0, a subgradient for every q.

    Parameters
    ----------
    q : float
        The quantile, in (0, 1).

    Raises
    ------
    TypeError, ValueError
        If ``q`` is not a number in (0, 1).

    References
    ----------
    R. Koenker and G. Bassett (1978), "Regression quantiles", Econometrica 46(1).
    """

    smooth = False

    def __init__(self, q: float = 0.5) -> None:
        q = check_number("q", q, 0, 1)
        self._setup("quantile", (q,), q=q)


class BinaryCrossEntropy(Loss):
    """Binary cross-entropy, -[y log p + (1 - y) log(1 - p)], for labels (probabilities) y in [0, 1].

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits z, p = 1 / (1 + exp(-z)), or probabilities p in [0, 1].
    eps : float
        Probabilities are clipped to [eps, 1 - eps]; in [0, 0.5). Where 1 - eps rounds to 1, as for the default in
        float32, the upper end is the largest number below 1. Value and gradient come from the same clipped value:
        outside the clip the loss is constant and its gradient is exactly 0, on its ends it is that of the inside.
        Unused with logits.
    label_smoothing : float
        s in [0, 1]: labels become y (1 - s) + s / 2.
    pos_weight : float
        Multiplies the term of y (after smoothing); >= 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not what it may be.

    Notes
    -----
    With logits the loss is log1p(exp(-abs(z))) plus a non-negative linear term, which never cancels, and the gradient
    for y = 1 is -sigmoid(-z), not sigmoid(z) - 1: both keep full relative precision over the whole range.
    """

    label_domain = "numbers in [0, 1]"

    def __init__(
        self,
        from_logits: bool = False,
        eps: float = 1e-15,
        label_smoothing: float = 0.0,
        pos_weight: float = 1.0,
    ) -> None:
        if not isinstance(from_logits, bool | np.bool_):
            raise TypeError(f"from_logits must be True or False, got {from_logits!r}")
        eps = check_number("eps", eps, 0, 0.5, "[)")
        label_smoothing = check_number("label_smoothing", label_smoothing, 0, 1, "[]")
        pos_weight = check_number("pos_weight", pos_weight, 0, math.inf, "[)")
        self._setup(
            "binary_cross_entropy_logits" if from_logits else "binary_cross_entropy_probabilities",
            (label_smoothing, pos_weight, eps),
            from_logits=bool(from_logits),
            eps=eps,
            label_smoothing=label_smoothing,
            pos_weight=pos_weight,
        )
        if not from_logits:
            object.__setattr__(self, "prediction_domain", "probabilities in [0, 1]")

    @property
    def has_conjugate(self) -> bool:  # noqa: D102
        return bool(self.from_logits)

    def _positives(self, y_true: Array) -> Array:
        """The weight of -log p."""
        s = self.label_smoothing
        mass = y_true if s == 0 else y_true * (1 - s) + s / 2
        return mass if self.pos_weight == 1 else self.pos_weight * mass

    def _negatives(self, y_true: Array) -> Array:
        """The weight of -log(1 - p)."""
        s = self.label_smoothing
        return 1 - y_true if s == 0 else (1 - y_true) * (1 - s) + s / 2

    def conjugate(self, y_true: Array, u: Array) -> Array:  # noqa: D102
        if not self.from_logits:
            return super().conjugate(y_true, u)
        # With t = (u + a) / (a + b): (a + b) [t log t + (1 - t) log(1 - t)].
        a, b = self._positives(y_true), self._negatives(y_true)
        total = 1.0 if self.pos_weight == 1 else a + b
        up, down = u + a, b - u
        outside = np.minimum(up, down) < -_slack(u) * total
        terms = _entropy(up, total)
        terms += _entropy(down, total)
        if outside.any():
            terms[outside] = np.inf
        return terms

    def _sum_of_conjugates(self, y_true: Array, u: Array, weights: Array | None, n_threads: int | None) -> float:
        # The entropy of t is the cross-entropy of t for the label t: one compiled pass.
        a, s = self._positives(y_true), weights
        if self.pos_weight != 1:
            total = a + self._negatives(y_true)
            s = total if weights is None else weights * total
        if s is None:
            t = u + a
        else:
            t = np.divide(u + (a if weights is None else weights * a), s, out=np.zeros_like(u), where=s > 0)
            if u[s == 0].any():
                return math.inf
        least, largest = t.min(), t.max()
        if least < 0 or largest > 1:
            slack = _slack(u)
            if least < -slack or largest > 1 + slack:
                return math.inf
            np.clip(t, 0.0, 1.0, out=t)
        return -float(ENTROPY(t, t, s, reduction="sum", n_threads=n_threads))


ENTROPY = BinaryCrossEntropy(eps=0.0)


def _slack(u: Array) -> float:
    """What rounding may make a gradient leave a conjugate's domain by, as a part of its size."""
    return max(1e-9, 16 * float(np.finfo(np.result_type(u, np.float32)).eps))


def _entropy(t: Array, total: Array | float) -> Array:
    """The entropy t log(t / total), 0 where t is not > 0; without branches, that would cost more than logarithms."""
    t = np.maximum(t, 0.0)
    logs = np.maximum(t, np.finfo(np.float64).tiny)
    if isinstance(total, np.ndarray):
        logs /= np.where(total > 0, total, 1.0)
    np.log(logs, out=logs)
    logs *= t
    return logs


class CategoricalCrossEntropy(Loss):
    r"""Categorical cross-entropy, -sum_c a_c log p_c, of K classes along the last axis of the predictions.

    Labels are class indices, of shape ``y_pred.shape[:-1]`` and any real dtype, or rows of probabilities (one-hot or
    soft), of the shape of ``y_pred``. With the probabilities y_c of the label (1 for the index, 0 elsewhere), class
    weights v and smoothing s,

        a_c = v_c ((1 - s) y_c + s / K).

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits z, p_c = exp(z_c) / sum_j exp(z_j), or probabilities in [0, 1]; these are used as
        they are, also where a row does not sum to 1.
    eps : float
        Probabilities are clipped to [eps, 1 - eps], as in `BinaryCrossEntropy`. Unused with logits.
    label_smoothing : float
        s in [0, 1].
    class_weight : array_like of shape (K,), optional
        v; finite numbers >= 0. A mean divides by the sum of ``sample_weight`` times the weight of each label (for rows
        of probabilities the mean weight, sum_c v_c y_c / sum_c y_c), so that one-hot labels and indices agree.
    ignore_index : int, optional
        Samples of this label count as if their weight were 0; any integer. Not for rows of probabilities.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not what it may be.

    Notes
    -----
    With m the largest logit and R the sum of exp(z_c - m) over all classes but one of that logit,
    log sum_c exp(z_c) = m + log1p(R): of logits (1000, 980, 0) and label 0 the loss is 2.06e-9, not 0, in float32 too.
    Each logit is exponentiated once for value and gradient. A row with a logit of +inf, or with nothing but -inf, has
    the loss NaN; -inf elsewhere is a class of probability 0. Where no sample counts, the mean is NaN, its gradient 0.
    """

    label_domain = "class indices, integers from 0 to the number of classes - 1"

    def __init__(
        self,
        from_logits: bool = False,
        eps: float = 1e-15,
        label_smoothing: float = 0.0,
        class_weight: ArrayLike | None = None,
        ignore_index: int | None = None,
    ) -> None:
        if not isinstance(from_logits, bool | np.bool_):
            raise TypeError(f"from_logits must be True or False, got {from_logits!r}")
        eps = check_number("eps", eps, 0, 0.5, "[)")
        label_smoothing = check_number("label_smoothing", label_smoothing, 0, 1, "[]")
        weights: tuple[float, ...] | None = None
        if class_weight is not None:
            array = as_real_array(class_weight, "class_weight")
            if array.ndim != 1 or array.size == 0:
                raise ValueError(f"class_weight must have one entry for each class, got shape {array.shape}")
            if not (np.isfinite(array) & (array >= 0)).all():
                raise ValueError(f"class_weight must hold finite numbers >= 0, got {class_weight!r}")
            weights = tuple(float(x) for x in array)
        if ignore_index is not None:
            try:
                if isinstance(ignore_index, (bool, np.bool_)):
                    raise TypeError
                ignore_index = operator.index(ignore_index)
            except TypeError:
                raise TypeError(f"ignore_index must be an integer or None, got {ignore_index!r}") from None
        self._setup(
            "categorical_cross_entropy_logits" if from_logits else "categorical_cross_entropy_probabilities",
            (
                label_smoothing,
                eps,
                float(ignore_index is not None),
                float(max(-(2**1000), min(ignore_index or 0, 2**1000))),  # no label is larger
                float(len(weights or ())),
                *(weights or ()),
            ),
            weighs=weights is not None or ignore_index is not None,
            from_logits=bool(from_logits),
            eps=eps,
            label_smoothing=label_smoothing,
            class_weight=weights,
            ignore_index=ignore_index,
        )
        if not from_logits:
            object.__setattr__(self, "prediction_domain", "probabilities in [0, 1]")

    @property
    def many_outputs(self) -> bool:  # noqa: D102
        return True

    @property
    def has_conjugate(self) -> bool:  # noqa: D102
        return bool(self.from_logits)

    def check_classes(self, k: int) -> None:
        """Raise ValueError where ``class_weight`` does not have k entries."""
        if self.class_weight is not None and len(self.class_weight) != k:
            raise ValueError(f"class_weight must have one entry for each of {k} classes, got {len(self.class_weight)}")

    def labels_ok(self, y_true: NDArray[Any], k: int) -> tuple[NDArray[np.bool_], str]:  # noqa: D102
        if y_true.ndim == 1:
            whole = (y_true >= 0) & (y_true < k) & (y_true == np.floor(y_true))
            return whole, f"class indices, integers from 0 to {k - 1}"
        return (y_true >= 0) & (y_true <= 1), "class indices, or probabilities in [0, 1]"

    def targets(self, y_true: Array, k: int) -> Array:
        """The weights a_c of -log p_c for each sample, shape (n, k); 0 for ignored ones.

        Parameters
        ----------
        y_true : ndarray of shape (n,) or (n, k)
            Class indices or probabilities.
        k : int
            The number of classes.
        """
        if y_true.ndim == 1:
            kept = np.ones(len(y_true), bool) if self.ignore_index is None else y_true != self.ignore_index
            rows = np.zeros((len(y_true), k))
            rows[np.flatnonzero(kept), y_true[kept].astype(np.intp)] = 1
        else:
            kept, rows = np.ones(len(y_true), bool), y_true
        rows = (1 - self.label_smoothing) * rows + self.label_smoothing / k
        if self.class_weight is not None:
            rows = rows * np.array(self.class_weight)
        return np.where(kept[:, None], rows, 0.0)

    def conjugate(self, y_true: Array, u: Array) -> Array:  # noqa: D102
        if not self.from_logits:
            return super().conjugate(y_true, u)
        # Of A log sum_c exp(z_c) - sum_c a_c z_c: sum_c t_c log(t_c / A) with t = u + a >= 0, sum_c u_c = 0.
        a = self.targets(y_true, u.shape[1])
        total = a.sum(axis=1, keepdims=True)
        t = u + a
        slack = 1e-6 * total  # the gradient of a float32 pass may leave the domain by its rounding
        outside = (t < -slack).any(axis=1) | (np.abs(u.sum(axis=1)) > u.shape[1] * slack[:, 0])
        return np.where(outside, np.inf, _entropy(t, total).sum(axis=1))


class Poisson(Loss):
    """Poisson loss, exp(z) - y z, of the log z of the mean; labels y >= 0. The constant log(y!) is left out."""

    label_domain = "finite numbers >= 0"

    def __init__(self) -> None:
        self._setup("poisson", ())

    def conjugate(self, y_true: Array, u: Array) -> Array:  # noqa: D102
        v = u + y_true
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(v < 0, np.inf, np.where(v == 0, 0.0, v * np.log(v) - v))
