"""Steps on a model by an approximate Hessian, and what they teach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastloss._descent import GramModel
from fastloss._elimination import Elimination
from fastloss.solvers._model import minimise_model
from fastloss.solvers.result import MOST_FREE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss._costs import Costs

    Floats = NDArray[np.float64]


def newton_direction(
    hessian: Floats,
    x: Floats,
    gradient: Floats,
    costs: Costs,
    height: float,
    threshold: float,
) -> tuple[Floats, float]:
    """To the minimum of the model, and by how much it falls."""
    free = costs.free
    if 0 < len(free) <= min(MOST_FREE, len(x) - 1):
        # They follow the others. Descent has them in its way: features far from 0 depend on the intercept.
        kept, others = costs.costly
        left = Elimination(hessian, gradient, free, kept)
        part, fall = newton_direction(left.hessian, x[kept], left.gradient, others, height, threshold)
        return left.step(part), fall + left.fall
    model = GramModel(hessian, gradient, x, costs)
    start = model.objective()
    minimise_model(model, height, 0.05 * threshold, 1)
    return model.c - x, start - model.objective()
