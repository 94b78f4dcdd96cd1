"""Lasso, ElasticNet, HuberRegressor and PoissonRegressor."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import linear_model
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval

from fastloss._statistics import Statistics
from fastloss.linear_model._fit import check_data, fit, tolerance, warn_unless_converged
from fastloss.linear_model._huber import fit_huber
from fastloss.losses import Poisson, SquaredError
from fastloss.objective import LinearObjective
from fastloss.penalties import ElasticNet as Penalty
from fastloss.solvers.quadratic import QuadraticRun

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FEWEST_SAMPLES = 3  # a feature, for sums over samples to pay
CHEAP = 1 << 27  # products, up to which the sums over samples take less time than a solver's overhead
RATIO = [Interval(Real, 0, 1, closed="both")]


class ElasticNet(linear_model.ElasticNet):
    r"""Linear regression with L1 and L2 penalties, as `sklearn.linear_model.ElasticNet`.

    Minimises ``mean((y - X w - b)^2) / 2 + alpha (l1_ratio sum(abs(w)) + (1 - l1_ratio) / 2 sum(w^2))``, weighted where
    there are weights, with b not penalised.

    Parameters
    ----------
    alpha, l1_ratio, fit_intercept, max_iter, tol, warm_start, positive
        As scikit-learn's. The duality gap is at most ``1e-6 * tol`` times the mean of the squared, centred labels;
        ``max_iter`` counts the solver's iterations, of which there are few.
    precompute, copy_X, random_state, selection
        Accepted, and of no effect: X is never changed, and the solver chooses by itself.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
    intercept_ : float or ndarray of shape (n_targets,)
    dual_gap_ : float or ndarray of shape (n_targets,)
        A bound on how far the objective is above its minimum.
    n_iter_ : int or list of int
    n_features_in_, feature_names_in_
        As scikit-learn's.

    Examples
    --------
    >>> import numpy as np
    >>> from fastloss.linear_model import ElasticNet
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> ElasticNet(alpha=0.1).fit(X, X[:, 0]).coef_.round(3)
    array([0.89, 0.  , 0.  , 0.  ])
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None, check_input: bool = True) -> Any:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            In C or Fortran order, or CSR or CSC, of float32 or float64, it is not copied.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Numbers.
        sample_weight : float or array-like of shape (n_samples,), optional
            Numbers >= 0.
        check_input : bool
            Accepted; checks are always made.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data are not finite, or their shapes do not fit.
        """
        X, y, weight = check_data(self, X, y, sample_weight, multi_output=True, y_numeric=True)
        targets = np.asarray(y, dtype=X.dtype).reshape(len(y), -1)
        starts = self._warm_starts(targets.shape[1])
        fits = [self._fit_target(X, target, weight, w0) for target, w0 in zip(targets.T, starts, strict=True)]
        self.__dict__.pop("_statistics", None)
        return self._set_attributes(fits, X.dtype, np.ndim(y) == 1)

    def _penalty(self) -> Penalty:
        # scikit-learn's loss is half the mean squared error.
        return Penalty(2 * self.alpha * self._l1_ratio, self.alpha * (1 - self._l1_ratio), positive=self.positive)

    def _objective(self, X: Any, y: NDArray[Any], weight: Any) -> LinearObjective:
        """What is minimised, but for a factor of 2."""
        return LinearObjective(
            X, y, SquaredError(), self._penalty(), sample_weight=weight, fit_intercept=self.fit_intercept
        )

    @property
    def _l1_ratio(self) -> float:
        return float(self.l1_ratio)

    def _warm_starts(self, n_targets: int) -> list[NDArray[np.float64] | None]:
        if not self.warm_start or not hasattr(self, "coef_"):
            return [None] * n_targets
        return list(np.atleast_2d(self.coef_).astype(np.float64))

    def _fit_target(self, X: Any, y: NDArray[Any], weight: Any, w0: Any) -> tuple[Any, ...]:
        n, p = X.shape
        if n >= FEWEST_SAMPLES * p and n * p * p <= CHEAP:
            return self._solve(Statistics.of(X, y.astype(np.float64), weight), X, w0)
        mean = float(np.average(y, weights=weight)) if self.fit_intercept else 0.0
        if w0 is not None and self.fit_intercept:
            w0 = np.append(w0, 0.0)
        objective = self._objective(X, y.astype(np.float64) - mean, weight)  # the tolerance is one of the variance
        result = fit(objective, self.tol, self.max_iter, w0)
        intercept = mean + result.x[-1] if self.fit_intercept else 0.0
        return result.x[:p], intercept, result.duality_gap / 2, max(1, result.nit)

    def _set_attributes(self, fits: list[tuple[Any, ...]], dtype: Any, single: bool) -> Any:
        coefs, intercepts, gaps, iterations = (list(column) for column in zip(*fits, strict=True))
        single = single or len(fits) == 1
        self.coef_ = np.asarray(coefs[0] if single else coefs, dtype=dtype)
        values = np.asarray(intercepts, dtype=dtype)
        self.intercept_ = (values[0] if single else values) if self.fit_intercept else 0.0
        self.dual_gap_ = gaps[0] if single else np.array(gaps)
        self.n_iter_ = iterations[0] if single else iterations
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Any:
        """Fit the model to these samples and to those of all calls before: the model of all of them at once.

        What is kept is sums over the samples, of n_features^2 numbers: exact, and for more samples than fit in memory.
        A call of `fit` begins anew.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Some samples.
        y : array-like of shape (n_samples,)
            Numbers.
        sample_weight : array-like of shape (n_samples,), optional
            Numbers >= 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data are not finite, or their shapes do not fit.
        """
        known = getattr(self, "_statistics", None)
        X, y, weight = check_data(self, X, y, sample_weight, y_numeric=True, reset=known is None)
        new = Statistics.of(X, np.asarray(y, dtype=np.float64), weight, like=known)
        self._statistics = new if known is None else known + new
        return self._fit_statistics(self._statistics, X, self._warm_starts(1)[0])

    def _fit_statistics(self, total: Statistics, X: Any, start: NDArray[np.float64] | None = None) -> Any:
        """Fit to samples of which the statistics are known; of X the dtype and shape alone are looked at."""
        return self._set_attributes([self._solve(total, X, start)], X.dtype, True)

    def _solve(self, total: Statistics, X: Any, start: NDArray[np.float64] | None) -> tuple[Any, ...]:
        """Coefficients, intercept, gap and iterations, from the statistics."""
        quadratic = total.quadratic(self.fit_intercept)
        run = QuadraticRun(quadratic, start)
        gap, iterations = run.minimise(
            self._penalty().costs(X.shape[1]), tolerance(self.tol, X) * max(quadratic.c, 0.0)
        )
        if self.alpha > 0:  # else no gap is known
            rounding = 1e-12 * quadratic.c
            warn_unless_converged(gap, max(self.tol * quadratic.c, rounding), "it no longer came nearer")
        return run.w, quadratic.intercept(run.w), gap / 2, max(1, iterations)


class Lasso(ElasticNet, linear_model.Lasso):
    r"""Linear regression with an L1 penalty, as `sklearn.linear_model.Lasso`.

    Minimises ``mean((y - X w - b)^2) / 2 + alpha sum(abs(w))``; see `ElasticNet` for the parameters, ``l1_ratio`` is 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastloss.linear_model import Lasso
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> Lasso(alpha=0.1).fit(X, X[:, 0]).coef_.round(3)
    array([0.884, 0.   , 0.   , 0.   ])
    """

    _parameter_constraints = linear_model.Lasso._parameter_constraints
    __init__ = linear_model.Lasso.__init__

    @property
    def _l1_ratio(self) -> float:
        return 1.0


class HuberRegressor(linear_model.HuberRegressor):
    r"""Linear regression robust to outliers, as `sklearn.linear_model.HuberRegressor`, with L1 and L2 penalties.

    Minimises over w, b and the scale s > 0

        sum_i v_i (s + s H((y_i - x_i' w - b) / s)) + alpha (l1_ratio sum(abs(w)) + (1 - l1_ratio) sum(w^2)),

    with H(z) = z^2 where abs(z) <= epsilon, 2 epsilon abs(z) - epsilon^2 outside, and weights v. For a given s this is
    a Huber loss with ``delta = epsilon s``, whose minimum over w and b is convex in s: s is found where its slope is 0,
    at first roughly, then together with w and b by Newton's method.

    Parameters
    ----------
    epsilon, max_iter, alpha, warm_start, fit_intercept, tol
        As scikit-learn's; ``max_iter`` counts the values of s that are tried, ``tol`` bounds the relative error of s.
    l1_ratio : float
        The L1 penalty's part, in [0, 1]; 0 is scikit-learn's model.

    Attributes
    ----------
    coef_, intercept_, scale_, n_iter_, outliers_, n_features_in_, feature_names_in_
        As scikit-learn's.

    References
    ----------
    A. B. Owen (2007), "A robust hybrid of lasso and ridge regression", Contemporary Mathematics 443.
    """

    _parameter_constraints = {**linear_model.HuberRegressor._parameter_constraints, "l1_ratio": RATIO}

    def __init__(
        self,
        *,
        epsilon: float = 1.35,
        max_iter: int = 100,
        alpha: float = 0.0001,
        warm_start: bool = False,
        fit_intercept: bool = True,
        tol: float = 1e-05,
        l1_ratio: float = 0.0,
    ) -> None:
        super().__init__(
            epsilon=epsilon, max_iter=max_iter, alpha=alpha, warm_start=warm_start, fit_intercept=fit_intercept, tol=tol
        )
        self.l1_ratio = l1_ratio

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Any:
        """Fit the model; the parameters are as those of `ElasticNet.fit`, with one target."""
        X, y, weight = check_data(self, X, y, sample_weight, y_numeric=True)
        start = None
        if self.warm_start and hasattr(self, "coef_"):
            start = np.append(self.coef_, self.intercept_), self.scale_
        w, b, scale, self.n_iter_ = fit_huber(
            X,
            np.asarray(y, dtype=np.float64),
            weight,
            self.epsilon,
            Penalty(self.alpha * self.l1_ratio, self.alpha * (1 - self.l1_ratio)),
            self.fit_intercept,
            self.tol,
            max(1, self.max_iter),
            start,
        )
        self.coef_, self.intercept_, self.scale_ = w.astype(X.dtype, copy=False), b, scale
        self.outliers_ = np.abs(y - X @ w - b) > scale * self.epsilon
        return self


class PoissonRegressor(linear_model.PoissonRegressor):
    r"""Regression of counts with a logarithmic link, as `sklearn.linear_model.PoissonRegressor`, with L1 as well as L2.

    Minimises half the mean deviance, ``mean(exp(z) - y z + y log(y) - y)`` with ``z = X w + b``, plus
    ``alpha (l1_ratio sum(abs(w)) + (1 - l1_ratio) / 2 sum(w^2))``.

    Parameters
    ----------
    alpha, fit_intercept, max_iter, tol, warm_start, verbose
        As scikit-learn's. The duality gap is at most ``1e-6 * tol`` times the loss at w = 0.
    solver
        Accepted, and of no effect.
    l1_ratio : float
        The L1 penalty's part, in [0, 1]; 0 is scikit-learn's model.

    Attributes
    ----------
    coef_, intercept_, n_iter_, n_features_in_, feature_names_in_
        As scikit-learn's.
    """

    _parameter_constraints = {**linear_model.PoissonRegressor._parameter_constraints, "l1_ratio": RATIO}

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        fit_intercept: bool = True,
        solver: str = "lbfgs",
        max_iter: int = 100,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: int = 0,
        l1_ratio: float = 0.0,
    ) -> None:
        super().__init__(
            alpha=alpha,
            fit_intercept=fit_intercept,
            solver=solver,
            max_iter=max_iter,
            tol=tol,
            warm_start=warm_start,
            verbose=verbose,
        )
        self.l1_ratio = l1_ratio

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Any:
        """Fit the model; the parameters are as those of `ElasticNet.fit`, with one target of numbers >= 0."""
        X, y, weight = check_data(self, X, y, sample_weight, y_numeric=True)
        y = np.asarray(y, dtype=X.dtype)
        self._base_loss = self._get_loss()  # for `score`
        if not self._base_loss.in_y_true_range(y):
            raise ValueError(f"y must hold numbers >= 0, the valid range of the loss; got {y.min():g}")
        w0 = None
        if self.warm_start and hasattr(self, "coef_"):
            w0 = np.append(self.coef_, self.intercept_) if self.fit_intercept else self.coef_
        result = fit(self._objective(X, y, weight), self.tol, self.max_iter, w0, verbose=self.verbose > 0)
        p = X.shape[1]
        self.coef_ = result.x[:p].astype(X.dtype)
        self.intercept_ = float(result.x[-1]) if self.fit_intercept else 0.0
        self.n_iter_ = max(1, result.nit)
        return self

    def _objective(self, X: Any, y: NDArray[Any], weight: Any) -> LinearObjective:
        """What is minimised, but for a constant."""
        penalty = Penalty(self.alpha * self.l1_ratio, self.alpha * (1 - self.l1_ratio) / 2)
        return LinearObjective(X, y, Poisson(), penalty, sample_weight=weight, fit_intercept=self.fit_intercept)
