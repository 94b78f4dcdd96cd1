"""Minimises a quadratic model with a separable penalty: by coordinate descent, extrapolated, or its active set."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fastloss._descent import GramModel, ResidualModel, copy_square
from fastloss._multiclass import MulticlassModel
from fastloss.solvers._active_set import PATIENCE, Factors, Gradients, Systems, find_minimum
from fastloss.solvers._sign_search import search_cost, search_signs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    ColumnModel = ResidualModel | MulticlassModel
    Model = ColumnModel | GramModel

LARGEST_GRAM = 6000  # coordinates: 288 MB
CALLS = 1_000_000  # operations in the time of Python's part of a step
NEVER = 1 << 62  # operations
MAX_TURNS = 200  # each a descent and what it earned
SWEEPS = 25  # an active set that is found as soon is tried before them, where the last model's was found
LONGEST = 4.0  # wait for an active set, in terms of its cost
UNKNOWN = 0.2  # of the coordinates may be new for a Hessian to be worth completing at once


class Memory:
    """What is known from models before this one. Where the loss is quadratic, Hessians stay what they are."""

    def __init__(self) -> None:
        self.gradients = Gradients()
        self.found = False  # whether the last active set that was tried for was
        self.wait = 1.0  # until the next is tried for, in terms of its cost
        self.forget()

    def forget(self) -> None:
        """The next model has another Hessian."""
        self.spent = 0  # operations on models without a Hessian, since the last that got one
        self.known: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # the features of the Hessian
        self.last: GramModel | None = None  # with that Hessian
        self.__dict__.pop("factors", None)

    @cached_property
    def factors(self) -> Factors:
        """Of the Hessian; most small models are solved before any are asked for."""
        return Factors()

    def systems(self, model: Model, features: NDArray[np.int64] | None) -> tuple[Systems | None, int]:
        """What finds the active set of a model soonest, and in how many operations; None where nothing does.

        The features are those of X that it is of; None where that is of no matter.
        """
        support = np.flatnonzero(model.c)
        self.factors.model_features = np.arange(len(model.c)) if features is None else features
        if not isinstance(model, GramModel) and len(support) >= model.n_residuals:
            return None, NEVER
        price = CALLS + self.factors.price(model, support) if len(support) <= LARGEST_GRAM else NEVER
        if isinstance(model, ResidualModel):
            by_gradients = CALLS + self.gradients.price(model, support)
            if by_gradients < price:
                return self.gradients, by_gradients
        return self.factors if price < NEVER else None, price

    def knows(self, features: NDArray[np.int64]) -> bool:
        """Whether the Hessian of most of the features is known."""
        if len(self.known) == 0:
            return False
        seen = int(np.isin(features, self.known, assume_unique=True).sum())
        return seen >= (1 - UNKNOWN) * len(features) > 0

    def by_hessian(self, model: ColumnModel, features: NDArray[np.int64], n_threads: int | None) -> GramModel:
        """The same model at the same point, by its Hessian; the features are those of X that it is of."""
        seen, everything, last = np.isin(features, self.known, assume_unique=True), np.arange(len(features)), None
        if not isinstance(model, ResidualModel) or not self.knows(features):
            matrix = model.hessian(everything, None, n_threads)
        elif self.last is not None and np.array_equal(features, self.known):
            matrix, last = self.last.matrix, self.last
        else:
            assert self.last is not None
            old, new = np.flatnonzero(seen), np.flatnonzero(~seen)
            matrix = np.empty((len(features),) * 2)
            copy_square(self.last.matrix, np.searchsorted(self.known, features[old]), matrix, old)
            if len(new):
                matrix[new] = model.hessian(new, everything, n_threads)
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
    the time: the Hessian of all coordinates, after which a sweep costs less; finding the active set. Where the last
    model's was found, it is tried at once. Last comes a search for it from sign to sign, where features are so much
    alike that neither descent nor an active set that changes by many at a time comes to an end.

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
    start, since, doubled = model.objective(), 0, 0
    # A descent of many sweeps that takes less than the calls of anything else goes first.
    if not (memory and memory.found) and SWEEPS * model.sweep_cost(len(model.c)) < CALLS:
        since = model.descend(start, height, wanted, CALLS, rough, n_threads)
        if model.finished and not model.stalled:
            return model
    memory, total = memory or Memory(), since
    if not isinstance(model, GramModel):
        memory.spent += since
    for _ in range(MAX_TURNS):
        hessian = NEVER
        if not isinstance(model, GramModel) and features is not None:
            if model.hessian_pays and len(features) <= LARGEST_GRAM:
                price = model.hessian_cost(len(features))
                hessian = 0 if memory.knows(features) else NEVER if rough else price
            if memory.spent >= hessian:
                model = memory.by_hessian(model, features, n_threads)
        systems, price = memory.systems(model, features)
        wait = int(min(memory.wait * price, NEVER))
        if systems is not None:
            # Of conjugate gradients as many iterations take the time of as many sweeps, whatever the model.
            soon = CALLS + SWEEPS * model.sweep_cost(int(np.count_nonzero(model.c)))
            at_once = memory.found and (price <= soon or systems is memory.gradients)
            if at_once or (since >= wait and not rough):
                memory.found = find_minimum(model, systems, height, wanted, n_threads)
                if memory.found and bound(model, height, n_threads) <= wanted:
                    break
                since, memory.wait = 0, 1.0 if memory.found else min(2 * memory.wait, LONGEST)
        search = NEVER
        if not rough and np.count_nonzero(model.c) <= LARGEST_GRAM:
            search = max(doubled, search_cost(model))
        budget = min(wait - since, hessian - memory.spent, search - total, PATIENCE)
        done = model.descend(start, height, wanted, budget, rough, n_threads)
        since += done
        total += done
        if not isinstance(model, GramModel):
            memory.spent += done
        if model.stalled:  # rounding hides where a narrow valley is lowest; an active set knows all the same
            systems, price = memory.systems(model, features)
            if systems is not None and price <= LONGEST * max(since, CALLS):
                memory.found = find_minimum(model, systems, height, wanted, n_threads)
        if model.finished:
            break
        if total >= search:
            if search_signs(model, height, wanted, total, n_threads):
                break
            doubled = 2 * total  # operations in all before the next, which may take as many
    return model


def bound(model: Model, height: float, n_threads: int | None) -> float:
    """How far the model may be above its minimum; more than 0."""
    force = -model.gradient(n_threads)
    return max(model.penalty.bound(model.c, force, model.curvature, height), sys.float_info.min)
