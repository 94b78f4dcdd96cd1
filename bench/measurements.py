"""What the targets are about: who is timed in turns with whom, and whose memory is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from timeit import Timer
from typing import Any

import numpy as np

from bench import loops, memory, peers
from bench.linear import MODELS, LastLayer, Objective

PAUSE = 0.03  # seconds between two libraries: the idle threads of the last one stop spinning on our cores
LONG = 1.0  # seconds of a call that needs no turn to warm up
FEW = 3  # rounds of such calls

Figures = dict[str, list[float]]  # of everybody, by name; seconds, one a round, or bytes
Calls = dict[str, Callable[[], Any] | Timer]


@dataclass(frozen=True)
class Sizes:
    n: int  # predictions
    logistic: tuple[int, int]  # rows and columns of a logistic model
    softmax: tuple[int, int, int]  # rows, columns and classes of a softmax model
    vocabulary: tuple[int, int, int]
    processes: int  # that measure the memory of a softmax model: what is resident is known to 0.1 MB or so
    enough: float  # seconds to measure at least; virtual machines lose their CPU for some milliseconds at a time


FULL = Sizes(10**7, (400_000, 100), (50_000, 500, 100), (8192, 512, 32_000), 3, 0.1)
QUICK = Sizes(10**5, (20_000, 100), (2000, 50, 20), (512, 32, 1000), 1, 0.01)

LOGITS = "BinaryCrossEntropy.logits"
PROBABILITIES = "BinaryCrossEntropy.probabilities"
DTYPES = {"f64": "float64", "f32": "float32"}
SOFTMAX = "CategoricalCrossEntropy.logits.{}"


def interleave(calls: Calls, rounds: int, enough: float) -> Figures:
    """Seconds a call: in each round everybody has a turn, of a call that is not counted and enough that are."""
    timers = {name: call if isinstance(call, Timer) else Timer(call) for name, call in calls.items()}
    # The first call starts threads and touches pages: the shorter of two tells how many are enough.
    shortest = {name: min(timer.repeat(2, 1)) for name, timer in timers.items()}
    rounds = min(rounds, FEW) if max(shortest.values()) > LONG else rounds
    times: Figures = {name: [] for name in calls}
    for _ in range(rounds):
        for name, timer in timers.items():
            number = max(1, int(enough / shortest[name]))
            time.sleep(PAUSE)
            if shortest[name] < LONG:
                timer.timeit(1)
            times[name].append(timer.timeit(number) / number)
    return times


def timed(sizes: Sizes, threads: int) -> dict[str, Callable[[], Calls]]:
    """What is timed together, by name; made one after the other: the arrays of one are gone before the next."""
    n, three = sizes.n, ("fastloss", "scikit-learn", "numpy")
    float64 = partial(value_and_grad, dtype="float64", n=n, threads=threads)
    makers: dict[str, Callable[[], Calls]] = {
        "mse f64": lambda: float64("SquaredError", ("fastloss",)) | floors(n, threads),
        "bce f64": partial(beside_mse, LOGITS, three, "float64", n, threads),
        "bce f32": partial(beside_mse, LOGITS, three, "float32", n, threads),
        "bce probabilities": partial(float64, PROBABILITIES, ("fastloss", "numpy")),
        "Huber": partial(float64, "Huber", ("fastloss", "scikit-learn")),
        "Poisson": partial(float64, "Poisson", ("fastloss", "scikit-learn")),
        "call": partial(short_call, LOGITS, three),
        "linear": partial(logistic, *sizes.logistic, threads),
    }
    for short, dtype in DTYPES.items():
        for classes in (3, 10, 100, 1000):
            makers[f"softmax K={classes} {short}"] = partial(softmax, classes, dtype, n, threads)
        makers[f"softmax linear {short}"] = partial(linear_softmax, sizes.softmax, dtype, threads)
    makers["softmax vocabulary"] = lambda: LastLayer(*sizes.vocabulary, "float32").checked_calls(threads)
    return makers


def remembered(sizes: Sizes, threads: int) -> dict[str, Callable[[], Figures]]:
    """Whose extra memory is measured, by name; nobody's on Windows."""
    if not find_spec("resource"):
        return {}
    makers = {
        f"softmax linear {short} memory": partial(linear_softmax_memory, sizes, dtype, threads)
        for short, dtype in DTYPES.items()
    }
    makers["softmax vocabulary memory"] = partial(extra_memory, "last-layer", sizes.vocabulary, "float32", threads)
    return makers


