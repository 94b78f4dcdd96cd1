"""A regularisation path: logistic regression on real data, from no feature at all to most of them.

Run ``python examples/path.py`` (it needs ``pip install '.[sklearn,plot]'``): it prints some of the models with their
loss on samples that were kept aside, and saves the coefficients along the path as ``path.png``.
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

import fastloss as fl

LOSS = fl.BinaryCrossEntropy(from_logits=True)


def load():
    """Features of variance 1, so that their coefficients can be compared; 1 for malignant; the features' names.

    With ``standardize=True`` the path would scale them in the penalty alone: the same models, in the units of X.
    """
    data = load_breast_cancer()
    X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    return X, 1.0 - data.target, data.feature_names


def evaluate(path, X, y):
    """The loss and the accuracy of each model."""
    logits = X @ path.coefs.T + path.intercepts
    losses = np.array([LOSS(y, z) for z in logits.T])
    return losses, ((logits > 0) == y[:, np.newaxis]).mean(axis=0)


def table(path, losses, accuracies, every):
    """Some of the models, and the one with the least loss on what was kept aside."""
    best = int(losses.argmin())
    print(f"{'alpha':>10} {'features':>8} {'objective':>10} {'gap':>8} {'loss aside':>10} {'accuracy':>8}")
    for i in sorted({*range(0, len(path.alphas), every), best}):
        print(
            f"{path.alphas[i]:>10.5f} {path.supports[i]:>8} {path.objectives[i]:>10.6f} {path.duality_gaps[i]:>8.1e} "
            f"{losses[i]:>10.4f} {accuracies[i]:>8.1%}" + ("  <- least" if i == best else "")
        )
    return best


def plot(path, best, names, output, labels=7):
    """The path, the best model, and the names of the features that are largest there."""
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    path.plot(axes)
    axes.set_title(f"Logistic regression with L1: {path.supports[best]} of {len(names)} features in the best model")
    axes.set_ylabel("coefficient (of features with variance 1)")
    axes.axvline(path.alphas[best], color="0.3", linestyle="--", linewidth=1)
    axes.annotate(
        "least loss aside ", (path.alphas[best], 0.98), xycoords=("data", "axes fraction"), ha="right", va="top"
    )
    axes.margins(x=0)
    # Names beside the ends of the lines, in their colours, moved apart where they would overlap.
    used = np.flatnonzero(path.coefs.any(axis=0))
    colors = dict(zip(used, (line.get_color() for line in axes.lines), strict=False))
    chosen = np.argsort(-abs(path.coef(best)))[:labels]
    chosen = chosen[np.argsort(path.coef(-1)[chosen])]
    low, high = axes.get_ylim()
    at = path.coef(-1)[chosen]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + 0.045 * (high - low))
    for feature, height in zip(chosen, at, strict=True):
        axes.annotate(
            names[feature],
            (path.alphas[-1], path.coef(-1)[feature]),
            (1.02, height),
            textcoords=("axes fraction", "data"),
            color=colors[feature],
            va="center",
        )
    figure.savefig(output, dpi=120)
    plt.close(figure)


def main(arguments=None):
    """The command; returns the path and the number of its best model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--eps", type=float, default=0.003, help="the last alpha over the first")
    parser.add_argument("--output", default="path.png")
    options = parser.parse_args(arguments)
    X, y, names = load()
    aside = np.arange(len(y)) % 3 == 0
    path = fl.regularization_path(X[~aside], y[~aside], LOSS, n_alphas=options.models, eps=options.eps)
    print(f"{path}\n{len(path.alphas)} models in {path.times.sum():.3f} s\n")
    best = table(path, *evaluate(path, X[aside], y[aside]), every=max(1, options.models // 10))
    plot(path, best, names, options.output)
    print(f"\npicture saved to {options.output}")
    return path, best


if __name__ == "__main__":
    main()
