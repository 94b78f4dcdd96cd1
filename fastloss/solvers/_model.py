"""Minimises a quadratic model with a separable penalty: coordinate descent, extrapolated, and Newton's steps."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._descent import GramModel, ResidualModel, copy_square, solve_by_factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss._multiclass import MulticlassModel

    ColumnModel = ResidualModel | MulticlassModel
    Model = ColumnModel | GramModel

LARGEST_GRAM = 6000  # coordinates: 288 MB
NEAR = 0.8  # of the force that would move it is where a coordinate at 0 may come to matter
BLAS = 8  # operations of a factorisation in the time of one of coordinate descent
SYSTEMS = 4  # that a step to a proximal point takes to solve, about
CALLS = 1_000_000  # operations in the time of Python's part of a step
PATIENCE = 500_000_000  # operations between looks for Ctrl-C
NEVER = 1 << 62  # operations
MAX_TURNS = 200  # each a descent and what it earned
FAILURES = 3  # of Newton steps until the dearer ones are tried
SHORTEST, LONGEST = 0.05, 4.0  # waits for a Newton step, in terms of its cost
UNKNOWN = 0.2  # of the coordinates may be new for a Hessian to be worth completing at once
SMALLEST_SIGMA, FIRST_SIGMA, LARGEST_SIGMA = 1e-2, 300.0, 1e8  # of the proximal point's step, in units of 1 / curvature


class Memory:
    """What is known from models before this one. Where the loss is quadratic, Hessians stay what they are."""

    def __init__(self) -> None:
        self.spent = 0  # operations on models without a Hessian, since the last that got one
        self.wait = 1.0  # for a Newton step, in terms of its cost
        self.sigma = FIRST_SIGMA
        self.known: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # the features of the Hessian
        self.last: GramModel | None = None  # with that Hessian

    def knows(self, features: NDArray[np.int64]) -> bool:
        """Whether the Hessian of most of the features is known."""
        if len(self.known) == 0:
            return False
        seen = int(np.isin(features, self.known, assume_unique=True).sum())
        return seen >= (1 - UNKNOWN) * len(features) > 0

    def by_hessian(self, model: ColumnModel, features: NDArray[np.int64]) -> GramModel:
        """The same model at the same point, by its Hessian; the features are those of X that it is of."""
        seen, everything, last = np.isin(features, self.known, assume_unique=True), np.arange(len(features)), None
        if not isinstance(model, ResidualModel) or not self.knows(features):
            matrix = model.hessian(everything)
        elif self.last is not None and np.array_equal(features, self.known):
            matrix, last = self.last.matrix, self.last
        else:
            assert self.last is not None
            old, new = np.flatnonzero(seen), np.flatnonzero(~seen)
            matrix = np.empty((len(features),) * 2)
            copy_square(self.last.matrix, np.searchsorted(self.known, features[old]), matrix, old)
            if len(new):
                matrix[new] = model.hessian(new, everything)
                matrix[:, new] = matrix[new].T
        self.known, self.spent = features, 0
        self.last = result = GramModel(matrix, model.profiled_slope, model.start, model.penalty, last)
        result.move(model.c)
        return result


def minimise_model(
    model: Model,
    height: float,
    wanted: float,
    n_threads: int | None,
    rough: bool = False,
    features: NDArray[np.int64] | None = None,
    memory: Memory | None = None,
) -> Model:
    """Go on from the model's point until a bound on its suboptimality is at most `wanted`.

    Whatever costs more than a sweep is tried once the sweeps since have cost as much, so that it can at most double
    the time: the Hessian of all coordinates, after which a sweep costs less; a Newton step, sooner if the last did
    more than the sweeps before it.

    Parameters
    ----------
    model : ResidualModel, MulticlassModel or GramModel
        What to minimise; it moves.
    height, wanted, n_threads, rough
        As for `descend` of the model.
    features : ndarray of int64, optional
        What of X or of its classes another model than a GramModel is of, in increasing order.
    memory : Memory, optional
        Of models before this one with the same Hessian.

    Returns
    -------
    The model, or the same one by its Hessian.
    """
    memory = memory or Memory()
    since_newton, vain, start = 0, 0, model.objective()
    gap = math.inf if rough else bound(model, height, n_threads)
    for _ in range(MAX_TURNS):
        count = int(np.count_nonzero(model.c))
        newton, hessian = CALLS + count**3 // BLAS, NEVER
        if not isinstance(model, GramModel):
            if features is not None and model.hessian_pays and len(features) <= LARGEST_GRAM:
                price = model.hessian_cost(len(features))
                hessian = 0 if memory.knows(features) else NEVER if rough else price
            if features is not None and memory.spent >= hessian:
                model = memory.by_hessian(model, features)
                continue
            possible = vain == 0 and count < model.n_residuals
            newton = newton + model.hessian_cost(count) if possible else NEVER
        elif vain >= FAILURES:
            newton = CALLS + SYSTEMS * count**3 // BLAS
        wait = int(min(memory.wait * newton, NEVER))
        budget = PATIENCE if rough else min(wait - since_newton, hessian - memory.spent, PATIENCE)
        done = model.descend(start, height, wanted, budget, rough, n_threads)
        since_newton += done
        if not isinstance(model, GramModel):
            memory.spent += done
        if model.finished:
            break
        if since_newton >= wait and not rough:
            before, gap = gap, bound(model, height, n_threads)
            if vain < FAILURES:
                vain += not newton_step(model, np.flatnonzero(model.c))
            elif isinstance(model, GramModel):
                lower = proximal_point(model, memory.sigma / (float(model.curvature.mean()) or 1.0))
                memory.sigma = min(5 * memory.sigma, LARGEST_SIGMA) if lower else max(memory.sigma / 3, SMALLEST_SIGMA)
            model.descend(start, height, wanted, 1, rough, n_threads)  # what the step has upset
            if model.finished:
                memory.wait = max(memory.wait / 2, SHORTEST)
                break
            after = bound(model, height, n_threads)
            # Which of the two made the gap smaller for its cost?
            faster = (math.log(gap) - math.log(after)) * since_newton > (math.log(before) - math.log(gap)) * newton
            memory.wait = max(memory.wait / 2, SHORTEST) if faster else min(memory.wait * 2, LONGEST)
            gap, since_newton = after, 0
    return model


def bound(model: Model, height: float, n_threads: int | None) -> float:
    """How far the model may be above its minimum; more than 0."""
    force = -model.gradient(n_threads)
    return max(model.penalty.bound(model.c, force, model.curvature, height), sys.float_info.min)


def solve_positive(matrix: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve A x = b for an A that is positive definite, but for rounding; LinAlgError where it is singular."""
    try:
        factor: NDArray[Any] = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        result: NDArray[Any] = np.linalg.solve(matrix, b)  # twice the operations
        return result
    return solve_by_factor(factor, b)