def value_and_grad(loss: str, libraries: tuple[str, ...], dtype: str, n: int, threads: int) -> Calls:
    """Calls, found right, by library; libraries that are not installed are left out."""
    here = [name for name in libraries if find_spec(peers.peer(peers.CASES[loss], name).module)]
    return {name: peers.checked_call(loss, name, dtype, n, "value_and_grad", threads) for name in here}


def floors(n: int, threads: int) -> Calls:
    a, b = peers.inputs("SquaredError", "float64", n)
    out = np.empty_like(a)
    calls = loops.subtractions(a, b, out, threads)
    for call in calls.values():
        out.fill(0)
        call()
        np.testing.assert_array_equal(out, a - b)
    return calls


def beside_mse(loss: str, libraries: tuple[str, ...], dtype: str, n: int, threads: int) -> Calls:
    mse = value_and_grad("SquaredError", ("fastloss",), dtype, n, threads)["fastloss"]
    return {"mse": mse} | value_and_grad(loss, libraries, dtype, n, threads)


def softmax(classes: int, dtype: str, n: int, threads: int) -> Calls:
    """Of n logits; PyTorch, whose target is for many classes, and a copy of the logits are beside many only."""
    loss, many = SOFTMAX.format(classes), classes >= 100
    calls = value_and_grad(loss, ("fastloss", "scikit-learn", *["torch"] * many), dtype, n, threads)
    _, logits = peers.inputs(loss, dtype, n)
    return calls | ({"copy": partial(np.copyto, np.empty_like(logits), logits)} if many else {})


def short_call(loss: str, libraries: tuple[str, ...], n: int = 100) -> Calls:
    calls = value_and_grad(loss, libraries, "float64", n, 1)
    return {name: spelled_out(call) for name, call in calls.items()}


def spelled_out(call: partial) -> Timer:
    """The call as a user types it, number of threads left out: where a microsecond counts, `partial` would too."""
    names = {f"argument{i}": argument for i, argument in enumerate(call.args)}
    options = {name: option for name, option in call.keywords.items() if name != "n_threads"}
    arguments = ", ".join([*names, *(f"{name}={name}" for name in options)])
    return Timer(f"function({arguments})", globals={"function": call.func, **names, **options})


def logistic(rows: int, columns: int, threads: int) -> Calls:
    """Mean logistic loss of X @ w and its gradient."""
    import fastloss as fl

    rng = np.random.default_rng(peers.SEED)
    X = rng.standard_normal((rows, columns))
    w = rng.standard_normal(columns) / columns**0.5
    y = (rng.random(rows) < 1 / (1 + np.exp(-X @ w))).astype(np.float64)
    g = np.empty_like(w)
    loss = fl.BinaryCrossEntropy(from_logits=True)
    objective = fl.LinearObjective(X, y, loss, fit_intercept=False, n_threads=threads)
    read = loops.summation(X, threads)
    np.testing.assert_allclose(read(), X.sum(), rtol=1e-9, atol=1e-9 * X.size**0.5)
    calls = {"fastloss": lambda: objective.value_and_grad(w, out=g), "read": read}
    if find_spec("sklearn"):
        from sklearn._loss.loss import HalfBinomialLoss
        from sklearn.linear_model._linear_loss import LinearModelLoss

        theirs = LinearModelLoss(HalfBinomialLoss(), fit_intercept=False)
        calls["scikit-learn"] = lambda: theirs.loss_gradient(w, X, y, n_threads=threads)
        value, gradient = calls["fastloss"]()
        their_value, their_gradient = calls["scikit-learn"]()
        np.testing.assert_allclose(value, their_value, rtol=1e-11)
        np.testing.assert_allclose(gradient, their_gradient, rtol=1e-9, atol=1e-11)
    return calls


def linear_softmax(sizes: tuple[int, int, int], dtype: str, threads: int) -> Calls:
    model = Objective(*sizes, dtype)
    return model.checked_calls(threads) | {"products": model.products()}


def extra_memory(model: str, sizes: tuple[int, int, int], dtype: str, threads: int, processes: int = 1) -> Figures:
    """Bytes, by library."""
    return {
        library: [float(memory.measure(model, library, sizes, dtype, threads)) for _ in range(processes)]
        for library in MODELS[model].installed()
    }


def linear_softmax_memory(sizes: Sizes, dtype: str, threads: int) -> Figures:
    rows, _, classes = sizes.softmax
    logits = float(rows * classes * np.dtype(dtype).itemsize)
    figures = extra_memory("objective", sizes.softmax, dtype, threads, sizes.processes)
    return figures | {"logits": [logits] * sizes.processes}
