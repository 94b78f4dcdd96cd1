"""Runs that go on with another penalty, and those along a path."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fastloss._checks import check_number
from fastloss.solvers._choice import SOLVERS, choose
from fastloss.solvers.gram_newton import AHEAD, GramNewton, start_gram_newton
from fastloss.solvers.gram_newton import MAX_ITER as STEPS
from fastloss.solvers.prox_newton import MAX_ITER as WORKING_SETS
from fastloss.solvers.prox_newton import ProxNewton
from fastloss.solvers.quadratic import QuadraticRun
from fastloss.solvers.result import (
    ConvergenceWarning,
    Minima,
    Monitor,
    Result,
    check_max_iter,
    check_newton,
    null_start,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from fastloss.objective import LinearObjective
    from fastloss.penalties import ElasticNet

# Those whose state lives on along a path, with their limits of iterations.
State = ProxNewton | GramNewton | QuadraticRun
Outcome = TypeVar("Outcome", Result, Minima)
STATES: dict[str, tuple[Callable[..., State], int]] = {
    "prox_newton": (ProxNewton, WORKING_SETS),
    "gram_newton": (start_gram_newton, STEPS),
}


def start_run(
    obj: LinearObjective,
    solver: str,
    tol: float,
    max_iter: int | None,
    w0: ArrayLike | None = None,
    *,
    verbose: bool = False,
) -> Callable[[LinearObjective], Result]:
    """What minimises objectives that differ from the first in their penalty alone, each from the solution before.

    The first starts from w0. It does not warn where a tolerance was not reached: the result says so.
    """
    name = choose(obj, solver)
    if name not in STATES:
        return restarts(SOLVERS[name], null_start(obj) if w0 is None else w0, tol, max_iter, verbose)
    state, limit = start(obj, name, max_iter, w0)
    finish = partial(Monitor.finish, warn=False)
    return lambda other: go_on(state, other, name, tol, limit, finish, verbose=verbose)


def follow_strengths(
    obj: LinearObjective,
    penalty_of: Callable[[float], ElasticNet],
    strengths: NDArray[np.float64],
    solver: str,
    tol: float,
    max_iter: int | None,
) -> Iterator[Minima]:
    """The minima of an objective at decreasing strengths of its penalty, each from the one before.

    It does not warn where a tolerance was not reached: the results say so.
    """
    first = obj.with_penalty(penalty_of(float(strengths[0])))
    name = choose(first, solver, len(strengths))
    if name not in STATES:
        run = restarts(SOLVERS[name], null_start(first), tol, max_iter, False)
        for strength in strengths.tolist():
            result = run(obj.with_penalty(penalty_of(strength)))
            yield Minima.one(result.x, result.fun, result.duality_gap, result.nit, result.success)
        return
    state, limit = start(first, name, max_iter, path=len(strengths) > 1)
    if isinstance(state, QuadraticRun):
        yield from follow_quadratic(state, obj, penalty_of, strengths, tol, limit)
        return
    coming = (obj.with_penalty(penalty_of(strength)) for strength in strengths.tolist())
    later = deque(islice(coming, AHEAD))
    while later:
        current = later.popleft()
        later.extend(islice(coming, 1))
        yield go_on(state, current, name, tol, limit, Monitor.minimum, later)


def follow_quadratic(
    state: QuadraticRun,
    obj: LinearObjective,
    penalty_of: Callable[[float], ElasticNet],
    strengths: NDArray[np.float64],
    tol: float,
    limit: int,
) -> Iterator[Minima]:
    def solve(strength: float) -> Minima:
        minimum = go_on(state, obj.with_penalty(penalty_of(strength)), "gram_newton", tol, limit, Monitor.minimum)
        return minimum._replace(points=state.w[np.newaxis])

    wanted = check_number("tol", tol, 0, math.inf, "[)") * obj.gap_unit
    for found in state.follow(strengths, lambda strength: obj.costs_of(penalty_of(strength)), wanted, limit, solve):
        yield found._replace(points=state.point(found.points))


def start(
    obj: LinearObjective, name: str, max_iter: int | None, w0: ArrayLike | None = None, path: bool = False
) -> tuple[State, int]:
    """A run, and the limit of its iterations for each objective."""
    check_newton(obj, name)
    state_of, default = STATES[name]
    limit = check_max_iter(max_iter, default)
    with not_finite_is_found():
        return state_of(obj, w0, path=path), limit


def go_on(
    state: State,
    obj: LinearObjective,
    name: str,
    tol: float,
    limit: int,
    outcome: Callable[[Monitor, NDArray[np.float64], int], Outcome],
    later: Iterable[LinearObjective] = (),
    verbose: bool = False,
) -> Outcome:
    """Minimise another objective; `later` are some of those to come."""
    monitor = Monitor(obj, name, tol, None, verbose)
    with not_finite_is_found():
        iteration = state.run(obj, monitor, limit, later)
        return outcome(monitor, state.x, iteration)


def restarts(
    solve: Callable[..., Result], x: ArrayLike, tol: float, max_iter: int | None, verbose: bool
) -> Callable[..., Result]:
    def go_on(other: LinearObjective) -> Result:
        nonlocal x
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = solve(other, x, tol=tol, max_iter=max_iter, verbose=verbose)
        x = result.x
        return result

    return go_on


def not_finite_is_found() -> np.errstate:
    """Points where the objective is not finite are found as such, and turned back from."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
