"""Solvers: one file each. A solver knows an objective's methods, never a loss by name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from fastloss.solvers._choice import SOLVERS, choose
from fastloss.solvers._runs import not_finite_is_found
from fastloss.solvers.fista import fista
from fastloss.solvers.result import ConvergenceWarning, NonConvexWarning, Result, check_objective

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from fastloss.objective import LinearObjective

__all__ = ["ConvergenceWarning", "NonConvexWarning", "Result", "fista", "minimize"]


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
    run = SOLVERS[choose(obj, solver)]
    with not_finite_is_found():
        return run(obj, w0, tol=tol, max_iter=max_iter, callback=callback, verbose=verbose)
