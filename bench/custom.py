"""Measure losses of the user's own against built-in ones: ``python -m bench.custom``.

The logistic loss as a user writes it, and three more, beside those of the package, in turns: value and gradient of
10^7 predictions, a linear objective, and a fit. ``--quick`` takes small data and asks only whether everything runs.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import statistics
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before OpenMP is loaded

import numpy as np

import fastloss as fl
from bench.machine import cores, describe
from bench.measurements import interleave
from fastloss import vmath

QUICK = 50  # times smaller
TARGET = 1.3
ROUNDS = 11


@fl.custom_loss
def logistic(y, z):
    """As in a textbook."""
    e = math.exp(-abs(z))
    p = 1 / (1 + e)
    return max(z, 0) - y * z + math.log1p(e), (p if z >= 0 else e * p) - y


@fl.custom_loss
def logistic_value(y, z):
    """Its value alone, of which the derivatives are found."""
    return vmath.softplus(z) - y * z


@fl.custom_loss
def huber(y, z, delta=1.0):
    r = z - y
    if abs(r) <= delta:
        return 0.5 * r * r, r, 1
    return delta * (abs(r) - 0.5 * delta), math.copysign(delta, r), 0


BUILT_IN = fl.BinaryCrossEntropy(from_logits=True)


class Case(NamedTuple):
    """A comparison: `make` gives our call with a custom loss and with the built-in one."""

    name: str
    target: float | None  # at most so many times slower
    make: Callable[[int], dict[str, Callable[[], Any]]]


def arrays(loss: Any, peer: Any, dtype: str, weighted: bool = False) -> Callable[[int], Any]:
    def make(part: int) -> dict[str, Callable[[], Any]]:
        rng, n = np.random.default_rng(0), 10**7 // part
        y, z = (rng.random(n) < 0.5).astype(dtype), (2 * rng.standard_normal(n)).astype(dtype)
        weight = rng.random(n).astype(dtype) if weighted else None
        out = np.empty_like(z)

        def call(one: Any) -> Callable[[], Any]:
            return lambda: one.value_and_grad(y, z, weight, out=out, n_threads=min(2, cores()))

        value, expected = (one.value_and_grad(y, z, weight)[0] for one in (loss, peer))
        assert abs(value - expected) <= (1e-12 if dtype == "float64" else 1e-6) * abs(expected)
        return {"custom": call(loss), "built-in": call(peer)}

    return make


def objective(n: int, p: int, dtype: str, solver: str | None = None) -> Callable[[int], Any]:
    def make(part: int) -> dict[str, Callable[[], Any]]:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n // part, p)).astype(dtype)
        y = (rng.random(len(X)) < 1 / (1 + np.exp(-X[:, :10].sum(axis=1)))).astype(dtype)
        w = rng.standard_normal(p + 1) / 10
        objectives = {
            name: fl.LinearObjective(X, y, loss, fl.L1(0.01), n_threads=min(2, cores()))
            for name, loss in (("custom", logistic), ("built-in", BUILT_IN))
        }
        if solver is None:
            return {name: lambda o=o: o.value_and_grad(w) for name, o in objectives.items()}
        # As many steps for both: only the built-in loss has a gap to stop by.
        steps = fl.minimize(objectives["custom"], solver=solver).nit
        return {
            name: lambda o=o: fl.solvers.SOLVERS[solver](o, max_iter=steps, tol=1e-30) for name, o in objectives.items()
        }

    return make


def cases() -> Iterator[Case]:
    for dtype in ("float64", "float32"):
        yield Case(f"value_and_grad, {dtype}", TARGET, arrays(logistic, BUILT_IN, dtype))
        yield Case(f"value_and_grad, weighted, {dtype}", TARGET, arrays(logistic, BUILT_IN, dtype, True))
        yield Case(f"value_and_grad of its value alone, {dtype}", TARGET, arrays(logistic_value, BUILT_IN, dtype))
        yield Case(f"LinearObjective 400,000 × 100, {dtype}", TARGET, objective(400_000, 100, dtype))
        yield Case(f"Huber, value_and_grad, {dtype}", None, arrays(huber, fl.Huber(), dtype))
    for solver in ("gram_newton", "prox_newton", "fista"):
        yield Case(f"as many steps of {solver}, 100,000 × 50", TARGET, objective(100_000, 50, "float64", solver))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small data")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    about = describe()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    today = datetime.date.today()
    print(f"{about['cpu_model']}, {cores()} cores; {about['instruction_set']}; {versions}; {today}; ", end="")
    print("`python -m bench.custom`.")
    print("A custom logistic loss against the built-in one, 10,000,000 predictions; medians (least–greatest).\n")
    print("| work | target | measured |\n|---|---:|---:|")
    warnings.simplefilter("ignore", fl.ConvergenceWarning)
    for case in cases():
        calls = case.make(QUICK if options.quick else 1)
        times = interleave(calls, 1 if options.quick else options.rounds, 0.0 if options.quick else 0.1)
        ratios = [a / b for a, b in zip(times["custom"], times["built-in"], strict=True)]
        target = "–" if case.target is None else f"≤ {case.target:g} ×"
        spread = f"{statistics.median(ratios):.3g} × ({min(ratios):.3g}–{max(ratios):.3g})"
        print(f"| {case.name} | {target} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
