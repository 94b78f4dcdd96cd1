"""Measure our losses inside other libraries against their own: ``python -m bench.interop``.

PyTorch: forward and backward; XGBoost and LightGBM: the objective alone and one round of boosting; scikit-learn: one
call. XGBoost's objective by the clock that it keeps itself; LightGBM's by a round without a feature to split by, which
grows no tree. Ours and theirs in turns; ``--quick`` takes small data and asks only whether everything runs.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import os
import re
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from timeit import Timer
from typing import Any, NamedTuple

# Before OpenMP is loaded: threads that spin after one library's turn take the cores of the next.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np

import fastloss as fl
from bench.machine import cores, describe
from bench.measurements import Figures, interleave

QUICK = 50  # times smaller
BINARY = fl.BinaryCrossEntropy(from_logits=True)
CLASSES = fl.CategoricalCrossEntropy(from_logits=True)


def as_told(calls: dict[str, Callable[[], float]], rounds: int, enough: float) -> Figures:
    """What the calls say that they took, in turns."""
    told: Figures = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            told[name].append(call())
    return told


class Case(NamedTuple):
    """A comparison: `make` gives our call and theirs, for data so many times smaller."""

    name: str
    target: float | None  # at least so many times faster
    make: Callable[[int], tuple[Callable[[], Any], Callable[[], Any]]]
    clock: Callable[[Any, int, float], Figures] = interleave


def torch_cases() -> Iterator[Case]:
    import torch
    import torch.nn.functional as F

    from fastloss.interop import torch as interop

    def trained(loss: Callable[[Any], Any], *tensors: Any) -> Callable[[], None]:
        def step() -> None:
            for tensor in tensors:
                tensor.grad = None
            loss(*tensors).backward()

        return step

    def pair(ours: Callable[..., Any], theirs: Callable[..., Any], *tensors: Any) -> Any:
        for tensor in tensors:
            tensor.requires_grad_()
        return trained(ours, *tensors), trained(theirs, *tensors)

    def binary(dtype: torch.dtype) -> Callable[[int], Any]:
        def make(part: int) -> Any:
            z, y = torch.randn(10**7 // part).to(dtype), torch.randint(0, 2, (10**7 // part,)).to(dtype)
            ours = interop.loss(BINARY)
            return pair(lambda z: ours(z, y), lambda z: F.binary_cross_entropy_with_logits(z, y), z)

        return make

    def classes(k: int, dtype: torch.dtype = torch.float32) -> Callable[[int], Any]:
        def make(part: int) -> Any:
            n = max(10, 10**7 // k // part)
            z, y = torch.randn(n, k).to(dtype), torch.randint(0, k, (n,))
            ours = interop.loss(CLASSES)
            return pair(lambda z: ours(z, y), lambda z: F.cross_entropy(z, y), z)

        return make

    def last_layer(part: int) -> Any:
        n, d, k = max(64, 4096 // part), 256, max(1000, 32_000 // part)
        X, W, y = torch.randn(n, d), torch.randn(k, d) / 16, torch.randint(0, k, (n,))
        return pair(
            lambda X, W: interop.linear_cross_entropy(X, W, y), lambda X, W: F.cross_entropy(F.linear(X, W), y), X, W
        )

    for dtype, target in ((torch.float32, 5), (torch.float64, None), (torch.bfloat16, None)):
        name = str(dtype).partition(".")[2]
        yield Case(f"PyTorch, binary_cross_entropy_with_logits, {name}", target, binary(dtype))
    for k in (10, 100, 1000):
        yield Case(f"PyTorch, cross_entropy, K = {k}, float32", 4, classes(k))
    yield Case("PyTorch, cross_entropy, K = 1000, bfloat16", None, classes(1000, torch.bfloat16))
    yield Case("PyTorch, linear and cross_entropy, 4096 × 256, K = 32,000", None, last_layer)


BOOSTED = {"binary": BINARY, "5 classes": CLASSES}


def samples(part: int, loss: Any) -> tuple[Any, Any]:
    """200,000 × 20, labels of two classes or of five."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200_000 // part, 20), dtype=np.float32)
    score = X[:, 0] - X[:, 1] * X[:, 2] + rng.standard_normal(len(X), dtype=np.float32)
    return X, ((score > 0) if loss is BINARY else np.digitize(score, [-2, -1, 0, 1])).astype(np.float32)


def xgboost_cases() -> Iterator[Case]:
    import xgboost as xgb

    from fastloss.interop.xgboost import objective

    def rounds(X: Any, y: Any, builtin: str, obj: Any = None, **parameters: Any) -> Callable[[], None]:
        data = xgb.DMatrix(X, y)
        parameters |= {"nthread": min(2, cores())} | ({"objective": builtin} if obj is None else {})
        booster = xgb.Booster(parameters, [data])
        done = iter(range(10**9))
        return lambda: booster.update(data, next(done), fobj=obj)

    def make(part: int, loss: Any, builtin: str, start: float, **parameters: Any) -> Any:
        X, y = samples(part, loss)
        ours = rounds(X, y, builtin, objective(loss), base_score=0, **parameters)
        return ours, rounds(X, y, builtin, base_score=start, **parameters)

    def objectives(part: int, loss: Any, builtin: str, **parameters: Any) -> Any:
        parameters |= {"nthread": min(2, cores()), "objective": builtin, "max_depth": 2}
        data = xgb.DMatrix(*samples(part, loss), nthread=parameters["nthread"])
        predictions = xgb.Booster(parameters, [data]).predict(data, output_margin=True)
        obj, calls = objective(loss), 10

        def ours() -> float:
            return Timer(lambda: obj(predictions, data)).timeit(calls) / calls

        def theirs() -> float:
            # XGBoost writes its clocks when a booster is no more.
            with xgb.config_context(verbosity=3), contextlib.redirect_stdout(io.StringIO()) as log:
                booster = xgb.Booster(parameters, [data])
                for i in range(calls):
                    booster.update(data, i)
                del booster
            ((seconds, count),) = re.findall(r"GetGradient: ([\d.e-]+)s, (\d+) calls", log.getvalue())
            return float(seconds) / int(count)

        return ours, theirs

    for (name, loss), builtin, start, more in zip(
        BOOSTED.items(), ("binary:logistic", "multi:softprob"), (0.5, 0), ({}, {"num_class": 5}), strict=True
    ):
        arguments = {"loss": loss, "builtin": builtin, **more}
        yield Case(f"XGBoost, the objective, {name}", 1, partial(objectives, **arguments), as_told)
        yield Case(f"XGBoost, a round, {name}", 1, partial(make, start=start, **arguments))


