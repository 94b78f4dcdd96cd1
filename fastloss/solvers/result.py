"""What a solver returns, and the record it keeps on the way."""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastloss._arrays import as_real_array
from fastloss._checks import check_number
from fastloss.objective import LinearObjective

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

MOST_FREE = 200  # coefficients that are fitted before the others
RECORDED = "iteration", "time", "objective", "duality_gap", "support"
REACHED = "the duality gap reached the tolerance"  # why a run ends
ROUNDED = "rounding keeps the objective from falling further"
STALLED = 5  # steps in vain, which end a run of Newton's method


class ConvergenceWarning(UserWarning):
    """A solver stopped before it reached the tolerance."""


class NonConvexWarning(UserWarning):
    """A loss is not convex: what a solver finds may not be the minimum."""


class Result:
    """The outcome of a run, under SciPy's names.

    Attributes
    ----------
    x : ndarray of shape (size,)
        The point: coefficients, then the intercept where there is one.
    fun : float
        The objective there, penalty included.
    nit : int
        Iterations done.
    success : bool
        Whether the tolerance was reached.
    message : str
        Why the run ended.
    duality_gap : float
        A bound on ``fun - minimum``; NaN where none is known.
    history : dict of str to ndarray
        One entry each time the stopping rule was looked at: ``"iteration"``, ``"time"`` (seconds since the start),
        ``"objective"``, ``"duality_gap"`` and ``"support"`` (coefficients that are not 0).
    """

    def __init__(self, **fields: Any) -> None:
        self.x: NDArray[np.float64] = fields["x"]
        self.fun: float = fields["fun"]
        self.nit: int = fields["nit"]
        self.success: bool = fields["success"]
        self.message: str = fields["message"]
        self.duality_gap: float = fields["duality_gap"]
        self._records: list[tuple[Any, ...]] = fields["records"]

    @property
    def history(self) -> dict[str, NDArray[Any]]:
        """The record of the run, as arrays that are made anew each time."""
        columns = zip(*self._records, strict=True)
        return {name: np.array(column) for name, column in zip(RECORDED, columns, strict=True)}

    def __repr__(self) -> str:
        return (
            f"Result(success={self.success}, message={self.message!r}, fun={self.fun:.10g}, "
            f"duality_gap={self.duality_gap:.3g}, nit={self.nit}, support={np.count_nonzero(self.x)} of {self.x.size})"
        )


class Minima(NamedTuple):
    """Models of a path that come at once: points of shape (k, size), and k of the rest."""

    points: NDArray[np.float64]
    objectives: NDArray[np.float64]
    gaps: NDArray[np.float64]
    steps: NDArray[np.intp]
    success: NDArray[np.bool_]

    @classmethod
    def one(cls, point: NDArray[np.float64], objective: float, gap: float, steps: int, success: bool) -> Minima:
        """A model that comes alone."""
        return cls(point[np.newaxis], *(np.array([x]) for x in (objective, gap, steps, success)))

    @classmethod
    def joined(cls, several: Sequence[Minima]) -> Minima:
        """Those that came one after the other."""
        return cls(*(np.concatenate(parts) for parts in zip(*several, strict=True)))


def check_objective(obj: object) -> None:
    """Raise TypeError where `obj` is not an objective."""
    if not isinstance(obj, LinearObjective):
        raise TypeError(f"obj must be a LinearObjective, got {obj!r}")


def check_newton(obj: LinearObjective, solver: str) -> None:
    """Raise TypeError where Newton's method cannot handle the loss."""
    if not obj.loss.smooth:
        raise TypeError(
            f"{solver} needs a loss with a continuous gradient: SquaredError, Huber, Poisson, "
            f"BinaryCrossEntropy(from_logits=True) or CategoricalCrossEntropy(from_logits=True); got {obj.loss!r}. "
            "Huber comes near it."
        )
    if not obj.loss.has_curvature:
        raise TypeError(
            f"{solver} needs second derivatives or a bound on them, and {obj.loss!r} has none: give custom_loss a "
            "curvature, or use fista"
        )


def check_max_iter(max_iter: int | None, default: int) -> int:
    """``max_iter`` as a number; raises ValueError where it is none."""
    if max_iter is None:
        return default
    if isinstance(max_iter, bool) or not hasattr(max_iter, "__index__") or max_iter < 0:
        raise ValueError(f"max_iter must be an integer >= 0, got {max_iter!r}")
    return int(max_iter)


def newton_start(obj: LinearObjective, w0: ArrayLike | None) -> NDArray[np.float64]:
    """As `start_point`, unless that is worse than zeros: far away Newton's model says little of the loss.

    Instead of zeros, the best point at which only coefficients that cost nothing are not 0, where there are any.
    """
    x = start_point(obj, w0)
    if x.any() and obj.objective(x) < obj.loss_at_zero:
        return x
    return null_start(obj) if len(obj.costs.free) or obj.has_many_outputs else np.zeros(obj.size)


def null_start(obj: LinearObjective) -> NDArray[np.float64]:
    """The best point at which only what costs nothing is not 0; too many such coefficients are 0 as well."""
    free = obj.costs.free
    return obj.null_point(free if len(free) <= MOST_FREE else free[:0])


