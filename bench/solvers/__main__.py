"""Measure L1 solvers against each other: ``python -m bench.solvers``.

The time to a duality gap of 1e-6 of the loss at w = 0, by every solver that is installed. Each runs in a process of its
own, one at a time; a line is printed for each as soon as it is known.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

from bench import machine
from bench.solvers import plot, report
from bench.solvers.peers import SOLVERS
from bench.solvers.problems import Problem, problems
from bench.solvers.protocol import ENOUGH, Protocol, Worker


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # the standard output is for the table


def chosen(options: argparse.Namespace) -> list[Problem]:
    """The problems that have one of the given texts in their names."""
    found = [problem for problem in problems() if any(text in problem.name for text in options.only)]
    # Of small data one penalty tells whether everything still runs.
    return [p for p in found if not options.quick or p.fraction in (None, p.data.fractions[0])]


def measure(options: argparse.Namespace) -> report.Results:
    """All figures; the JSON file is written after each problem, so that what is stopped is not lost."""
    workers = {name: Worker(name, options.threads) for name in options.solvers}
    protocol = Protocol(workers, options.limit, options.rounds, 0.0 if options.quick else ENOUGH, say)
    results: report.Results = {
        "machine": machine.describe(),
        "date": datetime.date.today().isoformat(),
        "options": {name: getattr(options, name) for name in ("quick", "limit", "rounds", "threads")},
        "problems": {},
    }
    versions = results["machine"]["versions"]
    try:
        for data, asked in groupby(chosen(options), key=lambda problem: problem.data):
            with tempfile.TemporaryDirectory() as name:
                largest = data.save(Path(name), quick=options.quick)
                for problem in asked:
                    alphas = problem.alphas(largest[problem.loss], quick=options.quick)
                    outcomes = protocol.measure(problem, Path(name), alphas)
                    results["problems"][problem.name] = {
                        "path": problem.fraction is None,
                        "shape": json.loads((Path(name) / "shape.json").read_text()),
                        "lambda_max": largest[problem.loss],
                        "solvers": {solver: dataclasses.asdict(outcome) for solver, outcome in outcomes.items()},
                    }
                    versions |= {SOLVERS[w.name].library: w.version for w in workers.values() if w.version}
                    if options.json:
                        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    finally:
        protocol.stop()
    return results


def read(paths: list[Path], only: list[str]) -> report.Results:
    """Runs that were written before, as one; of a problem that was measured twice, the last."""
    runs: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    merged = runs[-1] | {"problems": {name: result for run in runs for name, result in run["problems"].items()}}
    order = [problem.name for problem in problems() if any(text in problem.name for text in only)]
    merged["problems"] = {name: merged["problems"][name] for name in order if name in merged["problems"]}
    merged["machine"]["versions"] = {k: v for run in runs for k, v in run["machine"]["versions"].items()}
    return merged


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.solvers", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", default=[""], metavar="TEXT", help="problems with one of these in their names")
    add("--solvers", metavar="A,B", help=f"of {', '.join(SOLVERS)}; default: all, with --quick without saga")
    add("--quick", action="store_true", help="small data and few rounds: does everything still run?")
    add("--limit", type=float, metavar="SECONDS", help="a solver is abandoned at a run longer than this; default: 60")
    add("--rounds", type=int, help="default: 5, with --quick 1")
    add("--threads", type=int, default=min(2, machine.cores()))
    add("--json", type=Path, metavar="FILE", help="write all results")
    add("--read", type=Path, nargs="+", metavar="FILE", help="measure nothing: show what --json wrote")
    add("--plot", type=Path, metavar="FILE.png", help="draw the gap against time; needs matplotlib")
    add("--markdown", action="store_true", help="print the table")
    add("--list", action="store_true", help="print the names of the problems")
    options = parser.parse_args(argv)
    slow = ("saga",) if options.quick else ()
    options.solvers = options.solvers.split(",") if options.solvers else [name for name in SOLVERS if name not in slow]
    if unknown := [name for name in options.solvers if name not in SOLVERS]:
        parser.error(f"there is no solver {unknown[0]!r}; there are {', '.join(SOLVERS)}")
    if not chosen(options):
        parser.error(f"no problem has {' or '.join(options.only)!r} in its name; --list prints them")
    options.limit = options.limit or (5.0 if options.quick else 60.0)
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    if options.list:
        print("\n".join(problem.name for problem in chosen(options)))
        return
    results = read(options.read, options.only) if options.read else measure(options)
    print(report.markdown(results) if options.markdown else "\n".join(report.summary(results["problems"])))
    if options.plot:
        plot.draw(results["problems"], options.plot)


if __name__ == "__main__":
    main()
