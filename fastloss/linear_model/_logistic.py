"""LogisticRegression and LogisticRegressionCV: binary and multinomial, with L1, L2 and elastic net."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import linear_model
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch, compute_class_weight
from sklearn.utils.metadata_routing import _raise_for_params, _routing_enabled, process_routing
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from threadpoolctl import threadpool_limits

from fastloss.linear_model._fit import check_data, fit, path_tolerance, share_threads
from fastloss.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from fastloss.objective import LinearObjective
from fastloss.path import follow_path
from fastloss.penalties import ElasticNet as Penalty

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


TIGHTER = 0.01  # than `tol` is the duality gap of the models that only choose


class LogisticRegression(linear_model.LogisticRegression):
    r"""Logistic regression, binary or multinomial, as `sklearn.linear_model.LogisticRegression`.

    Minimises ``C sum_i s_i loss_i + l1_ratio sum(abs(w)) + (1 - l1_ratio) / 2 sum(w^2)``, with s the sample weights
    times those of the classes; intercepts are not penalised.

    Parameters
    ----------
    C, l1_ratio, penalty, tol, fit_intercept, class_weight, max_iter, verbose, warm_start
        As scikit-learn's. The duality gap is at most ``1e-6 * tol`` times the loss at w = 0; with three classes or more
        and no L1 part, where it is far above what is missing, ``3 * tol`` (``0.3 * tol`` where X has at most 2^20
        numbers). Rounding limits all of them.
    solver, dual, intercept_scaling, random_state, n_jobs
        Accepted, and of no effect: each penalty goes with each. Unlike liblinear's, the intercept is not penalised.

    Attributes
    ----------
    classes_, coef_, intercept_, n_iter_, n_features_in_, feature_names_in_
        As scikit-learn's.

    Examples
    --------
    >>> import numpy as np
    >>> from fastloss.linear_model import LogisticRegression
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> LogisticRegression(C=0.1, l1_ratio=1).fit(X, X[:, 0] > 0).coef_.round(3)
    array([[1.995, 0.   , 0.   , 0.   ]])
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Any:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Not copied where it is in C or Fortran order, or CSR or CSC, of float32 or float64.
        y : array-like of shape (n_samples,)
            Classes, of any type.
        sample_weight : array-like of shape (n_samples,), optional
            Numbers >= 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data are not finite, their shapes do not fit, or there is one class alone.
        """
        C, l1_ratio = _strength(self)
        X, y, weight = check_data(self, X, y, sample_weight)
        self.classes_, codes = _classes(y)
        weight = _weights(self.class_weight, self.classes_, y, codes, weight)
        w0 = None
        if self.warm_start and hasattr(self, "coef_"):
            w0 = np.column_stack([self.coef_, self.intercept_])[:, : X.shape[1] + self.fit_intercept].ravel()
        objective = _objective(X, codes, len(self.classes_), C, l1_ratio, weight, self.fit_intercept)
        result = fit(objective, self.tol, self.max_iter, w0, verbose=self.verbose > 0)
        W = result.x.reshape(1 if len(self.classes_) == 2 else len(self.classes_), -1).astype(X.dtype)
        self.coef_ = W[:, : X.shape[1]].copy()
        self.intercept_ = W[:, -1].copy() if self.fit_intercept else np.zeros(len(W), X.dtype)
        self.n_iter_ = np.array([max(1, result.nit)], dtype=np.int32)
        return self

    def _objective(self, X: Any, y: Any, weight: Any) -> LinearObjective:
        C, l1_ratio = _strength(self)
        classes, codes = _classes(y)
        weight = _weights(self.class_weight, classes, y, codes, weight)
        return _objective(X, codes, len(classes), C, l1_ratio, weight, self.fit_intercept)


def _objective(
    X: Any, codes: NDArray[np.intp], n_classes: int, C: float, l1_ratio: float, weight: Any, fit_intercept: bool
) -> LinearObjective:
    """What is minimised, over C and the sum of the weights."""
    total = float(len(codes) if weight is None else weight.sum())
    alpha = 0.0 if np.isinf(C) else 1 / (C * total)
    penalty = Penalty(alpha * l1_ratio, alpha * (1 - l1_ratio) / 2)
    y = codes.astype(X.dtype)
    return LinearObjective(X, y, _loss(n_classes), penalty, sample_weight=weight, fit_intercept=fit_intercept)


def _loss(n_classes: int) -> BinaryCrossEntropy | CategoricalCrossEntropy:
    if n_classes == 2:
        return BinaryCrossEntropy(from_logits=True)
    return CategoricalCrossEntropy(from_logits=True)


def _strength(model: Any) -> tuple[float, float]:
    """C and l1_ratio, of the parameters of old as well."""
    penalty = getattr(model, "penalty", "deprecated")
    C, l1_ratio = model.C, model.l1_ratio
    if penalty != "deprecated":
        _warn_of_penalty()
    if penalty is None:
        return np.inf, 0.0
    return C, {"l1": 1.0, "l2": 0.0}.get(penalty, 0.0 if l1_ratio is None else l1_ratio)


def _warn_of_penalty() -> None:
    warnings.warn(
        "'penalty' is deprecated, as in scikit-learn: use l1_ratio=0 for 'l2', l1_ratio=1 for 'l1', C=np.inf for None.",
        FutureWarning,
        stacklevel=4,
    )


def _classes(y: Any) -> tuple[NDArray[Any], NDArray[np.intp]]:
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must hold samples of at least 2 classes, but there is only one class: {classes[0]!r}")
    return classes, codes


def _weights(class_weight: Any, classes: Any, y: Any, codes: NDArray[np.intp], weight: Any) -> NDArray[Any] | None:
    """The weights of the samples times those of their classes."""
    if class_weight is None:
        return weight
    if isinstance(class_weight, dict) and not set(class_weight) <= set(classes.tolist()):
        raise ValueError(f"class_weight must have class labels as keys, of {classes.tolist()}; got {class_weight!r}")
    of_class = compute_class_weight(class_weight, classes=classes, y=y, sample_weight=weight)
    result = of_class[codes] if weight is None else of_class[codes] * weight
    if not (np.isfinite(result) & (result >= 0)).all() or not result.any():
        raise ValueError(f"class_weight must hold finite numbers >= 0, not all of them 0; got {class_weight!r}")
    return result


class LogisticRegressionCV(linear_model.LogisticRegressionCV):
    r"""`LogisticRegression` with C, and l1_ratio, chosen by cross-validation.

    As `sklearn.linear_model.LogisticRegressionCV`, whose choice it makes on the same folds. The models of a fold are
    one path, each begun with the one before; of X the samples that are left out are copied, to be scored.

    Parameters
    ----------
    Cs, l1_ratios, fit_intercept, cv, penalty, scoring, tol, max_iter, class_weight, n_jobs, verbose, refit
        As scikit-learn's, and so is `use_legacy_attributes`.
    solver, dual, intercept_scaling, random_state
        Accepted, and of no effect.

    Attributes
    ----------
    classes_, coef_, intercept_, Cs_, l1_ratios_, coefs_paths_, scores_, C_, l1_ratio_, n_iter_, n_features_in_,
    feature_names_in_
        As scikit-learn's.
    """

    C_: Any
    l1_ratio_: Any
    scores_: Any
    coefs_paths_: Any
    n_iter_: Any

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None, **params: Any) -> Any:
        """Fit the models of all folds, then that of all samples at the best strength.

        Parameters
        ----------
        X, y, sample_weight
            As for `LogisticRegression.fit`.
        **params
            For the splitter and the scorer, as scikit-learn's.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data are not finite or too few for the folds, or their shapes do not fit.
        """
        _raise_for_params(params, self, "fit")
        ratios, given = _ratios(self)
        legacy = self.use_legacy_attributes is True or self.use_legacy_attributes == "warn"
        X, y, weight = check_data(self, X, y, sample_weight)
        self.classes_, codes = _classes(y)
        if _routing_enabled():
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
        else:
            score = dict(params) if weight is None else {**params, "sample_weight": weight}
            routed = Bunch(splitter=Bunch(split={}), scorer=Bunch(score=score))
        folds = list(check_cv(self.cv, y, classifier=True).split(X, y, **routed.splitter.split))
        Cs = np.logspace(-4, 4, self.Cs) if isinstance(self.Cs, Integral) else np.asarray(self.Cs, dtype=float)
        combined = _weights(self.class_weight, self.classes_, y, codes, weight)
        jobs, threads = share_threads(self.n_jobs)
        work = [
            delayed(_scores_of_fold)(self, X, y, codes, combined, fold, ratio, Cs, routed.scorer.score, threads)
            for fold in folds
            for ratio in ratios
        ]
        with threadpool_limits(threads, user_api="blas"):
            runs = Parallel(n_jobs=jobs, verbose=self.verbose, prefer="threads")(work)
        shape = (len(folds), len(ratios), len(Cs))
        scores = np.reshape([run[0] for run in runs], shape)
        points = np.reshape([run[1] for run in runs], (*shape, *runs[0][1][0].shape))  # ..., outputs, coordinates
        iterations = np.reshape([run[2] for run in runs], shape)
        if self.refit:
            i, j = np.unravel_index(np.argmax(scores.sum(axis=0).T), (len(Cs), len(ratios)))  # ties: the least C
            C, ratio = float(Cs[i]), ratios[j]
            W = self._refit(X, codes, combined, C, ratio)
        else:
            best = [np.unravel_index(np.argmax(s.T), (len(Cs), len(ratios))) for s in scores]
            C, ratio = float(np.mean([Cs[i] for i, _ in best])), float(np.mean([ratios[j] for _, j in best]))
            W = np.mean([points[fold, j, i] for fold, (i, j) in enumerate(best)], axis=0)
        p = X.shape[1]
        self.coef_ = W[:, :p].copy()
        self.intercept_ = W[:, p].copy() if self.fit_intercept else np.zeros(len(W))
        self.Cs_, self.l1_ratios_ = Cs, np.asarray(ratios)
        if legacy:
            self._set_legacy_attributes(C, ratio, scores, points, iterations, given)
        else:
            self.C_, self.l1_ratio_ = float(C), float(ratio)
            self.scores_, self.coefs_paths_, self.n_iter_ = scores, points, iterations
        return self

    def _refit(self, X: Any, codes: Any, weight: Any, C: float, ratio: float) -> NDArray[Any]:
        objective = _objective(X, codes, len(self.classes_), C, ratio, weight, self.fit_intercept)
        result = fit(objective, self.tol, self.max_iter)
        return result.x.reshape(1 if len(self.classes_) == 2 else len(self.classes_), -1)

    def _set_legacy_attributes(
        self, C: float, ratio: float, scores: Any, points: Any, iterations: Any, given: bool
    ) -> None:
        """The shapes of before scikit-learn 1.10: by classes, and folds x Cs x ratios."""
        outputs = points.shape[3]
        labels = self.classes_[1:] if outputs == 1 else self.classes_
        self.C_, self.l1_ratio_ = np.full(outputs, C), np.full(outputs, ratio)
        swapped, paths, counts = scores.swapaxes(1, 2), points.swapaxes(1, 2), iterations.swapaxes(1, 2)[None]
        if not given:
            swapped, paths, counts = swapped[..., 0], paths[:, :, 0], counts[..., 0]
        self.scores_ = {label: swapped for label in labels}
        self.coefs_paths_ = {label: paths[..., k, :] for k, label in enumerate(labels)}
        self.n_iter_ = counts


def _ratios(model: Any) -> tuple[list[float], bool]:
    """The l1_ratios to try, and whether they were given; scikit-learn's warnings about defaults that will change."""
    penalty, ratios = getattr(model, "penalty", "deprecated"), model.l1_ratios
    if penalty != "deprecated":
        _warn_of_penalty()
    given = ratios is not None and not isinstance(ratios, str)
    if penalty in ("l1", "l2"):
        return [float(penalty == "l1")], given
    if not given:
        if penalty == "elasticnet":
            raise ValueError(f"l1_ratios must be an array-like of numbers between 0 and 1; got (l1_ratios={ratios!r})")
        return [0.0], given
    values = [float(ratio) for ratio in ratios]
    if not values or not all(0 <= value <= 1 for value in values):
        raise ValueError(f"l1_ratios must be an array-like of numbers between 0 and 1; got (l1_ratios={ratios!r})")
    return values, given


