"""The minimum of a quadratic model by its active set, one coordinate at a time: slow to begin, but always downhill."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastloss._factor import Factor
from fastloss.solvers._active_set import enter, pressure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss.solvers._active_set import Model

    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

DEPENDENT = 1e-11  # of its own curvature is what a coordinate must add to those that are in
CALLS = 200_000  # operations of coordinate descent in the time of Python's part of a turn
FEWEST = 50  # turns of a search, about; or one for each coordinate


def search_signs(model: Model, height: float, wanted: float, budget: int, n_threads: int | None) -> bool:
    """Go down until a bound on the model's suboptimality is at most `wanted`; whether the operations did for that.

    The minimum over the coordinates that are not 0, with their signs kept, is a linear system away. The model goes
    towards it, through signs that change, to the lowest point of the line; a coordinate that ends at 0 leaves. At such
    a minimum the coordinate at 0 that most wants to move joins. Each turn goes down, and so no signs come twice.

    H. Lee, A. Battle, R. Raina and A. Y. Ng (2007), "Efficient sparse coding algorithms", NIPS 19: feature-sign search.
    """
    return SignSearch(model, n_threads).run(height, wanted, budget)


def search_cost(model: Model) -> int:
    """About how many operations a search takes, in the time of those of coordinate descent."""
    count = int(np.count_nonzero(model.c))
    return max(FEWEST, count) * turn_cost(model, count)


def turn_cost(model: Model, count: int) -> int:
    """About how many operations a turn takes, with so many coordinates that are not 0."""
    return CALLS + 3 * count**2 + 2 * model.sweep_cost(len(model.c))


class SignSearch:
    """Where a search is: the model's point, and the factors of its Hessian over the coordinates that may move."""

    def __init__(self, model: Model, n_threads: int | None) -> None:
        self.model, self.costs, self.n_threads = model, model.penalty, n_threads
        self.c: Floats = model.c.copy()
        self.force: Floats = -model.gradient(n_threads)
        self.factor, self.inside = Factor(), np.empty(0, dtype=np.intp)  # the coordinates, in the order of its rows
        self.spent = 0  # operations

    def run(self, height: float, wanted: float, budget: int) -> bool:
        """As `search_signs`."""
        for place in self.enter(np.flatnonzero(self.c)):
            if self.spent >= budget:
                return False
            self.swap(int(place))
        while self.settle(budget):
            if self.costs.bound(self.c, self.force, self.model.curvature, height) <= wanted:
                return True
            excess = np.where(self.c == 0, self.costs.excess(self.force), 0.0)
            place = int(np.abs(excess).argmax())
            if excess[place] == 0:  # but for rounding this is the minimum
                return False
            if len(self.enter(np.array([place]))):
                self.swap(place)
        return False

    def settle(self, budget: int) -> bool:
        """Go to the minimum over the coordinates that are in; whether the operations did for that."""
        whole = 0  # steps that no sign has stopped: the second takes away what rounding left
        while self.spent < budget:
            rest = self.rest(self.inside)
            step = self.factor.solve(rest)
            share = self.go(self.inside, step, rest, float(rest @ step))
            whole += share == 1
            if share == 0 or whole == 2:
                return True
        return False

    def enter(self, places: Places) -> Places:
        """Let coordinates in, but for those that depend on others, which are returned."""
        entered = enter(self.factor, self.model, self.inside, places, DEPENDENT, self.n_threads)
        self.inside = np.concatenate([self.inside, places[entered]])
        self.spent += len(places) ** 3 // 3
        return places[~entered]

    def swap(self, place: int) -> None:
        """Move a coordinate in place of those it depends on, the way that costs less, until it is 0 or independent."""
        while True:
            row = self.model.hessian(np.array([place]), self.inside, self.n_threads)[0]
            places, step = np.append(self.inside, place), np.append(-self.factor.solve(row), 1.0)
            rest = self.rest(places)
            if float(rest @ step) < 0:
                step = -step
            if not self.go(places, step, rest, 0.0) > 0 or self.c[place] == 0:
                return
            if not len(self.enter(np.array([place]))):
                return

    def rest(self, places: Places) -> Floats:
        """What pulls at coordinates, less what they cost; one that is 0 is about to go where it is pulled."""
        ahead = np.where(self.c != 0, self.c, self.force)
        price = pressure(self.costs, np.sign(ahead)) + 2 * self.costs.ridge * self.c
        return self.force[places] - price[places]

    def go(self, places: Places, step: Floats, rest: Floats, curvature: float) -> float:
        """Go along a step to the lowest point of its line; to which part of the step.

        The slope grows with the curvature, and jumps where a coordinate changes its sign.
        """
        c, slope, share = self.c[places], -float(rest @ step), 0.0
        crossing = np.flatnonzero(c * step < 0)
        at = -c[crossing] / step[crossing]
        stop = -1  # the coordinate that ends at 0
        for i in np.argsort(at):
            if slope + curvature * (at[i] - share) > 0:  # 0 where one of two that are the same goes for the other
                break
            place = places[crossing[i]]
            jump = (self.costs.up[place] + self.costs.down[place]) * abs(step[crossing[i]])
            slope, share = slope + curvature * (at[i] - share) + jump, float(at[i])
            if slope >= 0:
                stop = int(crossing[i])
                break
        if stop < 0:
            share += -slope / curvature if curvature > 0 else math.inf
        if not 0 < share < math.inf:
            return 0.0
        new = c + share * step
        if stop >= 0:
            new[stop] = 0
            gone = np.flatnonzero(self.inside == places[stop])
            self.factor.leave(gone)
            self.inside = np.delete(self.inside, gone)
        self.c[places] = new
        self.model.move(self.c)
        self.force = -self.model.gradient(self.n_threads)
        self.spent += turn_cost(self.model, len(self.inside))
        return share
