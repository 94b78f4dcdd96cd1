"""Softmax cross-entropy of a linear model, value and gradients, as each library computes it.

Called by what measures times and by what measures memory, so a library makes no arrays before it is asked for its call.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from bench.peers import SEED

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}  # relative, of a gradient to its largest entry: sums over all rows

Results = tuple[float, tuple[np.ndarray, ...]]  # value, gradients


class LinearModel:
    """The inputs of one; a subclass says what is computed of them, and how, by a method for each library."""

    modules: ClassVar[dict[str, str]]  # what has to be installed, by library

    def __init__(self, rows: int, columns: int, classes: int, dtype: str):
        rng = np.random.default_rng(SEED)
        self.X = rng.standard_normal((rows, columns), dtype=dtype)
        self.W = rng.standard_normal((classes, columns), dtype=dtype)
        self.W *= 3 / columns**0.5  # logits are 3 x normal
        self.y = rng.integers(0, classes, rows)  # any: what is computed takes as long

    @classmethod
    def installed(cls) -> list[str]:
        return [name for name, module in cls.modules.items() if find_spec(module)]

    def call(self, library: str, threads: int) -> Callable[[], Results]:
        """What is measured: it takes nothing."""
        return getattr(self, library.replace("-", "_"))(threads)

    def checked_calls(self, threads: int) -> dict[str, Callable[[], Results]]:
        """The calls of all that are installed, after their results were found equal."""
        calls = {library: self.call(library, threads) for library in self.installed()}
        tolerance = TOLERANCE[self.X.dtype.name]
        value, gradients = calls["fastloss"]()
        for library in calls.keys() - {"fastloss"}:
            their_value, their_gradients = calls[library]()
            np.testing.assert_allclose(value, their_value, rtol=tolerance, err_msg=library)
            for ours, theirs in zip(gradients, their_gradients, strict=True):
                scale = float(np.abs(theirs).max())
                np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale, err_msg=library)
        return calls


class Objective(LinearModel):
    """Mean loss with an intercept, at a point of float64, as SciPy's solvers have it."""

    modules: ClassVar[dict[str, str]] = {"fastloss": "fastloss", "scikit-learn": "sklearn"}

    def __init__(self, rows: int, columns: int, classes: int, dtype: str):
        super().__init__(rows, columns, classes, dtype)
        self.point = np.column_stack([self.W, np.linspace(-1, 1, classes)]).astype(np.float64)

    def fastloss(self, threads):
        import fastloss as fl

        loss = fl.CategoricalCrossEntropy(from_logits=True)
        objective = fl.LinearObjective(self.X, self.y, loss, fit_intercept=True, n_threads=threads)
        w = self.point.ravel()

        def value_and_grad():
            value, gradient = objective.value_and_grad(w)
            return value, (gradient.reshape(self.point.shape),)

        return value_and_grad

    def scikit_learn(self, threads):
        from sklearn._loss.loss import HalfMultinomialLoss
        from sklearn.linear_model._linear_loss import LinearModelLoss

        theirs = LinearModelLoss(HalfMultinomialLoss(n_classes=len(self.W)), fit_intercept=True)
        w = np.asfortranarray(self.point)  # what LogisticRegression gives it
        y = self.y.astype(self.X.dtype)

        def value_and_grad():
            value, gradient = theirs.loss_gradient(w, self.X, y, n_threads=threads)
            return value, (gradient,)

        return value_and_grad

    def products(self) -> Callable[[], Any]:
        """The two matrix products alone, into buffers; by as many threads as the process lets BLAS have."""
        weights, residuals = self.W.T, self.X @ self.W.T  # any numbers would do
        logits, gradient = np.empty_like(residuals), np.empty_like(self.W)

        def call():
            np.matmul(self.X, weights, out=logits)
            np.matmul(residuals.T, self.X, out=gradient)

        return call


class LastLayer(LinearModel):
    """Mean loss of a large vocabulary, its gradients in rows and weights."""

    modules: ClassVar[dict[str, str]] = {"fastloss": "fastloss", "torch": "torch"}

    def fastloss(self, threads):
        import fastloss as fl

        def value_and_grads():
            value, gradients = fl.linear_cross_entropy(
                self.X, self.W, self.y, return_grads=("X", "W"), n_threads=threads
            )
            return value, (gradients["X"], gradients["W"])

        return value_and_grads

    def torch(self, threads):
        import torch
        from torch.nn.functional import cross_entropy, linear

        torch.set_num_threads(threads)
        X, W, y = (torch.from_numpy(array) for array in (self.X, self.W, self.y))
        X.requires_grad_()
        W.requires_grad_()

        def value_and_grads():
            value = cross_entropy(linear(X, W), y)
            gradients = torch.autograd.grad(value, (X, W))
            return value.item(), tuple(gradient.numpy() for gradient in gradients)

        return value_and_grads


MODELS = {"objective": Objective, "last-layer": LastLayer}
