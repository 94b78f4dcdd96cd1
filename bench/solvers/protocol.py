"""Who solves a problem in how many seconds: the tolerances are searched, then all take turns."""

from __future__ import annotations

import json
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.solvers.peers import SOLVERS
from bench.solvers.problems import Problem

ROOT = Path(__file__).resolve().parent.parent.parent
ENOUGH = 0.1  # seconds to measure at least: shorter calls are repeated
TARGET = 1e-6  # relative gap
OURS = "fastloss"
PAUSE = 0.03  # seconds between two solvers: the idle threads of the last one stop spinning on our cores
WARM_UP = 300.0  # seconds beyond the limit for a first run, which compiles; and to import and to load, from a slow disk
LONG = 20.0  # seconds of a solver's turns together, at least one
ROUNDING = 1e-12  # of an objective, relative
FAR = 5.0  # times slower than the fastest: one turn is enough to say so
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class NoAnswer(Exception):
    """Why there is none: the text is what is printed."""


class Absent(NoAnswer):
    """The library is not installed, or does not import."""


class Worker:
    """A solver's process; started when it is asked something, ended when it takes too long."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads = name, threads
        self.version: str | None = None
        self.absent: str | None = None
        self.process: subprocess.Popen[str] | None = None
        self.loaded: tuple[str, ...] = ()
        self.warm: tuple[Any, ...] = ()

    def start(self) -> None:
        limits = dict.fromkeys(THREADS, str(self.threads))
        # Threads that wait for each other spin by default: beside any other process they take whole time slices.
        limits["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "passive")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.solvers.worker", self.name],
            env=os.environ | limits,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._pump, args=(self.process, self.lines), daemon=True).start()
        try:
            self.version = self._ask({"do": "start"}, 0)["version"]
        except NoAnswer as error:
            if self.process is None:  # it did not answer at all: next time it may
                raise
            self.absent = str(error)

    @staticmethod
    def _pump(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    def _ask(self, question: dict[str, Any], limit: float, more: float = WARM_UP) -> dict[str, Any]:
        """The answer, waited for `more` seconds beyond the limit that is told."""
        process = self.process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = self.lines.get(timeout=limit + more)
        except queue.Empty:
            self.stop()
            raise NoAnswer(f"> {limit:g} s" if limit else f"no answer in {more:g} s") from None
        except BrokenPipeError:
            line = ""
        if not line:
            self.stop()
            raise NoAnswer(f"its process ended with code {process.returncode}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise NoAnswer(answer["error"])
        return answer

    def prepare(self, problem: Problem, folder: Path) -> None:
        """Start, unless it runs; load the data, unless they are there."""
        if self.absent is None and self.process is None:
            self.start()
        if self.absent is not None:
            raise Absent(self.absent)
        layout = SOLVERS[self.name].layout(problem)
        if self.loaded != (wanted := (str(folder), problem.loss, layout)):
            question = {"do": "load", "folder": wanted[0], "loss": wanted[1], "layout": layout, "threads": self.threads}
            self._ask(question, 0)
            self.loaded = wanted

    def run(self, alphas: list[float], tol: float, limit: float, **options: Any) -> dict[str, Any]:
        path = len(alphas) > 1
        question = {"do": "run", "alphas": alphas, "path": path, "tol": tol, **options}
        if self.warm != (wanted := (*self.loaded, path)):
            loosest = SOLVERS[self.name].tolerances[0]
            self._ask(question | {"tol": loosest, "enough": 0.0, "check": False}, limit)
            self.warm = wanted
        # Beyond the call: its repetitions, where it is short, and the gaps.
        answer = self._ask(question, limit, more=5 + 0.3 * len(alphas))
        if answer["seconds"] > limit:
            raise NoAnswer(f"> {limit:g} s")
        return answer

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process, self.loaded, self.warm = None, (), ()


@dataclass
class Outcome:
    """Of a solver on a problem."""

    points: list[dict[str, Any]] = field(default_factory=list)  # one a tolerance, as the worker answered
    tol: float | None = None  # the loosest that reaches the target
    seconds: list[float] = field(default_factory=list)  # one a round, or that of the search
    note: str = ""  # why there is no time

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    def line(self) -> str:
        if not self.seconds:
            return self.note
        point = next(point for point in self.points if point["tol"] == self.tol)
        spread = f" ({min(self.seconds):.3g}–{max(self.seconds):.3g})" if len(self.seconds) > 1 else ""
        text = f"{self.median:.4g} s{spread}  tol {self.tol:.0e}  gap {point['gap']:.1e}"
        return f"{text}  support {point['support']}"


@dataclass
class Protocol:
    """The rules, and the processes of all solvers."""

    workers: dict[str, Worker]
    limit: float
    rounds: int
    enough: float
    say: Callable[[str], None]

    def measure(self, problem: Problem, folder: Path, alphas: list[float]) -> dict[str, Outcome]:
        outcomes = {}
        for name, worker in self.workers.items():
            if worker.absent is None and SOLVERS[name].suits(problem):
                try:
                    worker.prepare(problem, folder)
                    outcomes[name] = self.search(worker, alphas)
                except Absent as error:
                    self.say(f"{name}: skipped, {error}")
                    continue
                except NoAnswer as error:
                    outcomes[name] = Outcome(note=str(error))
                self.say(f"{problem.name:24s} {name:15s} {outcomes[name].line()}")
        self.take_turns(outcomes, alphas, problem, folder)
        self.compare(problem, outcomes, len(alphas))
        return outcomes

    def search(self, worker: Worker, alphas: list[float]) -> Outcome:
        """The loosest tolerance that reaches the target: by decades, then once between the last two."""
        outcome, spent, gap = Outcome(), 0.0, float("inf")
        tolerances = SOLVERS[worker.name].tolerances
        try:
            for k, tol in enumerate(tolerances):
                point = worker.run(alphas, tol, self.limit, enough=self.enough, check=True)
                outcome.points.append(point)
                spent, gap = spent + point["seconds"], point["gap"]
                if gap <= TARGET:
                    if k and spent < 3 * self.limit:
                        between = worker.run(alphas, 3 * tol, self.limit, enough=self.enough, check=True)
                        outcome.points.insert(-1, between)
                        point = between if between["gap"] <= TARGET else point
                    break
                if spent > 3 * self.limit:
                    raise NoAnswer(f"> {spent:.0f} s in all")
            else:
                raise NoAnswer("not reached")
        except NoAnswer as error:
            if gap > TARGET:
                least = min((point["gap"] for point in outcome.points), default=None)
                outcome.note = str(error) + ("" if least is None else f", gap {least:.1e}")
                return outcome
        outcome.tol, outcome.seconds = point["tol"], [point["seconds"]]
        return outcome

    def take_turns(self, outcomes: dict[str, Outcome], alphas: list[float], problem: Problem, folder: Path) -> None:
        """Rounds, in which each has a turn; the first begins with another one each time."""
        first = {name: outcome.seconds[0] for name, outcome in outcomes.items() if outcome.seconds}
        if not first:
            return
        fastest = min(first.values())
        turns = {}
        for name, seconds in first.items():
            far = seconds > FAR * fastest and seconds > ENOUGH and name != OURS
            turns[name] = 1 if far else max(1, min(self.rounds, int(LONG / seconds)))
            if seconds < LONG:
                outcomes[name].seconds = []
        for k in range(self.rounds):
            names = [name for name in first if k < turns[name] and first[name] < LONG]
            for name in names[k % len(names) :] + names[: k % len(names)] if names else []:
                time.sleep(PAUSE)
                worker, tol = self.workers[name], outcomes[name].tol
                assert tol is not None
                try:
                    worker.prepare(problem, folder)
                    answer = worker.run(alphas, tol, 2 * self.limit, enough=self.enough, check=False)
                    outcomes[name].seconds.append(answer["seconds"])
                except NoAnswer as error:
                    outcomes[name].note = str(error)
        for name, seconds in first.items():
            outcomes[name].seconds = outcomes[name].seconds or [seconds]
        medians = ", ".join(f"{name} {outcomes[name].median:.3g}" for name in first)
        self.say(f"{problem.name:24s} medians: {medians}")

    def compare(self, problem: Problem, outcomes: dict[str, Outcome], models: int) -> None:
        """No model may be better than another one's gap allows: else two do not solve the same problem."""
        there = {name: outcome.points[-1] for name, outcome in outcomes.items() if outcome.tol is not None}
        best = min(there, key=lambda name: there[name]["objective"], default="")
        for name, point in there.items():
            if point["objective"] - there[best]["objective"] > models * max(point["gap"], 0.0) + ROUNDING * models:
                self.say(f"! {problem.name}: {name} and {best} do not solve the same problem")

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.stop()
