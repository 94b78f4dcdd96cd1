"""Blocks of logits, X W' + b, and of the gradients that take their place: all that ever exists of the n x K matrix.

A block's logits are one matrix product, the loss and its gradient are found in place, and further products take the
gradient to where it is wanted. The products of a dense X use NumPy's BLAS with its own threads, the loss ours: never
both at once. Blocks are cut by X and the weights alone, so that results do not depend on our number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastloss._rows import Compressed, cut, factor, multiply, read

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Block(NamedTuple):
    """Some rows of X with the gradient of their losses with respect to their logits."""

    rows: slice | NDArray[np.intp]
    X: Any  # an array, or CompressedRows
    value: float
    residual: NDArray[Any]  # valid until the next block, as X may be


class Data(NamedTuple):
    """What a pass goes through. Arrays are of X's dtype, but labels of any."""

    X: NDArray[Any] | Compressed
    labels: NDArray[Any]  # (n,), or (n, K) of probabilities
    sample_weight: NDArray[Any] | None
    offset: NDArray[Any] | None  # (n, K)
    loss: Any  # of many outputs


def check_data(data: Data, k: int, label_name: str) -> None:
    """Raise ValueError for labels and weights that the loss would refuse: before a long pass, not in it."""
    data.loss.check_classes(k)
    y, weight = data.labels, data.sample_weight
    if weight is not None:
        _refuse(~(np.isfinite(weight) & (weight >= 0)), weight, "sample_weight must hold finite numbers >= 0")
    good, domain = data.loss.labels_ok(y, k)
    used = used_mask(data, slice(None))
    bad = ~good if used is None else ~good & used.reshape(-1, *(1,) * (y.ndim - 1))
    _refuse(bad, y, f"{label_name} must hold {domain}")


def _refuse(bad: NDArray[Any], x: NDArray[Any], message: str) -> None:
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{message}; got {x[place]:g} at index {place[0] if len(place) == 1 else place}")


def total_weight(data: Data) -> float:
    """What a mean divides by: the sum of each sample's weight times that of its label (see the loss)."""
    used = used_mask(data, slice(None))
    labels = data.labels if used is None else data.labels[used]
    share = np.ones(len(labels))
    if data.loss.class_weight is not None:
        classes = np.array(data.loss.class_weight)
        if labels.ndim == 1:
            share = classes[labels.astype(np.intp)]
        else:  # the mean weight of a row's classes
            whole = labels.sum(axis=1, dtype=np.float64)
            share = np.divide(labels @ classes, whole, out=share, where=whole > 0)
    if data.sample_weight is not None:
        share = share * (data.sample_weight if used is None else data.sample_weight[used])
    return float(share.sum())


def used_mask(data: Data, rows: slice) -> NDArray[Any] | None:
    """Which of some rows count: weight not 0, label not ignored. None if all do."""
    used = None if data.sample_weight is None else data.sample_weight[rows] != 0
    if data.loss.ignore_index is not None and data.labels.ndim == 1:
        labelled = data.labels[rows] != data.loss.ignore_index
        used = labelled if used is None else used & labelled
    return None if used is None or used.all() else used


def rows_of_block(n: int, k: int, numbers: int, least: int) -> int:
    """How many rows make a block of so many logits; at least `least`, which keeps a product efficient."""
    return min(max(n, 1), max(least, numbers // k // 8 * 8))


def row_blocks(data: Data, block_rows: int) -> Iterator[tuple[slice | NDArray[np.intp], Any]]:
    """The rows that count with their X, block by block: the X of the others may hold anything."""
    return read(data.X, _counting(data, block_rows))


def _counting(data: Data, block_rows: int) -> Iterator[slice | NDArray[np.intp]]:
    for whole in cut(data.X, block_rows):
        used = used_mask(data, whole)
        if used is None:
            yield whole
        elif used.any():
            yield whole.start + np.flatnonzero(used)


def blocks(
    data: Data, W: NDArray[Any], b: NDArray[Any] | None, block_rows: int, n_threads: int | None, gradient: bool = True
) -> Iterator[Block]:
    """Go through the rows that count; residuals are logits still where no gradient is asked for."""
    buffer, transposed = np.empty((block_rows, len(W)), data.X.dtype), factor(data.X, W)
    for rows, X in row_blocks(data, block_rows):
        z = buffer[: len(X)]
        multiply(X, transposed, z, n_threads)
        if b is not None:
            z += b
        if data.offset is not None:
            z += data.offset[rows]
        weight = None if data.sample_weight is None else data.sample_weight[rows]
        if gradient:
            value, _ = data.loss.value_and_grad(
                data.labels[rows], z, weight, reduction="sum", out=z, n_threads=n_threads
            )
        else:
            value = data.loss(data.labels[rows], z, weight, reduction="sum", n_threads=n_threads)
        yield Block(rows, X, value, z)
