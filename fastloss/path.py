"""Regularisation paths: one model for each strength of the penalty, from the strongest to the weakest."""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastloss._arrays import as_real_array
from fastloss._checks import check_number
from fastloss.objective import LinearObjective
from fastloss.penalties import ElasticNet
from fastloss.solvers import ConvergenceWarning
from fastloss.solvers._runs import follow_strengths
from fastloss.solvers.result import Minima

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastloss.losses import Loss

__all__ = ["Path", "regularization_path"]


GATHERED = 1 << 16  # numbers of points, from which on only those that are not 0 are kept


class Part(NamedTuple):
    """Models of a path one after the other; of their coefficients those that are not 0."""

    used: NDArray[np.intp]
    values: NDArray[np.float64]
    supports: NDArray[np.intp]  # how many of these are each model's
    intercepts: NDArray[np.float64]
    minima: Minima  # without points

    @classmethod
    def of(cls, objective: LinearObjective, gathered: list[Minima]) -> Part:
        """What the objective's minima say."""
        minima = Minima.joined(gathered)
        count = len(minima.points)
        W = minima.points.reshape(count, objective.n_outputs, -1)
        C = W[..., : objective.n_features].reshape(count, -1)
        models, places = C.nonzero()
        intercepts = W[..., -1].copy() if objective.fit_intercept else np.zeros(W.shape[:-1])
        return cls(
            places,
            C[models, places],
            np.bincount(models, minlength=count),
            intercepts if objective.has_many_outputs else intercepts[:, 0],
            minima._replace(points=np.empty((count, 0))),
        )


