"""The samples of a linear model as users give them: labels, weights and offsets, checked and made its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._arrays import as_real_array
from fastloss._logits import Data, used_mask
from fastloss._many_outputs import ManyOutputs
from fastloss._rows import Compressed
from fastloss._single_output import SingleOutput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastloss._linear import Design
    from fastloss.losses import Loss

LARGEST = 2**31  # of a class


def loss_of_samples(
    X: Any,
    design: Design,
    loss: Loss,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    offset: ArrayLike | None,
    n_outputs: int | None,
    n_threads: int | None,
) -> SingleOutput | ManyOutputs:
    """The loss of a linear model, summed over its samples. Arguments are those of `LinearObjective`."""
    try:
        make = many_outputs if loss.many_outputs else single_output
        outputs = make(X, design, loss, y, sample_weight, offset, n_outputs, n_threads)
    except ValueError as error:
        raise ValueError(str(error).replace("y_true", "y", 1)) from None
    if not outputs.total > 0:
        if sample_weight is None:
            raise ValueError("y must hold a label that counts; all are ignored, or of class weight 0")
        raise ValueError("sample_weight must have a positive sum over labels that count, got 0")
    return outputs


def single_output(
    X: Any,
    design: Design,
    loss: Loss,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    offset: ArrayLike | None,
    n_outputs: int | None,
    n_threads: int | None,
) -> SingleOutput:
    """With one output a sample."""
    if n_outputs not in (None, 1):
        raise ValueError(f"n_outputs must be 1 for {loss!r}, got {n_outputs!r}")
    labels, weight = vector(y, "y", design), given_vector(sample_weight, "sample_weight", design)
    return SingleOutput(design, loss, labels, weight, finite(given_vector(offset, "offset", design)), n_threads)


def many_outputs(
    X: Any,
    design: Design,
    loss: Loss,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    offset: ArrayLike | None,
    n_outputs: int | None,
    n_threads: int | None,
) -> ManyOutputs:
    """With K outputs a sample."""
    n = design.shape[0]
    if n_outputs is not None and (isinstance(n_outputs, bool) or not hasattr(n_outputs, "__index__") or n_outputs < 1):
        raise ValueError(f"n_outputs must be a positive integer, got {n_outputs!r}")
    labels = as_real_array(y, "y")
    if labels.shape[:1] != (n,) or labels.ndim > 2 or (labels.ndim == 2 and labels.shape[1] == 0):
        raise ValueError(
            f"y must be of shape ({n},), a class for each row of X, or ({n}, K), its probabilities; got {labels.shape}"
        )
    shift = None if offset is None else as_real_array(offset, "offset")
    if shift is not None and (shift.ndim != 2 or len(shift) != n or shift.shape[1] == 0):
        raise ValueError(f"offset must be of shape ({n}, K), one entry a row of X and class; got {shift.shape}")
    weight = given_vector(sample_weight, "sample_weight", design)
    k = count_outputs(X, loss, labels, weight, shift, n_outputs)
    if shift is not None:
        shift = finite(shift.astype(design.dtype, copy=False))
    rows = np.asarray(X) if isinstance(X, np.ndarray) else Compressed(design)
    return ManyOutputs(design, Data(rows, labels, weight, shift, loss), k, n_threads)


def count_outputs(
    X: Any,
    loss: Any,
    labels: NDArray[Any],
    weight: NDArray[Any] | None,
    shift: NDArray[Any] | None,
    n_outputs: int | None,
) -> int:
    """K, by all that says so."""
    k: int
    if labels.ndim == 2:
        k = labels.shape[1]
    elif shift is not None:
        k = shift.shape[1]
    elif loss.class_weight is not None:
        k = len(loss.class_weight)
    elif n_outputs is not None:
        k = n_outputs
    else:
        used = used_mask(Data(X, labels, weight, None, loss), slice(None))
        counted = labels if used is None else labels[used]
        largest = float(counted[np.isfinite(counted)].max(initial=0))  # the others are refused in a moment
        k = int(largest) + 1 if largest < LARGEST else 1
    if n_outputs not in (None, k):
        raise ValueError(f"n_outputs must be {k}, as y, offset or class_weight say; got {n_outputs}")
    if shift is not None and shift.shape[1] != k:
        raise ValueError(f"offset must have one column for each of {k} classes, got {shift.shape[1]}")
    return k


def vector(x: ArrayLike, name: str, design: Design) -> NDArray[Any]:
    """`x` as a contiguous vector of X's dtype with one entry a sample."""
    array, n = as_real_array(x, name), design.shape[0]
    if array.shape != (n,):
        raise ValueError(f"{name} must be of shape ({n},), one entry a row of X; got {array.shape}")
    return np.ascontiguousarray(array, dtype=design.dtype)


def given_vector(x: ArrayLike | None, name: str, design: Design) -> NDArray[Any] | None:
    """The same, of what may be left out."""
    return None if x is None else vector(x, name, design)


def finite(offset: NDArray[Any] | None) -> NDArray[Any] | None:
    """Offsets as they are; raises where one is not finite."""
    if offset is not None and not np.isfinite(offset).all():
        raise ValueError("offset must hold finite numbers")
    return offset
