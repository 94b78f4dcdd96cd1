"""A linear model with K outputs a sample, by blocks of logits: what `LinearObjective` asks of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

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
from fastloss._rows import Compressed, Gradient, column_sums, copied_rows, rows_in_place
from fastloss._runtime import get_num_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


BLOCK_NUMBERS = 96 << 10  # logits: they stay in cache between the products, which are long enough
LEAST_ROWS = 256
# As many logits of float64 take as long as to wake threads that sleep beside BLAS's: 150 us, measured.
WAKING = 60_000


class ManyOutputs:
    """The loss of X W' + b + offset, summed over the samples, with what belongs to it."""

    def __init__(self, data: Data, n_outputs: int, n_threads: int | None) -> None:
        check_data(data, n_outputs, "y")
        data.loss(np.empty(0), np.empty((0, n_outputs)), reduction="sum", n_threads=n_threads)  # checks n_threads
        self.data, self.n_outputs, self.n_threads = data, n_outputs, n_threads
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

    def _blocks(
        self, W: NDArray[Any], b: NDArray[Any], gradient: bool = True
    ) -> tuple[Any, NDArray[Any], NDArray[Any]]:
        dtype = self.data.X.dtype
        W, b = np.ascontiguousarray(W, dtype=dtype), b.astype(dtype)
        added = b if b.any() else None
        return blocks(self.data, W, added, self.block_rows, self.block_threads, gradient), W, b

    def _gradient(self, run: Any) -> tuple[float, NDArray[Any]]:
        """The sums of losses, and of their gradients with respect to W and b side by side."""
        total, gradient = 0.0, Gradient(self.data.X, self.n_outputs, self.n_threads)
        for block in run:
            total += block.value
            gradient.add(block.X, block.residual)
        return total, gradient.total()

    def evaluate(self, W: NDArray[Any], b: NDArray[Any], gradient: bool) -> tuple[float, NDArray[Any] | None]:
        """The sum of the losses at coefficients of shape (K, p) and intercepts (K,); its gradient, (K, p + 1)."""
        try:
            run, _, _ = self._blocks(W, b, gradient)
            if gradient:
                return self._gradient(run)
            return sum(block.value for block in run), None
        except ValueError as error:
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
        run, W, b = self._blocks(W, b)
        _, sums = self._gradient(run)
        if balanced:
            labels, totals = self._targets
            present = labels[:, -1] > 0
            excess = np.maximum(sums[:, -1], 0.0)
            ratio = float((excess[present] / labels[present, -1]).max(initial=0.0))
            share = ratio / (1 + ratio)
            mixed = labels[:, -1] - (sums[:, -1] * (1 - share) / share if 0 < share < 1 else 0.0)
            mixed = np.maximum(mixed, 0.0) / max(float(np.maximum(mixed, 0.0).sum()), np.finfo(float).tiny)
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
        data = self.data
        y = data.labels[block.rows]
        u = block.residual.astype(np.float64)
        weight = None if data.sample_weight is None else data.sample_weight[block.rows].astype(np.float64)
        if weight is not None:
            u /= weight[:, np.newaxis]
        if share > 0:
            a = data.loss.targets(y, self.n_outputs)
            u = (1 - share) * u + share * (a.sum(axis=1, keepdims=True) * mixed - a)
        u *= scale
        terms = data.loss.conjugate(y, u)
        if data.offset is not None:
            terms = terms - np.einsum("ij,ij->i", u, data.offset[block.rows])
        return float(terms.sum() if weight is None else weight @ terms)

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