class Path:
    """Models along decreasing strengths of a penalty.

    Attributes
    ----------
    alphas : ndarray of shape (n_alphas,)
        The strengths, decreasing.
    l1_ratio : float
        The L1 penalty's part of them.
    intercepts : ndarray of shape (n_alphas,), or (n_alphas, K)
        0 without an intercept.
    objectives, duality_gaps, times : ndarray of shape (n_alphas,)
        The objective of each model, a bound on how far it is above the minimum (NaN where none is known; where there is
        an intercept that of `LinearObjective.duality_gap` may be larger or smaller, as it takes another dual point),
        and the seconds it took: of models that come at once, of squared errors of few features, its share.
    n_iters, supports : ndarray of int of shape (n_alphas,)
        Iterations of the solver; coefficients that are not 0.
    success : bool
        Whether all models reached the tolerance.
    missed : int
        How many did not.
    """

    def __init__(
        self,
        alphas: NDArray[np.float64],
        l1_ratio: float,
        shape: tuple[int, ...],
        parts: list[Part],
        times: NDArray[np.float64],
    ) -> None:
        *columns, minima = zip(*parts, strict=True)
        self.alphas, self.l1_ratio, self._shape, self.times = alphas, l1_ratio, shape, times
        self._used, self._values, self.supports, self.intercepts = map(np.concatenate, columns)
        _, self.objectives, self.duality_gaps, self.n_iters, success = Minima.joined(minima)
        self._ends = np.cumsum(self.supports)
        self.missed = int(np.count_nonzero(~success))
        self.success = self.missed == 0

    def coef(self, index: int) -> NDArray[np.float64]:
        """The coefficients of one model, shape (p,) or (K, p); only those that are not 0 are kept in memory."""
        used, values = self.used_coefficients(index)
        result = np.zeros(self.n_coefficients)
        result[used] = values
        return result.reshape(self._shape)

    def used_coefficients(self, index: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Where the coefficients of one model are not 0, raveled, and what they are."""
        end = self._ends[index]
        part = slice(end - self.supports[index], end)
        return self._used[part], self._values[part]

    @property
    def n_coefficients(self) -> int:
        """How many coefficients a model has."""
        return math.prod(self._shape)

    @property
    def coefs(self) -> NDArray[np.float64]:
        """The coefficients of all models, shape (n_alphas, p) or (n_alphas, K, p): made anew each time."""
        return np.array([self.coef(i) for i in range(len(self.alphas))])

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The predictions of all models, shape (n, n_alphas) or (n, n_alphas, K): X w + b, without an offset.

        Parameters
        ----------
        X : ndarray or SciPy sparse matrix or array of shape (n, p)
            Any samples.
        """
        p, count = self._shape[-1], len(self.alphas)
        ever, places = np.unique(self._used % p, return_inverse=True)
        W = np.zeros((math.prod(self._shape[:-1]), len(ever), count))
        W[self._used // p, places, np.repeat(np.arange(count), self.supports)] = self._values
        part = X[:, ever] if len(ever) < p else X
        result: NDArray[np.float64] = np.stack([np.asarray(part @ w) for w in W], axis=-1)
        result = (result[..., 0] if len(self._shape) == 1 else result) + self.intercepts
        return result

    def plot(self, ax: Any = None) -> Any:
        """Draw the coefficients against alpha; needs matplotlib. Returns the axes."""
        from fastloss.plotting import plot_path

        return plot_path(self, ax)

    def __repr__(self) -> str:
        return (
            f"Path({len(self.alphas)} models, alpha {self.alphas[0]:.4g} to {self.alphas[-1]:.4g}, "
            f"support {self.supports[0]} to {self.supports[-1]} of {self.n_coefficients}, success={self.success})"
        )


def regularization_path(
    X: Any,
    y: ArrayLike,
    loss: Loss,
    *,
    l1_ratio: float = 1.0,
    n_alphas: int = 100,
    eps: float = 1e-3,
    alphas: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    positive: bool = False,
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = True,
    offset: ArrayLike | None = None,
    standardize: bool = False,
    solver: str = "auto",
    tol: float = 1e-6,
    max_iter: int | None = None,
    n_threads: int | None = None,
    verbose: bool = False,
) -> Path:
    r"""Minimise mean loss plus elastic net for a sequence of strengths alpha, each from the solution before.

    The penalty is ``alpha * sum(weights * (l1_ratio * abs(w) + (1 - l1_ratio) / 2 * w^2))``.

    Parameters
    ----------
    X, y, loss, sample_weight, fit_intercept, offset, standardize, n_threads
        As for `LinearObjective`.
    l1_ratio : float
        The L1 penalty's part, in (0, 1]; or 0, where `alphas` are given.
    n_alphas : int
        How many strengths, >= 1: from the smallest at which all coefficients are 0, in even steps of the logarithm.
    eps : float
        The last strength over the first, in (0, 1).
    alphas : array_like of shape (m,), optional
        The strengths instead, finite and >= 0, in any order.
    weights, positive
        As for `ElasticNet`.
    solver, tol, max_iter
        As for `minimize`; each model is solved to a duality gap of ``tol`` times the loss at w = 0. From 20 strengths
        on ``"auto"`` takes `gram_newton` for fewer samples than for one model: where X is dense and has 5 times as many
        rows as columns, or as many if the loss is quadratic.
    verbose : bool
        Print a line for each model.

    Returns
    -------
    Path

    Warns
    -----
    ConvergenceWarning
        If some models did not reach the tolerance.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it may be.

    Notes
    -----
    Each run begins with the features that are not 0 and those whose correlation with the residuals comes near the new
    strength, as by the sequential strong rule; the others are looked at only to find out whether it erred.

    References
    ----------
    J. Friedman, T. Hastie and R. Tibshirani (2010), "Regularization paths for generalized linear models via coordinate
    descent", J. Statistical Software 33(1). R. Tibshirani et al. (2012), "Strong rules for discarding predictors in
    lasso-type problems", JRSS B 74(2).

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> X = np.random.default_rng(0).normal(size=(50, 5))
    >>> path = fl.regularization_path(X, X[:, 0] - X[:, 1], fl.SquaredError(), n_alphas=10)
    >>> path.coefs.shape, int(path.supports[0]), bool(path.success)
    ((10, 5), 0, True)
    """
    l1_ratio = check_number("l1_ratio", l1_ratio, 0, 1, "(]" if alphas is None else "[]")
    penalty = ElasticNet(1.0, 0.0, weights, positive)
    objective = LinearObjective(
        X,
        y,
        loss,
        penalty,
        sample_weight=sample_weight,
        fit_intercept=fit_intercept,
        offset=offset,
        standardize=standardize,
        n_threads=n_threads,
    )
    if loss.prediction_domain != type(loss).prediction_domain:
        raise ValueError(
            f"loss: a linear model wants a loss of any real number, but {loss!r} takes {loss.prediction_domain}"
        )
    strengths = _strengths(objective, l1_ratio, n_alphas, eps, alphas)
    path = follow_path(objective, l1_ratio, strengths, tol, max_iter, solver, verbose)
    if not path.success:
        warnings.warn(
            f"{path.missed} of {len(strengths)} models did not reach the tolerance; raise max_iter or tol",
            ConvergenceWarning,
            stacklevel=2,
        )
    return path


def follow_path(
    objective: LinearObjective,
    l1_ratio: float,
    strengths: NDArray[np.float64],
    tol: float,
    max_iter: int | None,
    solver: str = "auto",
    verbose: bool = False,
) -> Path:
    """The path of an objective at decreasing strengths of its penalty, without a warning where it was not reached."""

    def penalty_of(alpha: float) -> ElasticNet:
        return objective.penalty.with_strengths(alpha * l1_ratio, alpha * (1 - l1_ratio) / 2)

    found = follow_strengths(objective, penalty_of, strengths, solver, tol, max_iter)
    if verbose:
        print(f"{objective.n_samples} samples, {objective.n_features} features, {len(strengths)} models")
        print(f"{'model':>9} {'alpha':>10} {'seconds':>9} {'objective':>16} {'gap':>10} {'support':>8}")
    parts: list[Part] = []
    gathered: list[Minima] = []
    times: list[float] = []
    start = time.perf_counter()
    for minima in found:
        count, seconds = len(minima.points), time.perf_counter() - start
        start += seconds
        if verbose:
            for i, (point, value, gap, *_) in enumerate(zip(*minima, strict=True), start=len(times)):
                took, support = seconds / count, np.count_nonzero(objective.coefficients(point))
                print(
                    f"{i + 1:>9} {strengths[i]:>10.4g} {took:>9.4f} {value:>16.10g} {gap:>10.3g} {support:>8}",
                    flush=True,
                )
        times += count * [seconds / count]
        gathered.append(minima)
        if len(times) == len(strengths) or objective.size * len(gathered) >= GATHERED:
            parts.append(Part.of(objective, gathered))
            gathered = []
    shape = (objective.n_outputs,) * objective.has_many_outputs + (objective.n_features,)
    return Path(strengths, l1_ratio, shape, parts, np.array(times))


def _strengths(
    objective: LinearObjective, l1_ratio: float, n_alphas: int, eps: float, alphas: ArrayLike | None
) -> NDArray[np.float64]:
    """The strengths of the path, decreasing."""
    if alphas is not None:
        given = as_real_array(alphas, "alphas").astype(np.float64)
        if given.ndim != 1 or len(given) == 0 or not (np.isfinite(given) & (given >= 0)).all():
            raise ValueError("alphas must be a vector of finite numbers >= 0")
        return np.sort(given)[::-1].copy()
    if isinstance(n_alphas, bool) or not hasattr(n_alphas, "__index__") or n_alphas < 1:
        raise ValueError(f"n_alphas must be an integer >= 1, got {n_alphas!r}")
    eps = check_number("eps", eps, 0, 1)
    largest = objective.lambda_max() / l1_ratio
    if not 0 < largest < math.inf:
        raise ValueError("alphas must be given: all coefficients are 0 at every strength, or X is not finite")
    return np.geomspace(largest, largest * eps, int(n_alphas))
