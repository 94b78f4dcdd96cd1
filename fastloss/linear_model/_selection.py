"""LassoCV and ElasticNetCV: the strength of the penalty chosen by cross-validation, with the work shared."""

from __future__ import annotations

import math
from functools import reduce
from numbers import Integral, Real
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn import linear_model
from sklearn.base import _fit_context
from sklearn.model_selection import check_cv
from sklearn.utils import check_scalar, column_or_1d
from sklearn.utils.metadata_routing import _raise_for_params, _routing_enabled, process_routing
from sklearn.utils.parallel import Parallel, delayed
from threadpoolctl import threadpool_limits

from fastloss._statistics import Statistics
from fastloss.linear_model._fit import check_data, path_tolerance, share_threads
from fastloss.linear_model._regression import FEWEST_SAMPLES, ElasticNet, Lasso
from fastloss.losses import SquaredError
from fastloss.objective import LinearObjective
from fastloss.path import follow_path
from fastloss.penalties import ElasticNet as Penalty
from fastloss.solvers.quadratic import MAX_STEPS, QuadraticRun
from fastloss.solvers.result import Minima

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastloss._costs import Costs

MOST_FEATURES = 2000  # for which the sums over samples are kept: 32 MB a fold


class Data(NamedTuple):
    """What all folds share."""

    X: Any
    y: NDArray[np.float64]
    weight: NDArray[Any] | None
    fit_intercept: bool
    positive: bool
    tol: float
    max_iter: int


class Known(NamedTuple):
    """The statistics of all samples, and for each fold of its training and of its test samples."""

    whole: Statistics
    folds: list[tuple[Statistics, Statistics]]


