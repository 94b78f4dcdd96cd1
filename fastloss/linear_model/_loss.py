"""LossRegressor: a linear model by any loss, that of the user's own too."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from fastloss.linear_model._fit import check_data
from fastloss.losses import Loss, SquaredError
from fastloss.objective import LinearObjective
from fastloss.penalties import ElasticNet as Penalty
from fastloss.solvers import minimize

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]


class LossRegressor(RegressorMixin, BaseEstimator):
    r"""Linear model by any loss of one output, with L1 and L2 penalties.

    Minimises ``mean(loss(y, X w + b)) + alpha (l1_ratio sum(abs(w)) + (1 - l1_ratio) / 2 sum(w^2))``, weighted where
    there are weights, with b not penalised.

    Parameters
    ----------
    loss : Loss, optional
        `SquaredError` by default; one with a continuous gradient, of predictions without bounds, such as those of
        `fastloss.custom_loss`.
    alpha : float
        The strength of the penalty, >= 0.
    l1_ratio : float
        The L1 penalty's part, in [0, 1].
    fit_intercept, positive, warm_start : bool
        As for `ElasticNet`.
    solver, tol, max_iter, verbose
        As for `fastloss.minimize`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
    intercept_ : float
    dual_gap_ : float
        A bound on how far the objective is above its minimum; NaN where none is known.
    n_iter_ : int
    n_features_in_, feature_names_in_
        As scikit-learn's.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> from fastloss.linear_model import LossRegressor
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> LossRegressor(fl.Huber(0.5), alpha=0.05).fit(X, X[:, 0]).coef_.round(3)
    array([0.94, 0.  , 0.  , 0.  ])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "loss": [Loss, None],
        "alpha": NOT_NEGATIVE,
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "positive": ["boolean"],
        "solver": [str],
        "tol": NOT_NEGATIVE,
        "max_iter": [Interval(Real, 0, None, closed="left"), None],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        loss: Loss | None = None,
        *,
        alpha: float = 1.0,
        l1_ratio: float = 1.0,
        fit_intercept: bool = True,
        positive: bool = False,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.loss = loss
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.verbose = verbose

    @property
    def _loss(self) -> Loss:
        return SquaredError() if self.loss is None else self.loss

    def _objective(self, X: Any, y: NDArray[Any], weight: Any) -> LinearObjective:
        penalty = Penalty(
            self.alpha * self.l1_ratio, self.alpha * (1 - self.l1_ratio) / 2, positive=bool(self.positive)
        )
        return LinearObjective(X, y, self._loss, penalty, sample_weight=weight, fit_intercept=bool(self.fit_intercept))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> LossRegressor:
        """Fit the model; the parameters are as those of `ElasticNet.fit`, with one target.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If the data are not finite, their shapes do not fit, or the loss has many outputs.

        Warns
        -----
        fastloss.ConvergenceWarning, fastloss.NonConvexWarning
            As `fastloss.minimize`.
        """
        if self._loss.many_outputs:
            raise TypeError(f"loss must be of one output, got {self._loss!r}")
        X, y, weight = check_data(self, X, y, sample_weight, y_numeric=True)
        w0 = None
        if self.warm_start and hasattr(self, "coef_"):
            w0 = np.append(self.coef_, self.intercept_) if self.fit_intercept else self.coef_
        result = minimize(
            self._objective(X, np.asarray(y, dtype=X.dtype), weight),
            w0,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            verbose=bool(self.verbose),
        )
        p = X.shape[1]
        self.coef_ = result.x[:p].astype(X.dtype)
        self.intercept_ = float(result.x[-1]) if self.fit_intercept else 0.0
        self.dual_gap_, self.n_iter_ = result.duality_gap, max(1, result.nit)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """X w + b, shape (n_samples,): of the kind that the loss takes, such as logits or logarithms of means."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=("csr", "csc"), dtype=[np.float64, np.float32], reset=False)
        return np.asarray(X @ self.coef_ + self.intercept_)

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Minus the mean loss, weighted: the larger, the better."""
        return -self._loss(np.asarray(y, dtype=np.float64), self.predict(X), sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.regressor_tags.poor_score = True  # a loss, not R^2
        return tags
