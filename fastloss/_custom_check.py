"""Whether the derivatives of a user's loss are those of its value, and whether it is convex: by looking at samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastloss.custom import CustomLoss

LABELS = (0.0, 1.0, 0.5, 2.0, 3.0, -1.0)
PREDICTIONS = (-5.3, -2.1, -1.3, -1.0, -0.7, -0.2, 0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 1.0, 1.2, 1.7, 2.0, 2.4, 3.0, 5.7)
STEP = 1e-6
TOLERANCE = 1e-3  # coarse: it is for formulas that are wrong


def check_derivatives(loss: CustomLoss) -> bool | None:
    """Compare gradient and second derivative with finite differences; whether the loss looks convex.

    Labels for which the function raises, and what is not finite, are passed over.

    Returns
    -------
    bool or None
        None where nothing was finite.

    Raises
    ------
    ValueError
        If a derivative is wrong: neither that to the left nor that to the right of a point, nor between them.
    """
    with np.errstate(all="ignore"):
        return _check_rows(loss) if loss.many_outputs else _check_samples(loss)


def _check_samples(loss: CustomLoss) -> bool | None:
    z = np.array(PREDICTIONS)
    convex = None
    for label in LABELS:
        y = np.full_like(z, label)
        try:
            at, below, above = (_values(loss, y, x) for x in (z, z - STEP, z + STEP))
        except Exception:  # the function's own: the label is outside its domain
            continue
        _compare(loss, "gradient", label, z, at[1], (at[0] - below[0]) / STEP, (above[0] - at[0]) / STEP)
        if loss.has_hessian:
            _compare(loss, "hessian", label, z, at[2], (at[1] - below[1]) / STEP, (above[1] - at[1]) / STEP)
        slopes = at[1][np.isfinite(at[1])]
        if len(slopes) > 1:
            rises = bool((np.diff(slopes) >= -TOLERANCE * np.abs(slopes).max()).all())
            convex = rises if convex is None else convex and rises
    return convex


def _values(loss: CustomLoss, y: NDArray[Any], z: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    value, gradient = loss.value_and_grad(y, z, reduction="none", n_threads=1)
    if not loss.has_hessian:
        return value, gradient
    return value, gradient, loss.grad_and_hess(y, z, n_threads=1)[1]


def _compare(
    loss: CustomLoss,
    name: str,
    label: Any,
    z: NDArray[Any],
    given: NDArray[Any],
    left: NDArray[Any],
    right: NDArray[Any],
) -> None:
    slack = TOLERANCE * (1 + np.abs(given) + np.abs(left) + np.abs(right))
    known = np.isfinite(given) & np.isfinite(left) & np.isfinite(right)
    outside = (given < np.minimum(left, right) - slack) | (given > np.maximum(left, right) + slack)
    wrong = np.flatnonzero(known & outside)
    if len(wrong):
        i = wrong[0]
        raise ValueError(
            f"the {name} of the loss {loss!r} is {given[i]:.6g} at y = {label:g}, z = {z[i]:g}, but its finite "
            f"difference is {(left[i] + right[i]) / 2:.6g}; check=False leaves this check out"
        )


def _check_rows(loss: CustomLoss) -> bool | None:
    """The same for rows of three predictions, in the direction of each."""
    z = np.array([[0.3, -1.2, 0.8], [0.0, 0.0, 0.0], [2.1, 1.9, -0.4]])
    labels: list[Any] = [0.0, 1.0, 2.0]
    if loss._options["row_labels"]:
        labels = [np.array([0.2, 0.5, 0.3]), np.array([0.0, 1.0, 0.0]), np.array([1.0, -2.0, 3.0])]
    for label in labels:
        y = np.array([label])
        for row in z:
            try:
                gradient = loss.value_and_grad(y, row[np.newaxis], reduction="none", n_threads=1)[1][0]
                left, right = _row_differences(loss, y, row)
            except Exception:  # the function's own: the label is outside its domain
                continue
            _compare(loss, "gradient", np.ravel(label)[0], row, gradient, left, right)
    return None


def _row_differences(loss: CustomLoss, y: NDArray[Any], row: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The slopes to the left and to the right, by each prediction."""
    steps = STEP * np.concatenate([np.zeros((1, len(row))), -np.eye(len(row)), np.eye(len(row))])
    labels = np.repeat(y, len(steps), axis=0)
    value, *around = loss(labels, row + steps, reduction="none", n_threads=1)
    below, above = np.split(np.array(around), 2)
    return (value - below) / STEP, (above - value) / STEP
