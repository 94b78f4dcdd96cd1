"""Measure the targets of the project: ``python -m bench.targets``.

Every ratio is one of times taken in turns within one run: A B C, A B C, ... Each instruction set runs in a process of
its own.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from timeit import Timer
from typing import Any

import numpy as np

from bench import loops, machine, peers

ROOT = Path(__file__).resolve().parent.parent
MARKERS = "<!-- bench:targets -->", "<!-- /bench:targets -->"
PAUSE = 0.03  # seconds between two libraries: the idle threads of the last one stop spinning on our cores
ENOUGH = 0.1  # seconds to measure at least; virtual machines lose their CPU for some milliseconds at a time
ENOUGH_QUICK = 0.01

Times = dict[str, list[float]]
Calls = dict[str, Callable[[], Any] | Timer]
Bound = float | dict[str, float] | None


@dataclass(frozen=True)
class Row:
    """A target: our time against that of the fastest of `references`, all from one measurement."""

    work: str
    measurement: str
    references: tuple[str, ...]
    relation: str  # "slower": ours / theirs, at most; "faster": theirs / ours, at least; "µs": ours alone, at most
    bound: Bound  # for every instruction set, or by its name; None: no target, for information

    def target(self, isa: str) -> float | None:
        return self.bound.get(isa) if isinstance(self.bound, dict) else self.bound

    def ratios(self, times: Times) -> list[float]:
        """One a round; empty where the peer is not installed."""
        if self.relation == "µs":
            return [seconds * 1e6 for seconds in times["fastloss"]]
        there = [times[name] for name in self.references if name in times]
        if not there:
            return []
        theirs = min(there, key=statistics.median)
        pairs = zip(times["fastloss"], theirs, strict=True)
        return [a / b if self.relation == "slower" else b / a for a, b in pairs]

    def cells(self, isa: str, times: Times, *, judged: bool) -> tuple[str, str, str, str]:
        target, ratios = self.target(isa), self.ratios(times)
        unit = " µs" if self.relation == "µs" else " ×"
        sign = "≥" if self.relation == "faster" else "≤"
        wanted = "–" if target is None else f"{sign} {target:g}{unit}"
        if not ratios:
            return self.work, wanted, "not installed", "–"
        median = statistics.median(ratios)
        met = "–"
        if target is not None and judged:
            met = "yes" if (median >= target if sign == "≥" else median <= target) else "**no**"
        return self.work, wanted, f"{median:.3g}{unit} ({min(ratios):.3g}–{max(ratios):.3g})", met


LOGITS = "BinaryCrossEntropy.logits"
PROBABILITIES = "BinaryCrossEntropy.probabilities"
FLOOR, READ = ("stream", "plain", "numpy"), ("read",)  # of the first, those that the machine has
ROWS = (
    Row("MSE, f64 / fastest loop of two reads and a write", "mse f64", FLOOR, "slower", 1.1),
    Row("BCE logits, f64 / MSE", "bce f64", ("mse",), "slower", {"avx512": 1.4, "avx2": 3.0}),
    Row("BCE logits, f64, faster than scikit-learn", "bce f64", ("scikit-learn",), "faster", 10),
    Row("BCE logits, f64, faster than NumPy", "bce f64", ("numpy",), "faster", 15),
    Row("BCE logits, f32 / MSE f32", "bce f32", ("mse",), "slower", {"avx512": 1.15}),
    Row("BCE logits, f32, faster than scikit-learn", "bce f32", ("scikit-learn",), "faster", 30),
    Row("BCE probabilities, clipped, f64, faster than NumPy", PROBABILITIES, ("numpy",), "faster", 12),
    Row("Huber, f64, faster than scikit-learn", "Huber", ("scikit-learn",), "faster", 5),
    Row("Poisson, f64, faster than scikit-learn", "Poisson", ("scikit-learn",), "faster", 5),
    Row("call with n = 100 and out=, BCE logits, f64", "call", (), "µs", 1.5),
    Row("call with n = 100, faster than scikit-learn", "call", ("scikit-learn",), "faster", None),
    Row("call with n = 100, faster than NumPy", "call", ("numpy",), "faster", None),
    Row("LinearObjective, logistic, faster than scikit-learn", "linear", ("scikit-learn",), "faster", 2),
    Row("LinearObjective, logistic / reading X once", "linear", READ, "slower", 1.4),
)


def interleave(calls: Calls, rounds: int, enough: float) -> Times:
    """Seconds a call: in each round everybody has a turn, of a call that is not counted and enough that are."""
    timers = {name: call if isinstance(call, Timer) else Timer(call) for name, call in calls.items()}
    # The first call starts threads and touches pages: the shorter of two tells how many are enough.
    numbers = {name: max(1, int(enough / min(timer.repeat(2, 1)))) for name, timer in timers.items()}
    times: Times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, timer in timers.items():
            time.sleep(PAUSE)
            timer.timeit(1)
            times[name].append(timer.timeit(numbers[name]) / numbers[name])
    return times


def value_and_grad(loss: str, libraries: tuple[str, ...], dtype: str, n: int, threads: int) -> Calls:
    """Calls, found right, by library; libraries that are not installed are left out."""
    here = [name for name in libraries if find_spec(peers.peer(peers.CASES[loss], name).module)]
    return {name: peers.checked_call(loss, name, dtype, n, "value_and_grad", threads) for name in here}


def measurements(n: int, rows: int, threads: int) -> Iterator[tuple[str, Calls]]:
    """What is timed together, by name; made one after the other: the arrays of one are gone before the next."""
    yield "mse f64", value_and_grad("SquaredError", ("fastloss",), "float64", n, threads) | floors(n, threads)
    three = ("fastloss", "scikit-learn", "numpy")
    for name, dtype in (("bce f64", "float64"), ("bce f32", "float32")):
        mse = {"mse": value_and_grad("SquaredError", ("fastloss",), dtype, n, threads)["fastloss"]}
        yield name, mse | value_and_grad(LOGITS, three, dtype, n, threads)
    for loss, library in ((PROBABILITIES, "numpy"), ("Huber", "scikit-learn"), ("Poisson", "scikit-learn")):
        yield loss, value_and_grad(loss, ("fastloss", library), "float64", n, threads)
    calls = value_and_grad(LOGITS, three, "float64", 100, 1)
    yield "call", {name: spelled_out(call) for name, call in calls.items()}
    yield "linear", linear(rows, threads)


def floors(n: int, threads: int) -> Calls:
    a, b = peers.inputs("SquaredError", "float64", n)
    out = np.empty_like(a)
    calls = loops.subtractions(a, b, out, threads)
    for call in calls.values():
        out.fill(0)
        call()
        np.testing.assert_array_equal(out, a - b)
    return calls


def spelled_out(call: partial) -> Timer:
    """The call as a user types it, number of threads left out: where a microsecond counts, `partial` would too."""
    names = {f"argument{i}": argument for i, argument in enumerate(call.args)}
    options = {name: option for name, option in call.keywords.items() if name != "n_threads"}
    arguments = ", ".join([*names, *(f"{name}={name}" for name in options)])
    return Timer(f"function({arguments})", globals={"function": call.func, **names, **options})


def linear(rows: int, threads: int, columns: int = 100) -> Calls:
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


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All times, of the instruction set that this process uses."""
    n, rows, enough = (10**5, 20_000, ENOUGH_QUICK) if options.quick else (10**7, 400_000, ENOUGH)
    times = {}
    for name, calls in measurements(n, rows, options.threads):
        times[name] = interleave(calls, options.rounds, enough)
        calls.clear()
        gc.collect()
    return {"machine": machine.describe(), "floor": loops.library() is not None, "n": n, "rows": rows, "times": times}


