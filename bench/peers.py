"""What is compared: for each loss its inputs, and the same loss in other libraries.

`KNOWN` is the registry, one entry for each (loss, library); a loss of fastloss that is not in it is timed alone.
All that a caller needs is `checked_call`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np

from bench import formulas
from bench.libraries import DTYPES, METHODS, OURS, Peer, PyTorch, ScikitLearn, XGBoost
from fastloss.losses import REGISTRY

__all__ = ["CASES", "DTYPES", "METHODS", "checked_call", "peer"]

SEED = 20240229
# Relative, and absolute in units of the mean magnitude: peers sum in their inputs' dtype, and their sigmoid(z) - y
# cancels. For softmax(z) - 1 of many classes most entries are tiny: in units of the root mean square, and more of them.
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}
SEVERAL = 2.5  # times that, where a sample has several outputs


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


def draw(rng, z):
    """Classes with the probabilities of their logits, one a row."""
    return np.argmax(z + rng.gumbel(size=z.shape), axis=1)


def classes(k, rng, n):
    """n logits of k classes a row."""
    z = 3 * rng.standard_normal((n // k, k))
    return draw(rng, z), z


@dataclass(frozen=True)
class Case:
    """A loss with its parameters, on inputs that suit it, and its peers by the name of their library."""

    loss: str
    peers: dict[str, Peer] = field(default_factory=dict)
    inputs: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]] = anything
    parameters: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    outputs: int = 1  # predictions a sample; n counts predictions

    @property
    def name(self) -> str:
        return self.loss + self.variant


KNOWN = (
    Case(
        "SquaredError",
        {
            "numpy": formulas.SquaredErrorNumPy(),
            "scikit-learn": ScikitLearn("HalfSquaredError", factor=2),
            "torch": PyTorch("mse_loss"),
            "xgboost": XGBoost("reg:squarederror", "rmse", power=2),
        },
        regression,
    ),
    Case(
        "AbsoluteError",
        {
            "numpy": formulas.AbsoluteErrorNumPy(),
            "scikit-learn": ScikitLearn("AbsoluteError", has_hessian=False),
            "torch": PyTorch("l1_loss"),
            "xgboost": XGBoost("reg:absoluteerror", "mae"),
        },
        regression,
    ),
    Case(
        "Huber",
        {
            "numpy": formulas.HuberNumPy(),
            "scikit-learn": ScikitLearn("HuberLoss", lambda loss: {"delta": loss.delta}),
            "torch": PyTorch("huber_loss", lambda loss: {"delta": loss.delta}),
        },
        regression,
    ),
    Case(
        "Quantile",
        {
            "numpy": formulas.QuantileNumPy(),
            "scikit-learn": ScikitLearn("PinballLoss", lambda loss: {"quantile": loss.q}, has_hessian=False),
            "xgboost": XGBoost("reg:quantileerror", "quantile", lambda loss: {"quantile_alpha": loss.q}),
        },
        regression,
        {"q": 0.9},
    ),
    Case(
        "BinaryCrossEntropy",
        {
            "numpy": formulas.LogitsNumPy(),
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
        {"numpy": formulas.ProbabilitiesNumPy(), "torch": PyTorch("binary_cross_entropy")},
        probabilities,
        {},
        ".probabilities",
    ),
    Case(
        "Poisson",
        {
            "numpy": formulas.PoissonNumPy(),
            "scikit-learn": ScikitLearn("HalfPoissonLoss"),
            "torch": PyTorch("poisson_nll_loss"),
        },
        counts,
    ),
    *(
        Case(
            "CategoricalCrossEntropy",
            {
                "numpy": formulas.SoftmaxNumPy(),
                "scikit-learn": ScikitLearn("HalfMultinomialLoss", lambda loss, k=k: {"n_classes": k}),
                "torch": PyTorch("cross_entropy"),
            },
            partial(classes, k),
            {"from_logits": True},
            f".logits.{k}",
            outputs=k,
        )
        for k in (3, 10, 100, 1000)
    ),
)

#: By name; every loss of the package is here.
CASES = {case.name: case for loss in REGISTRY for case in ([k for k in KNOWN if k.loss == loss] or [Case(loss)])}


def peer(case: Case, library: str) -> Peer:
    return OURS if library == "fastloss" else case.peers[library]


# The suite goes through libraries and methods innermost: one set of arrays is kept, not all.
@lru_cache(maxsize=1)
def inputs(name: str, dtype: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    case = CASES[name]
    y, z = case.inputs(np.random.default_rng(SEED), n)
    return y.astype(dtype if case.outputs == 1 else np.int64), z.astype(dtype)


@lru_cache(maxsize=1)
def expected(name: str, dtype: str, n: int, method: str) -> tuple[Any, ...]:
    """The results on the same numbers in float64, by NumPy where its formula is known."""
    case = CASES[name]
    reference = case.peers.get("numpy", OURS)
    y, z = inputs(name, dtype, n)
    exact = y.astype(np.float64) if case.outputs == 1 else y, z.astype(np.float64)
    return reference.normal(method, reference.call(method, REGISTRY[case.loss](**case.parameters), *exact, 1)())


def checked_call(name: str, library: str, dtype: str, n: int, method: str, threads: int) -> Callable[[], Any]:
    """What is timed, after it was called once and its results were found right."""
    case = CASES[name]
    theirs = peer(case, library)
    call = theirs.call(method, REGISTRY[case.loss](**case.parameters), *inputs(name, dtype, n), threads)
    for ours, right in zip(theirs.normal(method, call()), expected(name, dtype, n, method), strict=True):
        if ours is not None:
            several = case.outputs > 1
            tolerance = TOLERANCE[dtype] * (SEVERAL if several else 1)
            scale = float(np.sqrt(np.mean(np.square(right))) if several else np.mean(np.abs(right)))
            np.testing.assert_allclose(
                ours, right, rtol=tolerance, atol=tolerance * scale, err_msg=f"{library}: {name}.{method}"
            )
    return call
