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
    outputs: SingleOutput | ManyOutputs
    try:
        weight = None if sample_weight is None else vector(sample_weight, "sample_weight", design)
        if loss.many_outputs:
            data, k = data_of_classes(X, design, loss, y, weight, offset, n_outputs)
            outputs = ManyOutputs(design, data, k, n_threads)
        elif n_outputs not in (None, 1):
            raise ValueError(f"n_outputs must be 1 for {loss!r}, got {n_outputs!r}")
        else:
            shift = None if offset is None else finite(vector(offset, "offset", design))
            outputs = SingleOutput(design, loss, vector(y, "y", design), weight, shift, n_threads)
    except ValueError as error:
        raise ValueError(str(error).replace("y_true", "y", 1)) from None
    if not outputs.total > 0:
        if sample_weight is None:
            raise ValueError("y must hold a label that counts; all are ignored, or of class weight 0")
        raise ValueError("sample_weight must have a positive sum over labels that count, got 0")
    return outputs


def data_of_classes(
    X: Any,
    design: Design,
    loss: Loss,
    y: ArrayLike,
    weight: NDArray[Any] | None,
    offset: ArrayLike | None,
    n_outputs: int | None,
) -> tuple[Data, int]:
    """What a pass with K outputs a sample goes through, and K."""
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
    rows = np.asarray(X) if isinstance(X, np.ndarray) else Compressed(design)
    data = Data(rows, labels, weight, shift, loss)
    k = count_outputs(data, n_outputs)
    if shift is not None:
        data = data._replace(offset=finite(shift.astype(design.dtype, copy=False)))
    return data, k


def count_outputs(data: Data, n_outputs: int | None) -> int:
    """K, by all that says so."""
    labels, shift = data.labels, data.offset
    k: int
    if labels.ndim == 2:
        k = labels.shape[1]
    elif shift is not None:
        k = shift.shape[1]
    elif data.loss.class_weight is not None:
        k = len(data.loss.class_weight)
    elif n_outputs is not None:
        k = n_outputs
    else:
        used = used_mask(data, slice(None))
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


def finite(offset: NDArray[Any]) -> NDArray[Any]:
    """Offsets as they are; raises where one is not finite."""
    if not np.isfinite(offset).all():
        raise ValueError("offset must hold finite numbers")
    return offset
