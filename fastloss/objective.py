"""Objectives: mean loss of a linear model plus a penalty, with everything a solver asks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._arrays import as_real_array
from fastloss._checks import check_number
from fastloss._linear import DenseRows
from fastloss.losses import Loss
from fastloss.penalties import L1, ElasticNet, soft_threshold

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["LinearObjective"]


class LinearObjective:
    r"""Mean loss of the linear model X w + b, plus a penalty on w; X is read once for value and gradient.

    With weights s (1 by default) the objective is

        J(w, b) = sum_i s_i loss(y_i, x_i' w + b + offset_i) / sum_i s_i + l1 sum_j abs(w_j) + l2 sum_j w_j^2,

    its smooth part all but the l1 term. A point is one flat vector: the coefficients, then the intercept where there is
    one; the intercept is never penalised.

    Parameters
    ----------
    X : ndarray or memmap of shape (n, p)
        float32 or float64 with contiguous rows (C order); rows may be apart, as in a slice. Never copied: do not change
        it while the objective is in use. Sums over samples are taken in float64 for both.
    y : array_like of shape (n,)
        Labels.
    loss : Loss
        One with a single output a sample, such as ``BinaryCrossEntropy(from_logits=True)``.
    penalty : L1, L2, ElasticNet or None
        None is no penalty.
    sample_weight : array_like of shape (n,), optional
        Finite and >= 0, with a positive sum.
    fit_intercept : bool
        Whether there is an intercept.
    offset : array_like of shape (n,), optional
        Added to the model's predictions.
    n_threads : int, optional
        As for the losses: results do not depend on it, to the last bit.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it may be; the message names it.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> X, y = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 0.0]]), [0, 1, 1]
    >>> objective = fl.LinearObjective(X, y, fl.BinaryCrossEntropy(from_logits=True), fl.L1(0.01))
    >>> value, gradient = objective.value_and_grad(np.zeros(3))
    >>> round(value, 6), gradient.shape
    (0.693147, (3,))
    """

    def __init__(
        self,
        X: NDArray[Any],
        y: ArrayLike,
        loss: Loss,
        penalty: ElasticNet | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        fit_intercept: bool = True,
        offset: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> None:
        if not isinstance(X, np.ndarray) or isinstance(X, np.ma.MaskedArray):
            raise TypeError(f"X must be a numpy array without a mask, got {type(X).__name__}")
        if X.ndim != 2 or X.shape[0] == 0 or X.shape[1] == 0:
            raise ValueError(f"X must be of shape (n, p) with n, p >= 1, got shape {X.shape}")
        if not isinstance(loss, Loss):
            raise TypeError(f"loss must be a fastloss loss, such as SquaredError(), got {loss!r}")
        if penalty is None:
            penalty = L1(0.0)
        elif not isinstance(penalty, ElasticNet):
            raise TypeError(f"penalty must be an L1, L2, ElasticNet or None, got {penalty!r}")
        if not isinstance(fit_intercept, bool | np.bool_):
            raise TypeError(f"fit_intercept must be True or False, got {fit_intercept!r}")
        self.X, self.loss, self.penalty = X, loss, penalty
        self.fit_intercept = bool(fit_intercept)
        self.n_threads = n_threads
        self._design = DenseRows(np.asarray(X))
        self.n_samples, self.n_features = self._design.shape
        #: Length of a point: the coefficients, and the intercept where there is one.
        self.size = self.n_features + self.fit_intercept
        self.y = self._vector(y, "y")
        self.sample_weight = None if sample_weight is None else self._vector(sample_weight, "sample_weight")
        self.offset = None if offset is None else self._vector(offset, "offset")
        if self.offset is not None and not np.isfinite(self.offset).all():
            raise ValueError("offset must hold finite numbers")
        # One cheap call checks labels, weights and n_threads, all with the messages of the losses.
        try:
            loss(self.y, np.full_like(self.y, 0.5), self.sample_weight, reduction="sum", n_threads=n_threads)
        except ValueError as error:
            raise ValueError(str(error).replace("y_true", "y", 1)) from None
        self._total = (
            float(self.n_samples) if self.sample_weight is None else float(self.sample_weight.sum(dtype=np.float64))
        )
        if not self._total > 0:
            raise ValueError("sample_weight must have a positive sum, got 0")

    def _vector(self, x: ArrayLike, name: str) -> NDArray[Any]:
        """`x` as a contiguous vector of X's dtype with one entry a sample."""
        array = as_real_array(x, name)
        if array.shape != (self.n_samples,):
            raise ValueError(f"{name} must be of shape ({self.n_samples},), one entry a row of X; got {array.shape}")
        return np.ascontiguousarray(array, dtype=self._design.dtype)

    def _split(self, w: ArrayLike) -> tuple[NDArray[Any], NDArray[Any], float]:
        """A point as given (float64), its coefficients in X's dtype, its intercept."""
        point = as_real_array(w, "w")
        if point.shape != (self.size,):
            parts = f"{self.n_features} coefficients" + (" and the intercept" if self.fit_intercept else "")
            raise ValueError(f"w must be of shape ({self.size},), {parts}; got shape {point.shape}")
        point = np.ascontiguousarray(point, dtype=np.float64)
        coefficients = np.ascontiguousarray(point[: self.n_features], dtype=self._design.dtype)
        return point, coefficients, float(point[-1]) if self.fit_intercept else 0.0

    def _pass(self, w: ArrayLike, gradient: bool) -> tuple[NDArray[Any], float, NDArray[Any] | None]:
        """The point; mean loss, and its gradient with p + 1 entries if asked for."""
        point, coefficients, intercept = self._split(w)
        total, sums, status = self._design.loss_and_gradient(
            self.loss, self.y, self.sample_weight, self.offset, coefficients, intercept, gradient, self.n_threads
        )
        if status:
            raise ValueError(
                f"the predictions X @ w leave what {self.loss!r} takes, {self.loss.prediction_domain}; "
                "a linear model wants a loss of any real number, such as BinaryCrossEntropy(from_logits=True)"
            )
        if sums is not None:
            sums /= self._total
        return point, total / self._total, sums

    def value(self, w: ArrayLike) -> float:
        """The smooth part at the point ``w`` of shape (size,): mean loss and L2 term."""
        point, mean, _ = self._pass(w, False)
        coefficients = point[: self.n_features]
        return mean + self.penalty.l2 * float(coefficients @ coefficients)

    def value_and_grad(self, w: ArrayLike, out: NDArray[Any] | None = None) -> tuple[float, NDArray[Any]]:
        """The smooth part and its gradient, in one pass over X.

        Parameters
        ----------
        w : array_like of shape (size,)
            Coefficients, then the intercept where there is one.
        out : ndarray of shape (size,) and dtype float64, optional
            Takes the gradient.

        Returns
        -------
        value : float
        gradient : ndarray of shape (size,), float64
            ``out``, if given.

        Raises
        ------
        TypeError, ValueError
            If ``w`` or ``out`` does not fit, or predictions leave the domain of the loss.
        """
        if out is not None:
            if not isinstance(out, np.ndarray) or out.dtype != np.float64:
                kind = getattr(out, "dtype", type(out).__name__)
                raise TypeError(f"out must be an array of dtype float64, got {kind}")
            if out.shape != (self.size,) or not out.flags.writeable:
                raise ValueError(f"out must be writable and of shape ({self.size},), got shape {out.shape}")
        point, mean, sums = self._pass(w, True)
        assert sums is not None
        gradient = sums[: self.size]
        coefficients = point[: self.n_features]
        if self.penalty.l2:
            mean += self.penalty.l2 * float(coefficients @ coefficients)
            gradient[: self.n_features] += 2 * self.penalty.l2 * coefficients
        if out is None:
            return mean, gradient
        out[:] = gradient
        return mean, out

    def objective(self, w: ArrayLike) -> float:
        """The whole objective, the l1 term included."""
        point = self._split(w)[0]
        return self.value(point) + self.penalty.l1 * float(np.abs(point[: self.n_features]).sum())

    def prox(self, w: ArrayLike, step: float) -> NDArray[Any]:
        """Proximal operator of the part that is not smooth: soft-threshold the coefficients at ``step * l1``.

        Parameters
        ----------
        w : array_like of shape (size,)
            The point.
        step : float
            Step size, > 0.

        Returns
        -------
        ndarray of shape (size,), float64
            A new array; the intercept stays as it is.
        """
        step = check_number("step", step, 0, math.inf)
        result = self._split(w)[0].copy()
        coefficients = result[: self.n_features]
        soft_threshold(coefficients, step * self.penalty.l1, out=coefficients)
        return result

    @property
    def has_duality_gap(self) -> bool:
        """Whether `duality_gap` is known: for a penalty that is not 0 and a loss whose conjugate is written down."""
        return (self.penalty.l1 > 0 or self.penalty.l2 > 0) and type(self.loss).conjugate is not Loss.conjugate

    def duality_gap(self, w: ArrayLike) -> float:
        """A bound on how far a point's objective is above the minimum.

        Parameters
        ----------
        w : array_like of shape (size,)
            The point.

        Returns
        -------
        float
            The difference to a dual point made from the gradients of the samples at ``w``, made feasible by scaling;
            never negative beyond rounding, and 0 at the minimum.

        Raises
        ------
        TypeError
            If the conjugate of the loss is not known here.
        ValueError
            If there is no penalty: no bound is then known.

        Notes
        -----
        With u_i = s_i loss'(y_i, z_i) and S = sum(s), the dual objective is

            D(u) = sum_i [u_i offset_i - s_i conjugate_i(u_i / s_i)] / S - penalty_conjugate(-X' u / S),

        under sum(u) = 0 where there is an intercept, and abs(X' u) <= S l1 where l2 = 0. Fenchel (1949); Rockafellar,
        "Convex analysis", section 31.
        """
        l1, l2 = self.penalty.l1, self.penalty.l2
        if l1 == 0 and l2 == 0:
            raise ValueError("penalty must not be 0 for a duality gap: without one no bound is known")
        point, coefficients, intercept = self._split(w)
        z = np.empty_like(self.y)
        self._design.predict(coefficients, intercept, self.offset, z, self.n_threads)
        _, weighted = self.loss.value_and_grad(
            self.y, z, self.sample_weight, reduction="none", n_threads=self.n_threads
        )
        u = weighted.astype(np.float64)
        if self.fit_intercept:
            u = _balance(u)
        correlation = self._design.transposed_product(
            np.ascontiguousarray(u, dtype=self.y.dtype), self.sample_weight, self.n_threads
        )
        correlation /= self._total
        if l2 == 0:
            largest = float(np.abs(correlation).max())
            scale = 1.0 if largest <= l1 else l1 / largest
            penalty_conjugate = 0.0
        else:
            scale = 1.0
            excess = np.maximum(np.abs(correlation) - l1, 0.0)
            penalty_conjugate = float(excess @ excess) / (4 * l2)
        y, u = self.y.astype(np.float64), scale * u
        if self.sample_weight is None:
            total = float(self.loss.conjugate(y, u).sum())
        else:
            used = self.sample_weight > 0
            s = self.sample_weight[used].astype(np.float64)
            total = float(s @ self.loss.conjugate(y[used], u[used] / s))
        if self.offset is not None:
            total -= float(u @ self.offset.astype(np.float64))
        return self.objective(point) + total / self._total + penalty_conjugate

    def lambda_max(self) -> float:
        """The smallest l1 strength at which all coefficients are 0 (with the best intercept): the start of a path."""
        intercept = self._best_intercept() if self.fit_intercept else 0.0
        zero = np.zeros(self.size)
        if self.fit_intercept:
            zero[-1] = intercept
        _, _, gradient = self._pass(zero, True)
        assert gradient is not None
        return float(np.abs(gradient[: self.n_features]).max())

    def _best_intercept(self) -> float:
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


def _balance(u: NDArray[Any]) -> NDArray[Any]:
    """Shrink the numbers of one sign so that the sum is 0; shrinking keeps them in the conjugate's domain."""
    up, down = float(np.maximum(u, 0).sum()), float(np.maximum(-u, 0).sum())
    if up == 0 or down == 0:
        return np.zeros_like(u)
    return u * np.where(u > 0, min(1.0, down / up), min(1.0, up / down))
