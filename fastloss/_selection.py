"""Some coefficients of a linear model: the quadratic models of its loss over them, and what a step on them changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._columns import Columns
from fastloss._descent import ResidualModel
from fastloss._multiclass import MulticlassModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss._costs import Costs
    from fastloss._linear import Design


class Features:
    """Those of some features, with one output a sample.

    Parameters
    ----------
    columns : Columns
        Of these features.
    used : ndarray of bool, shape (n,), or None
        Which samples count; None if all do.
    intercept : bool
        Whether an unpenalised intercept moves with them.
    n_threads : int or None
    """

    def __init__(
        self, columns: Columns, used: NDArray[np.bool_] | None, intercept: bool, n_threads: int | None
    ) -> None:
        self.columns, self.used, self.intercept, self.n_threads = columns, used, intercept, n_threads

    def curve(self, second: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take the samples' second derivatives, shape (n,); returns those by each coefficient."""
        counted = second if self.used is None else second[self.used]
        uniform = bool((counted == counted[0]).all())  # columns are 0 in rows that do not count
        self.second, self.weight = second, float(counted[0]) if uniform else 1.0
        self.scaled = self.columns if uniform else self.columns.scaled(np.sqrt(second), self.n_threads)
        squares: NDArray[np.float64] = self.weight * self.scaled.squares
        return squares

    def model(
        self, first: NDArray[np.float64], slope: NDArray[np.float64], c: NDArray[np.float64], costs: Costs
    ) -> ResidualModel:
        """The model at coefficients c, of first derivatives of shape (n,) and by each coefficient."""
        sums = None
        if self.intercept:
            q = self.columns.transposed_product(self.second, self.n_threads)
            sums = float(first.sum()), q, float(self.second.sum())
        self.sums = sums
        return ResidualModel(self.scaled, self.weight, slope, c, costs, sums)

    def slope(self, first: NDArray[np.float64]) -> NDArray[np.float64]:
        """The derivatives by each coefficient, of those by each prediction."""
        return self.columns.transposed_product(first, self.n_threads)

    def change(self, step: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """How a step changes predictions, the intercept's share included; and that of the intercept."""
        change = np.zeros(self.columns.n)
        self.columns.combine(step, change, self.n_threads)
        if self.sums is None:
            return change, 0.0
        t, q, total = self.sums
        shift = -(t + float(q @ step)) / total
        change += shift
        return change, shift


class FeaturesOfClasses:
    """Those of some pairs of a class and a feature, with K outputs a sample.

    Parameters
    ----------
    columns : Columns
        Of the features that occur.
    places, classes : ndarray of int64, shape (m,)
        The column and the class of each coefficient.
    intercept, n_threads
        As for `Features`.
    """

    def __init__(
        self,
        columns: Columns,
        places: NDArray[np.int64],
        classes: NDArray[np.int64],
        intercept: bool,
        n_threads: int | None,
    ) -> None:
        self.columns, self.places, self.classes = columns, places, classes
        self.intercept, self.n_threads = intercept, n_threads

    def curve(self, curvature: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Take the samples' probabilities p, shape (K, n), and weights a: second derivatives a (diag(p) - p p')."""
        self.p, self.a = p, a = curvature
        self.squares = self.columns.squares_by(self.places, self.classes, a * p * (1 - p))
        return self.squares

    def model(
        self, first: NDArray[np.float64], slope: NDArray[np.float64], c: NDArray[np.float64], costs: Costs
    ) -> MulticlassModel:
        """As with one output; first derivatives are of shape (n, K)."""
        self.sums = None
        if self.intercept:
            weighted, sums = self.a * self.p, []
            for k, p in enumerate(self.p):
                rows = -weighted * p
                rows[k] += weighted[k]
                sums.append(self._products(rows))
            inverse = inverse_curvature(self.p, self.a)
            if inverse is None:
                raise FloatingPointError("the second derivatives are not finite")
            self.sums = first.sum(axis=0), np.column_stack(sums), inverse
        known = self.columns, self.places, self.classes, self.p, self.a, self.squares
        return MulticlassModel(*known, slope, c, costs, self.sums)

    def slope(self, first: NDArray[np.float64]) -> NDArray[np.float64]:
        """The derivatives by each coefficient, of those by each prediction."""
        return self._products(np.ascontiguousarray(first.T))

    def _products(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The product of each coefficient's column with the row of its class."""
        return self.columns.products_by(self.places, self.classes, rows, self.n_threads)

    def change(self, step: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
        """How a step changes predictions, shape (n, K), the intercepts' share included; and that of the intercepts."""
        change, coefficients = np.zeros_like(self.p), np.zeros(self.columns.m)
        for k in np.unique(self.classes[step != 0]):
            members = self.classes == k
            coefficients[:] = 0
            coefficients[self.places[members]] = step[members]
            self.columns.combine(coefficients, change[k], self.n_threads)
        if self.sums is None:
            return np.ascontiguousarray(change.T), 0.0
        t, Q, inverse = self.sums
        shift: NDArray[Any] = -inverse @ (t + step @ Q)
        return np.ascontiguousarray(change.T) + shift, shift


Selection = Features | FeaturesOfClasses


def inverse_curvature(p: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The pseudo-inverse of the sum of a (diag(p) - p p') over samples; None if it is not finite.

    It sends what is the same for all classes, which changes no probability, to 0.
    """
    weighted, k = a * p, len(p)
    curvature = np.diag(weighted.sum(axis=1)) - weighted @ p.T
    same = np.trace(curvature) / k**2
    if not np.isfinite(curvature).all():
        return None
    if same == 0:
        return np.zeros((k, k))
    inverse: NDArray[np.float64] = np.linalg.pinv(curvature + same, rcond=1e-15, hermitian=True) - 1 / (same * k**2)
    return inverse


def take_columns(design: Design, selected: NDArray[np.int64], weight: NDArray[Any] | None) -> Columns:
    """Some columns of X: in place if contiguous and all rows count; else a copy that leaves out rows of weight 0."""
    n = design.shape[0]
    in_place = design.columns_in_place() if weight is None else None
    if in_place is not None:
        return Columns(in_place, None, None, n, selected)
    data, indices, starts = design.take_columns(selected, weight)
    if indices is not None and starts is not None:
        data, indices, starts = _canonical(data, indices, starts)
    return Columns(data, indices, starts, n)


def _canonical(data: NDArray[Any], indices: NDArray[Any], starts: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """CSC columns with increasing rows, each once: numbers that stand for the same place are added."""
    later = np.ones(len(data), bool)
    later[1:] = np.diff(indices) > 0
    later[starts[:-1][starts[:-1] < len(data)]] = True
    if later.all():
        return data, indices, starts
    column = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    order = np.lexsort((indices, column))
    data, indices, column = data[order], indices[order], column[order]
    first = np.ones(len(data), bool)
    first[1:] = (np.diff(indices) != 0) | (np.diff(column) != 0)
    data = np.add.reduceat(data, np.flatnonzero(first))
    starts = np.searchsorted(column[first], np.arange(len(starts))).astype(np.int64)
    return data, indices[first], starts
