"""What is compared: for each loss its inputs, and the same loss in other libraries.

`KNOWN` is the registry, one entry for each (loss, library); a loss of fastloss that is not in it is timed alone.
All that a caller needs is `checked_call`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np

from fastloss.losses import REGISTRY

METHODS = ("value", "value_and_grad", "grad_and_hess")
DTYPES = ("float32", "float64")
SEED = 20240229
# Relative, and absolute in units of the mean: peers sum in their inputs' dtype, and their sigmoid(z) - y cancels.
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


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
        a, b = np.empty_like(z), np.empty_like(z)
        if method == "value":
            return partial(theirs.loss, y, z, loss_out=a, n_threads=threads)
        if method == "value_and_grad":
            return partial(theirs.loss_gradient, y, z, loss_out=a, gradient_out=b, n_threads=threads)
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


class NumPy(Peer):
    """The formulas as a competent user writes them: stable, nothing computed twice, in place where it helps."""

    threaded = False

    def call(self, method, loss, y, z, threads):
        buffers = {"value": 0, "value_and_grad": 1, "grad_and_hess": 2}[method]
        return partial(getattr(self, method), loss, y, z, *(np.empty_like(z) for _ in range(buffers)))

    def normal(self, method, result):
        return (result,) if method == "value" else result


class SquaredErrorNumPy(NumPy):
    def value(self, loss, y, z):
        return np.mean((z - y) ** 2)

    def value_and_grad(self, loss, y, z, g):
        np.subtract(z, y, out=g)
        value = np.mean(g * g)
        g *= 2 / len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        np.subtract(z, y, out=g)
        g *= 2
        h.fill(2)
        return g, h


class AbsoluteErrorNumPy(NumPy):
    def value(self, loss, y, z):
        return np.mean(np.abs(z - y))

    def value_and_grad(self, loss, y, z, g):
        np.subtract(z, y, out=g)
        value = np.mean(np.abs(g))
        np.sign(g, out=g)
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        np.subtract(z, y, out=g)
        np.sign(g, out=g)
        h.fill(0)
        return g, h


class HuberNumPy(NumPy):
    # With g, the residual r clipped to [-delta, delta], the loss is g (r - g / 2) on both sides.
    def value(self, loss, y, z):
        r = z - y
        g = np.clip(r, -loss.delta, loss.delta)
        return np.mean(g * (r - 0.5 * g))

    def value_and_grad(self, loss, y, z, g):
        r = z - y
        np.clip(r, -loss.delta, loss.delta, out=g)
        value = np.mean(g * (r - 0.5 * g))
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        r = z - y
        np.clip(r, -loss.delta, loss.delta, out=g)
        np.less_equal(np.abs(r), loss.delta, out=h, casting="unsafe")
        return g, h


class QuantileNumPy(NumPy):
    def value(self, loss, y, z):
        u = y - z
        return np.mean(np.maximum(loss.q * u, (loss.q - 1) * u))

    def value_and_grad(self, loss, y, z, g):
        u = y - z
        value = np.mean(np.maximum(loss.q * u, (loss.q - 1) * u))
        # Where u is 0 this is another subgradient than ours; random inputs do not go there.
        np.less(u, 0, out=g, casting="unsafe")
        g -= loss.q
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        np.less(y, z, out=g, casting="unsafe")
        g -= loss.q
        h.fill(0)
        return g, h


class LogitsNumPy(NumPy):
    def value(self, loss, y, z):
        return np.mean(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - y * z)

    def value_and_grad(self, loss, y, z, g):
        e = np.exp(-np.abs(z))  # never overflows, and serves both
        value = np.mean(np.log1p(e) + np.maximum(z, 0) - y * z)
        np.divide(np.where(z >= 0, 1, e), 1 + e, out=g)
        g -= y
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        e = np.exp(-np.abs(z))
        denominator = 1 + e
        np.divide(np.where(z >= 0, 1, e), denominator, out=g)
        g -= y
        np.divide(e, denominator * denominator, out=h)
        return g, h


class ProbabilitiesNumPy(NumPy):
    def clip(self, loss, p):
        # 1 - 1e-15 is 1 in float32, where log(1 - p) would be infinite.
        self.low, self.high = loss.eps, min(1 - loss.eps, np.nextafter(p.dtype.type(1), p.dtype.type(0)))
        return np.clip(p, self.low, self.high)

    def value(self, loss, y, p):
        p = self.clip(loss, p)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    def value_and_grad(self, loss, y, p, g):
        c = self.clip(loss, p)
        value = -np.mean(y * np.log(c) + (1 - y) * np.log(1 - c))
        np.divide(c - y, c * (1 - c) * len(g), out=g)
        g[(p < self.low) | (p > self.high)] = 0  # outside the clip the value does not change
        return value, g

    def grad_and_hess(self, loss, y, p, g, h):
        c = self.clip(loss, p)
        q = 1 - c
        np.divide(c - y, c * q, out=g)
        np.add(y / (c * c), (1 - y) / (q * q), out=h)
        outside = (p < self.low) | (p > self.high)
        g[outside] = 0
        h[outside] = 0
        return g, h


class PoissonNumPy(NumPy):
    def value(self, loss, y, z):
        return np.mean(np.exp(z) - y * z)

    def value_and_grad(self, loss, y, z, g):
        np.exp(z, out=g)
        value = np.mean(g - y * z)
        g -= y
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        np.exp(z, out=h)
        np.subtract(h, y, out=g)
        return g, h


# Inputs: (rng, n) -> labels, predictions. Never sorted: sorted ones hide mispredicted branches.


def anything(rng, n):
    """In the domain of any loss of one prediction a sample."""
    return rng.integers(0, 2, n), rng.random(n)


def regression(rng, n):
    return rng.standard_normal(n), rng.standard_normal(n)


def logits(rng, n):
    z = 3 * rng.standard_normal(n)
    return rng.random(n) < 1 / (1 + np.exp(-z)), z


def probabilities(rng, n):
    y, z = logits(rng, n)
    return y, np.clip(1 / (1 + np.exp(-z)), 1e-6, 1 - 1e-6)


def counts(rng, n):
    z = rng.standard_normal(n)
    return rng.poisson(np.exp(z)), z


@dataclass(frozen=True)
class Case:
    """A loss with its parameters, on inputs that suit it, and its peers by the name of their library."""

    loss: str
    peers: dict[str, Peer] = field(default_factory=dict)
    inputs: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]] = anything
    parameters: dict[str, Any] = field(default_factory=dict)
    variant: str = ""

    @property
    def name(self) -> str:
        return self.loss + self.variant


KNOWN = (
    Case(
        "SquaredError",
        {
            "numpy": SquaredErrorNumPy(),
            "scikit-learn": ScikitLearn("HalfSquaredError", factor=2),
            "torch": PyTorch("mse_loss"),
            "xgboost": XGBoost("reg:squarederror", "rmse", power=2),
        },
        regression,
    ),
    Case(
        "AbsoluteError",
        {
            "numpy": AbsoluteErrorNumPy(),
            "scikit-learn": ScikitLearn("AbsoluteError", has_hessian=False),
            "torch": PyTorch("l1_loss"),
            "xgboost": XGBoost("reg:absoluteerror", "mae"),
        },
        regression,
    ),
    Case(
        "Huber",
        {
            "numpy": HuberNumPy(),
            "scikit-learn": ScikitLearn("HuberLoss", lambda loss: {"delta": loss.delta}),
            "torch": PyTorch("huber_loss", lambda loss: {"delta": loss.delta}),
        },
        regression,
    ),
    Case(
        "Quantile",
        {
            "numpy": QuantileNumPy(),
            "scikit-learn": ScikitLearn("PinballLoss", lambda loss: {"quantile": loss.q}, has_hessian=False),
            "xgboost": XGBoost("reg:quantileerror", "quantile", lambda loss: {"quantile_alpha": loss.q}),
        },
        regression,
        {"q": 0.9},
    ),
    Case(
        "BinaryCrossEntropy",
        {
            "numpy": LogitsNumPy(),
            "scikit-learn": ScikitLearn("HalfBinomialLoss"),
            "torch": PyTorch("binary_cross_entropy_with_logits"),
            "xgboost": XGBoost("binary:logistic", "logloss"),
        },
        logits,
        {"from_logits": True},
        ".logits",
    ),
    Case(
        "BinaryCrossEntropy",
        {"numpy": ProbabilitiesNumPy(), "torch": PyTorch("binary_cross_entropy")},
        probabilities,
        {},
        ".probabilities",
    ),
    Case(
        "Poisson",
        {
            "numpy": PoissonNumPy(),
            "scikit-learn": ScikitLearn("HalfPoissonLoss"),
            "torch": PyTorch("poisson_nll_loss"),
        },
        counts,
    ),
)

#: By name; every loss of the package is here.
CASES = {case.name: case for loss in REGISTRY for case in ([k for k in KNOWN if k.loss == loss] or [Case(loss)])}


def peer(case: Case, library: str) -> Peer:
    return OURS if library == "fastloss" else case.peers[library]


# The suite goes through libraries and methods innermost: one set of arrays is kept, not all.
@lru_cache(maxsize=1)
def inputs(name: str, dtype: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    y, z = CASES[name].inputs(np.random.default_rng(SEED), n)
    return y.astype(dtype), z.astype(dtype)


@lru_cache(maxsize=1)
def expected(name: str, dtype: str, n: int, method: str) -> tuple[Any, ...]:
    """The results on the same numbers in float64, by NumPy where its formula is known."""
    case = CASES[name]
    reference = case.peers.get("numpy", OURS)
    y, z = (array.astype(np.float64) for array in inputs(name, dtype, n))
    return reference.normal(method, reference.call(method, REGISTRY[case.loss](**case.parameters), y, z, 1)())


def checked_call(name: str, library: str, dtype: str, n: int, method: str, threads: int) -> Callable[[], Any]:
    """What is timed, after it was called once and its results were found right."""
    case = CASES[name]
    theirs = peer(case, library)
    call = theirs.call(method, REGISTRY[case.loss](**case.parameters), *inputs(name, dtype, n), threads)
    for ours, right in zip(theirs.normal(method, call()), expected(name, dtype, n, method), strict=True):
        if ours is not None:
            scale = float(np.mean(np.abs(right)))
            np.testing.assert_allclose(
                ours, right, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale, err_msg=f"{library}: {name}.{method}"
            )
    return call
