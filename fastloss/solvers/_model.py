"""Minimises a quadratic model with a separable penalty: coordinate descent, extrapolated, and Newton on the support."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._descent import GramModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss._descent import ResidualModel

SWEEPS = 5  # of a round of coordinate descent: one over all coordinates, the others over those that are not 0
ROUNDS = 5  # between extrapolations
LARGEST_GRAM = 6000  # coordinates: 288 MB
RETURNS = 0.1  # a round of less than this part of the decrease so far is the last of a rough run
NEAR = 0.8  # of the force that would move it is where a coordinate at 0 may come to matter
NEWTON_RATE = 8  # operations of a factorisation in the time of one of coordinate descent


def minimise_model(
    model: ResidualModel | GramModel, remainder: float, wanted: float, n_threads: int | None, rough: bool = False, max_rounds: int = 2000
) -> ResidualModel | GramModel:
    """Go on from the model's point until a bound on its suboptimality is at most `wanted`.

    Whatever costs more than a sweep is tried once the sweeps since have cost as much, so that it can at most double
    the time: the Hessian of all coordinates, after which a sweep costs less; Newton's step for those that are not 0.

    Parameters
    ----------
    model : ResidualModel or GramModel
    remainder : float
        What the dual loses, times (1 - s)^2, when its point is scaled by s: the loss, for a squared error.
    wanted : float
    n_threads : int or None
    max_rounds : int

    Returns
    -------
    The model, or the same one by its Hessian.
    """
    m = len(model.c)
    spent = spent_since_newton = 0
    sigma = 300.0
    start = here = model.objective()
    points: list[NDArray[np.float64]] = []
    for turn in range(1, max_rounds + 1):
        largest = model.descend(SWEEPS)
        if rough:
            before, here = here, model.objective()
            if before - here < RETURNS * (start - here):
                break
        cost = model.sweep_cost * 3
        spent += cost
        spent_since_newton += cost
        points.append(model.c.copy())
        if largest == 0 or turn % 2 == 0:
            if bound(model, remainder, n_threads) <= wanted or largest == 0:
                break
        if len(points) == ROUNDS + 1:
            extrapolate(model, points)
            points.clear()
        support = np.flatnonzero(model.c)
        factorisation = len(support) ** 3 // NEWTON_RATE
        if isinstance(model, GramModel):
            if spent_since_newton > factorisation:
                before_step = model.objective()
                proximal_point(model, sigma / float(model.curvature.mean()))
                sigma = min(5 * sigma, 1e8) if model.objective() < before_step else sigma / 3
                points.clear()
                spent_since_newton = 0
        elif m <= LARGEST_GRAM and spent > model.hessian_cost(m):
            model = by_hessian(model)
        elif 0 < len(support) < len(model.residual) and spent_since_newton > model.hessian_cost(len(support)) + factorisation:
            newton_step(model, support)
            points.clear()
            spent_since_newton = 0
    return model


def support_of(model: ResidualModel | GramModel) -> NDArray[np.intp]:
    return np.flatnonzero(model.c)


def bound(model: ResidualModel | GramModel, remainder: float, n_threads: int | None) -> float:
    """How far the model's value may be above its minimum, up to what `remainder` stands for."""
    scale, gap = model.penalty.gap(model.c, -model.gradient(n_threads))
    return gap + (1 - scale) ** 2 * remainder


def by_hessian(model: ResidualModel) -> GramModel:
    """The same model at the same point, by its Hessian."""
    point, gradient = model.c, model.slope - model.centre * model.shift
    result = GramModel(model.hessian(np.arange(len(point))), gradient, model.start, model.penalty)
    result.move(point)
    return result


def extrapolate(model: ResidualModel | GramModel, points: list[NDArray[np.float64]]) -> None:
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
    weights /= weights.sum()
    if not np.isfinite(weights).all():
        return
    proposal = points[-1].copy()
    proposal[support] = weights @ stack[1:, support]
    _move_if_lower(model, model.penalty.project(proposal))


def newton_step(model: ResidualModel | GramModel, support: NDArray[Any]) -> None:
    """Towards the minimum over the coordinates that are not 0, their signs kept."""
    c = model.c[support]
    hessian = model.hessian(support)
    penalty = model.penalty.take(support)
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
        if _move_if_lower(model, proposal):
            return


def proximal_point(model: GramModel, sigma: float, steps: int = 40) -> int:
    """Go to about the minimum of the model plus |c - here|^2 / (2 sigma), by semismooth Newton on its dual.

    With h = G a the dual variable, a in the place of c - c0, the dual function

        -a' h / 2 + min over c of [g' c + penalty(c) + h' (c - c0) + |c - here|^2 / (2 sigma)]

    is concave, smooth and piecewise quadratic, and its Newton system is over the coordinates that the inner minimum
    leaves off 0: well-posed also where there are more of them than samples. Returns the number of systems solved.

    X. Li, D. Sun and K.-C. Toh (2018), "A highly efficient semismooth Newton augmented Lagrangian method for solving
    Lasso problems", SIAM J. Optimization 28(1).
    """
    gradient = model.gradient()
    near = np.flatnonzero((model.c != 0) | (model.start != 0) | (model.penalty.excess(-gradient / NEAR) > 0))
    matrix = model.hessian(near)
    penalty, slope, start, here = model.penalty.take(near), model.slope[near], model.start[near], model.c[near]
    a, h = here - start, gradient[near] - slope

    def dual(a: NDArray[Any], h: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        c = penalty.prox(here - sigma * (slope + h), sigma)
        moved = c - here
        inner = float(slope @ c + h @ (c - start) + moved @ moved / (2 * sigma)) + penalty.value(c)
        return inner - 0.5 * float(a @ h), c

    value, c = dual(a, h)
    for solved in range(steps):
        rest = c - start - a
        turned = matrix @ rest
        moved = c - here
        if rest @ turned <= 0.01 * float(moved @ moved) / sigma and (solved or not moved.any()):
            break
        active = np.flatnonzero(c)
        system = matrix[np.ix_(active, active)]
        system[np.diag_indices_from(system)] += 1 / sigma + 2 * penalty.ridge[active]
        part = np.linalg.solve(system, turned[active])
        step = rest.copy()
        step[active] -= part
        change = matrix @ step
        gain = float(rest @ change)
        share = 1.0
        while True:
            new_a, new_h = a + share * step, h + share * change
            new_value, new_c = dual(new_a, new_h)
            if new_value >= value + 1e-4 * share * gain or share < 1e-3:
                break
            share /= 2
        a, h, value, c = new_a, new_h, new_value, new_c
    else:
        solved = steps
    proposal = model.c.copy()
    proposal[near] = c
    _move_if_lower(model, proposal)
    return solved


def _move_if_lower(model: ResidualModel | GramModel, proposal: NDArray[np.float64]) -> bool:
    before, here = model.c.copy(), model.objective()
    model.move(proposal)
    if model.objective() < here:
        return True
    model.move(before)
    return False
