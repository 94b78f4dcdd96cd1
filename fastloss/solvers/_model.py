"""Minimises a quadratic model with a separable penalty: coordinate descent, extrapolated, and Newton's steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._descent import GramModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss._descent import ResidualModel
    from fastloss.penalties import Costs

    Model = ResidualModel | GramModel

SWEEPS = 5  # of a round of coordinate descent: one over all coordinates, the others over those that are not 0
ROUNDS = 5  # between extrapolations
MAX_ROUNDS = 2000
LARGEST_GRAM = 6000  # coordinates: 288 MB
RETURNS = 0.1  # a round of less than this part of the decrease so far is the last of a rough run
NEAR = 0.8  # of the force that would move it is where a coordinate at 0 may come to matter
BLAS = 8  # operations of a factorisation in the time of one of coordinate descent
ROUNDING = 1e-16  # of the loss: a round that gains less gains nothing
SMALLEST_SIGMA, FIRST_SIGMA, LARGEST_SIGMA = 1e-2, 300.0, 1e8  # of the proximal point's step, in units of 1 / curvature


def minimise_model(model: Model, height: float, wanted: float, n_threads: int | None, rough: bool = False) -> Model:
    """Go on from the model's point until a bound on its suboptimality is at most `wanted`.

    Whatever costs more than a sweep is tried once the sweeps since have cost as much, so that it can at most double
    the time: the Hessian of all coordinates, after which a sweep costs less; a Newton step.

    Parameters
    ----------
    model : ResidualModel or GramModel
        What to minimise; it moves.
    height : float
        By how much the loss is more than it could be: about what the dual loses, times (1 - s)^2, when its point is
        scaled by s.
    wanted : float
        The bound.
    n_threads : int or None
        Of products with columns.
    rough : bool
        Whether to stop as well once the decrease of a round is small next to what came before it.

    Returns
    -------
    The model, or the same one by its Hessian.
    """
    spent = since_newton = 0  # operations
    sigma = FIRST_SIGMA
    least = ROUNDING * height
    start = here = model.objective()
    points: list[NDArray[np.float64]] = []
    for turn in range(1, MAX_ROUNDS + 1):
        model.descend(SWEEPS)
        before, here = here, model.objective()
        if not before - here > (max(least, RETURNS * (start - here)) if rough else least):
            break
        if turn % 2 == 0 and bound(model, height, n_threads) <= wanted:
            break
        cost = model.sweep_cost * (SWEEPS + 1) // 2
        spent, since_newton = spent + cost, since_newton + cost
        points.append(model.c.copy())
        if len(points) == ROUNDS + 1:
            extrapolate(model, points)
            points.clear()
        support = np.flatnonzero(model.c)
        factorisation = len(support) ** 3 // BLAS
        if isinstance(model, GramModel):
            if since_newton > factorisation:
                lower = proximal_point(model, sigma / (float(model.curvature.mean()) or 1.0))
                sigma = min(5 * sigma, LARGEST_SIGMA) if lower else max(sigma / 3, SMALLEST_SIGMA)
                points.clear()
                since_newton = 0
        elif len(model.c) <= LARGEST_GRAM and spent > model.hessian_cost(len(model.c)):
            model = by_hessian(model)
        elif since_newton > model.hessian_cost(len(support)) + factorisation and len(support) < len(model.residual):
            newton_step(model, support)
            points.clear()
            since_newton = 0
    return model


def bound(model: Model, height: float, n_threads: int | None) -> float:
    """How far the model's value may be above its minimum, up to what `height` stands for."""
    return surrogate(model.penalty, model.c, -model.gradient(n_threads), model.curvature, height)


def surrogate(
    costs: Costs,
    c: NDArray[np.float64],
    force: NDArray[np.float64],
    curvature: NDArray[np.float64],
    height: float,
) -> float:
    """About the duality gap, from a point and the force on it alone."""
    free, rest = costs.free, 0.0
    if len(free):  # their dual constraint is an equation: what a step on each alone would gain
        rest = float((force[free] ** 2 / np.maximum(curvature[free], np.finfo(float).tiny)).sum())
        force = force.copy()
        force[free] = 0
    scale, gap = costs.gap(c, force)
    return gap + (1 - scale) ** 2 * height + rest


def by_hessian(model: ResidualModel) -> GramModel:
    """The same model at the same point, by its Hessian."""
    point, gradient = model.c, model.slope - model.centre * model.shift
    result = GramModel(model.hessian(np.arange(len(point))), gradient, model.start, model.penalty)
    result.move(point)
    return result


def extrapolate(model: Model, points: list[NDArray[np.float64]]) -> None:
    """Anderson's extrapolation of the last points; taken if the model is lower there.

    Q. Bertrand and M. Massias (2021), "Anderson acceleration of coordinate descent", AISTATS.
    """
    stack = np.array(points)
    support = np.flatnonzero(stack.any(axis=0))
    steps = np.diff(stack[:, support], axis=0)
    gram = steps @ steps.T
    scale = float(np.trace(gram))
    if scale == 0:
        return
    gram[np.diag_indices_from(gram)] += 1e-12 * scale
    try:
        weights = np.linalg.solve(gram, np.ones(len(gram)))
    except np.linalg.LinAlgError:
        return
    total = float(weights.sum())
    if total == 0 or not np.isfinite(total):
        return
    proposal = points[-1].copy()
    proposal[support] = weights @ stack[1:, support] / total
    move_if_lower(model, model.penalty.project(proposal))


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
