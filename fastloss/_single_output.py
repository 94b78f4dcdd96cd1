"""A linear model with one output a sample, over the fused pass: what `LinearObjective` asks of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastloss._linear import Design
    from fastloss.losses import Loss


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
        # One cheap call checks labels, weights and n_threads, all with the messages of the losses.
        loss(y, np.full_like(y, 0.5), sample_weight, reduction="sum", n_threads=n_threads)
        #: What the mean divides by.
        self.total = float(len(y)) if sample_weight is None else float(sample_weight.sum(dtype=np.float64))

    def evaluate(self, W: NDArray[Any], b: NDArray[Any], gradient: bool) -> tuple[float, NDArray[Any] | None]:
        """The sum of the losses at coefficients of shape (1, p) and intercepts (1,); its gradient, (1, p + 1)."""
        coefficients = np.ascontiguousarray(W[0], dtype=self.design.dtype)
        if not self.design.by_rows:
            return self._evaluate_by_columns(coefficients, float(b[0]), gradient)
        total, sums, status = self.design.loss_and_gradient(
            self.loss, self.y, self.sample_weight, self.offset, coefficients, float(b[0]), gradient, self.n_threads
        )
        if status:
            raise ValueError(self._outside())
        return total, None if sums is None else sums[np.newaxis]

    def _evaluate_by_columns(
        self, coefficients: NDArray[Any], intercept: float, gradient: bool
    ) -> tuple[float, NDArray[Any] | None]:
        z = self.predict(coefficients, intercept)
        options: dict[str, Any] = {"reduction": "sum", "n_threads": self.n_threads}
        try:
            if not gradient:
                return self.loss(self.y, z, self.sample_weight, **options), None
            total, r = self.loss.value_and_grad(self.y, z, self.sample_weight, out=z, **options)
        except ValueError:  # labels and weights have been checked
            raise ValueError(self._outside()) from None
        sums = self.design.transposed_product(r, self.sample_weight, self.n_threads)
        return total, np.append(sums, r.sum(dtype=np.float64))[np.newaxis]

    def _outside(self) -> str:
        return (
            f"the predictions X @ w leave what {self.loss!r} takes, {self.loss.prediction_domain}; "
            "a linear model wants a loss of any real number, such as BinaryCrossEntropy(from_logits=True)"
        )

    def predict(self, coefficients: NDArray[Any], intercept: float) -> NDArray[Any]:
        """The predictions X w + b + offset, of X's dtype."""
        z = np.empty_like(self.y)
        w = np.ascontiguousarray(coefficients, dtype=self.design.dtype)
        self.design.predict(w, intercept, self.offset, z, self.n_threads)
        return z

    def dual_point(
        self, W: NDArray[Any], b: NDArray[Any], balanced: bool
    ) -> tuple[NDArray[Any], Callable[[float], float]]:
        """X' u, shape (1, p), of the samples' gradients u at a point, and the conjugate part of the dual objective.

        The latter is the sum of s_i conjugate_i(c u_i / s_i) - c u_i offset_i, for weights s and a scale c in [0, 1].
        `balanced`: u sums to 0, as a free intercept wants.
        """
        z = self.predict(W[0], float(b[0]))
        _, weighted = self.loss.value_and_grad(
            self.y, z, self.sample_weight, reduction="none", n_threads=self.n_threads
        )
        u = weighted.astype(np.float64)
        if balanced:
            u = _balance(u)
        correlation = self.design.transposed_product(
            np.ascontiguousarray(u, dtype=self.y.dtype), self.sample_weight, self.n_threads
        )

        def conjugate(scale: float) -> float:
            y, scaled = self.y.astype(np.float64), scale * u
            if self.sample_weight is None:
                total = float(self.loss.conjugate(y, scaled).sum())
            else:
                used = self.sample_weight > 0
                s = self.sample_weight[used].astype(np.float64)
                total = float(s @ self.loss.conjugate(y[used], scaled[used] / s))
            return total if self.offset is None else total - float(scaled @ self.offset.astype(np.float64))

        return correlation[np.newaxis], conjugate

    def best_intercepts(self) -> NDArray[Any]:
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
        return np.array([b])


def _balance(u: NDArray[Any]) -> NDArray[Any]:
    """Shrink the numbers of one sign so that the sum is 0; shrinking keeps them in the conjugate's domain."""
    up, down = float(np.maximum(u, 0).sum()), float(np.maximum(-u, 0).sum())
    if up == 0 or down == 0:
        return np.zeros_like(u)
    return u * np.where(u > 0, min(1.0, down / up), min(1.0, up / down))
