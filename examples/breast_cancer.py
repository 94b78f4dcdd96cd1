"""L1 and L2 on breast cancer: strengths chosen by cross-validation, and how well calibrated the result is.

    python examples/breast_cancer.py --output breast_cancer.png

Prints accuracy, log loss, Brier score and the number of features that each model uses on held-out data, and draws the
cross-validation curve, the regularisation path, the convergence and the calibration.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fastloss as fl
from fastloss.linear_model import LogisticRegression, LogisticRegressionCV


def main(arguments: list[str] | None = None) -> dict[str, tuple[float, float, int]]:
    """Returns accuracy, log loss and the number of features of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="breast_cancer.png", help="the picture; '' for none")
    options = parser.parse_args(arguments)
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    models, found = {}, {}
    print(f"{len(y)} samples to fit, {len(y_test)} to test, {X.shape[1]} features\n")
    print(f"{'penalty':>8} {'C':>10} {'accuracy':>9} {'log loss':>9} {'Brier':>8} {'features':>9}")
    for name, ratio in (("L1", 1.0), ("L2", 0.0)):
        model = LogisticRegressionCV(
            Cs=20, cv=10, l1_ratios=(ratio,), scoring="neg_log_loss", use_legacy_attributes=False
        ).fit(X, y)
        p = model.predict_proba(X_test)[:, 1]
        used = int(np.count_nonzero(model.coef_))
        found[name] = float(np.mean((p > 0.5) == y_test)), fl.binary_cross_entropy(y_test, p), used
        brier = brier_score_loss(y_test, p)
        print(f"{name:>8} {model.C_:>10.4g} {found[name][0]:>9.4f} {found[name][1]:>9.4f} {brier:>8.4f} {used:>9}")
        models[name] = model
    if options.output:
        draw(models, X, y, X_test, y_test, options.output)
        print(f"\npicture: {options.output}")
    return found


def draw(models, X, y, X_test, y_test, output) -> None:
    """Four pictures: how the strength was chosen, the path, the convergence, the calibration."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from fastloss.displays import ConvergenceDisplay, CrossValidationDisplay, RegularizationPathDisplay

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    sparse = LogisticRegression(C=models["L1"].C_, l1_ratio=1.0)
    CrossValidationDisplay.from_estimator(models["L1"], ax=axes[0, 0])
    RegularizationPathDisplay.from_estimator(sparse, X, y, ax=axes[0, 1])
    ConvergenceDisplay.from_estimator(sparse, X, y, solvers=("prox_newton", "fista"), tol=1e-7, ax=axes[1, 0])
    for name, model in models.items():
        CalibrationDisplay.from_estimator(
            model, X_test, y_test, n_bins=8, strategy="quantile", name=name, ax=axes[1, 1]
        )
    axes[1, 1].set_title("Calibration on held-out data")
    figure.savefig(output, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
