"""Minimises a quadratic model with a separable penalty: coordinate descent, extrapolated, and Newton's steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._descent import GramModel, ResidualModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Model = ResidualModel | GramModel

LARGEST_GRAM = 6000  # coordinates: 288 MB
NEAR = 0.8  # of the force that would move it is where a coordinate at 0 may come to matter
BLAS = 8  # operations of a factorisation in the time of one of coordinate descent
SYSTEMS = 4  # that a step to a proximal point takes to solve, about
CALLS = 1_000_000  # operations in the time of Python's part of a step
PATIENCE = 500_000_000  # operations between looks for Ctrl-C
NEVER = 1 << 62  # operations
MAX_TURNS = 200  # each a descent and what it earned
SMALLEST_SIGMA, FIRST_SIGMA, LARGEST_SIGMA = 1e-2, 300.0, 1e8  # of the proximal point's step, in units of 1 / curvature


def minimise_model(model: Model, height: float, wanted: float, n_threads: int | None, rough: bool = False) -> Model:
    """Go on from the model's point until a bound on its suboptimality is at most `wanted`.

    Whatever costs more than a sweep is tried once the sweeps since have cost as much, so that it can at most double
    the time: the Hessian of all coordinates, after which a sweep costs less; a Newton step.

    Parameters
    ----------
    model : ResidualModel or GramModel
        What to minimise; it moves.
    height, wanted, n_threads, rough
        As for `descend` of the model.

    Returns
    -------
    The model, or the same one by its Hessian.
    """
    spent = since_newton = 0  # operations
    sigma = FIRST_SIGMA
    start = model.objective()
    for _ in range(MAX_TURNS):
        count = int(np.count_nonzero(model.c))
        newton, hessian = CALLS + SYSTEMS * count**3 // BLAS, NEVER
        if isinstance(model, ResidualModel):
            newton = CALLS + count**3 // BLAS + model.hessian_cost(count) if count < len(model.residual) else NEVER
            hessian = model.hessian_cost(len(model.c)) if len(model.c) <= LARGEST_GRAM else NEVER
        budget = PATIENCE if rough else min(newton - since_newton, hessian - spent, PATIENCE)
        done = model.descend(start, height, wanted, budget, rough, n_threads)
        if model.finished:
            break
        spent, since_newton = spent + done, since_newton + done
        if isinstance(model, ResidualModel) and spent >= hessian:
            model = by_hessian(model)
            since_newton = 0
        elif since_newton >= newton:
            since_newton = 0
            if isinstance(model, ResidualModel):
                newton_step(model, np.flatnonzero(model.c))
            else:
                lower = proximal_point(model, sigma / (float(model.curvature.mean()) or 1.0))
                sigma = min(5 * sigma, LARGEST_SIGMA) if lower else max(sigma / 3, SMALLEST_SIGMA)
    return model


def by_hessian(model: ResidualModel) -> GramModel:
    """The same model at the same point, by its Hessian."""
    point, gradient = model.c, model.slope - model.centre * model.shift
    result = GramModel(model.hessian(np.arange(len(point))), gradient, model.start, model.penalty)
    result.move(point)
    return result


def newton_step(model: Model, support: NDArray[Any]) -> None:
    """Towards the minimum over the coordinates that are not 0, their signs kept."""
    if len(support) == 0:
        return
    c, hessian, penalty = model.c[support], model.hessian(support), model.penalty.take(support)
    hessian[np.diag_indices_from(hessian)] += 2 * penalty.ridge + 1e-14 * np.trace(hessian) / len(c)
    slope = model.gradient(None)[support] + penalty.slope(c)
    try:
        step = np.linalg.solve(hessian, -slope)
    except np.linalg.LinAlgError:
        return
    proposal = model.c.copy()
    for share in (1.0, 0.5, 0.2, 0.05):  # those whose sign would change stay at 0: they may have to go
        target = c + share * step
        proposal[support] = np.where(target * c > 0, target, 0.0)
        if move_if_lower(model, proposal):
            return


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
            step[active] -= np.linalg.solve(system, turned[active])
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
