"""The solvers by their names, and the one that is likely the fastest."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fastloss.solvers.fista import fista
from fastloss.solvers.gram_newton import fits, gram_newton
from fastloss.solvers.lbfgs import lbfgs
from fastloss.solvers.prox_newton import prox_newton

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastloss.objective import LinearObjective
    from fastloss.solvers.result import Result

SOLVERS: dict[str, Callable[..., Result]] = {
    "fista": fista,
    "ista": partial(fista, accelerated=False),
    "prox_newton": prox_newton,
    "gram_newton": gram_newton,
    "lbfgs": lbfgs,
}
FEW = 200  # coefficients of several outputs, for which Newton's method pays without an L1 penalty


def choose(obj: LinearObjective, solver: str, models: int = 1) -> str:
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