def measure_apart(isa: str, options: argparse.Namespace) -> dict[str, Any]:
    """The same in a process of its own, where everybody has as many threads."""
    threads = str(options.threads)
    limits = {name: threads for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    # Threads that wait for each other spin by default: beside any other process a call then takes whole time slices.
    limits["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "passive")
    command = [sys.executable, "-m", "bench.targets", "--child", "--threads", threads, "--rounds", str(options.rounds)]
    child = subprocess.run(
        command + ["--quick"] * options.quick,
        env=os.environ | limits | {"FASTLOSS_ISA": isa},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=False,
    )
    if child.returncode:
        sys.exit(f"{isa} could not be measured: see above")
    return json.loads(child.stdout)


def runnable() -> list[str]:
    """Instruction sets that this build has and this CPU runs, the widest first."""
    from fastloss import _runtime

    return [isa for isa in reversed(_runtime.compiled_instruction_sets()) if _runtime.cpu_supports(isa)]


def markdown(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    """The tables, after the line that says where the figures are from and how to get them again."""
    one = next(iter(results.values()))
    system = one["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in system["versions"].items())
    command = "python -m bench.targets" + (" --quick" if options.quick else "")
    floor = "compiled C" if one["floor"] else "NumPy on slices, since no C compiler was found: not the floor"
    today = datetime.date.today().isoformat()
    lines = [
        f"{system['cpu_model']}, {system['cores']} cores; {versions}; {today}; `{command}`.",
        f"`value_and_grad`, n = {one['n']:,}, unsorted, {options.threads} threads; LinearObjective "
        f"{one['rows']:,} × 100; medians of {options.rounds} rounds (least–greatest). Reference loops: {floor}.",
    ]
    for isa, result in results.items():
        lines += ["", f"**{isa}**", "", "| work | target | measured | met |", "|---|---:|---:|---|"]
        for row in ROWS:
            # The targets are for full sizes; a floor that is not the fastest loop is none.
            judged = not options.quick and (result["floor"] or row.references not in (FLOOR, READ))
            lines.append("| " + " | ".join(row.cells(isa, result["times"][row.measurement], judged=judged)) + " |")
    return "\n".join(lines)


def update_readme(text: str, path: Path = ROOT / "README.md") -> None:
    """Put the text between the markers."""
    start, end = MARKERS
    readme = path.read_text(encoding="utf-8")
    pattern = re.compile(f"(?<={re.escape(start)}\n).*?(?={re.escape(end)})", re.DOTALL)
    updated, count = pattern.subn(lambda _: f"\n{text}\n\n", readme)
    if count != 1:
        sys.exit(f"README.md must hold, once, the lines {start} and {end}; nothing was changed")
    path.write_text(updated, encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.targets", description=__doc__)
    parser.add_argument("--isa", nargs="+", metavar="ISA", help="instruction sets; default: all that run here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times")
    parser.add_argument("--update-readme", action="store_true", help="put the tables between the markers of README.md")
    parser.add_argument("--quick", action="store_true", help="small arrays and few rounds: does everything still run?")
    parser.add_argument("--rounds", type=int, help="default: 11, with --quick 3")
    parser.add_argument("--threads", type=int, default=min(2, machine.cores()))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.quick and options.update_readme:
        parser.error("--quick figures do not belong in README.md")
    options.rounds = options.rounds or (3 if options.quick else 11)
    if options.child:
        print(json.dumps(measure(options)))
        return
    results = {}
    for isa in options.isa or runnable():
        print(f"measuring {isa} ...", file=sys.stderr, flush=True)
        results[isa] = measure_apart(isa, options)
    text = markdown(results, options)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if options.update_readme:
        update_readme(text)


if __name__ == "__main__":
    main()
