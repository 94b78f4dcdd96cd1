"""Losses as objectives and metrics of LightGBM.

>>> from fastloss.interop import lightgbm as interop  # doctest: +SKIP
>>> booster = lgb.train({"objective": interop.objective(fl.Huber(0.5))}, data, 100)  # doctest: +SKIP
>>> model = lgb.LGBMRegressor(objective=interop.objective(fl.Huber(0.5)))  # doctest: +SKIP
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastloss._runtime import get_num_threads
from fastloss.interop import _boosting
from fastloss.losses import CategoricalCrossEntropy, Loss

__all__ = ["metric", "objective"]

BLOCK = 1 << 14  # predictions


class Objective(_boosting.Objective):
    def default_factor(self, n_outputs: int) -> float:
        if isinstance(self.loss, CategoricalCrossEntropy):
            return n_outputs / max(1, n_outputs - 1)
        return super().default_factor(n_outputs)

    def derivatives(
        self, y: NDArray[Any], z: NDArray[Any], weight: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Of classes in blocks of rows: LightGBM has them by column, and takes float32 by column as it is."""
        if z.ndim == 1:
            return super().derivatives(y, z, weight)
        gradient, hessian = np.empty(z.shape, np.float32, order="F"), np.empty(z.shape, np.float32, order="F")
        rows = max(1, BLOCK // z.shape[1])
        starts = range(0, len(z), rows)

        def block(first: int) -> None:
            part = slice(first, first + rows)
            w = None if weight is None else weight[part]
            found = _boosting.derivatives(self.loss, y[part], np.ascontiguousarray(z[part]), w, n_threads=1)
            gradient[part], hessian[part] = found

        try:
            # A thread for several blocks, since copies take as long as the loss; waking threads for each costs more.
            if (threads := min(get_num_threads(), len(starts) // 4)) > 1:
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(block, starts))
            else:
                for first in starts:
                    block(first)
        except Exception:  # a loss of the user's own raises anything
            super().derivatives(y, z, weight)  # raises, and says where: a block knows its own rows alone
            raise
        return gradient, hessian


class Metric(_boosting.Metric):
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[str, float, bool]:
        return self.__name__, self.loss(*_boosting.arrays(y_true, y_pred, sample_weight)), False


def objective(loss: Loss, *, scale: float = 1.0, hessian_factor: float | None = None) -> Objective:
    """Make an objective of a loss: for ``params["objective"]`` of ``lgb.train`` and ``objective=`` of the wrappers.

    Parameters
    ----------
    loss : Loss
        Of predictions without bounds: cross-entropies with ``from_logits=True``. One of many outputs needs the
        parameter ``num_class``; predictions then are of shape (n, K).
    scale : float
        Multiplies gradients and second derivatives. That matters to ``lambda_l1``, ``lambda_l2``,
        ``min_gain_to_split`` and ``min_sum_hessian_in_leaf`` only; 0.5 makes `SquaredError` what "regression" is.
    hessian_factor : float, optional
        Multiplies second derivatives beside that. By default what LightGBM does itself: K / (K - 1) for
        `CategoricalCrossEntropy`, exp(0.7) for `Poisson`, 1 otherwise. 1 leaves them as they are.

    Returns
    -------
    callable
        ``(predictions, Dataset)`` or ``(y_true, y_pred, sample_weight=None)`` to two arrays of the shape of the
        predictions, gradient and second derivative of each sample's loss times its weight. Of classes they are
        Fortran-ordered float32, which LightGBM takes without another copy. It can be pickled.

    Raises
    ------
    TypeError, ValueError
        For a loss of probabilities, or a factor that is not a positive number.

    Notes
    -----
    Where a loss does not curve upwards, as an absolute error nowhere does, its second derivative counts as 1: steps
    then are sums of gradients. That makes `Huber` LightGBM's "huber". Its "regression_l1" and "quantile" move the
    leaves of each tree to the median or quantile afterwards, which no objective given from outside can do.

    Trees start from 0, where LightGBM's own objectives start from a mean (``boost_from_average``): give ``init_score``
    for another start, and add it to predictions.
    """
    return Objective(loss, scale, hessian_factor)


def metric(loss: Loss, name: str | None = None) -> Metric:
    """Make a metric of a loss: for ``lgb.train(..., feval=)`` and ``eval_metric=`` of the wrappers' ``fit``.

    Parameters
    ----------
    loss : Loss
        Of predictions as LightGBM hands them to metrics: logits beside an objective from `objective`; probabilities
        and means beside its own.
    name : str, optional
        By default that of the loss.

    Returns
    -------
    callable
        ``(predictions, Dataset)`` or ``(y_true, y_pred, sample_weight=None)`` to (name, weighted mean, False); the last
        says that less is better.

    Raises
    ------
    TypeError
        For what is not a loss.
    """
    return Metric(loss, name)
