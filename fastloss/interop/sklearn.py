"""Losses with the interface of scikit-learn's own, ``sklearn._loss``, which is private: for what takes those.

>>> from fastloss.interop.sklearn import sklearn_loss  # doctest: +SKIP
>>> model = HistGradientBoostingRegressor(loss=sklearn_loss(fl.Huber(0.5)))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn._loss.link import IdentityLink, Interval, LogitLink, LogLink, MultinomialLogit
from sklearn._loss.loss import BaseLoss

from fastloss.interop._boosting import check_objective, derivatives
from fastloss.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    Loss,
    Poisson,
    Quantile,
)

__all__ = ["SklearnLoss", "sklearn_loss"]

Array = NDArray[Any]


class SklearnLoss(BaseLoss):
    """A loss of this package, in place of one of ``sklearn._loss.loss``: what `sklearn_loss` returns.

    Arrays are as scikit-learn's: ``y_true`` and ``sample_weight`` of shape (n,), ``raw_prediction`` of shape (n,),
    (n, 1), or (n, K) for K classes, all float64 or all float32. Each entry of a result is of one sample, times its
    weight. ``*_out``: arrays that take a result, of any floating dtype; written to directly where theirs is that of
    ``raw_prediction``, and returned.
    """

    def __init__(self, loss: Loss, n_classes: int | None = None) -> None:
        super().__init__(None, _link(loss), n_classes)
        self.wrapped = loss
        self.is_multiclass = bool(loss.many_outputs)
        self.differentiable = loss.smooth
        self.approx_hessian = not isinstance(loss, BinaryCrossEntropy | CategoricalCrossEntropy | Poisson)
        if isinstance(loss, BinaryCrossEntropy):
            self.interval_y_true = Interval(0, 1, True, True)
        elif isinstance(loss, Poisson | CategoricalCrossEntropy):
            self.interval_y_true = Interval(0, np.inf, True, False)

    def loss(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None = None,
        loss_out: Array | None = None,
        n_threads: int = 1,
    ) -> Array:
        """The loss of each sample, shape (n,)."""
        z = _squeeze(raw_prediction)
        value = self.wrapped(y_true, z, sample_weight, reduction="none", n_threads=n_threads)
        return _copy(value, loss_out)

    def loss_gradient(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None = None,
        loss_out: Array | None = None,
        gradient_out: Array | None = None,
        n_threads: int = 1,
    ) -> tuple[Array, Array]:
        """The same and its derivative by ``raw_prediction``, of the shape of that."""
        z = _squeeze(raw_prediction)
        value, gradient = self.wrapped.value_and_grad(
            y_true, z, sample_weight, reduction="none", out=_buffer(gradient_out, z), n_threads=n_threads
        )
        return _copy(value, loss_out), _copy(gradient, gradient_out)

    def gradient(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None = None,
        gradient_out: Array | None = None,
        n_threads: int = 1,
    ) -> Array:
        """The derivative alone."""
        z = _squeeze(raw_prediction)
        _, gradient = self.wrapped.value_and_grad(
            y_true, z, sample_weight, reduction="sum", out=_buffer(gradient_out, z), n_threads=n_threads
        )
        return _copy(gradient, gradient_out)

    def gradient_hessian(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None = None,
        gradient_out: Array | None = None,
        hessian_out: Array | None = None,
        n_threads: int = 1,
    ) -> tuple[Array, Array]:
        """First and second derivatives; for classes the diagonal. 1 stands for second derivatives <= 0."""
        z = _squeeze(raw_prediction)
        first, second = _buffer(gradient_out, z), _buffer(hessian_out, z)
        out = (np.empty_like(z) if first is None else first, np.empty_like(z) if second is None else second)
        gradient, hessian = derivatives(self.wrapped, y_true, z, sample_weight, n_threads, out)
        return _copy(gradient, gradient_out), _copy(hessian, hessian_out)

    def __call__(
        self, y_true: Array, raw_prediction: Array, sample_weight: Array | None = None, n_threads: int = 1
    ) -> float:
        """The weighted average."""
        return self.wrapped(y_true, _squeeze(raw_prediction), sample_weight, n_threads=n_threads)

    def fit_intercept_only(self, y_true: Array, sample_weight: Array | None = None) -> Any:
        """Where boosting starts: the best constant, that of the median for `Huber`."""
        if not isinstance(self.wrapped, AbsoluteError | Quantile | Huber):
            return super().fit_intercept_only(y_true, sample_weight)
        order = np.argsort(y_true)
        weight = np.ones(len(y_true)) if sample_weight is None else sample_weight[order]
        below = np.cumsum(weight, dtype=np.float64)
        q = getattr(self.wrapped, "q", 0.5)
        return y_true[order[min(np.searchsorted(below, q * below[-1]), len(order) - 1)]]


class SklearnClassifierLoss(SklearnLoss):
    """The same for cross-entropies, which know probabilities."""

    def predict_proba(self, raw_prediction: Array) -> Array:
        """Probabilities of all classes, shape (n, K); K = 2 for a binary loss."""
        p = self.link.inverse(_squeeze(raw_prediction))
        return p if self.is_multiclass else np.column_stack([1 - p, p])

    def gradient_proba(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None = None,
        gradient_out: Array | None = None,
        proba_out: Array | None = None,
        n_threads: int = 1,
    ) -> tuple[Array, Array]:
        """The derivative and the probabilities of K classes."""
        gradient = self.gradient(y_true, raw_prediction, sample_weight, gradient_out, n_threads)
        return gradient, _copy(self.link.inverse(raw_prediction), proba_out)

    def fit_intercept_only(self, y_true: Array, sample_weight: Array | None = None) -> Any:
        if not self.is_multiclass:
            return super().fit_intercept_only(y_true, sample_weight)
        shares = [np.average(y_true == k, weights=sample_weight) for k in range(self.n_classes)]
        eps = np.finfo(y_true.dtype).eps
        return self.link.link(np.clip(np.array([shares], y_true.dtype), eps, 1 - eps)).reshape(-1)


def sklearn_loss(loss: Loss, n_classes: int | None = None) -> SklearnLoss:
    """A loss that does what scikit-learn's private ``sklearn._loss.loss.BaseLoss`` does, and is one.

    Parameters
    ----------
    loss : Loss
        Of predictions without bounds: cross-entropies with ``from_logits=True``.
    n_classes : int, optional
        K, for `CategoricalCrossEntropy` and other losses of many outputs; 2 by default for `BinaryCrossEntropy`.

    Returns
    -------
    SklearnLoss
        With ``loss``, ``loss_gradient``, ``gradient``, ``gradient_hessian`` and all else of its base class. It goes
        into ``sklearn.linear_model._linear_loss.LinearModelLoss``, and as ``loss=`` into
        `sklearn.ensemble.HistGradientBoostingRegressor`.

    Raises
    ------
    TypeError
        For a loss of probabilities, or one of many outputs without ``n_classes``.

    Notes
    -----
    Losses keep the scale of this package: `SquaredError` is twice scikit-learn's ``HalfSquaredError``, its second
    derivative 2. All others agree with ``HalfBinomialLoss``, ``HalfMultinomialLoss``, ``AbsoluteError``,
    ``PinballLoss`` and ``HuberLoss``; ``HalfPoissonLoss`` too, up to a constant. As in scikit-learn a second derivative
    of 1 stands in for that of losses which are linear.
    """
    check_objective(loss)
    if loss.many_outputs and n_classes is None:
        raise TypeError(f"n_classes must be given for {loss!r}, which has many outputs")
    if isinstance(loss, BinaryCrossEntropy):
        n_classes = 2
    is_classifier = isinstance(loss, BinaryCrossEntropy | CategoricalCrossEntropy)
    return (SklearnClassifierLoss if is_classifier else SklearnLoss)(loss, n_classes)


def _link(loss: Loss) -> Any:
    if isinstance(loss, BinaryCrossEntropy):
        return LogitLink()
    if isinstance(loss, Poisson):
        return LogLink()
    return MultinomialLogit() if isinstance(loss, CategoricalCrossEntropy) else IdentityLink()


def _squeeze(x: Array) -> Array:
    return x.squeeze(1) if x.ndim == 2 and x.shape[1] == 1 else x


def _buffer(out: Array | None, z: Array) -> Array | None:
    """`out` if a result of this package can be written to it."""
    return _squeeze(out) if out is not None and out.dtype == z.dtype else None


def _copy(result: Array, out: Array | None) -> Array:
    """`result` in `out`, where it may be already."""
    if out is None:
        return result
    if not np.may_share_memory(result, out):
        _squeeze(out)[...] = result
    return out