def residual_at_zero(obj: LinearObjective) -> float:
    """What the norm of a gradient is measured by where there is no duality gap; 1 where that is 0, or not needed."""
    if obj.has_duality_gap:
        return 1.0
    gradient = obj.loss_and_gradient(np.zeros(obj.size))[1]
    force = -obj.coefficients(gradient).ravel()
    return obj.costs.residual(np.zeros_like(force), force) or 1.0


def start_point(obj: LinearObjective, w0: ArrayLike | None) -> NDArray[np.float64]:
    """Where a solver starts: a copy of ``w0``, with 0 for what must not be negative but is; or zeros."""
    if w0 is None:
        return np.zeros(obj.size)
    x = as_real_array(w0, "w0").astype(np.float64)
    if x.shape != (obj.size,) or not np.isfinite(x).all():
        raise ValueError(f"w0 must hold {obj.size} finite numbers, got shape {x.shape}")
    W = x.reshape(obj.n_outputs, -1)[:, : obj.n_features]
    W[:] = obj.costs.project(W.ravel()).reshape(W.shape)
    return x


class Monitor:
    """Keeps a run's record, prints its progress, calls the user back and decides when it may stop."""

    def __init__(
        self,
        obj: LinearObjective,
        solver: str,
        tol: float,
        callback: Callable[[Result], object] | None = None,
        verbose: bool = False,
    ) -> None:
        tol = check_number("tol", tol, 0, math.inf, "[)")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, got {callback!r}")
        self.obj, self.solver, self.callback, self.verbose = obj, solver, callback, verbose
        self.start = time.perf_counter()
        self.threshold = tol * obj.gap_unit if obj.has_duality_gap else tol
        self.records: list[tuple[int, float, float, float, int]] = []
        self.message = ""
        self.lowest = self.least_gap = self.steepest = math.inf
        self.stalled = 0  # looks since any of them last fell
        if verbose:
            print(f"{solver}: {obj.n_samples} samples, {obj.n_features} features; gap wanted {self.threshold:.3g}")
            print(f"{'iteration':>9} {'seconds':>9} {'objective':>16} {'gap':>10} {'support':>8}")

    def look(
        self,
        x: NDArray[np.float64],
        iteration: int,
        stationarity: float,
        fun: float | None = None,
        gap: float | None = None,
    ) -> bool:
        """Record the point; whether the run is over. `stationarity` decides where there is no duality gap.

        A solver that knows objective and gap already hands them in; an infinite gap is one that it has yet to find.
        """
        if fun is None:
            fun = self.obj.objective(x)
        known = self.obj.has_duality_gap
        if gap is None:
            gap = self.obj.duality_gap(x) if known else float("nan")
        support = int(np.count_nonzero(self.obj.coefficients(x)))
        self.records.append((iteration, time.perf_counter() - self.start, fun, gap, support))
        if self.verbose:
            print(f"{iteration:>9} {self.records[-1][1]:>9.3f} {fun:>16.10g} {gap:>10.3g} {support:>8}", flush=True)
        reached = (gap if known else stationarity) <= self.threshold
        if reached:
            self.message = REACHED if known else "the gradient reached the tolerance"
        elif not math.isfinite(fun) or math.isnan(stationarity) or (known and math.isnan(gap)):
            self.message = "the objective is not finite"
        # A gap is of first order in what is missing, an objective of second: it may stand still while others fall.
        falls = fun < self.lowest or gap < self.least_gap or stationarity < 0.9 * self.steepest
        self.stalled = 0 if falls else self.stalled + 1
        self.lowest, self.least_gap = min(self.lowest, fun), min(self.least_gap, gap)
        self.steepest = min(self.steepest, stationarity)
        if self.callback is not None:
            try:
                self.callback(self.result(x, iteration, reached))
            except StopIteration:
                self.message = self.message or "the callback asked to stop"
        return bool(self.message)

    def result(self, x: NDArray[np.float64], iteration: int, success: bool) -> Result:
        """The record so far as a `Result`."""
        return Result(
            x=x.copy(),
            fun=self.records[-1][2],
            nit=iteration,
            success=success,
            message=self.message or "running",
            duality_gap=self.records[-1][3],
            records=self.records.copy(),
        )

    def conclude(self, x: NDArray[np.float64], iteration: int) -> bool:
        """The run is over; whether it reached the tolerance."""
        if self.records[-1][3] == math.inf and math.isfinite(self.records[-1][2]):
            self.records[-1] = (*self.records[-1][:3], gap := self.obj.duality_gap(x), self.records[-1][4])
            if gap <= self.threshold:
                self.message = REACHED
        self.message = self.message or f"stopped after {iteration} iterations, before the tolerance was reached"
        if self.verbose:
            print(f"{self.solver}: {self.message}")
        return "reached the tolerance" in self.message

    def minimum(self, x: NDArray[np.float64], iteration: int) -> Minima:
        """The outcome of a run that is one of a path."""
        success = self.conclude(x, iteration)
        return Minima.one(x.copy(), *self.records[-1][2:4], iteration, success)

    def finish(self, x: NDArray[np.float64], iteration: int, warn: bool = True) -> Result:
        """The final `Result`; with a warning, if wanted, where the tolerance was not reached."""
        success = self.conclude(x, iteration)
        result = self.result(x, iteration, success)
        if warn and not success:
            warnings.warn(
                f"{self.solver}: {result.message}; duality gap {result.duality_gap:.3g}, wanted {self.threshold:.3g}. "
                "Raise max_iter or tol, or scale the columns of X.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return result