class _SelectionMixin:
    """What both classes add to scikit-learn's."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self: Any, X: Any, y: Any, sample_weight: ArrayLike | None = None, **params: Any) -> Any:
        """Fit the models of all folds, then that of all samples at the best strength.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Not copied where it is in C or Fortran order, or CSR or CSC, of float32 or float64; of the folds no more
            than the samples that are left out.
        y : array-like of shape (n_samples,)
            Numbers.
        sample_weight : float or array-like of shape (n_samples,), optional
            Numbers >= 0.
        **params
            For the splitter, where scikit-learn's metadata routing is enabled.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data are not finite or too few for the folds, or their shapes do not fit.
        """
        _raise_for_params(params, self, "fit")
        X, y, weight = check_data(self, X, y, sample_weight, multi_output=True, y_numeric=True)
        if np.ndim(y) > 1 and y.shape[1] > 1:
            raise ValueError(f"For multi-task outputs, use MultiTask{type(self).__name__}")
        y = column_or_1d(y, warn=True).astype(np.float64)
        if _routing_enabled():
            split = process_routing(self, "fit", sample_weight=sample_weight, **params).splitter.split
        else:
            split = {}
        folds = list(check_cv(self.cv).split(X, y, **split))
        data = Data(X, y, weight, self.fit_intercept, self.positive, self.tol, self.max_iter)
        ratios = np.atleast_1d(getattr(self, "l1_ratio", 1.0)).astype(float)
        if not ((ratios >= 0) & (ratios <= 1)).all():
            raise ValueError(f"l1_ratio must be in [0, 1], got {self.l1_ratio!r}")
        known = fold_statistics(data, folds)
        alphas = self._grid(data, ratios, known)
        errors = np.array(self._errors(data, folds, ratios, alphas, known))  # ratios x folds x alphas
        self._choose(errors, ratios, alphas)
        model = self._get_estimator()
        shared = {name: value for name, value in self.get_params().items() if name in model.get_params()}
        model.set_params(**{**shared, "precompute": False, "alpha": self.alpha_})
        if "l1_ratio" in model.get_params():
            model.set_params(l1_ratio=self.l1_ratio_)
        if known is None:
            model.fit(X, y, weight)
        else:
            model._fit_statistics(known.whole, X)
        self.coef_, self.intercept_ = model.coef_, model.intercept_
        self.dual_gap_, self.n_iter_ = model.dual_gap_, model.n_iter_
        if not hasattr(self, "l1_ratio"):
            del self.l1_ratio_
        return self

    def _grid(self: Any, data: Data, ratios: NDArray[np.float64], known: Known | None) -> NDArray[np.float64]:
        """The strengths for each l1_ratio, decreasing."""
        if not isinstance(self.alphas, Integral):
            for index, alpha in enumerate(self.alphas):
                check_scalar(alpha, f"alphas[{index}]", target_type=Real, min_val=0.0)
            return np.tile(np.sort(np.asarray(self.alphas, dtype=float))[::-1], (len(ratios), 1))
        if (ratios == 0).any():
            raise ValueError("alphas must be given where l1_ratio is 0: no strength leaves all coefficients at 0 then")
        if known is not None:
            q = known.whole.quadratic(data.fit_intercept).q
            largest = float((q if data.positive else np.abs(q)).max())
        else:
            unit = LinearObjective(
                data.X,
                data.y,
                SquaredError(),
                Penalty(1.0, 0.0, positive=data.positive),
                sample_weight=data.weight,
                fit_intercept=data.fit_intercept,
            )
            largest = unit.lambda_max() / 2
        largest = max(largest, float(np.finfo(float).resolution))
        return np.array([np.geomspace(largest / r, largest / r * self.eps, self.alphas) for r in ratios])

    def _errors(
        self: Any,
        data: Data,
        folds: list[Any],
        ratios: NDArray[np.float64],
        alphas: NDArray[np.float64],
        known: Known | None,
    ) -> list[Any]:
        """The mean squared errors of the models of each ratio, fold and strength on the samples left out."""
        models = [(ratio, grid) for ratio, grid in zip(ratios, alphas, strict=True)]
        if known is not None:
            return [[_path_of_statistics(data, parts, *model) for parts in known.folds] for model in models]
        jobs, threads = share_threads(self.n_jobs)
        work = [delayed(_path_of_rows)(data, fold, *model, threads) for model in models for fold in folds]
        with threadpool_limits(threads, user_api="blas"):
            errors = Parallel(n_jobs=jobs, verbose=self.verbose, prefer="threads")(work)
        return list(np.reshape(errors, (len(ratios), len(folds), -1)))

    def _choose(self: Any, errors: NDArray[np.float64], ratios: NDArray[np.float64], alphas: Any) -> None:
        means = errors.mean(axis=1)
        ratio, best = np.unravel_index(np.argmin(means), means.shape)
        if self.one_standard_error:
            spread = errors[ratio, :, best].std(ddof=1) / np.sqrt(errors.shape[1])
            best = np.argmax(means[ratio] <= means[ratio, best] + spread)
        self.mse_path_ = np.squeeze(np.moveaxis(errors, 2, 1))
        self.alphas_ = alphas if len(ratios) > 1 and isinstance(self.alphas, Integral) else alphas[0]
        self.alpha_, self.l1_ratio_ = alphas[ratio, best], ratios[ratio]


def fold_statistics(data: Data, folds: list[Any]) -> Known | None:
    """The statistics of all folds, from one pass if their test samples partition all; None where they do not pay."""
    X, y, weight = data.X, data.y, data.weight
    if X.shape[1] > MOST_FEATURES or X.shape[0] < FEWEST_SAMPLES * X.shape[1]:
        return None
    first = Statistics.of(X, y, weight, _rows(folds[0][1]))
    tests = [first, *(Statistics.of(X, y, weight, _rows(test), like=first) for _, test in folds[1:])]
    counts = np.zeros(len(y), dtype=np.int64)
    for _, test in folds:
        counts[test] += 1
    if (counts == 1).all() and all(len(train) + len(test) == len(y) for train, test in folds):
        whole = reduce(add, tests)
        return Known(whole, [(whole - test, test) for test in tests])
    trains = [Statistics.of(X, y, weight, _rows(train), like=first) for train, _ in folds]
    return Known(Statistics.of(X, y, weight, like=first), list(zip(trains, tests, strict=True)))


def _rows(index: NDArray[np.intp]) -> Any:
    """Indices as a slice where they are one: rows of X are then not copied one by one."""
    index = np.asarray(index)
    if index.dtype == bool:
        index = np.flatnonzero(index)
    return slice(int(index[0]), int(index[-1]) + 1) if len(index) and (np.diff(index) == 1).all() else index


def _penalty(data: Data, alpha: float, ratio: float) -> Penalty:
    return Penalty(2 * alpha * ratio, alpha * (1 - ratio), positive=data.positive)


def _path_of_statistics(
    data: Data, parts: tuple[Statistics, Statistics], ratio: float, alphas: NDArray[np.float64]
) -> NDArray[np.float64]:
    train, test = parts
    quadratic = train.quadratic(data.fit_intercept)
    run, wanted = QuadraticRun(quadratic), path_tolerance(data.tol, data.X, 0.01) * max(quadratic.c, 0.0)

    def costs_of(alpha: float) -> Costs:
        return _penalty(data, alpha, ratio).costs(len(quadratic.q))

    def solve(alpha: float) -> Minima:
        gap, steps = run.minimise(costs_of(alpha), wanted)
        return Minima.one(run.w, math.nan, gap, steps, gap <= wanted)

    W = np.concatenate([found.points for found in run.follow(alphas, costs_of, wanted, MAX_STEPS, solve)])
    return test.errors(W, quadratic.intercept(W))


def _path_of_rows(
    data: Data, fold: tuple[Any, Any], ratio: float, alphas: NDArray[np.float64], threads: int
) -> NDArray[np.float64]:
    """X stays whole: samples that are left out have weight 0."""
    train, test = fold
    X, y = data.X, data.y
    weight = np.zeros(len(y), dtype=X.dtype)
    weight[train] = 1 if data.weight is None else data.weight[train]
    mean = float(np.average(y, weights=weight)) if data.fit_intercept else 0.0
    unit = Penalty(1.0, 0.0, positive=data.positive)
    objective = LinearObjective(
        X, y - mean, SquaredError(), unit, sample_weight=weight, fit_intercept=data.fit_intercept, n_threads=threads
    )
    path = follow_path(objective, ratio, 2 * alphas, path_tolerance(data.tol, X, 1.0), data.max_iter)
    predictions = path.predict(X[_rows(test)]) + mean
    return np.average(
        (predictions - y[test, None]) ** 2, axis=0, weights=None if data.weight is None else data.weight[test]
    )


class ElasticNetCV(_SelectionMixin, linear_model.ElasticNetCV):
    r"""`ElasticNet` with its strength, and its ``l1_ratio``, chosen by cross-validation.

    As `sklearn.linear_model.ElasticNetCV`, whose choice it makes on the same folds. Where there are many more samples
    than features, the folds' models come from sums over the samples that are found in one pass over X.

    Parameters
    ----------
    l1_ratio, eps, alphas, fit_intercept, max_iter, tol, cv, verbose, n_jobs, positive
        As scikit-learn's.
    precompute, copy_X, random_state, selection
        Accepted, and of no effect.
    one_standard_error : bool
        Whether to choose, instead of the strength of the least mean error, the largest whose mean error is within a
        standard error of it.

    Attributes
    ----------
    alpha_, l1_ratio_, coef_, intercept_, mse_path_, alphas_, dual_gap_, n_iter_, n_features_in_, feature_names_in_
        As scikit-learn's.

    References
    ----------
    T. Hastie, R. Tibshirani and J. Friedman (2009), "The Elements of Statistical Learning", section 7.10: the rule of
    one standard error.
    """

    _parameter_constraints = {**linear_model.ElasticNetCV._parameter_constraints, "one_standard_error": ["boolean"]}

    def __init__(
        self,
        *,
        l1_ratio: Any = 0.5,
        eps: float = 1e-3,
        alphas: Any = 100,
        fit_intercept: bool = True,
        precompute: Any = "auto",
        max_iter: int = 1000,
        tol: float = 1e-4,
        cv: Any = None,
        copy_X: bool = True,
        verbose: int = 0,
        n_jobs: int | None = None,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        one_standard_error: bool = False,
    ) -> None:
        super().__init__(
            l1_ratio=l1_ratio,
            eps=eps,
            alphas=alphas,
            fit_intercept=fit_intercept,
            precompute=precompute,
            max_iter=max_iter,
            tol=tol,
            cv=cv,
            copy_X=copy_X,
            verbose=verbose,
            n_jobs=n_jobs,
            positive=positive,
            random_state=random_state,
            selection=selection,
        )
        self.one_standard_error = one_standard_error

    def _get_estimator(self) -> ElasticNet:
        return ElasticNet()


class LassoCV(_SelectionMixin, linear_model.LassoCV):
    r"""`Lasso` with its strength chosen by cross-validation, as `sklearn.linear_model.LassoCV`; see `ElasticNetCV`."""

    _parameter_constraints = {**linear_model.LassoCV._parameter_constraints, "one_standard_error": ["boolean"]}

    def __init__(
        self,
        *,
        eps: float = 1e-3,
        alphas: Any = 100,
        fit_intercept: bool = True,
        precompute: Any = "auto",
        max_iter: int = 1000,
        tol: float = 1e-4,
        copy_X: bool = True,
        cv: Any = None,
        verbose: int = 0,
        n_jobs: int | None = None,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        one_standard_error: bool = False,
    ) -> None:
        super().__init__(
            eps=eps,
            alphas=alphas,
            fit_intercept=fit_intercept,
            precompute=precompute,
            max_iter=max_iter,
            tol=tol,
            copy_X=copy_X,
            cv=cv,
            verbose=verbose,
            n_jobs=n_jobs,
            positive=positive,
            random_state=random_state,
            selection=selection,
        )
        self.one_standard_error = one_standard_error

    def _get_estimator(self) -> Lasso:
        return Lasso()
