"""Solvers: one file each. A solver knows an objective's methods, never a loss by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastloss.solvers.fista import fista
from fastloss.solvers.gram_newton import fits, gram_newton
from fastloss.solvers.prox_newton import prox_newton
from fastloss.solvers.result import ConvergenceWarning, Result, check_objective

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastloss.objective import LinearObjective

__all__ = ["ConvergenceWarning", "Result", "fista", "minimize"]

SOLVERS: dict[str, Callable[..., Result]] = {"fista": fista, "ista": partial(fista, accelerated=False), "prox_newton": prox_newton, "gram_newton": gram_newton}


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
    solver : {"auto", "prox_newton", "fista", "ista"}
        ``"auto"`` chooses: `prox_newton` for losses with one output a sample, else `fista`. ``"ista"`` is proximal
        gradient without momentum.
    tol : float
        Stop when the duality gap is at most ``tol`` times the loss at w = 0. Where no gap is known (no penalty, or a
        loss without a known conjugate), when the norm of the proximal gradient is at most ``tol`` times that at 0.
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
    ConvergenceWarning
        If the solver stopped before the tolerance was reached; ``success`` is then False.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it may be, or the solver cannot handle the loss.
    """
    if not isinstance(solver, str) or (solver != "auto" and solver not in SOLVERS):
        raise ValueError(f"solver must be 'auto', {', '.join(map(repr, SOLVERS))}; got {solver!r}")
    check_objective(obj)
    run = SOLVERS[_choose(obj) if solver == "auto" else solver]
    # Points where the objective is not finite are found as such, and turned back from.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return run(obj, w0, tol=tol, max_iter=max_iter, callback=callback, verbose=verbose)


def _choose(obj: LinearObjective) -> str:
    """The solver that is likely the fastest."""
    if obj.has_many_outputs or not obj.loss.smooth:
        return "fista"
    return "gram_newton" if fits(obj) else "prox_newton"
