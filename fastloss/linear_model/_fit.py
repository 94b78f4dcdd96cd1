"""What the estimators share: data as the solvers take them, tolerances, warnings."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastloss._runtime import get_num_threads
from fastloss.solvers._runs import start_run
from fastloss.solvers.result import ROUNDED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss.objective import LinearObjective
    from fastloss.solvers import Result

# A gap is a bound on what the objective lacks, and scikit-learn's solvers end far below theirs: at this part of a
# tolerance we do as well as they, for a step or two more.
TIGHTER = 1e-6
# Without an L1 part the gap is about the square of the gradient over the ridge, far above what is missing; the more so
# the more samples there are.
TIGHTER_SMOOTH, TIGHTER_SMOOTH_FEW = 3.0, 0.3
FEW = 1 << 20  # numbers of X: up to so many the second of them
SMALL_PATH = 1e-9  # the tolerance of paths on so few numbers
SMALL, TINY = 1 << 14, 1e-15  # numbers of X for which the last digits cost next to nothing, and the tolerance then
LEAST = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-6}  # tolerances that rounding lets a solver reach


def check_data(estimator: Any, X: Any, y: Any, sample_weight: Any, **options: Any) -> tuple[Any, Any, Any]:
    """X, y and weights as the solvers take them: X is not copied if its layout and dtype suit.

    Raises
    ------
    ValueError, TypeError
        As scikit-learn does.
    """
    X, y = validate_data(estimator, X, y, accept_sparse=("csr", "csc"), dtype=[np.float64, np.float32], **options)
    if isinstance(X, np.ndarray) and X.size and not any(stride == X.itemsize for stride in X.strides):
        X = np.ascontiguousarray(X)
    if sample_weight is not None and not np.isscalar(sample_weight):
        sample_weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        if not sample_weight.any():
            raise ValueError("sample_weight must have a positive sum, got all zeros")
    else:
        sample_weight = None
    return X, y, sample_weight


def tolerance(tol: float, X: Any, smooth: bool = False) -> float:
    """The gap, relative to the loss at 0, that stands for scikit-learn's `tol`."""
    if X.shape[0] * X.shape[1] <= SMALL and X.dtype == np.float64:
        return TINY
    tighter = TIGHTER
    if smooth:
        tighter = TIGHTER_SMOOTH if X.shape[0] * X.shape[1] > FEW else TIGHTER_SMOOTH_FEW
    return max(tol * tighter, LEAST[np.dtype(X.dtype)])


def path_tolerance(tol: float, X: Any, tighter: float) -> float:
    """The same for models that only choose."""
    return max(SMALL_PATH if X.shape[0] * X.shape[1] <= SMALL else tol * tighter, LEAST[np.dtype(X.dtype)])


def share_threads(n_jobs: int | None) -> tuple[int, int]:
    """How many folds to fit at once, and with how many threads each; by default as many as there are threads."""
    threads = get_num_threads()
    jobs = threads if n_jobs is None else effective_n_jobs(n_jobs)
    return jobs, max(1, threads // jobs)


def fit(
    objective: LinearObjective,
    tol: float,
    max_iter: int | None,
    w0: NDArray[np.float64] | None = None,
    *,
    verbose: bool = False,
    warn: bool = True,
) -> Result:
    """Minimise; with scikit-learn's warning where not even `tol` itself was reached."""
    wanted = tolerance(tol, objective.X, smooth=objective.has_many_outputs and not objective.penalty.l1)
    result = start_run(objective, "auto", wanted, max_iter, w0, verbose=verbose)(objective)
    rounded = result.message == ROUNDED and objective.X.dtype == np.float32  # nothing would help
    if warn and not result.success and not rounded:
        warn_unless_converged(result.duality_gap, tol * objective.gap_unit, result.message)
    return result


def warn_unless_converged(gap: float, threshold: float, reason: str) -> None:
    """Warn of a gap above the user's own tolerance."""
    if not gap <= threshold:
        warnings.warn(
            f"The solver ended early: {reason}. Duality gap {gap:.3g}, wanted {threshold:.3g}. "
            "Increase max_iter or tol, or scale the features.",
            ConvergenceWarning,
            stacklevel=4,
        )
