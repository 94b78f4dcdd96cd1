"""Steps on a model by an approximate Hessian, and what they teach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastloss._descent import GramModel
from fastloss.solvers._model import minimise_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss._costs import Costs

ASTRAY = 30  # times the model's is what the loss may curve along a step for the model to learn from it


def newton_direction(
    hessian: NDArray[np.float64],
    x: NDArray[np.float64],
    gradient: NDArray[np.float64],
    costs: Costs,
    height: float,
    threshold: float,
) -> tuple[NDArray[np.float64], float]:
    """To the minimum of the model, and by how much it falls."""
    model = GramModel(hessian, gradient, x, costs)
    start = model.objective()
    minimise_model(model, height, 0.05 * threshold, 1)
    return model.c - x, start - model.objective()


def update(hessian: NDArray[np.float64], step: NDArray[np.float64], change: NDArray[np.float64]) -> bool:
    """BFGS: the Hessian that agrees with the last step; whether the two were of one order before."""
    turned = hessian @ step
    along, seen = float(step @ turned), float(step @ change)
    if not seen < ASTRAY * along:
        return along == 0
    if seen > 1e-10 * along:
        hessian += np.outer(change, change / seen) - np.outer(turned, turned / along)
    return True
