"""Points of the models to come on a path: a pass over X that one model needs looks at those of the next as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastloss._bfgs import update
from fastloss.solvers._quasi_newton import newton_direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastloss._costs import Costs
    from fastloss._linear_loss import Point


class Ahead:
    """The best points seen of the next models, in their order; each pass improves all of them by a step of their own.

    They share the Hessian of the model at hand: it is theirs about, and nearer to it the sooner their turn comes.
    """

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.bases: list[Point] = []  # from where the steps are

    def begin(self, costs: Costs, last: Point) -> Point:
        """Where the next model begins: at its own point, or at the last model's if that is lower."""
        return lower_of(costs, self.points.pop(0), last) if self.points else last

    def middle(self, here: Point) -> Point:
        """The point whose Hessian suits all of them best."""
        return self.points[len(self.points) // 2] if self.points else here

    def targets(
        self, hessian: NDArray[np.float64], here: Point, models: Sequence[Costs], height: float, wanted: float
    ) -> list[NDArray[np.float64]]:
        """Where each of the models to come would go; those that have no point yet from that of the one before."""
        self.bases, result = [], []
        for i, costs in enumerate(models):
            here = self.points[i] if i < len(self.points) else here
            self.bases.append(here)
            result.append(here.x + newton_direction(hessian, here.x, here.gradient, costs, height, wanted)[0])
        return result

    def take(
        self, hessian: NDArray[np.float64], found: Sequence[Point], models: Sequence[Costs], least_change: float
    ) -> None:
        """What the pass has found at these targets; the Hessian learns from it, from the nearest last and so most.

        From steps that led down, that is: others say how the loss curves where none of the models is.
        """
        self.points = [lower_of(*each) for each in zip(models, found, self.bases, strict=True)]
        for base, point in reversed(list(zip(self.bases, self.points, strict=True))):
            update(hessian, point.x - base.x, point.gradient - base.gradient, least_change)


def lower_of(costs: Costs, a: Point, b: Point) -> Point:
    """The one of two points that is lower; the second where the first is not finite."""
    return a if a.loss + costs.value(a.x) < b.loss + costs.value(b.x) else b


def beyond(before: NDArray[np.float64], here: NDArray[np.float64]) -> NDArray[np.float64]:
    """As far again as from one model to the next; what would change its sign is 0."""
    result = 2 * here - before
    result[result * here <= 0] = 0
    return result
