"""Stochastic gradient descent over minibatches, compiled by Numba, with any loss of fastloss.

    python examples/from_numba.py --epochs 5

Trains a logistic regression by a function that knows no formula of a loss: it is given one, of the package or made by
`fastloss.custom_loss`. The whole of it runs without the GIL.
"""

from __future__ import annotations

import argparse

import numpy as np
from numba import njit

import fastloss as fl


@njit(nogil=True, cache=True)
def epoch(loss, X, y, w, step, batch):
    """Changes w by one step for each batch of rows; returns the mean loss, as it was met on the way."""
    total = 0.0
    gradient = np.empty(batch, w.dtype)
    for start in range(0, len(X), batch):
        rows = X[start : start + batch]
        out = gradient[: len(rows)]
        value, _ = loss.value_and_grad(y[start : start + batch], rows @ w, out=out)
        total += value * len(rows)
        w -= step * (rows.T @ out)
    return total / len(X)


def main(arguments: list[str] | None = None) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Returns the coefficients, the true ones, and the mean loss of each epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--step", type=float, default=0.2)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((options.samples, 10))
    true = rng.standard_normal(10)
    y = (rng.random(len(X)) < 1 / (1 + np.exp(-X @ true))).astype(float)
    w = np.zeros(X.shape[1])
    loss = fl.BinaryCrossEntropy(from_logits=True)
    losses = []
    for i in range(options.epochs):
        losses.append(epoch(loss, X, y, w, options.step, options.batch))
        print(f"epoch {i + 1}: mean loss {losses[-1]:.4f}")
    print(f"largest error of a coefficient: {abs(w - true).max():.3f}")
    return w, true, losses


if __name__ == "__main__":
    main()
