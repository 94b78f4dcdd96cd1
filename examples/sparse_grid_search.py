"""A grid search over a pipeline on sparse, text-like data: weighting of terms, then logistic regression with L1.

    python examples/sparse_grid_search.py --documents 4000

The data stay sparse from end to end. Prints the scores of the grid and the terms that the best model uses.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

from fastloss.linear_model import LogisticRegression

TELLING = 20  # terms that tell the classes apart


def documents(n: int, terms: int, seed: int = 0) -> tuple[sparse.csr_array, np.ndarray]:
    """Counts of terms, frequent ones as in a text; the telling ones come more often in documents of class 1."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    frequency = 1 / np.arange(2, terms + 2)
    telling = np.arange(30, 30 + TELLING)
    rows = []
    for label in y:
        weights = frequency.copy()
        weights[telling] *= 4 if label else 1
        rows.append(np.bincount(rng.choice(terms, 60, p=weights / weights.sum()), minlength=terms))
    return sparse.csr_array(np.array(rows, dtype=np.float64)), y


def main(arguments: list[str] | None = None) -> tuple[float, np.ndarray]:
    """Returns the accuracy of the best model on documents left out, and the terms that it uses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--terms", type=int, default=3000)
    options = parser.parse_args(arguments)
    X, y = documents(options.documents, options.terms)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, random_state=0)
    print(f"{X.shape[0]} documents of {X.shape[1]} terms, {X.nnz / X.shape[0]:.0f} different ones each")
    pipeline = Pipeline([("weights", TfidfTransformer()), ("model", LogisticRegression(l1_ratio=1.0))])
    grid = {"weights__use_idf": [False, True], "model__C": [0.3, 1.0, 3.0, 10.0]}
    search = GridSearchCV(pipeline, grid, cv=5, scoring="neg_log_loss").fit(X, y)
    print(f"\n{'use_idf':>8} {'C':>6} {'log loss':>9} {'seconds a fit':>14}")
    for parameters, score, seconds in zip(
        search.cv_results_["params"],
        search.cv_results_["mean_test_score"],
        search.cv_results_["mean_fit_time"],
        strict=True,
    ):
        mark = "  <- best" if parameters == search.best_params_ else ""
        idf, strength = parameters["weights__use_idf"], parameters["model__C"]
        print(f"{idf!s:>8} {strength:>6} {-score:>9.4f} {seconds:>14.4f}{mark}")
    accuracy = float(search.best_estimator_.score(X_test, y_test))
    used = np.flatnonzero(search.best_estimator_["model"].coef_[0])
    right = int(((used >= 30) & (used < 30 + TELLING)).sum())
    print(f"\naccuracy on {len(y_test)} others: {accuracy:.3f}")
    print(f"the model uses {len(used)} terms, among them {right} of the {TELLING} that tell")
    return accuracy, used


if __name__ == "__main__":
    main()