def lightgbm_cases() -> Iterator[Case]:
    import lightgbm as lgb

    from fastloss.interop.lightgbm import objective

    def rounds(X: Any, y: Any, builtin: str, fobj: Any = None, **parameters: Any) -> Callable[[], None]:
        parameters |= {"num_threads": min(2, cores()), "verbose": -1, "boost_from_average": False}
        booster = lgb.Booster(parameters | {"objective": builtin if fobj is None else "none"}, lgb.Dataset(X, y))
        return lambda: booster.update(fobj=fobj)

    def make(part: int, loss: Any, builtin: str, **parameters: Any) -> Any:
        X, y = samples(part, loss)
        return rounds(X, y, builtin, objective(loss), **parameters), rounds(X, y, builtin, **parameters)

    def objectives(part: int, loss: Any, builtin: str, **parameters: Any) -> Any:
        _, y = samples(part, loss)
        shape = (len(y), 5) if loss is CLASSES else len(y)
        predictions = np.asarray(np.random.default_rng(0).standard_normal(shape), order="F")
        parameters |= {"num_threads": min(2, cores()), "verbose": -1, "boost_from_average": False}
        data = lgb.Dataset(np.zeros((len(y), 1)), y, init_score=predictions, params={"verbose": -1})
        booster, obj = lgb.Booster(parameters | {"objective": builtin}, data), objective(loss)
        return lambda: obj(predictions, data), booster.update

    for (name, loss), builtin, more in zip(
        BOOSTED.items(), ("binary", "multiclass"), ({}, {"num_class": 5}), strict=True
    ):
        arguments = {"loss": loss, "builtin": builtin, **more}
        yield Case(f"LightGBM, the objective, {name}", 1, partial(objectives, **arguments))
        yield Case(f"LightGBM, a round, {name}", 1, partial(make, **arguments))


def sklearn_cases() -> Iterator[Case]:
    from sklearn._loss import loss as theirs

    from fastloss.interop.sklearn import sklearn_loss

    def make(part: int, method: str, ours: Any, peer: Any, k: int) -> Any:
        rng, n = np.random.default_rng(0), 10**6 // part // k
        y, z = rng.integers(0, max(2, k), n).astype(float), rng.standard_normal((n, k))
        y, z = y, z[:, 0].copy() if k == 1 else z
        outs = {"loss_gradient": (np.empty_like(y), np.empty_like(z)), "gradient_hessian": (z.copy(), z.copy())}[method]
        threads = min(2, cores())
        return tuple(
            lambda loss=loss: getattr(loss, method)(y, z, None, *outs, n_threads=threads) for loss in (ours, peer)
        )

    for method in ("loss_gradient", "gradient_hessian"):
        for name, ours, peer, k in (
            ("binary", sklearn_loss(BINARY), theirs.HalfBinomialLoss(), 1),
            ("10 classes", sklearn_loss(CLASSES, 10), theirs.HalfMultinomialLoss(n_classes=10), 10),
        ):
            yield Case(
                f"scikit-learn, {method}, {name}",
                1,
                lambda part, method=method, ours=ours, peer=peer, k=k: make(part, method, ours, peer, k),
            )


SUITES = {"torch": torch_cases, "xgboost": xgboost_cases, "lightgbm": lightgbm_cases, "sklearn": sklearn_cases}


def main(argv: list[str] | None = None) -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.interop", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small data: does everything run?")
    parser.add_argument("--only", default="", help="comparisons with this in their names")
    options = parser.parse_args(argv)
    about = describe()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    today = datetime.date.today()
    print(f"{about['cpu_model']}, {about['cores']} cores; {about['instruction_set']}; {versions}; {today}; ", end="")
    print("`python -m bench.interop`.")
    print("Milliseconds of a call, and how many times faster ours is: medians of rounds, in turns (least–greatest).\n")
    print("| work | ours | theirs | faster | target |\n|---|---:|---:|---:|---:|", flush=True)
    for library, suite in SUITES.items():
        if find_spec(library) is None:
            print(f"| {library} | – | – | not installed | – |")
            continue
        for case in suite():
            if options.only not in case.name:
                continue
            ours, theirs = case.make(QUICK if options.quick else 1)
            calls = {"ours": ours, "theirs": theirs}
            figures = case.clock(calls, 2 if options.quick else 11, 0.001 if options.quick else 0.1)
            ratios = [b / a for a, b in zip(figures["ours"], figures["theirs"], strict=True)]
            mine, other = (1e3 * statistics.median(figures[name]) for name in ("ours", "theirs"))
            wanted = "–" if case.target is None else f"≥ {case.target:g} ×"
            print(
                f"| {case.name} | {mine:.3g} | {other:.3g} | {statistics.median(ratios):.3g} × "
                f"({min(ratios):.3g}–{max(ratios):.3g}) | {wanted} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
