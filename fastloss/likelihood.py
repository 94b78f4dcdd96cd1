"""Likelihoods: why each loss is what it is.

Maximising a likelihood is minimising its negative logarithm; up to constants and a factor that is a loss of this
package, with the same minimiser. ``nll`` is the exact negative log-likelihood, constants included.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastloss._arrays import as_real_array
from fastloss._checks import check_number
from fastloss.losses import AbsoluteError, BinaryCrossEntropy, CategoricalCrossEntropy, Loss, SquaredError
from fastloss.losses import Poisson as PoissonLoss

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Bernoulli", "Categorical", "Gaussian", "Laplace", "Poisson"]


class Gaussian:
    """y ~ Normal(p, scale^2): its nll is sum((y - p)^2) / (2 scale^2) + n log(scale sqrt(2 pi)).

    Parameters
    ----------
    scale : float
        Standard deviation, > 0.

    Attributes
    ----------
    loss : SquaredError
        The loss with the same minimiser.
    """

    loss: Loss = SquaredError()

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = check_number("scale", scale, 0, math.inf)

    def __repr__(self) -> str:
        return f"Gaussian(scale={self.scale!r})"

    def nll(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        """Negative log-likelihood, summed over the samples; ``y_pred`` is the mean. Arguments as for a loss."""
        total = self.loss(y_true, y_pred, reduction="sum")
        return total / (2 * self.scale**2) + np.size(y_pred) * math.log(self.scale * math.sqrt(2 * math.pi))


class Laplace:
    """y ~ Laplace(p, scale): its nll is sum(abs(y - p)) / scale + n log(2 scale).

    Parameters
    ----------
    scale : float
        Mean absolute deviation, > 0.

    Attributes
    ----------
    loss : AbsoluteError
        The loss with the same minimiser.
    """

    loss: Loss = AbsoluteError()

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = check_number("scale", scale, 0, math.inf)

    def __repr__(self) -> str:
        return f"Laplace(scale={self.scale!r})"

    def nll(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        """Negative log-likelihood, summed over the samples; ``y_pred`` is the median. Arguments as for a loss."""
        total = self.loss(y_true, y_pred, reduction="sum")
        return total / self.scale + np.size(y_pred) * math.log(2 * self.scale)


class Bernoulli:
    """y = 1 with probability p, else 0: its nll is the sum of the binary cross-entropy, without a constant.

    Attributes
    ----------
    loss : BinaryCrossEntropy
        Of probabilities, clipped only where the logarithm would be infinite.
    """

    loss: Loss = BinaryCrossEntropy()

    def __repr__(self) -> str:
        return "Bernoulli()"

    def nll(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        """Negative log-likelihood, summed over the samples; ``y_pred`` is the probability of 1, not clipped."""
        return _UNCLIPPED(y_true, y_pred, reduction="sum")


_UNCLIPPED = BinaryCrossEntropy(eps=0.0)


class Categorical:
    """y = c with probability p_c: its nll is the sum of the categorical cross-entropy, without a constant.

    Attributes
    ----------
    loss : CategoricalCrossEntropy
        The loss with the same minimiser.
    """

    loss: Loss = CategoricalCrossEntropy()

    def __repr__(self) -> str:
        return "Categorical()"

    def nll(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        """Negative log-likelihood, summed over the samples; rows of ``y_pred`` are probabilities, not clipped."""
        return _UNCLIPPED_CATEGORICAL(y_true, y_pred, reduction="sum")


_UNCLIPPED_CATEGORICAL = CategoricalCrossEntropy(eps=0.0)


class Poisson:
    """y ~ Poisson(exp(z)): its nll is sum(exp(z) - y z + log(y!)).

    Attributes
    ----------
    loss : fastloss.Poisson
        The loss with the same minimiser.
    """

    loss: Loss = PoissonLoss()

    def __repr__(self) -> str:
        return "Poisson()"

    def nll(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        """Negative log-likelihood, summed over the samples; ``y_pred`` is z, the log of the mean."""
        counts = as_real_array(y_true, "y_true").astype(np.float64)
        total = self.loss(counts, y_pred, reduction="sum")
        # log(y!) once for each distinct count: NumPy has no log-gamma, and counts repeat.
        distinct, repeats = np.unique(counts, return_counts=True)
        return total + math.fsum(
            k * math.lgamma(y + 1) for y, k in zip(distinct.tolist(), repeats.tolist(), strict=True)
        )
