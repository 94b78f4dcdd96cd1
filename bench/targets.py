"""Measure the targets of the project: ``python -m bench.targets``.

Every ratio is one of times taken in turns within one run: A B C, A B C, ... Each instruction set runs in a process of
its own, in which nobody uses more.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import loops, machine
from bench.measurements import FEW, FULL, QUICK, Figures, interleave, remembered, timed

ROOT = Path(__file__).resolve().parent.parent
MARKERS = "<!-- bench:targets -->", "<!-- /bench:targets -->"
Bound = float | dict[str, float] | None


# How a figure is read: the sign and the unit of its target.
RELATIONS = {
    "slower": ("≤", " ×"),  # ours / theirs
    "faster": ("≥", " ×"),  # theirs / ours
    "share": ("≤", " %"),  # ours / theirs
    "µs": ("≤", " µs"),  # ours alone
}


@dataclass(frozen=True)
class Row:
    """A target: our figure against the least of `references`, all from one measurement."""

    work: str
    measurement: str
    references: tuple[str, ...]
    relation: str  # of RELATIONS
    bound: Bound  # for every instruction set, or by its name; None: no target, for information

    def target(self, isa: str) -> float | None:
        return self.bound.get(isa) if isinstance(self.bound, dict) else self.bound

    def ratios(self, figures: Figures) -> list[float]:
        """One a round; empty where the peer is not installed."""
        if self.relation == "µs":
            return [seconds * 1e6 for seconds in figures["fastloss"]]
        there = [figures[name] for name in self.references if name in figures]
        if not there:
            return []
        pairs = zip(figures["fastloss"], min(there, key=statistics.median), strict=True)
        if self.relation == "faster":
            return [theirs / ours for ours, theirs in pairs]
        return [(100 if self.relation == "share" else 1) * ours / theirs for ours, theirs in pairs]

    def cells(self, isa: str, figures: Figures, *, judged: bool) -> tuple[str, str, str, str]:
        target, ratios = self.target(isa), self.ratios(figures)
        sign, unit = RELATIONS[self.relation]
        wanted = "–" if target is None else f"{sign} {target:g}{unit}"
        if not ratios:
            return self.work, wanted, "not installed", "–"
        median = statistics.median(ratios)
        met = "–"
        if target is not None and judged:
            met = "yes" if (median >= target if sign == "≥" else median <= target) else "**no**"
        spread = f" ({min(ratios):.3g}–{max(ratios):.3g})" if len(ratios) > 1 else ""
        return self.work, wanted, f"{median:.3g}{unit}{spread}", met


FLOOR, READ = ("stream", "plain", "numpy"), ("read",)  # of the first, those that the machine has
LOSS_ROWS = (
    Row("MSE, f64 / fastest loop of two reads and a write", "mse f64", FLOOR, "slower", 1.1),
    Row("BCE logits, f64 / MSE", "bce f64", ("mse",), "slower", {"avx512": 1.4, "avx2": 3.0}),
    Row("BCE logits, f64, faster than scikit-learn", "bce f64", ("scikit-learn",), "faster", 10),
    Row("BCE logits, f64, faster than NumPy", "bce f64", ("numpy",), "faster", 15),
    Row("BCE logits, f32 / MSE f32", "bce f32", ("mse",), "slower", {"avx512": 1.15}),
    Row("BCE logits, f32, faster than scikit-learn", "bce f32", ("scikit-learn",), "faster", 30),
    Row("BCE probabilities, clipped, f64, faster than NumPy", "bce probabilities", ("numpy",), "faster", 12),
    Row("Huber, f64, faster than scikit-learn", "Huber", ("scikit-learn",), "faster", 5),
    Row("Poisson, f64, faster than scikit-learn", "Poisson", ("scikit-learn",), "faster", 5),
    Row("call with n = 100 and out=, BCE logits, f64", "call", (), "µs", 1.5),
    Row("call with n = 100, faster than scikit-learn", "call", ("scikit-learn",), "faster", None),
    Row("call with n = 100, faster than NumPy", "call", ("numpy",), "faster", None),
    Row("LinearObjective, logistic, faster than scikit-learn", "linear", ("scikit-learn",), "faster", 2),
    Row("LinearObjective, logistic / reading X once", "linear", READ, "slower", 1.4),
)


def softmax_rows() -> Iterator[Row]:
    for classes in (100, 1000):
        for short, sklearn in (("f64", 3), ("f32", 6)):
            work, name = f"CE logits, K = {classes}, {short}", f"softmax K={classes} {short}"
            yield Row(f"{work} / copying the logits", name, ("copy",), "slower", {"avx512": 2.0, "avx2": 3.0})
            yield Row(f"{work}, faster than scikit-learn", name, ("scikit-learn",), "faster", sklearn)
            yield Row(f"{work}, faster than PyTorch", name, ("torch",), "faster", 8)
    for classes in (3, 10):
        for short in ("f64", "f32"):
            work, name = f"CE logits, K = {classes}, {short}", f"softmax K={classes} {short}"
            yield Row(f"{work}, faster than scikit-learn", name, ("scikit-learn",), "faster", 4)
    for short in ("f64", "f32"):
        work, name = f"LinearObjective, softmax, {short}", f"softmax linear {short}"
        yield Row(f"{work} / its two matrix products", name, ("products",), "slower", 1.15)
        yield Row(f"{work}, faster than scikit-learn", name, ("scikit-learn",), "faster", 1.5)
        yield Row(f"{work}, peak extra memory / the logits", f"{name} memory", ("logits",), "share", 5)
        yield Row(f"{work}, the same / scikit-learn's", f"{name} memory", ("scikit-learn",), "share", None)
    yield Row("linear_cross_entropy, f32 / PyTorch", "softmax vocabulary", ("torch",), "slower", 1.0)
    name = "softmax vocabulary memory"
    yield Row("linear_cross_entropy, f32, peak extra memory / PyTorch's", name, ("torch",), "share", 5)


TABLES = (LOSS_ROWS, tuple(softmax_rows()))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, of the instruction set that this process uses."""
    sizes = QUICK if options.quick else FULL
    figures = {}
    for name, make in timed(sizes, options.threads).items():
        if options.only in name:
            calls = make()
            figures[name] = interleave(calls, options.rounds, sizes.enough)
            del calls
            gc.collect()
    figures |= {name: make() for name, make in remembered(sizes, options.threads).items() if options.only in name}
    return {
        "machine": machine.describe(),
        "floor": loops.library() is not None,
        "sizes": dataclasses.asdict(sizes),
        "figures": figures,
    }