def _scores_of_fold(
    model: Any,
    X: Any,
    y: Any,
    codes: NDArray[np.intp],
    weight: NDArray[Any] | None,
    fold: tuple[Any, Any],
    ratio: float,
    Cs: NDArray[np.float64],
    score_params: dict[str, Any],
    threads: int,
) -> tuple[list[float], list[NDArray[Any]], list[int]]:
    """The scores, points and iterations of the models of a fold, in the order of Cs; X stays whole."""
    train, test = fold
    mask = np.zeros(len(codes), dtype=X.dtype)
    mask[train] = 1 if weight is None else weight[train]
    loss = _loss(len(model.classes_))
    if len(model.classes_) > 2 and len(np.unique(codes[train])) < len(model.classes_):
        loss = CategoricalCrossEntropy(from_logits=True, class_weight=np.ones(len(model.classes_)))
    objective = LinearObjective(
        X,
        codes.astype(X.dtype),
        loss,
        Penalty(1.0, 0.0),
        sample_weight=mask,
        fit_intercept=model.fit_intercept,
        n_threads=threads,
    )
    strengths = np.where(np.isinf(Cs), 0.0, 1 / (Cs * float(mask.sum(dtype=np.float64))))
    path = follow_path(objective, ratio, -np.sort(-strengths), path_tolerance(model.tol, X, TIGHTER), model.max_iter)
    missed = path.duality_gaps > model.tol * objective.gap_unit
    if missed.any():
        warnings.warn(
            f"{missed.sum()} of {len(Cs)} models of a fold did not converge. Increase max_iter or scale the features.",
            ConvergenceWarning,
            stacklevel=2,
        )
    order = np.argsort(np.argsort(Cs, kind="stable"), kind="stable")  # the path begins with the least C
    outputs = 1 if len(model.classes_) == 2 else len(model.classes_)
    one = linear_model.LogisticRegression()
    one.classes_ = model.classes_
    one.n_features_in_ = X.shape[1]
    scorer = get_scorer("accuracy" if model.scoring in (None, "warn") else model.scoring)
    params = {key: value[test] if np.ndim(value) else value for key, value in score_params.items()}
    X_test, y_test = X[test], y[test]
    scores, points, iterations = [], [], []
    for i in order:
        coef, intercept = path.coef(i).reshape(outputs, -1), np.reshape(path.intercepts[i], outputs)
        one.coef_, one.intercept_ = coef, intercept
        scores.append(float(scorer(one, X_test, y_test, **params)))
        points.append(np.column_stack([coef, intercept]) if model.fit_intercept else coef)
        iterations.append(max(1, int(path.n_iters[i])))
    return scores, points, iterations
