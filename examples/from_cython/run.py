"""Trains a logistic regression in Cython. Build it first:

cd examples/from_cython && python setup.py build_ext --inplace && python run.py
"""

from __future__ import annotations

import numpy as np

# What setup.py builds from online.pyx; no part of the package.
import online

import fastloss as fl


def main(loss: fl.losses.Loss | None = None) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Returns the coefficients, the true ones, and the mean loss of each epoch."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 10))
    true = rng.standard_normal(10)
    y = (rng.random(len(X)) < 1 / (1 + np.exp(-X @ true))).astype(float)
    w = np.zeros(X.shape[1])
    losses = online.train(loss or fl.BinaryCrossEntropy(from_logits=True), X, y, w, step=0.2, epochs=5)
    for i, value in enumerate(losses):
        print(f"epoch {i + 1}: mean loss {value:.4f}")
    print(f"largest error of a coefficient: {abs(w - true).max():.3f}")
    return w, true, losses


if __name__ == "__main__":
    main()
