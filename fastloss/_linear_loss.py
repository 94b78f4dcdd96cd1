"""The loss of a linear model: what of an objective does not depend on its penalty."""

from __future__ import annotations

import math
from copy import copy
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastloss._arrays import as_numpy, as_real_array
from fastloss._design import make_design
from fastloss._samples import loss_of_samples
from fastloss._single_output import SingleOutput
from fastloss.losses import Loss

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

    from fastloss._many_outputs import ManyOutputs
    from fastloss._selection import Selection
    from fastloss._statistics import Quadratic


class Point(NamedTuple):
    """What a pass over X has found: the mean loss and its gradient, the penalty left out, and the predictions."""

    x: NDArray[np.float64]
    loss: float
    gradient: NDArray[np.float64]
    z: NDArray[Any] | None  # of X's dtype; 0 where a sample does not count


class LinearLoss:
    """Mean loss of a linear model on given samples; see `fastloss.LinearObjective`, which adds a penalty."""

    def __init__(
        self,
        X: NDArray[Any],
        y: ArrayLike,
        loss: Loss,
        sample_weight: ArrayLike | None,
        fit_intercept: bool,
        offset: ArrayLike | None,
        n_outputs: int | None,
        n_threads: int | None,
    ) -> None:
        X = as_numpy(X, "X")
        self._design = make_design(X)
        if not isinstance(loss, Loss):
            raise TypeError(f"loss must be a fastloss loss, such as SquaredError(), got {loss!r}")
        if not isinstance(fit_intercept, bool | np.bool_):
            raise TypeError(f"fit_intercept must be True or False, got {fit_intercept!r}")
        self.X, self.loss, self.fit_intercept, self.n_threads = X, loss, bool(fit_intercept), n_threads
        self.n_samples, self.n_features = self._design.shape
        samples = (y, sample_weight, offset, n_outputs, n_threads)
        self._outputs: SingleOutput | ManyOutputs = loss_of_samples(X, self._design, loss, *samples)
        self.y, self.sample_weight, self.offset = self._outputs.samples
        #: The number of outputs a sample: of classes, or 1.
        self.n_outputs = self._outputs.n_outputs
        #: Whether a sample has several outputs, or one for each class.
        self.has_many_outputs = not isinstance(self._outputs, SingleOutput)
        #: Length of a point: coefficients, and intercepts where there are any.
        self.size = self.n_outputs * (self.n_features + self.fit_intercept)

    def _row_weights(self) -> NDArray[Any] | None:
        """What each row of X counts."""
        ignored = getattr(self.loss, "ignore_index", None) if self.y.ndim == 1 else None
        if ignored is None:
            return self.sample_weight
        counts: NDArray[Any] = (self.y != ignored).astype(np.float64)
        return counts if self.sample_weight is None else counts * self.sample_weight

    def _point(self, w: ArrayLike) -> NDArray[Any]:
        """A point in float64."""
        point = w if type(w) is np.ndarray else as_real_array(w, "w")
        if point.shape != (self.size,):
            parts = f"{self.n_features} coefficients" + (" and the intercept" if self.fit_intercept else "")
            if self.n_outputs > 1:
                parts += f" for each of {self.n_outputs} classes"
            raise ValueError(f"w must be of shape ({self.size},), {parts}; got shape {point.shape}")
        if point.dtype != np.float64 or not point.flags.c_contiguous:
            point = np.ascontiguousarray(as_real_array(w, "w"), dtype=np.float64)
        return point

    def _split(self, w: ArrayLike) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """A point in float64; views of it: coefficients of shape (K, p), intercepts of shape (K,)."""
        point = self._point(w)
        matrix = point.reshape(self.n_outputs, -1)
        intercepts = matrix[:, self.n_features] if self.fit_intercept else np.zeros(self.n_outputs)
        return point, matrix[:, : self.n_features], intercepts

    def coefficients(self, w: ArrayLike) -> NDArray[Any]:
        """The coefficients of a point, without the intercept: shape (p,), or (K, p) with several outputs."""
        point = self._point(w)
        if not self.has_many_outputs:
            return point[: self.n_features]
        return point.reshape(self.n_outputs, -1)[:, : self.n_features]

    def predict(self, w: ArrayLike) -> NDArray[np.float64]:
        """X w + b + offset in float64, shape (n,); with several outputs (n, K), 0 for samples that do not count."""
        _, W, b = self._split(w)
        return self._outputs.predict(W, b)

    def loss_and_gradient(
        self, w: NDArray[np.float64], z: NDArray[Any] | None = None
    ) -> tuple[float, NDArray[np.float64]]:
        """The mean loss at a point and its gradient, the penalty left out: one pass over X.

        With one output the predictions are written to z, if there is one, but those of samples that do not count.
        """
        _, W, b = self._split(w)
        total, sums = self._outputs.evaluate(W, b, True, z)
        assert sums is not None
        sums /= self._outputs.total
        return total / self._outputs.total, (sums if self.fit_intercept else sums[:, : self.n_features]).reshape(-1)

    def point(self, x: NDArray[np.float64]) -> Point:
        """What one pass over X says of a point; with several outputs there are too many predictions to keep them."""
        z = None if self.has_many_outputs else np.zeros(self.n_samples, dtype=self.X.dtype)
        return Point(x, *self.loss_and_gradient(x, z), z)

    @property
    def most_points(self) -> int:
        """How many points one pass can look at; 0 where only one at a time."""
        return self._outputs.most_points

    def points(self, xs: list[NDArray[np.float64]], kept: int) -> list[Point]:
        """What one pass over X says of several points, in little more than the time of one.

        Predictions are those of the first few, `kept`, alone. Where the loss refuses some, only the first point is
        looked at, and raises the error if it is to blame; the loss of the others is infinite.
        """
        outputs = self._outputs
        assert isinstance(outputs, SingleOutput)
        W, Z = np.array(xs), np.empty((min(kept, len(xs)), self.n_samples))
        b = W[:, self.n_features].copy() if self.fit_intercept else np.zeros(len(xs))
        found = outputs.evaluate_several(self.X, W[:, : self.n_features], b, Z)
        if found is None:
            unknown = np.full(self.size, math.nan)
            return [self.point(xs[0]), *(Point(x, math.inf, unknown, None) for x in xs[1:])]
        totals, gradients = found[0] / outputs.total, found[1][:, : self.size] / outputs.total
        return [Point(*each) for each in zip_longest(xs, totals.tolist(), gradients, Z)]

    @cached_property
    def loss_at_zero(self) -> float:
        """The mean loss where all coefficients and intercepts are 0."""
        return self._outputs.loss_at_zero

    @property
    def least_loss(self) -> float:
        """A lower bound on the mean loss."""
        return self._outputs.least_loss

    @property
    def is_dense(self) -> bool:
        """Whether X is a dense array."""
        return isinstance(self.X, np.ndarray)

    def rows(self, selected: slice) -> Self | None:
        """The objective of some of the rows; None if none of them counts. Copied where X is in Fortran order."""
        X = self.X[selected] if self._design.name == "dense_rows" else np.ascontiguousarray(self.X[selected])
        outputs = self._outputs.rows(X, selected)
        if outputs is None:
            return None
        other = copy(self)
        other.X, other.n_samples, other._outputs = X, len(X), outputs
        other.__dict__.pop("loss_at_zero", None)
        return other

    def derivatives(self, z: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], Any]:
        """The mean loss at predictions z, and each sample's share of its first and second derivatives.

        The first are of the shape of z. The second as well, with one output a sample; with several they are for
        `curvatures` to find.
        """
        return self._outputs.derivatives(z)

    def curvatures(self, z: NDArray[np.float64], first: NDArray[np.float64], second: Any) -> Any:
        """The second derivatives as Newton's method and `select` take them: more than 0 where the loss is linear."""
        return self._outputs.curvatures(z, first, second)

    def correlate(self, r: NDArray[np.float64]) -> NDArray[np.float64]:
        """X' r by coefficients, shape (p,) or (K p,); r is 0 where a sample's weight is."""
        return self._outputs.correlate(r)

    def intercept_step(self, first: NDArray[np.float64], curvatures: Any) -> NDArray[np.float64] | float | None:
        """Newton's step for the intercepts alone; None where their slopes are small next to what they sum."""
        return self._outputs.intercept_step(first, curvatures)

    def select(self, selected: NDArray[np.int64]) -> Selection:
        """Some coefficients by their increasing indices, class after class: for Newton's steps over them."""
        return self._outputs.select(selected, self.fit_intercept)

    def hessian(self, x: NDArray[np.float64], z: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """The loss's second derivatives at a point, as Newton's method takes them; of a dense X.

        The predictions z need not be known; those of samples that do not count may be anything.
        """
        z = self.predict(x) if z is None else z.astype(np.float64, copy=False)
        return self._outputs.hessian(self.X, self.curvatures(z, *self.derivatives(z)[1:]), self.fit_intercept)

    def mean_hessian_block(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The part of the Hessian that is of one output, in the mean over outputs; of a dense X."""
        z = self.predict(x)
        curvatures = self.curvatures(z, *self.derivatives(z)[1:])
        return self._outputs.mean_hessian_block(self.X, curvatures, self.fit_intercept)

    def hessian_diagonal(self, x: NDArray[np.float64], places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Some numbers of the Hessian's diagonal that belong to coefficients."""
        z = self.predict(x)
        curvatures = self.curvatures(z, *self.derivatives(z)[1:])
        width = self.n_features + self.fit_intercept
        return np.array([self._outputs.hessian_diagonal(self.X, curvatures, i % width, i // width) for i in places])

    def quadratic(self) -> Quadratic:
        """The loss by sums over the samples, where it is the squared error and X dense."""
        assert self.loss.quadratic
        assert isinstance(self._outputs, SingleOutput)
        return self._outputs.statistics(self.X, self.fit_intercept).quadratic(self.fit_intercept)
