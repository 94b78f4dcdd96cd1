"""Pictures of models and losses, by scikit-learn's convention: `from_estimator` makes one, `plot` draws it again.

They need ``pip install 'fastloss[plot]'``. Each remembers its matplotlib axes as ``ax_`` and figure as ``figure_``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss.losses import Loss
from fastloss.path import regularization_path
from fastloss.plotting import new_axes, plot_path
from fastloss.solvers import minimize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from fastloss.objective import LinearObjective
    from fastloss.path import Path
    from fastloss.solvers import Result

__all__ = ["ConvergenceDisplay", "CrossValidationDisplay", "LossDisplay", "RegularizationPathDisplay"]


class _Display:
    """What scikit-learn's convention asks: `plot` draws, and remembers axes and figure."""

    def _begin(self, ax: Any) -> Any:
        self.ax_ = new_axes() if ax is None else ax
        self.figure_ = self.ax_.figure
        return self.ax_


def _objective_of(estimator: Any, X: Any, y: Any, sample_weight: Any) -> LinearObjective:
    if not hasattr(estimator, "_objective"):
        raise TypeError(
            "estimator must be a Lasso, ElasticNet, LogisticRegression or PoissonRegressor of fastloss.linear_model, "
            f"got {estimator!r}"
        )
    X = X if hasattr(X, "format") else np.asarray(X)
    if isinstance(X, np.ndarray) and X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    objective: LinearObjective = estimator._objective(X, np.asarray(y), sample_weight)
    return objective


class RegularizationPathDisplay(_Display):
    """The coefficients of models along decreasing strengths of the penalty.

    Parameters
    ----------
    path : Path
        From `fastloss.regularization_path`.
    alpha : float, optional
        A strength to mark.
    """

    def __init__(self, path: Path, alpha: float | None = None) -> None:
        self.path, self.alpha = path, alpha

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        n_alphas: int = 50,
        eps: float = 1e-3,
        ax: Any = None,
    ) -> RegularizationPathDisplay:
        """Fit a path with the loss, the l1_ratio and the intercept of an estimator, and draw it.

        Parameters
        ----------
        estimator : estimator of fastloss.linear_model
            `Lasso`, `ElasticNet`, `LogisticRegression` or `PoissonRegressor`, with an L1 part; fitted or not.
        X, y, sample_weight
            As for its `fit`.
        n_alphas, eps
            As for `fastloss.regularization_path`.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.
        """
        objective = _objective_of(estimator, X, y, sample_weight)
        penalty = objective.penalty
        if not penalty.l1:
            raise ValueError("estimator must have an L1 part in its penalty: l1_ratio > 0")
        strength = penalty.l1 + 2 * penalty.l2
        path = regularization_path(
            objective.X,
            objective.y,
            objective.loss,
            l1_ratio=penalty.l1 / strength,
            n_alphas=n_alphas,
            eps=eps,
            positive=penalty.positive,
            sample_weight=objective.sample_weight,
            fit_intercept=objective.fit_intercept,
        )
        return cls(path, strength).plot(ax)

    def plot(self, ax: Any = None) -> RegularizationPathDisplay:
        """Draw; returns the display, with ``ax_`` and ``figure_``."""
        ax = plot_path(self.path, self._begin(ax))
        low, high = self.path.alphas.min(), self.path.alphas.max()
        if self.alpha is not None and low <= self.alpha <= high:
            ax.axvline(self.alpha, color="0.3", linestyle="--", linewidth=1, label=f"alpha = {self.alpha:.3g}")
            ax.legend(frameon=False)
        return self


class CrossValidationDisplay(_Display):
    """The score of each strength, in the mean over folds and a standard error around it, with the chosen one.

    Parameters
    ----------
    strengths : ndarray of shape (n,)
    scores : ndarray of shape (n, n_folds)
    chosen : float
        The strength that was chosen.
    strength_name, score_name : str
    """

    def __init__(
        self, strengths: NDArray[Any], scores: NDArray[Any], chosen: float, strength_name: str, score_name: str
    ) -> None:
        self.strengths, self.scores, self.chosen = strengths, scores, chosen
        self.strength_name, self.score_name = strength_name, score_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> CrossValidationDisplay:
        """Draw the curve of a fitted `LassoCV`, `ElasticNetCV` (at its l1_ratio) or `LogisticRegressionCV`."""
        if hasattr(estimator, "mse_path_"):
            alphas, errors = estimator.alphas_, estimator.mse_path_
            if errors.ndim == 3:
                i = int(np.flatnonzero(np.atleast_1d(estimator.l1_ratio) == estimator.l1_ratio_)[0])
                alphas, errors = (alphas[i] if alphas.ndim == 2 else alphas), errors[i]
            return cls(alphas, errors, estimator.alpha_, "alpha", "mean squared error").plot(ax)
        if not hasattr(estimator, "scores_"):
            raise ValueError(f"estimator must be fitted, and choose by cross-validation; got {estimator!r}")
        scores = estimator.scores_
        if isinstance(scores, dict):  # folds x Cs (x l1_ratios)
            scores = next(iter(scores.values()))
            scores = scores[:, None] if scores.ndim == 2 else scores.swapaxes(1, 2)
        i = int(np.argmin(np.abs(estimator.l1_ratios_ - np.ravel(estimator.l1_ratio_)[0])))
        scoring = estimator.scoring if isinstance(estimator.scoring, str) and estimator.scoring != "warn" else "score"
        chosen = float(np.ravel(estimator.C_)[0])
        return cls(estimator.Cs_, scores[:, i].T, chosen, "C", scoring.replace("_", " ")).plot(ax)

    def plot(self, ax: Any = None) -> CrossValidationDisplay:
        """Draw; returns the display, with ``ax_`` and ``figure_``."""
        ax = self._begin(ax)
        mean = self.scores.mean(axis=1)
        error = (
            self.scores.std(axis=1, ddof=1) / np.sqrt(self.scores.shape[1]) if self.scores.shape[1] > 1 else 0 * mean
        )
        ax.plot(self.strengths, self.scores, color="0.8", linewidth=0.8, zorder=1)
        ax.fill_between(self.strengths, mean - error, mean + error, alpha=0.25, linewidth=0, label="± standard error")
        ax.plot(self.strengths, mean, linewidth=2, marker="o", markersize=3, label="mean over folds")
        ax.axvline(self.chosen, color="0.3", linestyle="--", linewidth=1, label=f"chosen: {self.chosen:.3g}")
        ax.set(xscale="log", xlabel=f"{self.strength_name} (log scale)", ylabel=self.score_name)
        ax.set_title(f"Cross-validation over {self.scores.shape[1]} folds (grey)")
        ax.legend(frameon=False)
        return self


