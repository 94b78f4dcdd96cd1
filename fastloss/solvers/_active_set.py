"""The minimum of a quadratic model by its active set: coordinates enter and leave many at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from fastloss._descent import GramModel, ResidualModel
from fastloss._factor import Factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss._costs import Costs
    from fastloss._multiclass import MulticlassModel

    Model = ResidualModel | MulticlassModel | GramModel
    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

MAX_TURNS = 12  # sets tried for a model; from the solution of a model close by, it takes three or four
FEW = 5  # changes of a set, which may be followed by more
WARM_UP = 3  # times the changes of the first turn may be those of the second; later they must not grow
DEPENDENT = 1e-10  # of its own curvature is what a coordinate must add to those that are in
SLACK = 1e-9  # of a force, by which it may be more than the cost
MANY = 12  # changes in so many features are made faster by another factorisation
CAREFUL = 100  # features at most that enter one by one, where some depend on others
ENTER = 20  # of the coordinates that are not 0, as many as one in so many come or go, about
BLAS = 4  # operations of a factorisation in the time of one of coordinate descent
RATIO = 0.03  # of the residuals, to which conjugate gradients make them smaller before the set is looked at again
TURNS = 10  # products with the factors, about
ITERATIONS = 50  # that they take to find a set, about, in the time of as many sweeps
PATIENCE = 500_000_000  # operations between looks for Ctrl-C
CLOSE = 1e-9  # of the costs: residuals that are never sought to be smaller


def find_minimum(model: Model, systems: Systems, height: float, wanted: float, n_threads: int | None) -> bool:
    """Go to the minimum of a model, found from the point where it is; whether it was, else the model is lower or stays.

    Where all coordinates that are not 0 keep their signs, a linear system has the minimum. Those whose sign is another
    there leave, those at 0 that would move enter, and so on.

    M. Hintermueller, K. Ito and K. Kunisch (2002), "The primal-dual active set strategy as a semismooth Newton method",
    SIAM J. Optimization 13(3).
    """
    costs, start, objective = model.penalty, model.c.copy(), model.objective()
    c, signs, before = start.copy(), np.sign(start), len(start)
    costly = (costs.up > 0) | (costs.down > 0)
    model.move(np.zeros_like(c))
    constant = -model.gradient(n_threads)  # the forces where all is 0
    unsettled = 0
    for turn in range(MAX_TURNS):
        solved = systems.solve(model, signs, constant, c, unsettled, n_threads)
        if solved is None:
            break
        c, signs = solved
        model.move(c)
        force = -model.gradient(n_threads)
        leaving = (c * signs < 0) & costly
        entering = (signs == 0) & (costs.excess(force) > SLACK * np.abs(force))
        changes = int(np.count_nonzero(leaving) + np.count_nonzero(entering))
        if changes == 0 and systems.exact:
            return True
        if not (systems.exact or leaving.any()) and costs.bound(c, force, model.curvature, height) <= wanted:
            return True
        if changes > max(before, FEW) * (1 if turn > 1 else WARM_UP):
            break
        c[leaving] = signs[leaving] = 0
        signs[entering] = np.sign(force[entering])
        unsettled += 2 * changes > before
        before = changes
    if not model.objective() < objective:
        model.move(start)
    return False


class Systems(ABC):
    """What solves the systems."""

    exact: bool  # whether the solutions are: where no sign changes, they are then the minimum

    @abstractmethod
    def solve(
        self, model: Model, signs: Floats, constant: Floats, c: Floats, unsettled: int, n_threads: int | None
    ) -> tuple[Floats, Floats] | None:
        """The point where the forces on the coordinates with a sign are what these cost, and the others are 0.

        Parameters
        ----------
        model : Model
            Its point is of no matter.
        signs, constant : ndarray of shape (m,)
            -1, 0 or 1; the forces where all coordinates are 0.
        c : ndarray of shape (m,)
            A point near the one sought.
        unsettled : int
            How many times the set has changed by more than half as many coordinates as the time before.
        n_threads : int or None
            As everywhere.

        Returns
        -------
        c, signs : ndarray of shape (m,)
            The point, and the signs without those of coordinates that depend on others; None where that fails.
        """


class Factors(Systems):
    """Solves by the factors of the Hessian over a set of features, which enter and leave from model to model.

    The models are of one Hessian; the ridge of their penalties may change.
    """

    exact = True

    def __init__(self) -> None:
        self.factor = Factor()
        self.model_features: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # of the coordinates of the model
        self.features: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # in the order of the factors' rows
        self.ridge: Floats = np.empty(0)  # of these, in the factors

    def price(self, model: Model, support: Places) -> int:
        """About how many operations finding a minimum takes, in the time of those of coordinate descent."""
        count, held = len(support), self.model_features[support]
        changes = len(np.setxor1d(held, self.features, assume_unique=True))
        new = MANY * changes > count or not self.suits(model.penalty.ridge)
        changes = count if new else changes + count // ENTER
        columns = 0 if isinstance(model, GramModel) else model.hessian_cost(count) * changes // max(1, count)
        return columns + (min(changes, count // 3) + TURNS) * count**2 // BLAS

    def suits(self, ridge: Floats) -> bool:
        """Whether the factors are with such a ridge, a number for each coordinate of the model."""
        places = np.searchsorted(self.model_features, self.features)
        places[places == len(self.model_features)] = 0
        here = self.model_features[places] == self.features
        return bool((ridge[places[here]] == self.ridge[here]).all())

    def solve(
        self, model: Model, signs: Floats, constant: Floats, c: Floats, unsettled: int, n_threads: int | None
    ) -> tuple[Floats, Floats] | None:
        """As `Systems` says."""
        inside = self.hold(np.flatnonzero(signs), model, n_threads)
        if inside is None:
            return None
        result, kept = np.zeros_like(signs), np.zeros_like(signs)
        kept[inside] = signs[inside]
        result[inside] = self.factor.solve((constant - pressure(model.penalty, signs))[inside])
        return result, kept

    def hold(self, wanted: Places, model: Model, n_threads: int | None) -> Places | None:
        """Let features enter and leave; returns the coordinates of those held, in the order of the factors.

        Few may be left out because they depend on others; None where many would have to be looked at for that.
        """
        ridge, features = model.penalty.ridge, self.model_features
        staying = np.isin(self.features, features[wanted])
        inside = np.searchsorted(features, self.features[staying])
        entering = np.setdiff1d(wanted, inside, assume_unique=True)
        changes = len(self.features) - len(inside) + len(entering)
        if MANY * changes > len(wanted) or (ridge[inside] != self.ridge[staying]).any():
            inside, entering = self.start(wanted, model, n_threads)
            if len(entering) > CAREFUL:
                self.features, self.ridge = self.features[:0], self.ridge[:0]
                return None
        else:
            self.factor.leave(np.flatnonzero(~staying))
        if len(entering):
            entered = enter(self.factor, model, inside, entering, DEPENDENT, n_threads)
            inside = np.concatenate([inside, entering[entered]])
        self.features, self.ridge = features[inside], ridge[inside]
        return inside

    def start(self, wanted: Places, model: Model, n_threads: int | None) -> tuple[Places, Places]:
        """Another factorisation; returns what it is of, and what it is not: all, if some depend on others."""
        hessian = model.hessian(wanted, None, n_threads)
        hessian[np.diag_indices_from(hessian)] += 2 * model.penalty.ridge[wanted]
        try:
            self.factor.set(hessian)
            if (self.factor.pivots > DEPENDENT * hessian.diagonal()).all():
                return wanted, wanted[:0]
        except np.linalg.LinAlgError:
            pass
        self.factor.clear()
        return wanted[:0], wanted


class Gradients(Systems):
    """Solves by conjugate gradients, as far as it takes to see which coordinates leave and enter."""

    exact = False

    def price(self, model: ResidualModel, support: Places) -> int:
        """About how many operations finding a minimum takes."""
        return ITERATIONS * model.sweep_cost(len(support))

    def solve(
        self, model: Model, signs: Floats, constant: Floats, c: Floats, unsettled: int, n_threads: int | None
    ) -> tuple[Floats, Floats] | None:
        """As `Systems` says, about; better where the set does not settle."""
        assert isinstance(model, ResidualModel)
        inside, costs, result = np.flatnonzero(signs), pressure(model.penalty, signs), np.zeros_like(c)
        price = np.abs(costs[inside])
        least = CLOSE * np.where(price > 0, price, price.max(initial=0.0))
        pull = (constant - costs)[inside]
        result[inside], _ = model.solve(inside, pull, c[inside], least, RATIO / 10**unsettled, PATIENCE, n_threads)
        return result, signs


def enter(
    factor: Factor, model: Model, inside: Places, entering: Places, least: float, n_threads: int | None
) -> NDArray[np.bool_]:
    """Let coordinates of a model into the factors, which are of those inside; which did not depend on others.

    That they do not is seen by what they add to these: more than the least part of their own second derivative.
    """
    rows, own = (model.hessian(entering, others, n_threads) for others in (inside, None))
    own[np.diag_indices_from(own)] += 2 * model.penalty.ridge[entering]
    return factor.enter(rows, own, least * own.diagonal(), n_threads)


def pressure(costs: Costs, signs: Floats) -> Floats:
    """What the penalty's part that is not smooth pulls with, where the coordinates have these signs."""
    return np.where(signs > 0, costs.up, np.where(signs < 0, -costs.down, 0.0))
