"""Losses as objectives and metrics of XGBoost.

>>> from fastloss.interop import xgboost as interop  # doctest: +SKIP
>>> booster = xgb.train({"base_score": 0}, data, 100, obj=interop.objective(fl.Huber(0.5)))  # doctest: +SKIP
>>> model = xgb.XGBRegressor(objective=interop.objective(fl.Huber(0.5)), base_score=0)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from fastloss.interop import _boosting
from fastloss.losses import CategoricalCrossEntropy, Loss

__all__ = ["metric", "objective"]


class Objective(_boosting.Objective):
    def default_factor(self, n_outputs: int) -> float:
        return 2.0 if isinstance(self.loss, CategoricalCrossEntropy) else super().default_factor(n_outputs)


class Metric(_boosting.Metric):
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float | tuple[str, float]:
        value = self.loss(*_boosting.arrays(y_true, y_pred, sample_weight))
        return (self.__name__, value) if hasattr(y_pred, "get_label") else value


def objective(loss: Loss, *, scale: float = 1.0, hessian_factor: float | None = None) -> Objective:
    """Make an objective of a loss: for ``xgb.train(..., obj=)`` and for ``objective=`` of the scikit-learn wrappers.

    Parameters
    ----------
    loss : Loss
        Of predictions without bounds: cross-entropies with ``from_logits=True``. One of many outputs needs the
        parameter ``num_class``; predictions then are of shape (n, K).
    scale : float
        Multiplies gradients and second derivatives. That matters to ``lambda``, ``alpha``, ``gamma`` and
        ``min_child_weight`` only; 0.5 makes `SquaredError` what "reg:squarederror" is.
    hessian_factor : float, optional
        Multiplies second derivatives beside that. By default what XGBoost does itself: 2 for
        `CategoricalCrossEntropy`, exp(0.7) for `Poisson`, 1 otherwise. 1 leaves them as they are.

    Returns
    -------
    callable
        ``(predictions, DMatrix)`` or ``(y_true, y_pred, sample_weight=None)`` to two float32 arrays of the shape of
        the predictions, gradient and second derivative of each sample's loss times its weight. It can be pickled.

    Raises
    ------
    TypeError, ValueError
        For a loss of probabilities, or a factor that is not a positive number.

    Notes
    -----
    Where a loss does not curve upwards, as an absolute error nowhere does, its second derivative counts as 1: steps
    then are sums of gradients. XGBoost's "reg:absoluteerror" and "reg:quantileerror" move the leaves of each tree to
    the median or quantile afterwards, which no objective given from outside can do.

    Set ``base_score``, from which trees start: for an objective of yours it is the first prediction as it is, a logit
    or the logarithm of a mean too, 0.5 if not given. `xgboost.XGBClassifier` still takes it for a probability, 0.5
    then is the logit 0. "count:poisson" also sets ``max_delta_step=0.7``; for `Poisson` you do.
    """
    return Objective(loss, scale, hessian_factor)


def metric(loss: Loss, name: str | None = None) -> Metric:
    """Make a metric of a loss: for ``xgb.train(..., custom_metric=)`` and for ``eval_metric=`` of the wrappers.

    Parameters
    ----------
    loss : Loss
        Of predictions as XGBoost hands them to metrics: logits beside an objective from `objective`; probabilities and
        means beside its own.
    name : str, optional
        By default that of the loss.

    Returns
    -------
    callable
        ``(predictions, DMatrix)`` to (name, value), or ``(y_true, y_pred, sample_weight=None)`` to the value; the
        weighted mean.

    Raises
    ------
    TypeError
        For what is not a loss.
    """
    return Metric(loss, name)
