"""FISTA: proximal gradient with Nesterov's momentum. The plain, general solver."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastloss.solvers.result import Monitor, Result, check_max_iter, check_objective, start_point

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from fastloss.objective import LinearObjective

LOOK_EVERY = 10  # a look at the gap costs two passes over X, an iteration about as many


def fista(
    obj: LinearObjective,
    w0: ArrayLike | None = None,
    *,
    tol: float = 1e-6,
    max_iter: int | None = None,
    callback: Callable[[Result], object] | None = None,
    verbose: bool = False,
    accelerated: bool = True,
) -> Result:
    """Minimise by proximal gradient steps, with a backtracking line search.

    Parameters
    ----------
    obj, w0, tol, max_iter, callback, verbose
        As for `fastloss.minimize`; ``max_iter`` is 10,000 by default.
    accelerated : bool
        Nesterov's momentum, restarted whenever it points uphill; without it this is ISTA.

    Returns
    -------
    Result

    Raises
    ------
    TypeError
        If the loss is not differentiable everywhere.

    References
    ----------
    A. Beck and M. Teboulle (2009), "A fast iterative shrinkage-thresholding algorithm for linear inverse problems",
    SIAM J. Imaging Sciences 2(1). B. O'Donoghue and E. Candes (2015), "Adaptive restart for accelerated gradient
    schemes", Foundations of Computational Mathematics 15: the gradient scheme.
    """
    check_objective(obj)
    if not obj.loss.smooth:
        raise TypeError(
            f"fista needs a loss with a continuous gradient, such as SquaredError, Huber or "
            f"BinaryCrossEntropy(from_logits=True); {obj.loss!r} has none"
        )
    max_iter = check_max_iter(max_iter, 10_000)
    x = start_point(obj, w0)
    monitor = Monitor(obj, "fista" if accelerated else "ista", tol, callback, verbose)
    at, momentum = x, 1.0
    curvature = 1.0
    norm = first_norm = 0.0
    iteration = 0
    if not monitor.look(x, 0, math.inf):
        while iteration < max_iter:
            iteration += 1
            value, gradient = obj.value_and_grad(at)
            # Rounding of the two values must not look like a missing decrease.
            slack = 16 * np.finfo(obj.X.dtype).eps * abs(value)
            while True:
                new = obj.prox(at - gradient / curvature, 1 / curvature)
                step = new - at
                bound = value + gradient @ step + 0.5 * curvature * (step @ step) + slack
                if obj.value(new) <= bound or curvature > 1e300:
                    break
                curvature *= 2
            norm = curvature * math.sqrt(step @ step)
            first_norm = first_norm or norm or 1.0  # 0 at the minimum
            if accelerated and step @ (new - x) >= 0:
                previous, momentum = momentum, 0.5 * (1 + math.sqrt(1 + 4 * momentum * momentum))
                at = new + (previous - 1) / momentum * (new - x)
            else:
                at, momentum = new, 1.0
            x = new
            curvature *= 0.9  # the line search may find longer steps again
            if (iteration % LOOK_EVERY == 0 or norm == 0) and monitor.look(x, iteration, norm / first_norm):
                break
        else:
            if iteration % LOOK_EVERY:
                monitor.look(x, iteration, norm / first_norm)
    return monitor.finish(x, iteration)
