"""Solvers: one file each. A solver knows an objective's methods, never a loss by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastloss.solvers.fista import fista
from fastloss.solvers.gram_newton import MAX_ITER as STEPS
from fastloss.solvers.gram_newton import GramNewton, fits, gram_newton
from fastloss.solvers.lbfgs import lbfgs
from fastloss.solvers.prox_newton import MAX_ITER as WORKING_SETS
from fastloss.solvers.prox_newton import ProxNewton, prox_newton
from fastloss.solvers.result import (
    ConvergenceWarning,
    Monitor,
    NonConvexWarning,
    Result,
    check_max_iter,
    check_newton,
    check_objective,
    null_start,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastloss.objective import LinearObjective
    from fastloss.penalties import ElasticNet

__all__ = ["ConvergenceWarning", "NonConvexWarning", "Result", "fista", "minimize"]

SOLVERS: dict[str, Callable[..., Result]] = {
    "fista": fista,
    "ista": partial(fista, accelerated=False),
    "prox_newton": prox_newton,
    "gram_newton": gram_newton,
    "lbfgs": lbfgs,
}
FEW = 200  # coefficients of several outputs, for which Newton's method pays without an L1 penalty
# Those whose state lives on along a path, with their limits of iterations.
STATES: dict[str, tuple[Callable[..., ProxNewton | GramNewton], int]] = {
    "prox_newton": (ProxNewton, WORKING_SETS),
    "gram_newton": (GramNewton, STEPS),
}


def minimize(
    obj: LinearObjective,
    w0: ArrayLike | None = None,
    *,
    solver: str = "auto",
    tol: float = 1e-6,
    max_iter: int | None = None,
    callback: Callable[[Result], object] | None = None,
    verbose: bool = False,
) -> Result:
    """Minimise an objective: mean loss plus penalty.

    Parameters
    ----------
    obj : LinearObjective
        What to minimise.
    w0 : array_like of shape (obj.size,), optional
        Where to start; zeros by default.
    solver : {"auto", "prox_newton", "gram_newton", "lbfgs", "fista", "ista"}
        ``"auto"`` chooses, for one model: `gram_newton` where X is dense and has 20 times as many rows as columns (and
        2,000, unless the loss is quadratic; with one output 5 times are enough where n p^2 is at most 2^24), and there
        are at most 2,000 coefficients; else `prox_newton`. For several outputs without an L1 penalty it is `lbfgs`,
        unless there are few coefficients.
        ``"ista"`` is proximal gradient without momentum.
    tol : float
        Stop when the duality gap is at most ``tol`` times the loss at w = 0 (or how far that is above the least loss,
        where offsets of a Poisson model make it negative). Where no gap is known (no penalty, or a loss without a known
        conjugate), when the norm of the proximal gradient is at most ``tol`` times that at 0.
    max_iter : int, optional
        Stop after so many iterations in any case; the default is the solver's.
    callback : callable, optional
        Called with a `Result` of the current point each time the stopping rule is looked at; raising StopIteration ends
        the run.
    verbose : bool
        Print the progress.

    Returns
    -------
    Result
        With SciPy's names: ``x``, ``fun``, ``nit``, ``success``, ``message``; and ``duality_gap`` and ``history``.

    Warns
    -----
    NonConvexWarning
        If the loss, one of the user's own, is not convex: the result may not be the minimum.
    ConvergenceWarning
        If the solver stopped before the tolerance was reached; ``success`` is then False.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it may be, or the solver cannot handle the loss.
    """
    check_objective(obj)
    if obj.loss.convex is False:
        warnings.warn(
            f"{obj.loss!r} is not convex: where the solver ends is a stationary point, but may not be the minimum, and "
            "depends on w0",
            NonConvexWarning,
            stacklevel=2,
        )
    run = SOLVERS[_choose(obj, solver)]
    with _not_finite_is_found():
        return run(obj, w0, tol=tol, max_iter=max_iter, callback=callback, verbose=verbose)


def start_run(
    obj: LinearObjective,
    solver: str,
    tol: float,
    max_iter: int | None,
    w0: ArrayLike | None = None,
    *,
    models: int = 1,
    verbose: bool = False,
) -> Callable[..., Result]:
    """What minimises objectives that differ from the first in their penalty alone, each from the solution before.

    It takes an objective and, where they are known, the penalties of those to come. The first starts from w0. It does
    not warn where a tolerance was not reached: the result says so. `models` is how many objectives there will be.
    """
    name = _choose(obj, solver, models)
    if name not in STATES:
        return _restarts(SOLVERS[name], null_start(obj) if w0 is None else w0, tol, max_iter, verbose)
    check_newton(obj, name)
    state_of, default = STATES[name]
    limit = check_max_iter(max_iter, default)
    with _not_finite_is_found():
        state = state_of(obj, w0, path=models > 1)

    def go_on(other: LinearObjective, later: Sequence[ElasticNet] = ()) -> Result:
        monitor = Monitor(other, name, tol, None, verbose)
        with _not_finite_is_found():
            iteration = state.run(other, monitor, limit, later)
            return monitor.finish(state.x, iteration, warn=False)

    return go_on


def _restarts(
    solve: Callable[..., Result], x: ArrayLike, tol: float, max_iter: int | None, verbose: bool
) -> Callable[..., Result]:
    def go_on(other: LinearObjective, later: Sequence[ElasticNet] = ()) -> Result:
        nonlocal x
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = solve(other, x, tol=tol, max_iter=max_iter, verbose=verbose)
        x = result.x
        return result

    return go_on


def _choose(obj: LinearObjective, solver: str, models: int = 1) -> str:
    """The solver that is asked for; with "auto" the one that is likely the fastest for so many models."""
    if not isinstance(solver, str) or (solver != "auto" and solver not in SOLVERS):
        raise ValueError(f"solver must be 'auto', {', '.join(map(repr, SOLVERS))}; got {solver!r}")
    if solver != "auto":
        return solver
    if not (obj.loss.smooth and obj.loss.has_curvature):
        return "fista"
    if obj.has_many_outputs and not obj.penalty.l1 and not obj.penalty.positive and len(obj.costs) > FEW:
        return "lbfgs"  # all coefficients of all classes are used: too many for a working set
    return "gram_newton" if fits(obj, models) else "prox_newton"


def _not_finite_is_found() -> np.errstate:
    """Points where the objective is not finite are found as such, and turned back from."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
