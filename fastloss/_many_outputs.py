"""A linear model with K outputs a sample, by blocks of logits: what `LinearObjective` asks of it."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss import _outputs
from fastloss._design import make_design
from fastloss._logits import (
    Block,
    Data,
    blocks,
    check_data,
    row_blocks,
    rows_of_block,
    total_weight,
    used_mask,
)
from fastloss._reduce import DomainError, LostSampleError
from fastloss._rows import Compressed, Gradient, column_sums, copied_rows, rows_in_place
from fastloss._runtime import get_num_threads
from fastloss._selection import FeaturesOfClasses, inverse_curvature, take_columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastloss._linear import Design


BLOCK_NUMBERS = 96 << 10  # logits: they stay in cache between the products, which are long enough
LEAST_ROWS = 256
PASS_BYTES = 4 << 20  # of X in a block of a pass: when it is read again, some cache has it still
HESSIAN_BYTES = 8 << 20  # of rows times classes, for a Hessian
# As many logits of float64 take as long as to wake threads that sleep beside BLAS's: 150 us, measured.
WAKING = 60_000


def _mixing(sums: NDArray[Any], labels: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    """The least share of one distribution for all samples that lets their gradients sum to 0, and this distribution.

    `sums` are those of the gradients, of probabilities less labels, and `labels` those of the labels.
    """
    present = labels > 0
    ratio = float((np.maximum(sums, 0.0)[present] / labels[present]).max(initial=0.0))
    share = ratio / (1 + ratio)
    mixed = np.maximum(labels - (sums * (1 - share) / share if 0 < share < 1 else 0.0), 0.0)
    return share, mixed / max(float(mixed.sum()), float(np.finfo(float).tiny))


class ManyOutputs:
    """The loss of X W' + b + offset, summed over the samples, with what belongs to it."""

    most_points = 0  # that one pass can look at beside each other

    def __init__(self, design: Design, data: Data, n_outputs: int, n_threads: int | None) -> None:
        check_data(data, n_outputs, "y")
        data.loss(data.labels[:0], np.empty((0, n_outputs)), reduction="sum", n_threads=n_threads)  # checks n_threads
        self.design, self.data, self.n_outputs, self.n_threads = design, data, n_outputs, n_threads
        least = max(LEAST_ROWS, data.X.least_rows) if isinstance(data.X, Compressed) else LEAST_ROWS
        self.block_rows = rows_of_block(len(data.X), n_outputs, BLOCK_NUMBERS, least)
        self.block_threads = n_threads
        if not isinstance(data.X, Compressed):
            if not rows_in_place(data.X) or used_mask(data, slice(None)) is not None:
                self.block_rows = min(self.block_rows, copied_rows(data.X.shape[1]))
            threads = get_num_threads() if n_threads is None else int(n_threads)
            numbers = self.block_rows * n_outputs * data.X.dtype.itemsize // 8 * (threads - 1) // max(1, threads)
            if numbers <= WAKING:
                self.block_threads = 1
        #: What the mean divides by.
        self.total = total_weight(data)

    @property
    def samples(self) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """Labels, weights and offsets."""
        return self.data.labels, self.data.sample_weight, self.data.offset

    def _blocks(
        self, W: NDArray[Any], b: NDArray[Any], gradient: bool = True
    ) -> tuple[Any, NDArray[Any], NDArray[Any]]:
        dtype = self.data.X.dtype
        W, b = np.ascontiguousarray(W, dtype=dtype), b.astype(dtype)
        added = b if b.any() else None
        return blocks(self.data, W, added, self.block_rows, self.block_threads, gradient), W, b

    @cached_property
    def _by_rows(self) -> bool:
        """Whether the compiled pass takes these data as they are."""
        X, y, loss = self.data.X, self.data.labels, self.data.loss
        return (
            _outputs.are_here()
            and not isinstance(X, Compressed)
            and X.strides[1] == X.itemsize
            and X.strides[0] >= X.shape[1] * X.itemsize
            and X.strides[0] % X.itemsize == 0
            and used_mask(self.data, slice(None)) is None
            and not loss.rereads
            and (self.data.offset is None or self.data.offset.flags.c_contiguous)
            and (y.ndim == 1 or (y.dtype == X.dtype and y.flags.c_contiguous))
        )

    def _pass(self, W: NDArray[Any], b: NDArray[Any], gradient: bool) -> tuple[float, NDArray[Any] | None]:
        """The sums of losses, and of their gradients with respect to W and b side by side."""
        data, X = self.data, self.data.X
        if self._by_rows and not isinstance(X, Compressed):
            dtype = X.dtype
            block = min(self.block_rows, max(LEAST_ROWS, PASS_BYTES // max(1, X.shape[1] * dtype.itemsize)))
            value, sums, status = _outputs.loss_and_gradient(
                data.loss,
                X,
                np.ascontiguousarray(W, dtype=dtype),
                np.ascontiguousarray(b, dtype=dtype) if b.any() else None,
                data.labels,
                data.sample_weight,
                data.offset,
                gradient,
                block,
                self.n_threads,
            )
            if not status:
                return value, sums
        run, _, _ = self._blocks(W, b, gradient)  # raises what there is to raise
        if gradient:
            return self._gradient(run)
        return sum(block.value for block in run), None

    def _gradient(self, run: Any) -> tuple[float, NDArray[Any]]:
        """The sums of losses, and of their gradients with respect to W and b side by side."""
        total, gradient = 0.0, Gradient(self.data.X, self.n_outputs, self.n_threads)
        for block in run:
            total += block.value
            gradient.add(block.X, block.residual)
        return total, gradient.total()

    def evaluate(
        self, W: NDArray[Any], b: NDArray[Any], gradient: bool, z: NDArray[Any] | None = None
    ) -> tuple[float, NDArray[Any] | None]:
        """The sum of the losses at coefficients of shape (K, p) and intercepts (K,); its gradient, (K, p + 1).

        Predictions are not kept: z is not looked at.
        """
        try:
            return self._pass(W, b, gradient)
        except LostSampleError:
            self.evaluate(W, b, False)  # raises what the user's function does
            raise
        except DomainError as error:
            if "y_pred" not in str(error):
                raise
            raise ValueError(
                f"the predictions X @ w leave what {self.data.loss!r} takes, {self.data.loss.prediction_domain}; "
                "a linear model wants a loss of any real numbers, CategoricalCrossEntropy(from_logits=True)"
            ) from None

    @cached_property
    def _targets(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Sums over the samples of a_i (x_i, 1), shape (K, p + 1), and of A_i (x_i, 1), with weights: constants."""
        data, k = self.data, self.n_outputs
        products, sums = Gradient(data.X, k + 1, self.n_threads), np.zeros(k + 1)
        for rows, X in row_blocks(data, self.block_rows):
            a = data.loss.targets(data.labels[rows], k)
            if data.sample_weight is not None:
                a *= data.sample_weight[rows][:, np.newaxis]
            a = np.column_stack([a, a.sum(axis=1)])
            products.add(X, a.astype(data.X.dtype, copy=False))
            sums += a.sum(axis=0)
        both = products.total()
        both[:, -1] = sums  # in float64 for float32, too
        return both[:k], both[k]

    def dual_point(
        self, W: NDArray[Any], b: NDArray[Any], balanced: bool
    ) -> tuple[NDArray[Any], Callable[[float], float]]:
        """X' u, shape (K, p), of the samples' gradients u at a point, and the conjugate part of the dual objective.

        As for a single output. u_i = A_i q_i - a_i with probabilities q_i. Where each column of u must sum to 0, q_i is
        mixed with one and the same distribution for all samples: (1 - t) q_i + t r, with the least t for which some
        r >= 0 does it. At the best intercept the columns sum to 0 as they are, and t is 0.
        """
        mixed, share = np.zeros(self.n_outputs), 0.0
        if balanced:  # the dual gives nothing to a class that never occurs: its intercept is as good as -inf
            absent = self._targets[0][:, -1] <= 0
            b = np.where(absent, -np.inf, b)
        _, sums = self._pass(W, b, True)
        assert sums is not None
        if balanced:
            labels, totals = self._targets
            share, mixed = _mixing(sums[:, -1], labels[:, -1])
            if share > 0:
                sums = (1 - share) * sums + share * (np.outer(mixed, totals) - labels)

        def conjugate(scale: float) -> float:
            total = 0.0
            again, _, _ = self._blocks(W, b)
            for block in again:
                total += self._conjugate_of(block, scale, share, mixed)
            return total

        return sums[:, :-1], conjugate

    def _conjugate_of(self, block: Block, scale: float, share: float, mixed: NDArray[Any]) -> float:
        u = block.residual.astype(np.float64)
        if share > 0:
            u = (1 - share) * u + share * self._mixed_first(block.rows, mixed)
        return self._conjugate_of_rows(block.rows, scale * u)

    def _mixed_first(self, rows: slice | NDArray[Any], q: NDArray[Any]) -> NDArray[np.float64]:
        """The samples' gradients where all predict the same probabilities q, times their weights."""
        a = self.data.loss.targets(self.data.labels[rows], self.n_outputs)
        u: NDArray[np.float64] = a.sum(axis=1, keepdims=True) * q - a
        weight = self._weight(rows)
        return u if weight is None else u * weight[:, np.newaxis]

    def _conjugate_of_rows(self, rows: slice | NDArray[Any], u: NDArray[np.float64]) -> float:
        """The sum of s_i conjugate_i(u_i / s_i) - u_i offset_i, for weights s, over rows that count."""
        data, along = self.data, 0.0
        if data.offset is not None:
            along = float(np.einsum("ij,ij->", u, data.offset[rows]))
        weight = self._weight(rows)
        terms = data.loss.conjugate(data.labels[rows], u if weight is None else u / weight[:, np.newaxis])
        return float(terms.sum() if weight is None else weight @ terms) - along

    def best_intercepts(self) -> NDArray[Any]:
        """The intercepts that minimise the loss where all coefficients are 0; they sum to 0.

        The fixed point of b_c + log(what class c should have / what b gives it), which is the answer at once without an
        offset; a class without samples stays far below the others.
        """
        labels, _ = self._targets
        wanted = labels[:, -1]
        k, p = self.n_outputs, self.data.X.shape[1]
        floor = float(wanted.sum()) * 1e-30
        b = np.zeros(k)
        for _ in range(1 if self.data.offset is None else 500):
            run, _, _ = self._blocks(np.zeros((k, p)), b)
            given = wanted + sum(column_sums(block.residual).astype(np.float64) for block in run)
            step = np.log(np.maximum(wanted, floor) / np.maximum(given, floor))
            b += step - step.mean()
            if np.abs(step - step.mean()).max() < 4 * np.finfo(self.data.X.dtype).eps:
                break
        return b

    # What Newton's method asks. Predictions z and first derivatives are n x K matrices then.

    def predict(self, W: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
        """The logits X W' + b + offset of the rows that count, in float64; 0 for the others."""
        z = np.zeros((len(self.data.X), self.n_outputs))
        for block in self._blocks(W, b, False)[0]:
            z[block.rows] = block.residual
        return z

    def derivatives(self, z: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """The mean loss at predictions z; the first derivatives of each sample's part of it; and z again."""
        total, first = self.data.loss.value_and_grad(
            self.data.labels, z, self._weight(slice(None)), reduction="sum", n_threads=self.n_threads
        )
        first /= self.total
        return total / self.total, first, z

    def curvatures(
        self, z: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The samples' probabilities p, shape (K, n), and weights a: second derivatives are a (diag(p) - p p')."""
        p = np.ascontiguousarray(z.T)
        p = np.exp(p - p.max(axis=0))
        p /= p.sum(axis=0)
        p[:, self._shares == 0] = 0
        return p, self._shares

    def _weight(self, rows: slice | NDArray[Any]) -> NDArray[np.float64] | None:
        weight = self.data.sample_weight
        return None if weight is None else weight[rows].astype(np.float64, copy=False)

    @cached_property
    def _counts(self) -> NDArray[Any] | None:
        """1 for rows that count and 0 for the others, whose X may hold anything; None if all do."""
        used = used_mask(self.data, slice(None))
        return None if used is None else used.astype(self.data.X.dtype)

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """What the samples' logarithms of the sum of exponentials count in the mean."""
        shares = np.empty(len(self.data.X))
        for start in range(0, len(shares), self.block_rows):
            rows = slice(start, start + self.block_rows)
            shares[rows] = self._target_rows(rows).sum(axis=1)
        return shares / self.total

    def _target_rows(self, rows: slice) -> NDArray[np.float64]:
        """What the samples' labels count, by classes."""
        used = used_mask(self.data, rows)
        labels, result = self.data.labels[rows], np.zeros((rows.stop - rows.start, self.n_outputs))
        result = result[: len(labels)]
        which = slice(None) if used is None else used
        result[which] = self.data.loss.targets(labels[which], self.n_outputs)
        weight = self._weight(rows)
        return result if weight is None else result * weight[:, np.newaxis]

    @cached_property
    def _label_sums(self) -> NDArray[np.float64]:
        """What the labels of all samples count, by classes."""
        starts = range(0, len(self.data.X), self.block_rows)
        return sum((self._target_rows(slice(s, s + self.block_rows)).sum(axis=0) for s in starts), start=np.zeros(1))

    @cached_property
    def loss_at_zero(self) -> float:
        """The mean loss where all coefficients and intercepts are 0."""
        k = self.n_outputs
        return self.evaluate(np.zeros((k, self.data.X.shape[1])), np.zeros(k), False)[0] / self.total

    @cached_property
    def least_loss(self) -> float:
        """A lower bound on the mean loss, minus the conjugate at 0; 0 where that is not known."""
        if not self.data.loss.has_conjugate:
            return 0.0
        return -self.conjugate(np.zeros((len(self.data.X), self.n_outputs)), 1.0) / self.total

    def curved_product(self, z: NDArray[np.float64], V: NDArray[Any], c: NDArray[Any]) -> NDArray[np.float64]:
        """The samples' second derivatives at predictions z times the change of these along V and c; in the mean."""
        if not self.data.loss.has_curvature:
            raise TypeError(f"{self.data.loss!r} has no second derivative")
        p, a = self.curvatures(z, z, z)
        plain = copy(self)
        plain.data = self.data._replace(offset=None)
        change = p.T * plain.predict(V, c)
        change -= p.T * change.sum(axis=1, keepdims=True)
        change *= a[:, np.newaxis]
        return change

    def correlate(self, r: NDArray[np.float64]) -> NDArray[np.float64]:
        """X' r over the samples that count, class after class."""
        X, dtype = self.data.X, self.data.X.dtype
        if isinstance(X, Compressed) and not X.by_rows:
            columns = np.ascontiguousarray(r.T, dtype=dtype)
            return np.concatenate([self.design.transposed_product(c, self._counts, self.n_threads) for c in columns])
        products = Gradient(X, self.n_outputs, self.n_threads)
        for rows, block in row_blocks(self.data, self.block_rows):
            products.add(block, np.ascontiguousarray(r[rows], dtype=dtype))
        return products.total()[:, :-1].ravel()

    def intercept_step(
        self, first: NDArray[np.float64], curvatures: tuple[NDArray[np.float64], NDArray[np.float64]]
    ) -> NDArray[np.float64] | None:
        """Newton's step for the intercepts alone; None where their slopes are small next to what they sum."""
        slopes, (p, a) = first.sum(axis=0), curvatures
        if not np.abs(slopes).max() > 1e-12 * float(np.abs(first).sum()):
            return None
        inverse = inverse_curvature(p, a)
        return None if inverse is None else -inverse @ slopes

    def select(self, selected: NDArray[np.int64], intercept: bool) -> FeaturesOfClasses:
        """Some coefficients, by their increasing indices, class after class."""
        p = self.design.shape[1]
        features, places = np.unique(selected % p, return_inverse=True)
        columns = take_columns(self.design, features.astype(np.int64), self._counts)
        return FeaturesOfClasses(columns, places, selected // p, intercept, self.n_threads)

    def feasible(
        self, first: NDArray[np.float64], z: NDArray[np.float64], free: NDArray[np.intp], intercept: bool
    ) -> NDArray[np.float64]:
        """First derivatives that sum to 0 by classes where there are intercepts: see `dual_point`."""
        if not intercept:
            return first
        labels = self._label_sums
        if not (labels > 0).all():
            first = self.derivatives(np.where(labels > 0, z, -np.inf))[1]
        share, mixed = _mixing(first.sum(axis=0) * self.total, labels)
        if share == 0:
            return first
        first = (1 - share) * first
        for start in range(0, len(first), self.block_rows):
            rows = slice(start, start + self.block_rows)
            used = used_mask(self.data, rows)
            which = rows if used is None else start + np.flatnonzero(used)
            first[which] += share / self.total * self._mixed_first(which, mixed)
        return first

    def conjugate(self, u: NDArray[np.float64], scale: float) -> float:
        """The sum of s_i conjugate_i(scale u_i / s_i) - scale u_i offset_i, for weights s."""
        total = 0.0
        for start in range(0, len(u), self.block_rows):
            used = used_mask(self.data, slice(start, start + self.block_rows))
            which = slice(start, start + self.block_rows) if used is None else start + np.flatnonzero(used)
            total += self._conjugate_of_rows(which, scale * u[which])
        return total

    def rows(self, X: NDArray[Any], selected: slice) -> ManyOutputs | None:
        """The same for some of the rows, that are X; None if none of them counts."""
        weight, offset = self.data.sample_weight, self.data.offset
        data = Data(
            X,
            self.data.labels[selected],
            None if weight is None else weight[selected],
            None if offset is None else offset[selected],
            self.data.loss,
        )
        return ManyOutputs(make_design(X), data, self.n_outputs, self.n_threads) if total_weight(data) > 0 else None

    def hessian(self, X: NDArray[Any], curvatures: Any, intercept: bool) -> NDArray[np.float64]:
        """The second derivatives by coefficients and intercepts, class after class; X is dense.

        As of `MulticlassModel`: a product for each class, less one of all.
        """
        p, a = curvatures
        (n, width), k = X.shape, self.n_outputs
        width += intercept
        result = np.zeros((k, width, k, width))
        flat = result.reshape(k * width, k * width)
        size = max(64, HESSIAN_BYTES // (8 * k * width))
        rows, shared, own = np.ones((size, width)), np.empty((size, k, width)), np.empty((size, width))
        for begin in range(0, n, size):
            used = np.flatnonzero(a[begin : begin + size]) + begin
            m = len(used)
            rows[:m, : X.shape[1]] = X[used]
            np.multiply((np.sqrt(a[used]) * p[:, used]).T[:, :, None], rows[:m, None], out=shared[:m])
            product = shared[:m].reshape(m, k * width)
            flat -= product.T @ product
            for c in range(k):
                np.multiply(np.sqrt(a[used] * p[c, used])[:, None], rows[:m], out=own[:m])
                result[c, :, c] += own[:m].T @ own[:m]
        return flat

    def mean_hessian_block(self, X: NDArray[Any], curvatures: Any, intercept: bool) -> NDArray[np.float64]:
        """The block of the Hessian that is of one class, in the mean over classes."""
        p, a = curvatures
        used = np.flatnonzero(a)
        rows = np.column_stack([X[used], np.ones(len(used))]) if intercept else X[used].astype(np.float64)
        rows *= np.sqrt((a * (p * (1 - p)).mean(axis=0))[used])[:, np.newaxis]
        block: NDArray[np.float64] = rows.T @ rows
        return block

    def hessian_diagonal(self, X: NDArray[Any], curvatures: Any, feature: int, output: int) -> float:
        """One number of the Hessian's diagonal, from all rows that count."""
        p, a = curvatures[0][output], curvatures[1]
        curved = np.flatnonzero(a)
        return float((a * p * (1 - p))[curved] @ X[curved, feature].astype(np.float64) ** 2)
