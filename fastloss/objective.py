"""Objectives: mean loss of a linear model plus a penalty, with everything a solver asks."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastloss._checks import check_number
from fastloss._costs import Costs
from fastloss._design import column_scales
from fastloss._linear_loss import LinearLoss
from fastloss._single_output import SingleOutput
from fastloss.penalties import L1, ElasticNet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastloss._linear_loss import Point
    from fastloss.losses import Loss

__all__ = ["LinearObjective"]


class Balance(NamedTuple):
    """Second derivatives of the samples at some point, their sum, and X' of them."""

    second: NDArray[np.float64]
    total: float
    slope: NDArray[np.float64]


class LinearObjective(LinearLoss):
    r"""Mean loss of the linear model X w + b, plus a penalty on w; X is read once for value and gradient.

    With sample weights s and the penalty's weights v (1 by default) the objective is

        J(w, b) = sum_i s_i loss(y_i, x_i' w + b + offset_i) / sum_i s_i + sum_j v_j (l1 abs(w_j) + l2 w_j^2),

    its smooth part all but the l1 term. A point is one flat vector: the coefficients, then the intercept where there is
    one; the intercept is never penalised. With K classes it is a matrix of shape (K, p + 1), raveled, a row
    (coefficients, intercept) for each class; then the loss sees the logits X W' + b in blocks, and their n x K matrix
    never exists.

    Parameters
    ----------
    X : ndarray, memmap, or SciPy CSR or CSC matrix or array, of shape (n, p)
        float32 or float64. Dense: with contiguous rows (C order) or columns (Fortran order), which may be apart, as in
        a slice; of PyTorch or JAX, on the CPU, too. Compressed: with indices of int32 or int64. Never copied as a
        whole: do not change it while the objective is in use. With K classes it goes by blocks of rows; those of CSC
        are copied, so CSR is faster. Sums over samples are taken in float64 for both; with K classes and a dense X,
        those within a block in its dtype.
    y : array_like of shape (n,), or (n, K)
        Labels; for K classes their indices or probabilities. K is the number of columns of ``y`` or ``offset``, or of
        entries of the loss's ``class_weight``; without any of these, the largest index plus 1.
    loss : Loss
        Any that takes all real numbers, such as ``BinaryCrossEntropy(from_logits=True)`` or
        ``CategoricalCrossEntropy(from_logits=True)``.
    penalty : L1, L2, ElasticNet or None
        None is no penalty.
    sample_weight : array_like of shape (n,), optional
        Finite and >= 0, with a positive sum.
    fit_intercept : bool
        Whether there is an intercept.
    offset : array_like of shape (n,), or (n, K), optional
        Added to the model's predictions.
    standardize : bool
        Whether the penalty is on the coefficients of features that are scaled to variance 1 (and centred, where there
        is an intercept, which takes care of that): coefficient j counts in it times the standard deviation of its
        feature, weighted as the samples are. X stays as it is, so a sparse one stays sparse, and coefficients are those
        of X. A feature that is constant is not scaled.
    n_outputs : int, optional
        K, where it is not what ``y`` says; for a loss of many outputs only.
    n_threads : int, optional
        As for the losses: results do not depend on it, to the last bit. Products of a dense X with K classes are left
        to NumPy's BLAS, with its own number of threads, unless the CPU has AVX2 and all rows count.

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
        standardize: bool = False,
        n_outputs: int | None = None,
        n_threads: int | None = None,
    ) -> None:
        if penalty is None:
            penalty = L1(0.0)
        elif not isinstance(penalty, ElasticNet):
            raise TypeError(f"penalty must be an L1, L2, ElasticNet or None, got {penalty!r}")
        if not isinstance(standardize, bool | np.bool_):
            raise TypeError(f"standardize must be True or False, got {standardize!r}")
        super().__init__(X, y, loss, sample_weight, fit_intercept, offset, n_outputs, n_threads)
        penalty.costs(self.n_features)
        self.penalty, self.standardize = penalty, bool(standardize)
        #: Standard deviations of the features where these are standardised, else None.
        self.scales = column_scales(self.X, self._row_weights()) if standardize else None

    def value(self, w: ArrayLike) -> float:
        """The smooth part at the point ``w`` of shape (size,): mean loss and L2 term."""
        _, W, b = self._split(w)
        total, _ = self._outputs.evaluate(W, b, False)
        return total / self._outputs.total + self._ridge(W)

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
        _, W, b = self._split(w)
        total, sums = self._outputs.evaluate(W, b, True)
        assert sums is not None
        sums /= self._outputs.total
        value = total / self._outputs.total
        if self.penalty.l2:
            value += self._ridge(W)
            sums[:, : self.n_features] += 2 * self.costs.ridge.reshape(W.shape) * W
        gradient = (sums if self.fit_intercept else sums[:, : self.n_features]).reshape(-1)
        if out is None:
            return value, gradient
        out[:] = gradient
        return value, out

    def hessp(self, w: ArrayLike, direction: ArrayLike) -> NDArray[np.float64]:
        """The product of the smooth part's second derivatives with a vector: ``hessp`` of `scipy.optimize.minimize`.

        Parameters
        ----------
        w : array_like of shape (size,)
            The point.
        direction : array_like of shape (size,)
            The vector.

        Returns
        -------
        ndarray of shape (size,), float64
            Three passes over X: predictions, their change along ``direction``, and what becomes of the gradient.

        Raises
        ------
        TypeError
            If the loss has no second derivative.
        ValueError
            If ``w`` or ``direction`` does not fit.
        """
        _, W, b = self._split(w)
        _, V, c = self._split(direction)
        change = self._outputs.curved_product(self._outputs.predict(W, b), V, c)
        product = self.correlate(change).reshape(self.n_outputs, -1)
        if self.penalty.l2:
            product = product + 2 * self.costs.ridge.reshape(V.shape) * V
        if self.fit_intercept:
            product = np.column_stack([product, change.reshape(len(change), -1).sum(axis=0)])
        return product.ravel()

    def objective(self, w: ArrayLike) -> float:
        """The whole objective, with all of the penalty; infinite where a coefficient must not be negative but is."""
        point, W, _ = self._split(w)
        return self.value(point) - self._ridge(W) + self.costs.value(W.ravel())

    def prox(self, w: ArrayLike, step: float) -> NDArray[Any]:
        """Proximal operator of the part that is not smooth: soft-threshold the coefficients at ``step * l1 * weights``.

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
        W = result.reshape(self.n_outputs, -1)[:, : self.n_features]
        W[:] = self.costs.without_ridge().prox(W.ravel(), step).reshape(W.shape)
        return result

    def _ridge(self, W: NDArray[Any]) -> float:
        c = W.ravel()
        return float(self.costs.ridge @ (c * c)) if self.penalty.l2 else 0.0

    @cached_property
    def has_duality_gap(self) -> bool:
        """Whether `duality_gap` is known.

        It is for a penalty that is not 0 and a loss whose conjugate is written down, unless a coefficient costs nothing
        at one side of 0 only, or one of several outputs nothing at all.
        """
        known = self.has_penalty and self.loss.has_conjugate and not self.costs.one_sided
        return known and not (self.has_many_outputs and len(self.costs.free))

    @cached_property
    def has_penalty(self) -> bool:
        """Whether any coefficient costs anything."""
        return len(self.costs.free) < len(self.costs)

    def duality_gap(self, w: ArrayLike) -> float:
        """A bound on how far a point's objective is above the minimum.

        Parameters
        ----------
        w : array_like of shape (size,)
            The point.

        Returns
        -------
        float
            The difference to a dual point made from the gradients of the samples at ``w``: with an intercept about as
            Newton's step for it would change them, then scaled as far as the penalty asks for. Never negative beyond
            rounding, and 0 at the minimum.

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
        if not self.has_penalty:
            raise ValueError("penalty must not be 0 for a duality gap: without one no bound is known")
        if self.costs.one_sided:
            raise ValueError("penalty must cost every coefficient that must be positive something for a duality gap")
        if self.has_many_outputs and len(self.costs.free):
            raise ValueError("penalty must have weights > 0 for a duality gap of several outputs")
        _, W, b = self._split(w)
        if not self.loss.has_conjugate:
            self.loss.conjugate(np.zeros(1), np.zeros(1))  # says so
        if isinstance(self._outputs, SingleOutput):
            return self._gap_of(W[0], self._outputs.predict(W, b))
        correlation, conjugate = self._outputs.dual_point(W, b, self.fit_intercept)
        total, c = self._outputs.total, W.ravel()
        force = -correlation.ravel() / total
        scale, gap = self.costs.gap(c, force)
        loss, _ = self._outputs.evaluate(W, b, False)
        return (loss + conjugate(scale)) / total + gap + scale * float(force @ c)

    def gap_of(self, point: Point) -> float:
        """The duality gap, where a pass has been there."""
        if point.z is None:
            return self.duality_gap(point.x)
        w, z = self.coefficients(point.x).ravel(), point.z.astype(np.float64, copy=False)
        if self.fit_intercept or len(self.costs.free):
            return self._gap_of(w, z)
        assert isinstance(self._outputs, SingleOutput)
        force = -self.coefficients(point.gradient).ravel()
        loss, first = self._outputs.slopes(z)
        return self.gap_at(loss + self.costs.value(w), first, force)

    def balance_at(self, z: NDArray[Any]) -> Balance:
        """What balances the first derivatives of points nearby: one pass over X."""
        second = self.derivatives(z.astype(np.float64, copy=False))[2]
        return Balance(second, float(second.sum()), self.correlate(second))

    def gap_by(self, point: Point, balance: Balance) -> float:
        """The duality gap without a pass over X; infinite where it takes one.

        Of the second derivatives at another point so much is taken from the first ones here that these sum to 0: about
        what Newton's step for the intercept would do.
        """
        assert isinstance(self._outputs, SingleOutput)
        if point.z is None:
            return math.inf
        z = point.z.astype(np.float64, copy=False)
        loss, first = self._outputs.slopes(z)
        found = self._outputs.less_of(balance.second, balance.total, first)
        if found is None:
            return math.inf
        first, share = found
        slope = self.coefficients(point.gradient).ravel() - share * balance.slope
        return self.gap_at(loss + self.costs.value(self.coefficients(point.x).ravel()), first, -slope)

    def _gap_of(self, w: NDArray[np.float64], z: NDArray[np.float64]) -> float:
        """The duality gap at predictions z."""
        loss, first, second = self.derivatives(z)
        first = self.feasible(first, second)
        return self.gap_at(loss + self.costs.value(w), first, -self.correlate(first))

    @property
    def gap_unit(self) -> float:
        """What a tolerance of duality gaps is a part of: the loss at 0.

        Where that is not positive, as it may be with an offset in a Poisson model, how far it is above the least loss.
        """
        loss = self.loss_at_zero
        return loss if loss > 0 else loss - self.least_loss

    def with_penalty(self, penalty: ElasticNet) -> LinearObjective:
        """The same loss on the same data with another penalty; nothing is copied or checked again."""
        other = object.__new__(type(self))  # a third of the time of `copy`, for each model of a path
        other.__dict__.update(self.__dict__)
        other.penalty = penalty
        for name in ("costs", "point_costs", "has_penalty", "has_duality_gap"):  # of the penalty
            other.__dict__.pop(name, None)
        return other

    def gentler(self, z: NDArray[np.float64]) -> list[LinearObjective]:
        """Objectives on the way to this one from predictions z where its loss is about linear; see the losses."""
        outputs, result = self._outputs, []
        if not isinstance(outputs, SingleOutput):
            return []
        for loss, times in self.loss._gentler(outputs._labels, z):
            other = self.with_penalty(self.penalty.with_strengths(times * self.penalty.l1, times * self.penalty.l2))
            other.loss, other._outputs = loss, outputs.with_loss(loss)
            other.__dict__.pop("loss_at_zero", None)
            other.__dict__.pop("has_duality_gap", None)
            result.append(other)
        return result

    @cached_property
    def costs(self) -> Costs:
        """What each coefficient costs, class after class."""
        return self.costs_of(self.penalty)

    def balanced(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """A point, or a step, without what changes nothing: with several outputs the mean of what costs nothing."""
        if not self.has_many_outputs:
            return x
        result = x.copy().reshape(self.n_outputs, -1)
        free = self.costs.free[self.costs.free < self.n_features]
        if self.fit_intercept:
            free = np.append(free, self.n_features)
        result[:, free] -= result[:, free].mean(axis=0)
        return result.ravel()

    @cached_property
    def point_costs(self) -> Costs:
        """What each coordinate of a point costs: the intercepts, where there are any, nothing."""
        if not self.fit_intercept:
            return self.costs
        shape, free = (self.n_outputs, self.n_features), np.zeros((self.n_outputs, 1))
        parts = (self.costs.up, self.costs.down, self.costs.ridge)
        return Costs(*(np.column_stack([part.reshape(shape), free]).ravel() for part in parts))

    def costs_of(self, penalty: ElasticNet) -> Costs:
        """What each coefficient costs under a penalty, class after class."""
        costs = penalty.costs(self.n_features)
        if self.scales is not None:
            costs = costs.scaled(self.scales)
        return costs.repeated(self.n_outputs)

    def feasible(self, first: NDArray[np.float64], second: Any) -> NDArray[np.float64]:
        """First derivatives, changed by as little as makes them balance what costs nothing: see `duality_gap`.

        With several outputs they balance the intercepts alone.
        """
        return self._outputs.feasible(first, second, self.costs.free, self.fit_intercept)

    def gap_at(self, fun: float, first: NDArray[np.float64], force: NDArray[np.float64]) -> float:
        """The duality gap where all parts are known: the objective, the first derivatives, -X' of them."""
        if not self.has_duality_gap:
            return math.inf
        scale, conjugate = self.costs.conjugate(force)
        total = self._outputs.total
        return fun + self._outputs.conjugate(first, scale * total) / total + conjugate

    def null_point(self, free: NDArray[np.intp]) -> NDArray[np.float64]:
        """The best point where all features but the free ones have coefficient 0; of several outputs, these as well."""
        point = np.zeros(self.size)
        if not isinstance(self._outputs, SingleOutput):
            if self.fit_intercept:
                point.reshape(self.n_outputs, -1)[:, -1] = self._outputs.best_intercepts()
            return point
        point[free], b = self._outputs.null_point(free, self.fit_intercept)
        if self.fit_intercept:
            point[-1] = b
        return point

    def lambda_max(self) -> float:
        """The smallest l1 strength at which all coefficients are 0 (with the best intercept): the start of a path.

        Coefficients of weight 0 are at their best as well; with several outputs they are 0, and this is a bound.
        """
        outputs = self._outputs
        unit = self.costs_of(self.penalty.with_strengths(1.0, 0.0))
        free = np.flatnonzero(unit.up == 0)
        if isinstance(outputs, SingleOutput):
            if self.penalty.positive and len(free):
                raise ValueError("penalty must have weights > 0 where coefficients must be positive for lambda_max")
            null = self.null_point(free)
            force = -self.correlate(self.derivatives(self.predict(null))[1])
        else:
            intercepts = outputs.best_intercepts() if self.fit_intercept else np.zeros(self.n_outputs)
            _, sums = outputs.evaluate(np.zeros((self.n_outputs, self.n_features)), intercepts, True)
            assert sums is not None
            force = -sums[:, : self.n_features].ravel() / outputs.total
        force[free] = 0
        up, down = np.maximum(force, 0), np.maximum(-force, 0)
        used = unit.up > 0
        return float(np.maximum(up[used] / unit.up[used], down[used] / unit.down[used]).max(initial=0.0))
