"""Measure the estimators against scikit-learn's and celer's: ``python -m bench.estimators``.

Each is fitted at its default tolerance; the objectives tell whether ours is no worse. One problem after the other, ours
and theirs in turns, medians of the ratios; ``--quick`` takes small data and asks only whether everything runs.
"""

from __future__ import annotations

import argparse
import datetime
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bench.machine import describe

QUICK = 50  # times smaller


class Case(NamedTuple):
    """A comparison: both models fitted to the data that `make` makes."""

    name: str
    target: float
    make: Callable[[int], tuple[Any, Any]]
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    objective: Callable[[Any, Any, Any], float]
    rounds: int = 3


def regression(n: int, p: int, correlation: float = 0.0) -> Callable[[int], tuple[Any, Any]]:
    """Gaussian columns, each correlated with the one before; 20 of them count."""

    def make(part: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        rows, columns = max(60, n // part), max(20, p // part) if p > 1000 else p
        X = rng.standard_normal((rows, columns))
        for j in range(1, columns if correlation else 0):
            X[:, j] = correlation * X[:, j - 1] + np.sqrt(1 - correlation**2) * X[:, j]
        w = np.zeros(columns)
        w[rng.choice(columns, 20, replace=False)] = rng.standard_normal(20)
        y = X @ w
        return X, y + 0.5 * y.std() * rng.standard_normal(rows)

    return make


def classes(n: int, p: int, k: int = 2) -> Callable[[int], tuple[Any, Any]]:
    """The same with labels: the class of the largest of k scores with Gumbel noise."""

    def make(part: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        rows = max(200, n // part)
        X = rng.standard_normal((rows, p))
        W = np.zeros((p, k))
        W[: min(p, 20)] = rng.standard_normal((min(p, 20), k)) / np.sqrt(2)
        return X, (X @ W + rng.gumbel(size=(rows, k))).argmax(axis=1)

    return make


def breast_cancer(part: int) -> tuple[Any, Any]:
    """As it comes, standardised."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def lasso_objective(model: Any, X: Any, y: Any) -> float:
    """Of the model at its own strength."""
    alpha = getattr(model, "alpha_", None) or model.alpha
    r = y - X @ model.coef_ - model.intercept_
    return float(r @ r / (2 * len(y)) + alpha * np.abs(model.coef_).sum())


def logistic_objective(model: Any, X: Any, y: Any) -> float:
    """Mean loss plus penalty; intercepts are not penalised, whatever the model did."""
    C = float(np.ravel(getattr(model, "C_", model.C if hasattr(model, "C") else 1.0))[0])
    ratio = float(np.ravel(getattr(model, "l1_ratio_", model.l1_ratio if hasattr(model, "l1_ratio") else 0.0))[0])
    z = X @ model.coef_.T + model.intercept_
    if z.shape[1] == 1:
        z = np.column_stack([np.zeros(len(z)), z])
    z -= z.max(axis=1, keepdims=True)
    loss = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    w = model.coef_
    return float(loss.mean() + (ratio * np.abs(w).sum() + (1 - ratio) / 2 * (w * w).sum()) / (C * len(y)))


def cases() -> list[Case]:
    """All comparisons; those of peers that are not installed are left out."""
    import sklearn.linear_model as theirs

    import fastloss.linear_model as ours

    def logistic(**options: Any) -> Callable[[], Any]:
        return lambda: theirs.LogisticRegression(**options)

    wide, tall = regression(1000, 5000, 0.6), regression(300_000, 100)
    sparse_model = {"l1_ratio": 1.0, "C": 0.01}
    cv = {"Cs": 10, "cv": 5, "l1_ratios": (1.0,), "scoring": "neg_log_loss", "use_legacy_attributes": False}
    found = [
        Case("LassoCV, 1,000 × 5,000 / scikit-learn", 3, wide, ours.LassoCV, theirs.LassoCV, lasso_objective, 1),
        Case("LassoCV, 300,000 × 100 / scikit-learn", 10, tall, ours.LassoCV, theirs.LassoCV, lasso_objective),
        Case(
            "LogisticRegression L1, 200,000 × 100 / liblinear",
            5,
            classes(200_000, 100),
            lambda: ours.LogisticRegression(**sparse_model),
            logistic(solver="liblinear", **sparse_model),
            logistic_objective,
        ),
        Case(
            "LogisticRegression L1, 200,000 × 100 / saga",
            10,
            classes(200_000, 100),
            lambda: ours.LogisticRegression(**sparse_model),
            logistic(solver="saga", **sparse_model),
            logistic_objective,
        ),
        *(
            Case(
                f"LogisticRegression L2, 200,000 × 100 / {solver}",
                1.5,
                classes(200_000, 100),
                ours.LogisticRegression,
                logistic(solver=solver),
                logistic_objective,
            )
            for solver in ("lbfgs", "newton-cholesky")
        ),
        Case(
            "LogisticRegression L2, 50,000 × 200, 10 classes / lbfgs",
            1.5,
            classes(50_000, 200, 10),
            ours.LogisticRegression,
            logistic(),
            logistic_objective,
        ),
        Case(
            "LogisticRegressionCV L1, 20,000 × 500 / liblinear",
            5,
            classes(20_000, 500),
            lambda: ours.LogisticRegressionCV(**cv),
            lambda: theirs.LogisticRegressionCV(solver="liblinear", **cv),
            logistic_objective,
            1,
        ),
        Case(
            "LogisticRegression, breast cancer / scikit-learn",
            1,
            breast_cancer,
            ours.LogisticRegression,
            logistic(),
            logistic_objective,
            20,
        ),
        Case(
            "Lasso, breast cancer / scikit-learn",
            1,
            breast_cancer,
            lambda: ours.Lasso(alpha=0.01),
            lambda: theirs.Lasso(alpha=0.01),
            lasso_objective,
            20,
        ),
    ]
    try:
        import celer  # noqa: F401
    except ImportError:
        return found
    found.insert(1, Case("LassoCV, 1,000 × 5,000 / celer", 1.5, wide, ours.LassoCV, CelerLassoCV, lasso_objective, 1))
    return found


class CelerLassoCV:
    """What celer's LassoCV does, by its path: the class itself does not go with this scikit-learn."""

    def fit(self, X: Any, y: Any) -> Any:
        """Five folds, 100 strengths, celer's default tolerance."""
        from celer import Lasso, celer_path
        from sklearn.model_selection import KFold

        X = np.asfortranarray(X)
        largest = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / len(y)
        alphas = np.geomspace(largest, 1e-3 * largest, 100)
        errors = []
        for train, test in KFold(5).split(X):
            mean, level = X[train].mean(axis=0), y[train].mean()
            centred = np.asfortranarray(X[train] - mean)
            coefs = celer_path(centred, y[train] - level, pb="lasso", alphas=alphas, tol=1e-4)[1]
            errors.append((((X[test] - mean) @ coefs + level - y[test, None]) ** 2).mean(axis=0))
        self.alpha_ = alphas[np.argmin(np.mean(errors, axis=0))]
        model = Lasso(alpha=self.alpha_, tol=1e-4).fit(X, y)
        self.coef_, self.intercept_ = model.coef_, model.intercept_
        return self


def fit_once(make: Callable[[], Any], X: Any, y: Any) -> tuple[Any, float]:
    """A fitted model, and the seconds it took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make()
        start = time.perf_counter()
        model.fit(X, y)
        return model, time.perf_counter() - start


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small data: does everything run?")
    parser.add_argument("--only", default="", help="comparisons with this in their names")
    options = parser.parse_args()
    about = describe()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    today = datetime.date.today()
    print(f"{about['cpu_model']}, {about['cores']} cores; {about['instruction_set']}; {versions}; {today}; ", end="")
    print("`python -m bench.estimators`.")
    print(
        "Seconds of a fit at the default tolerance, medians; objective: how much lower ours is, relative to theirs.\n"
    )
    print("| estimator | ours | theirs | faster | target | objective |\n|---|---:|---:|---:|---:|---:|")
    for case in cases():
        if options.only not in case.name:
            continue
        X, y = case.make(QUICK if options.quick else 1)
        rounds = 1 if options.quick else case.rounds
        if not options.quick:
            fit_once(case.ours, X[:500, :50], y[:500])  # imports, threads, compilation
            fit_once(case.theirs, X[:500, :50], y[:500])
        pairs = [(fit_once(case.ours, X, y), fit_once(case.theirs, X, y)) for _ in range(rounds)]
        (ours, _), (theirs, _) = pairs[-1]
        mine, other = (float(np.median([pair[i][1] for pair in pairs])) for i in (0, 1))
        ratio = float(np.median([b[1] / a[1] for a, b in pairs]))
        high, low = case.objective(theirs, X, y), case.objective(ours, X, y)
        print(
            f"| {case.name} | {mine:.3g} | {other:.3g} | {ratio:.3g} × | ≥ {case.target:g} × | "
            f"{(high - low) / abs(high):+.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
