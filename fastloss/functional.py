"""The losses as functions, under the names that people type: ``f(y_true, y_pred, sample_weight=None, **parameters)``.

Each returns the weighted mean of the loss of the same name in `fastloss.losses`, where parameters, shapes, dtypes and
errors are described.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastloss.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    Poisson,
    Quantile,
    SquaredError,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "huber",
    "mae",
    "mse",
    "poisson_nll",
    "quantile_loss",
    "rmse",
]

_SQUARED, _ABSOLUTE, _POISSON = SquaredError(), AbsoluteError(), Poisson()


def mse(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Mean squared error, without 1/2. See `fastloss.SquaredError`."""
    return _SQUARED(y_true, y_pred, sample_weight)


def rmse(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Root of the mean squared error, in the units of the labels. See `fastloss.SquaredError`."""
    return math.sqrt(_SQUARED(y_true, y_pred, sample_weight))


def mae(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Mean absolute error. See `fastloss.AbsoluteError`."""
    return _ABSOLUTE(y_true, y_pred, sample_weight)


def huber(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None, *, delta: float = 1.0) -> float:
    """Mean of Huber's loss. See `fastloss.Huber`."""
    return Huber(delta)(y_true, y_pred, sample_weight)


def quantile_loss(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None, *, q: float = 0.5
) -> float:
    """Mean pinball loss. See `fastloss.Quantile`."""
    return Quantile(q)(y_true, y_pred, sample_weight)


def binary_cross_entropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    from_logits: bool = False,
    eps: float = 1e-15,
    label_smoothing: float = 0.0,
    pos_weight: float = 1.0,
) -> float:
    """Mean binary cross-entropy, of probabilities or of logits. See `fastloss.BinaryCrossEntropy`."""
    return BinaryCrossEntropy(from_logits, eps, label_smoothing, pos_weight)(y_true, y_pred, sample_weight)


def categorical_cross_entropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    from_logits: bool = False,
    eps: float = 1e-15,
    label_smoothing: float = 0.0,
    class_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> float:
    """Mean categorical cross-entropy, of probabilities or of logits. See `fastloss.CategoricalCrossEntropy`."""
    loss = CategoricalCrossEntropy(from_logits, eps, label_smoothing, class_weight, ignore_index)
    return loss(y_true, y_pred, sample_weight)


def poisson_nll(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Mean of exp(z) - y z, where ``y_pred`` is z, the log of the mean. See `fastloss.Poisson`."""
    return _POISSON(y_true, y_pred, sample_weight)