def measure_apart(isa: str, options: argparse.Namespace) -> dict[str, Any]:
    """The same in a process of its own, where everybody has as many threads."""
    threads = str(options.threads)
    limits = {name: threads for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    # Threads that wait for each other spin by default: beside any other process a call then takes whole time slices.
    limits["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "passive")
    command = [sys.executable, "-m", "bench.targets", "--child", "--threads", threads, "--rounds", str(options.rounds)]
    command += ["--only", options.only]
    child = subprocess.run(
        command + ["--quick"] * options.quick,
        env=os.environ | limits | machine.held_to(isa),
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
    command = "python -m bench.targets" + " --quick" * options.quick + f" --only '{options.only}'" * bool(options.only)
    floor = "compiled C" if one["floor"] else "NumPy on slices, since no C compiler was found: not the floor"
    today = datetime.date.today().isoformat()
    sizes = {name: " × ".join(f"{size:,}" for size in np.atleast_1d(size)) for name, size in one["sizes"].items()}
    lines = [
        f"{system['cpu_model']}, {system['cores']} cores; {versions}; {today}; `{command}`.",
        f"`value_and_grad`, n = {sizes['n']} predictions, unsorted, {options.threads} threads; LinearObjective "
        f"{sizes['logistic']}, softmax {sizes['softmax']} classes; linear_cross_entropy {sizes['vocabulary']} classes, "
        f"gradients of X and W; medians of {options.rounds} rounds, at most {FEW} of calls longer than a second "
        f"(least–greatest). Reference loops: {floor}. Everybody is held to the instruction set of the table, as on "
        "a CPU that has no more.",
    ]
    for isa, result in results.items():
        lines += ["", f"**{isa}**"]
        for rows in TABLES:
            lines += table(isa, result, [row for row in rows if row.measurement in result["figures"]], options)
    return "\n".join(lines)


def table(isa: str, result: dict[str, Any], rows: list[Row], options: argparse.Namespace) -> list[str]:
    if not rows:
        return []
    lines = ["", "| work | target | measured | met |", "|---|---:|---:|---|"]
    for row in rows:
        # The targets are for full sizes; a floor that is not the fastest loop is none.
        judged = not options.quick and (result["floor"] or row.references not in (FLOOR, READ))
        lines.append("| " + " | ".join(row.cells(isa, result["figures"][row.measurement], judged=judged)) + " |")
    return lines


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
    parser.add_argument("--only", default="", metavar="TEXT", help="measurements that have it in their name: softmax")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--update-readme", action="store_true", help="put the tables between the markers of README.md")
    parser.add_argument("--quick", action="store_true", help="small arrays and few rounds: does everything still run?")
    parser.add_argument("--rounds", type=int, help="default: 11, with --quick 3")
    parser.add_argument("--threads", type=int, default=min(2, machine.cores()))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.quick and options.update_readme:
        parser.error("--quick figures do not belong in README.md")
    if options.only and options.update_readme:
        parser.error("README.md takes all measurements, without --only")
    if not any(options.only in row.measurement for rows in TABLES for row in rows):
        parser.error(f"no measurement has {options.only!r} in its name")
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
