"""A linear model with one output a sample, over the fused pass: what `LinearObjective` asks of it."""

from __future__ import annotations

import contextlib
import math
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss import _gram, _points
from fastloss._design import make_design
from fastloss._reduce import DomainError, LostSampleError
from fastloss._selection import Features, take_columns
from fastloss._statistics import Statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss._columns import Columns
    from fastloss._linear import Design
    from fastloss.losses import Loss

BLOCK_BYTES = 4 << 20  # of rows of X, for a Hessian
BALANCED = 1e-12  # of first derivatives, as vectors, is what counts as none
FAR = 1e100  # predictions where a loss's slope is at its end


class SingleOutput:
    """The loss of X w + b + offset, summed over the samples, with what belongs to it."""

    n_outputs = 1

    def __init__(
        self,
        design: Design,
        loss: Loss,
        y: NDArray[Any],
        sample_weight: NDArray[Any] | None,
        offset: NDArray[Any] | None,
        n_threads: int | None,
    ) -> None:
        self.design, self.loss, self.y = design, loss, y
        self.sample_weight, self.offset, self.n_threads = sample_weight, offset, n_threads
        self._basis: tuple[tuple[bytes, bool], NDArray[np.float64]] | None = None  # the last
        # One cheap call checks labels, weights and n_threads, all with the messages of the losses.
        loss(y, np.full_like(y, 0.5), sample_weight, reduction="sum", n_threads=n_threads)
        #: What the mean divides by.
        self.total = float(len(y)) if sample_weight is None else float(sample_weight.sum(dtype=np.float64))

    @property
    def samples(self) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """Labels, weights and offsets."""
        return self.y, self.sample_weight, self.offset

    def with_loss(self, loss: Loss) -> SingleOutput:
        """The same with another loss for the same labels."""
        other = copy(self)
        other.loss = loss
        for name in ("loss_at_zero", "least_loss", "_reach"):
            other.__dict__.pop(name, None)
        return other

    def evaluate(
        self, W: NDArray[Any], b: NDArray[Any], gradient: bool, z: NDArray[Any] | None = None
    ) -> tuple[float, NDArray[Any] | None]:
        """The sum of the losses at coefficients of shape (1, p) and intercepts (1,); its gradient, (1, p + 1).

        The predictions of samples that count are written to z, where there is one.
        """
        coefficients = np.ascontiguousarray(W[0], dtype=self.design.dtype)
        if not self.design.by_rows:
            return self._evaluate_by_columns(coefficients, float(b[0]), gradient, z)
        args = (self.y, self.sample_weight, self.offset, coefficients, float(b[0]), gradient, self.n_threads, z)
        total, sums, status = self.design.loss_and_gradient(self.loss, *args)
        if status:
            self._refuse(coefficients, float(b[0]))
        return total, None if sums is None else sums[np.newaxis]

    @property
    def most_points(self) -> int:
        """How many points one pass can look at; 0 where only one at a time."""
        fits = self.design.name == "dense_rows" and self.design.dtype == np.float64 and self._used is None
        return _points.most() if fits else 0

    def evaluate_several(
        self, X: NDArray[Any], W: NDArray[np.float64], b: NDArray[np.float64], Z: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """As `evaluate` for k points, by coefficients of shape (k, p) and intercepts (k,); X is the Design's.

        Predictions of the first m points are written to Z, shape (m, n). None where the loss refuses some.
        """
        args = (np.ascontiguousarray(W), b, self.y, self.sample_weight, self.offset, Z, self.n_threads)
        totals, sums, status = _points.losses_and_gradients(self.loss, X, *args)
        return None if status else (totals, sums)

    def _evaluate_by_columns(
        self, coefficients: NDArray[Any], intercept: float, gradient: bool, out: NDArray[Any] | None
    ) -> tuple[float, NDArray[Any] | None]:
        z = self._predict(coefficients, intercept)
        if out is not None:
            out[:] = z
        options: dict[str, Any] = {"reduction": "sum", "n_threads": self.n_threads}
        try:
            if not gradient:
                return self.loss(self.y, z, self.sample_weight, **options), None
            total, r = self.loss.value_and_grad(self.y, z, self.sample_weight, out=z, **options)
        except (DomainError, LostSampleError):  # labels and weights have been checked
            self._refuse(coefficients, intercept)
            raise
        sums = self.design.transposed_product(r, self.sample_weight, self.n_threads)
        return total, np.append(sums, r.sum(dtype=np.float64))[np.newaxis]

    def _refuse(self, coefficients: NDArray[Any], intercept: float) -> None:
        """Raise the error of predictions for which there is no loss."""
        with contextlib.suppress(DomainError):  # a user's own loss raises what its function does
            self.loss(self.y, self._predict(coefficients, intercept), self.sample_weight, n_threads=self.n_threads)
        raise ValueError(
            f"the predictions X @ w leave what {self.loss!r} takes, {self.loss.prediction_domain}; "
            "a linear model wants a loss of any real number, such as BinaryCrossEntropy(from_logits=True)"
        ) from None

    def predict(self, W: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
        """The predictions X w + b + offset, in float64."""
        return self._predict(W[0], float(b[0])).astype(np.float64, copy=False)

    def _predict(self, coefficients: NDArray[Any], intercept: float) -> NDArray[Any]:
        """The predictions X w + b + offset, of X's dtype."""
        if not coefficients.any():  # where solvers begin
            start: NDArray[Any] = np.full_like(self.y, intercept)
            return start if self.offset is None else start + self.offset
        z = np.empty_like(self.y)
        w = np.ascontiguousarray(coefficients, dtype=self.design.dtype)
        self.design.predict(w, intercept, self.offset, z, self.n_threads)
        return z

    def derivatives(self, z: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """The mean loss at predictions z; the first and second derivatives of each sample's part of it. In float64."""
        total, first, second = self.loss._derivatives(self._labels, z, self._weights, self.n_threads)
        first /= self.total
        second /= self.total
        return total / self.total, first, second

    def slopes(self, z: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """As `derivatives`, without the second ones."""
        options: dict[str, Any] = {"reduction": "sum", "n_threads": self.n_threads}
        total, first = self.loss.value_and_grad(self._labels, z, self._weights, **options)
        first /= self.total
        return total / self.total, first

    def curvatures(
        self, z: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The second derivatives as Newton's method takes them."""
        return self.loss._curvatures(self._labels, z, first, second, self.design.shape[1])

    def curved_product(self, z: NDArray[np.float64], V: NDArray[Any], c: NDArray[Any]) -> NDArray[np.float64]:
        """The samples' second derivatives at predictions z times the change of these along V and c; in the mean."""
        second = self.loss.grad_and_hess(self._labels, z, self._weights, n_threads=self.n_threads)[1]
        plain = copy(self)
        plain.offset = None
        second *= plain.predict(V, c)
        second /= self.total
        return second

    def correlate(self, r: NDArray[np.float64]) -> NDArray[np.float64]:
        """X' r over the samples that count."""
        r = np.ascontiguousarray(r, dtype=self.design.dtype)
        return self.design.transposed_product(r, self.sample_weight, self.n_threads)

    def intercept_step(self, first: NDArray[np.float64], curvatures: NDArray[np.float64]) -> float | None:
        """Newton's step for the intercept alone; None where its slope is small next to what it sums."""
        slope, curvature = float(first.sum()), float(curvatures.sum())
        if abs(slope) <= 1e-12 * float(np.abs(first).sum()) or not curvature > 0:
            return None
        return -slope / curvature

    def select(self, selected: NDArray[np.int64], intercept: bool) -> Features:
        """Some coefficients, by their increasing indices."""
        return Features(self.columns(selected), self._used, intercept, self.n_threads)

    def columns(self, selected: NDArray[np.int64]) -> Columns:
        """Some columns of X: in place, if they are contiguous and all rows count; else a copy."""
        return take_columns(self.design, selected, self.sample_weight)

    def rows(self, X: NDArray[Any], selected: slice) -> SingleOutput | None:
        """The same for some of the rows, that are X; None if none of them counts."""
        y, weight, offset = (
            None if x is None else np.ascontiguousarray(x[selected]) for x in (self.y, self.sample_weight, self.offset)
        )
        if weight is not None and not weight.any():
            return None
        assert y is not None
        return SingleOutput(make_design(X), self.loss, y, weight, offset, self.n_threads)

    def hessian(self, X: NDArray[Any], second: NDArray[np.float64], intercept: bool) -> NDArray[np.float64]:
        """The second derivatives by coefficients, and by the intercept; X is dense."""
        n, p = X.shape
        if _gram.are_here(p) and self.design.name == "dense_rows":
            products = _gram.weighted_gram(X, second, n_threads=self.n_threads)[0]
            return products if intercept else np.ascontiguousarray(products[:p, :p])
        result = np.zeros((p + intercept,) * 2)
        uniform = bool((second == second[0]).all())
        rows = max(64, BLOCK_BYTES // (8 * p))
        for begin in range(0, n, rows):
            block, weight = X[begin : begin + rows], second[begin : begin + rows]
            if uniform and block.dtype == np.float64:
                result[:p, :p] += block.T @ block
            else:
                used = weight > 0
                if not used.all():
                    block, weight = block[used], weight[used]
                scaled = block * np.sqrt(1.0 if uniform else weight)[..., np.newaxis]
                result[:p, :p] += scaled.T @ scaled
            if intercept:
                result[p, :p] += block.sum(axis=0) if uniform else weight @ block
                result[p, p] += len(block) if uniform else weight.sum()
        result[:p, p:] = result[p:, :p].T
        result *= second[0] if uniform else 1.0
        return result

    def statistics(self, X: NDArray[Any], intercept: bool) -> Statistics:
        """The sums over the samples that say all of squared errors; X is dense."""
        y = self._labels if self.offset is None else self._labels - self.offset
        rows = slice(None) if self._used is None else np.flatnonzero(self._used)
        return Statistics.of(X, y, self._weights, rows, centred=intercept, n_threads=self.n_threads)

    def mean_hessian_block(self, X: NDArray[Any], second: NDArray[np.float64], intercept: bool) -> NDArray[np.float64]:
        """The Hessian: there is one output."""
        return self.hessian(X, second, intercept)

    def hessian_diagonal(self, X: NDArray[Any], second: NDArray[np.float64], feature: int, output: int) -> float:
        """One number of the Hessian's diagonal, from all rows that count."""
        curved = np.flatnonzero(second)
        return float(second[curved] @ X[curved, feature].astype(np.float64) ** 2)

    @cached_property
    def loss_at_zero(self) -> float:
        """The mean loss where all coefficients and the intercept are 0."""
        zeros = np.zeros(len(self.y)) if self.offset is None else self.offset.astype(np.float64)
        return self.derivatives(zeros)[0]

    @cached_property
    def least_loss(self) -> float:
        """A lower bound on the mean loss, minus the conjugate at 0; 0 where that is not known."""
        return -self.conjugate(np.zeros(len(self.y)), 1.0) / self.total if self.loss.has_conjugate else 0.0

    @cached_property
    def _used(self) -> NDArray[np.bool_] | None:
        """Which samples count; None if all do."""
        return None if self.sample_weight is None or self.sample_weight.all() else self.sample_weight > 0

    @cached_property
    def _labels(self) -> NDArray[np.float64]:
        return self.y.astype(np.float64, copy=False)

    @cached_property
    def _weights(self) -> NDArray[np.float64] | None:
        return None if self.sample_weight is None else self.sample_weight.astype(np.float64, copy=False)

    def conjugate(self, u: NDArray[np.float64], scale: float) -> float:
        """The sum of s_i conjugate_i(scale u_i / s_i) - scale u_i offset_i, for weights s."""
        u = scale * u
        shift = 0.0 if self.offset is None else float(u @ self.offset)
        y, weights = self._labels, self._weights
        if self._used is not None and weights is not None:
            y, u, weights = (x[self._used] for x in (y, u, weights))
        return self.loss._sum_of_conjugates(y, u, weights, self.n_threads) - shift

    @cached_property
    def _reach(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The least and the largest first derivatives: those at predictions without bound."""
        least, largest = (self.slopes(np.full(len(self.y), z))[1] for z in (-FAR, FAR))
        return least, largest

    def feasible(
        self, first: NDArray[np.float64], second: NDArray[np.float64], free: NDArray[np.intp], intercept: bool
    ) -> NDArray[np.float64]:
        """First derivatives u that sum to 0 where there is an intercept, and to 0 against the features that are free.

        They are u - D A (A' D A)^-1 A' u with D the second derivatives and A the free columns, what Newton's step for
        them makes of u; or with D their weights, where those that curve say too little. For the intercept
        alone that must stay in the conjugate's domain; else the numbers of one sign shrink. With free features all
        shrink into it.
        """
        if len(free) == 0:
            if not intercept:
                return first
            found = self.less_of(second, float(second.sum()), first)
            return balance(first) if found is None else found[0]
        B = self._free_basis(free, intercept)
        size = float(np.linalg.norm(first))
        for D in (second, np.ones_like(second) if self._weights is None else self._weights):
            gram, u = B.T @ (D[:, None] * B), first
            for _ in range(2):  # the second takes away what rounding left
                u = u - D * (B @ np.linalg.lstsq(gram, B.T @ u, rcond=None)[0])
            if np.linalg.norm(B.T @ u) <= BALANCED * size:
                break
        least, largest = self._reach
        over, under = (u > largest) & (largest > 0), (u < least) & (least < 0)
        shrunk: NDArray[np.float64] = u * min(
            (largest[over] / u[over]).min(initial=1.0), (least[under] / u[under]).min(initial=1.0)
        )
        return shrunk

    def less_of(
        self, second: NDArray[np.float64], total: float, first: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float] | None:
        """First derivatives less so much of some second derivatives, which sum to `total`, that they sum to 0.

        With how much that was; None where some leave what first derivatives can be, and so the conjugate's domain.
        """
        share = float(first.sum()) / total if total > 0 else math.inf
        if not math.isfinite(share):
            return None
        result = first - share * second
        least, largest = self._reach
        return (result, share) if (result >= least).all() and (result <= largest).all() else None

    def null_point(self, free: NDArray[np.intp], intercept: bool) -> tuple[NDArray[np.float64], float]:
        """The coefficients of the free features and the intercept that minimise the loss where all others are 0."""
        b = self.best_intercept() if intercept else 0.0
        z = np.full(len(self.y), b) if self.offset is None else self.offset.astype(np.float64) + b
        point = np.append(np.zeros(len(free)), b)
        if len(free) == 0:
            return point[:-1], b
        A = self._free_columns(free, intercept)
        loss, first, second = self.derivatives(z)
        steepest = math.inf
        for _ in range(50):
            slope = A.T @ first
            size = float(np.abs(np.abs(A).T @ np.abs(first)).max())
            if size == 0:  # all is fitted
                break
            before, steepest = steepest, float(np.abs(slope).max() / size)
            if not steepest > 1e-14 or 1e-8 > steepest > 0.5 * before:  # what is left is rounding
                break
            D = self.curvatures(z, first, second)
            step = np.linalg.lstsq(A.T @ (D[:, None] * A), -slope, rcond=None)[0]
            change, share = A @ step, 1.0
            while True:
                new = self.derivatives(z + share * change)
                if new[0] <= loss + 1e-15 * abs(loss) or share < 1e-8:
                    break
                share /= 2
            z, (loss, first, second) = z + share * change, new
            point[: len(step)] += share * step
        return point[:-1], float(point[-1])

    def _free_basis(self, free: NDArray[np.intp], intercept: bool) -> NDArray[np.float64]:
        """Orthonormal vectors that span the free features, and the intercept, over the samples that count.

        What is orthogonal to them is so to predictions as well, however large the coefficients of features that are
        all but collinear.
        """
        key = free.tobytes(), intercept
        if self._basis is None or self._basis[0] != key:
            A = self._free_columns(free, intercept)  # may be X itself
            if self._used is not None:
                A = A * self._used[:, None]
            A = A / np.maximum(np.linalg.norm(A, axis=0), np.finfo(float).tiny)
            U, sizes, _ = np.linalg.svd(A, full_matrices=False)
            self._basis = key, U[:, sizes > max(A.shape) * np.finfo(float).eps]
        return self._basis[1]

    def _free_columns(self, free: NDArray[np.intp], intercept: bool) -> NDArray[np.float64]:
        A = self.columns(free.astype(np.int64)).to_dense()
        return np.column_stack([A, np.ones(len(A))]) if intercept else A

    def best_intercept(self) -> float:
        """The intercept that minimises the loss where all coefficients are 0: Newton's method inside a bracket."""

        def slopes(b: float) -> tuple[float, float]:
            z = np.full_like(self.y, b) if self.offset is None else self.offset + self.y.dtype.type(b)
            first, second = self.loss.grad_and_hess(self.y, z, self.sample_weight, n_threads=self.n_threads)
            return float(first.sum(dtype=np.float64)), float(second.sum(dtype=np.float64))

        low, high, width, b = -math.inf, math.inf, 1.0, 0.0
        tiny = 4 * float(np.finfo(self.y.dtype).eps)
        for _ in range(200):
            slope, curvature = slopes(b)
            if slope == 0:
                break
            low, high = (low, b) if slope > 0 else (b, high)
            step = -slope / curvature if curvature > 0 else math.copysign(width, -slope)
            proposal = b + max(-width, min(width, step))
            width *= 2
            if abs(proposal - b) <= tiny * max(1.0, abs(b)):
                break
            b = proposal if low < proposal < high else 0.5 * (low + high)
        return b


def balance(u: NDArray[Any]) -> NDArray[Any]:
    """Shrink the numbers of one sign so that the sum is 0; shrinking keeps them in the conjugate's domain."""
    up, down = float(np.maximum(u, 0).sum()), float(np.maximum(-u, 0).sum())
    if up == 0 or down == 0:
        return np.zeros_like(u)
    return u * np.where(u > 0, min(1.0, down / up), min(1.0, up / down))