def newton_step(model: Model, support: NDArray[Any]) -> bool:
    """Towards the minimum over the coordinates that are not 0, their signs kept; whether the model is lower there."""
    if len(support) == 0:
        return False
    c, hessian, penalty = model.c[support], model.hessian(support), model.penalty.take(support)
    hessian[np.diag_indices_from(hessian)] += 2 * penalty.ridge + 1e-14 * np.trace(hessian) / len(c)
    slope = model.gradient(None)[support] + penalty.slope(c)
    try:
        step = solve_positive(hessian, -slope)
    except np.linalg.LinAlgError:
        return False
    proposal = model.c.copy()
    for share in (1.0, 0.5, 0.2, 0.05):  # those whose sign would change stay at 0: they may have to go
        target = c + share * step
        proposal[support] = np.where(target * c > 0, target, 0.0)
        if move_if_lower(model, proposal):
            return True
    return False


def proximal_point(model: GramModel, sigma: float, max_systems: int = 40) -> bool:
    """Go to about the minimum of the model plus |c - here|^2 / (2 sigma), by semismooth Newton on its dual.

    With h = G a the dual variable, a in the place of c - c0, the dual function

        -a' h / 2 + min over c of [g' c + penalty(c) + h' (c - c0) + |c - here|^2 / (2 sigma)]

    is concave, smooth and piecewise quadratic, and its Newton system is over the coordinates that the inner minimum
    leaves off 0: well-posed also where there are more of them than samples. Returns whether the model is lower then.

    X. Li, D. Sun and K.-C. Toh (2018), "A highly efficient semismooth Newton augmented Lagrangian method for solving
    Lasso problems", SIAM J. Optimization 28(1).
    """
    gradient = model.gradient()
    near = np.flatnonzero((model.c != 0) | (model.start != 0) | (model.penalty.excess(-gradient / NEAR) > 0))
    matrix, penalty = model.hessian(near), model.penalty.take(near)
    slope, start, here = model.slope[near], model.start[near], model.c[near]
    a, h = here - start, gradient[near] - slope

    def dual(a: NDArray[Any], h: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        c = penalty.prox(here - sigma * (slope + h), sigma)
        moved = c - here
        inner = float(slope @ c + h @ (c - start) + moved @ moved / (2 * sigma)) + penalty.value(c)
        return inner - 0.5 * float(a @ h), c

    value, c = dual(a, h)
    for solved in range(max_systems):
        rest, moved = c - start - a, c - here
        turned = matrix @ rest
        if rest @ turned <= 0.01 * float(moved @ moved) / sigma and (solved or not moved.any()):
            break
        active = np.flatnonzero(c)
        system = matrix[np.ix_(active, active)]
        system[np.diag_indices_from(system)] += 1 / sigma + 2 * penalty.ridge[active]
        step = rest.copy()
        try:
            step[active] -= solve_positive(system, turned[active])
        except np.linalg.LinAlgError:
            break
        change = matrix @ step
        gain, share = float(rest @ change), 1.0
        while True:
            new_a, new_h = a + share * step, h + share * change
            new_value, new_c = dual(new_a, new_h)
            if new_value >= value + 1e-4 * share * gain or share < 1e-3:
                break
            share /= 2
        a, h, value, c = new_a, new_h, new_value, new_c
    proposal = model.c.copy()
    proposal[near] = c
    return move_if_lower(model, proposal)


def move_if_lower(model: Model, proposal: NDArray[np.float64]) -> bool:
    """Go to a point if the model is lower there; whether it is."""
    before, here = model.c.copy(), model.objective()
    model.move(proposal)
    if model.objective() < here:
        return True
    model.move(before)
    return False
