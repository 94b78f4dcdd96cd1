"""Boosting with another loss: XGBoost and LightGBM on data with outliers, by their own objectives and by ours.

    python examples/boosting.py --share 0.1

Trains on labels of which some are far off, and prints how far predictions are from the truth on average: with each
library's squared error, with Huber's loss, and with a loss of our own, Cauchy's, which forgets outliers altogether
(that one needs Numba). LightGBM has Huber's loss itself: ours grows the same trees.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np

import fastloss as fl


def contaminated(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, what is to be found, and labels: that with noise, and for a share of samples 20 too high."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 8))
    truth = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    return X, truth, truth + 0.3 * rng.standard_normal(n) + 20 * (rng.random(n) < share)


def cauchy(y, z):
    """log(1 + r^2) and its derivatives; the second is negative for large r, where boosting takes 1 instead."""
    r = z - y
    s = 1 + r * r
    return math.log1p(r * r), 2 * r / s, 2 * (1 - r * r) / (s * s)


def losses() -> Iterator[tuple[str, fl.losses.Loss]]:
    yield "Huber", fl.Huber(delta=0.5)
    if find_spec("numba"):
        yield "Cauchy", fl.custom_loss(cauchy, convex=False)


def xgboost_models(rounds: int, threads: int) -> Iterator[tuple[str, Callable[..., np.ndarray]]]:
    """Names, and functions of training data and features that return predictions."""
    import xgboost as xgb

    from fastloss.interop.xgboost import objective

    def model(**parameters: object) -> Callable[..., np.ndarray]:
        # base_score is where trees start. With an objective of one's own it is the first prediction as it is.
        options = {"n_estimators": rounds, "learning_rate": 0.1, "base_score": 0, "n_jobs": threads, **parameters}
        return lambda X, y, X_new: xgb.XGBRegressor(**options).fit(X, y).predict(X_new)

    yield "XGBoost, its squared error", model(objective="reg:squarederror")
    for name, loss in losses():
        yield f"XGBoost, our {name}", model(objective=objective(loss))


def lightgbm_models(rounds: int, threads: int) -> Iterator[tuple[str, Callable[..., np.ndarray]]]:
    import lightgbm as lgb

    from fastloss.interop.lightgbm import objective

    def model(**parameters: object) -> Callable[..., np.ndarray]:
        options = {"verbose": -1, "boost_from_average": False, "num_threads": threads, **parameters}
        return lambda X, y, X_new: lgb.train(options, lgb.Dataset(X, y), rounds).predict(X_new)

    yield "LightGBM, its squared error", model(objective="regression")
    yield "LightGBM, its Huber", model(objective="huber", alpha=0.5)
    for name, loss in losses():
        yield f"LightGBM, our {name}", model(objective=objective(loss))


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Returns the mean absolute error of each model, for the libraries that are installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.1, help="of the labels that are far off")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    X, _, y = contaminated(options.samples, options.share, seed=0)
    X_new, truth, _ = contaminated(10_000, 0.0, seed=1)
    errors = {}
    for library, models in (("xgboost", xgboost_models), ("lightgbm", lightgbm_models)):
        if find_spec(library) is None:
            print(f"{library} is not installed")
            continue
        for name, predict in models(options.rounds, options.threads):
            errors[name] = float(np.abs(predict(X, y, X_new) - truth).mean())
            print(f"{name:30} mean absolute error {errors[name]:.3f}")
    return errors


if __name__ == "__main__":
    main()
