"""What XGBoost and LightGBM ask of an objective and a metric; both ask for nearly the same."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastloss._checks import check_number
from fastloss.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, Poisson, SquaredError

# Their second derivative is positive, or too small to matter; that of all others may be 0 or negative anywhere.
CURVED = (BinaryCrossEntropy, CategoricalCrossEntropy, Poisson, SquaredError)

POISSON_STEP = float(np.exp(0.7))  # both libraries' default of max_delta_step: exp(z + 0.7) for the second derivative

Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]


class Data(Protocol):
    """An ``xgboost.DMatrix`` or a ``lightgbm.Dataset``."""

    def get_label(self) -> Any: ...
    def get_weight(self) -> Any: ...


def check_objective(loss: Loss) -> None:
    """Refuse what cannot be boosted."""
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be a loss, such as fastloss.SquaredError(), got {loss!r}")
    if not getattr(loss, "from_logits", True):
        raise TypeError(f"trees add up to logits: loss must be {type(loss).__name__}(from_logits=True), got {loss!r}")


def derivatives(
    loss: Loss,
    y_true: NDArray[Any],
    y_pred: NDArray[Any],
    sample_weight: NDArray[Any] | None,
    n_threads: int | None = None,
    out: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`grad_and_hess`, with 1 times the weight for each second derivative that is 0 or negative.

    Newton steps of a tree divide by sums of them. It is what libraries take for absolute errors.
    """
    if getattr(loss, "has_hessian", True):
        gradient, hessian = loss.grad_and_hess(y_true, y_pred, sample_weight, out=out, n_threads=n_threads)
    else:  # a loss of the user's own, of which only the gradient is known
        first = None if out is None else out[0]
        _, gradient = loss.value_and_grad(
            y_true, y_pred, sample_weight, reduction="sum", out=first, n_threads=n_threads
        )
        hessian = np.empty_like(gradient) if out is None else out[1]
        hessian.fill(0)
    if not isinstance(loss, CURVED):
        weight: Any = 1
        if sample_weight is not None:
            weight = np.reshape(sample_weight, np.shape(sample_weight) + (1,) * (hessian.ndim - np.ndim(sample_weight)))
        np.copyto(hessian, weight, where=hessian <= 0, casting="same_kind")
    return gradient, hessian


class Objective:
    """Gradient and second derivative for each sample, times its weight.

    Called by a library, with (predictions, data), or by its scikit-learn wrapper, (labels, predictions, weights).
    """

    def __init__(self, loss: Loss, scale: float, hessian_factor: float | None) -> None:
        check_objective(loss)
        self.loss = loss
        self.scale = check_number("scale", scale, 0, float("inf"))
        if hessian_factor is not None:
            hessian_factor = check_number("hessian_factor", hessian_factor, 0, float("inf"))
        self.hessian_factor = hessian_factor

    def default_factor(self, n_outputs: int) -> float:
        """What the library multiplies second derivatives by."""
        return POISSON_STEP if isinstance(self.loss, Poisson) else 1.0

    def derivatives(
        self, y: NDArray[Any], z: NDArray[Any], weight: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Those of the loss, to be multiplied by factors."""
        return derivatives(self.loss, y, z, weight)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[NDArray[Any], NDArray[Any]]:
        y, z, weight = arrays(y_true, y_pred, sample_weight)
        gradient, hessian = self.derivatives(y, z, weight)
        factor = self.hessian_factor or self.default_factor(z.shape[-1] if z.ndim > 1 else 1)
        if self.scale != 1:
            gradient *= self.scale
        if self.scale * factor != 1:
            hessian *= self.scale * factor
        return gradient, hessian

    def __repr__(self) -> str:
        return f"{type(self).__module__}.objective({self.loss!r})"


class Metric:
    """The weighted mean of a loss, called like `Objective`."""

    def __init__(self, loss: Loss, name: str | None) -> None:
        if not isinstance(loss, Loss):
            raise TypeError(f"loss must be a loss, such as fastloss.SquaredError(), got {loss!r}")
        self.loss = loss
        self.__name__: str = name or str(getattr(loss, "__name__", type(loss).__name__))

    def __repr__(self) -> str:
        return f"{type(self).__module__}.metric({self.loss!r}, {self.__name__!r})"


def arrays(y_true: Any, y_pred: Any | Data, sample_weight: Any) -> Arrays:
    """Labels, predictions and weights, whichever way they come."""
    if hasattr(y_pred, "get_label"):
        y_pred, data = y_true, y_pred
        y_true, sample_weight = data.get_label(), data.get_weight()
    if sample_weight is not None and len(sample_weight) == 0:  # XGBoost's for none
        sample_weight = None
    labels, predictions = np.asarray(y_true), np.asarray(y_pred)
    if labels.size == predictions.size:  # several targets come raveled
        labels = labels.reshape(predictions.shape)
    return labels, predictions, None if sample_weight is None else np.asarray(sample_weight)
