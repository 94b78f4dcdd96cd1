"""The process in which a solver runs: ``python -m bench.solvers.worker NAME``.

It is asked and answers by lines of JSON; what libraries print themselves goes to the standard error.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import importlib.metadata
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST = 100  # repetitions of a short call


def timed(call: Callable[[], Any], enough: float) -> tuple[Any, float]:
    """The result, and the seconds of a call: of the first, or where that is short of several after it."""
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    if seconds >= enough:
        return result, seconds
    number = min(MOST, int(enough / seconds) + 1)
    start = time.perf_counter()
    for _ in range(number):
        call()
    return result, (time.perf_counter() - start) / number


class Runner:
    """A solver with the data that it was given last."""

    def __init__(self, name: str) -> None:
        from bench.solvers.peers import SOLVERS

        self.kind = SOLVERS[name]
        self.solver: Any = None

    def start(self) -> dict[str, Any]:
        """Import the library; its version."""
        for module in self.kind.modules:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()  # a collection before each run has nothing to do with what was imported
        return {"version": importlib.metadata.version(self.kind.library)}

    def load(self, folder: str, loss: str, layout: str, threads: int) -> dict[str, Any]:
        from bench.solvers.problems import load

        self.solver = None  # the data of the last problem go before those of the next come
        gc.collect()
        X, y = load(Path(folder), loss, layout)
        self.solver = self.kind(X, y, loss, threads)
        return {}

    def run(self, alphas: list[float], path: bool, tol: float, enough: float, check: bool) -> dict[str, Any]:
        """Seconds, and the quality of the result if it is to be checked."""
        import numpy as np

        from bench.solvers.gap import path_quality

        solver, penalties = self.solver, np.array(alphas)
        gc.collect()
        if path:
            coefs, seconds = timed(lambda: solver.path(penalties, tol), enough)
        else:
            coefs, seconds = timed(lambda: solver.solve(alphas[0], tol), enough)
            coefs = coefs[None]
        found = dataclasses.asdict(path_quality(solver.X, solver.y, coefs, penalties, solver.loss)) if check else {}
        return {"tol": tol, "seconds": seconds, **found}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # that a tolerance was not reached is seen from the gap
    runner = Runner(sys.argv[1])
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(runner, question.pop("do"))(**question)
        except Exception as error:  # whatever a library raises is its result
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