class ConvergenceDisplay(_Display):
    """The duality gap of runs against time.

    Parameters
    ----------
    results : dict of str to Result
        What `fastloss.minimize` returned, by name.
    """

    def __init__(self, results: dict[str, Result]) -> None:
        self.results = results

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        solvers: Sequence[str] = ("auto",),
        tol: float = 1e-9,
        ax: Any = None,
    ) -> ConvergenceDisplay:
        """Minimise the objective of an estimator with one solver or several, and draw how they got there.

        Parameters
        ----------
        estimator : estimator of fastloss.linear_model
            `Lasso`, `ElasticNet`, `LogisticRegression` or `PoissonRegressor`, fitted or not.
        X, y, sample_weight
            As for its `fit`.
        solvers, tol
            As for `fastloss.minimize`.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.
        """
        objective = _objective_of(estimator, X, y, sample_weight)
        return cls({solver: minimize(objective, solver=solver, tol=tol) for solver in solvers}).plot(ax)

    def plot(self, ax: Any = None) -> ConvergenceDisplay:
        """Draw; returns the display, with ``ax_`` and ``figure_``."""
        ax = self._begin(ax)
        for name, result in self.results.items():
            gap, seconds = result.history["duality_gap"], result.history["time"]
            known = np.isfinite(gap) & (gap > 0)
            ax.plot(1e3 * seconds[known], gap[known], marker="o", markersize=3, label=name)
        ax.set(yscale="log", xlabel="milliseconds", ylabel="duality gap (log scale)")
        ax.set_title("How far above the minimum the objective may be")
        ax.legend(frameon=False)
        return self


class LossDisplay(_Display):
    """Losses of one label, and their gradients, as curves over the prediction.

    Parameters
    ----------
    losses : Loss or sequence of Loss
        With one output a sample.
    y_true : float
        The label.
    predictions : array_like of shape (n,), optional
        Where to draw; around the label, or within [0, 1] where a loss takes probabilities, by default.
    """

    def __init__(
        self, losses: Loss | Sequence[Loss], y_true: float = 0.0, predictions: ArrayLike | None = None
    ) -> None:
        self.losses = [losses] if isinstance(losses, Loss) else list(losses)
        self.y_true = float(y_true)
        if predictions is None:
            bounded = any("[0, 1]" in loss.prediction_domain for loss in self.losses)
            predictions = np.linspace(0, 1, 402)[1:-1] if bounded else self.y_true + np.linspace(-4, 4, 401)
        self.predictions = np.asarray(predictions, dtype=float)

    @classmethod
    def from_loss(
        cls, losses: Loss | Sequence[Loss], y_true: float = 0.0, predictions: ArrayLike | None = None, *, ax: Any = None
    ) -> LossDisplay:
        """Draw losses; `ax` is a pair of axes, as of ``plt.subplots(1, 2)``. ValueError if it is not two."""
        return cls(losses, y_true, predictions).plot(ax)

    def plot(self, ax: Any = None) -> LossDisplay:
        """Draw values at the left and gradients at the right; returns the display, with ``ax_`` and ``figure_``."""
        self.ax_ = np.ravel(new_axes(2) if ax is None else ax)
        if len(self.ax_) != 2:
            raise ValueError(f"ax must be two axes, one for values and one for gradients; got {len(self.ax_)}")
        self.figure_ = self.ax_[0].figure
        labels = np.full(len(self.predictions), self.y_true)
        for loss in self.losses:
            value, gradient = loss.value_and_grad(labels, self.predictions, reduction="none")
            for axes, curve in zip(self.ax_, (value, gradient), strict=True):
                axes.plot(self.predictions, curve, label=repr(loss) if len(repr(loss)) < 40 else type(loss).__name__)
        for axes, name in zip(self.ax_, ("loss", "gradient"), strict=True):
            axes.set(xlabel="prediction", ylabel=name, title=f"{name} of the label {self.y_true:g}")
            axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        self.ax_[0].legend(frameon=False)
        return self
