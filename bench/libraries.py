"""A loss as each library has it: how it is called, and how its results read in fastloss's scaling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

METHODS = ("value", "value_and_grad", "grad_and_hess")
DTYPES = ("float32", "float64")


class Peer:
    """A loss as one library has it."""

    module: ClassVar[str] = "numpy"  # not there: not compared
    methods: ClassVar[tuple[str, ...]] = METHODS
    dtypes: ClassVar[tuple[str, ...]] = DTYPES
    threaded: ClassVar[bool] = True  # whether one can say how many threads

    def call(self, method: str, loss: Any, y: np.ndarray, z: np.ndarray, threads: int) -> Callable[[], Any]:
        """What is timed: it takes nothing, and writes into buffers made here where the library can."""
        raise NotImplementedError

    def normal(self, method: str, result: Any) -> tuple[Any, ...]:
        """The results as fastloss scales them: mean value, gradient of the mean; per-sample gradient and hessian."""
        return result


class FastLoss(Peer):
    module = "fastloss"

    def call(self, method, loss, y, z, threads):
        if method == "value":
            return partial(loss, y, z, n_threads=threads)
        out = np.empty_like(z) if method == "value_and_grad" else (np.empty_like(z), np.empty_like(z))
        return partial(getattr(loss, method), y, z, out=out, n_threads=threads)

    def normal(self, method, result):
        return (result,) if method == "value" else result


OURS = FastLoss()


@dataclass(frozen=True)
class ScikitLearn(Peer):
    """Its private kernels. They return losses of samples; the time to reduce them is not counted against them."""

    module = "sklearn"
    name: str
    parameters: Callable[[Any], dict[str, float]] = lambda loss: {}
    factor: float = 1.0  # ours / theirs
    has_hessian: bool = True  # False: theirs is a placeholder that suits their trees

    def call(self, method, loss, y, z, threads):
        import sklearn._loss.loss

        theirs = getattr(sklearn._loss.loss, self.name)(**self.parameters(loss))
        y = y.astype(z.dtype, copy=False)  # class indices too it takes in the predictions' dtype only
        samples, a, b = np.empty_like(y), np.empty_like(z), np.empty_like(z)
        if method == "value":
            return partial(theirs.loss, y, z, loss_out=samples, n_threads=threads)
        if method == "value_and_grad":
            return partial(theirs.loss_gradient, y, z, loss_out=samples, gradient_out=a, n_threads=threads)
        return partial(theirs.gradient_hessian, y, z, gradient_out=a, hessian_out=b, n_threads=threads)

    def normal(self, method, result):
        if method == "value":
            return (self.factor * result.mean(dtype=np.float64),)
        first, second = result
        if method == "value_and_grad":
            return self.factor * first.mean(dtype=np.float64), self.factor * second / len(second)
        return (self.factor * first, self.factor * second if self.has_hessian else None)


@dataclass(frozen=True)
class PyTorch(Peer):
    module = "torch"
    methods = ("value", "value_and_grad")
    name: str
    parameters: Callable[[Any], dict[str, float]] = lambda loss: {}

    def call(self, method, loss, y, z, threads):
        import torch

        torch.set_num_threads(threads)
        function = partial(getattr(torch.nn.functional, self.name), **self.parameters(loss))
        y, z = torch.from_numpy(y), torch.from_numpy(z)
        if method == "value":
            return lambda: function(z, y)
        z.requires_grad_()

        def value_and_grad():
            value = function(z, y)
            return value, torch.autograd.grad(value, z)[0]

        return value_and_grad

    def normal(self, method, result):
        return (result.item(),) if method == "value" else (result[0].item(), result[1].numpy())


@dataclass(frozen=True)
class XGBoost(Peer):
    """Its metric of margins: its built-in gradients cannot be called from Python."""

    module = "xgboost"
    methods = ("value",)
    dtypes = ("float32",)
    objective: str
    metric: str
    parameters: Callable[[Any], dict[str, float]] = lambda loss: {}
    power: float = 1.0

    def call(self, method, loss, y, z, threads):
        import xgboost

        # A model without trees predicts the margins that the data carry.
        data = xgboost.DMatrix(np.zeros((len(y), 1), np.float32), label=y, base_margin=z, nthread=threads)
        options = {"objective": self.objective, "eval_metric": self.metric, "nthread": threads}
        return partial(xgboost.Booster(options | self.parameters(loss), [data]).eval, data)

    def normal(self, method, result):
        return (float(result.rpartition(":")[2]) ** self.power,)
