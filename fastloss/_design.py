"""X in the layouts that the passes know: recognised, checked once, never copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._linear import Design

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def make_design(X: Any) -> Design:
    """The design of a dense array, a memory map or a SciPy CSR or CSC matrix or array.

    Raises
    ------
    TypeError, ValueError
        If X is of another kind, dtype, shape or memory layout; or compressed, and its indices point nowhere.
    """
    return _dense(X) if isinstance(X, np.ndarray) else _compressed(X)


def _check(X: Any) -> None:
    if X.ndim != 2 or X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(f"X must be of shape (n, p) with n, p >= 1, got shape {X.shape}")
    if X.dtype not in (np.float32, np.float64) or not X.dtype.isnative:
        raise TypeError(f"X must be of dtype float32 or float64, in native byte order; got {X.dtype}")


def _dense(X: NDArray[Any]) -> Design:
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("X must be a numpy array without a mask, got MaskedArray")
    _check(X)
    X = np.asarray(X)
    n, p = X.shape
    size = X.itemsize
    row, column = X.strides
    aligned = X.flags.aligned and row % size == 0 and column % size == 0
    if aligned and (column == size or p == 1):
        return Design("dense_rows", X, None, None, row // size, (n, p))
    if aligned and (row == size or n == 1):
        return Design("dense_columns", X, None, None, column // size, (n, p))
    raise ValueError(
        "X must have contiguous rows (C order) or columns (Fortran order); numpy.ascontiguousarray(X) makes such a copy"
    )


def _compressed(X: Any) -> Design:
    kind = getattr(X, "format", None)
    if kind not in ("csr", "csc") or not all(hasattr(X, name) for name in ("data", "indices", "indptr", "shape")):
        hint = f"; X.tocsc() makes one of this {kind} matrix" if isinstance(kind, str) else ""
        raise TypeError(f"X must be a numpy array, or a SciPy CSR or CSC matrix or array; got {type(X).__name__}{hint}")
    _check(X)
    n, p = (int(size) for size in X.shape)
    lines, width = (n, p) if kind == "csr" else (p, n)
    if any(np.ndim(array) != 1 for array in (X.data, X.indices, X.indptr)):
        raise ValueError("X must be a valid compressed matrix; its data, indices and indptr must have one axis")
    data, indices = np.ascontiguousarray(X.data), np.ascontiguousarray(X.indices)
    starts = np.ascontiguousarray(X.indptr, dtype=np.int64)
    if indices.dtype not in (np.int32, np.int64):
        raise TypeError(f"X must have indices of dtype int32 or int64, got {indices.dtype}")
    stored = int(starts[-1]) if starts.shape == (lines + 1,) else -1
    if stored < 0 or starts[0] != 0 or stored > min(len(data), len(indices)) or (np.diff(starts) < 0).any():
        raise ValueError("X must be a valid compressed matrix; its indptr does not fit its shape or its data")
    indices, data = indices[:stored], data[:stored]
    if stored and (indices.min() < 0 or indices.max() >= width):
        raise ValueError(f"X must be a valid compressed matrix; its indices must be in [0, {width})")
    return Design(kind, data, indices, starts, 0, (n, p))


BLOCK = 1 << 18  # numbers of X that are looked at at a time


def column_scales(X: Any, weight: NDArray[Any] | None) -> NDArray[np.float64]:
    """The standard deviations of the columns of a valid X, weighted; 1 for columns that are constant.

    In two passes, for the means and for the squares of the differences to them. Rows of weight 0 are not read.
    """
    n, p = (int(size) for size in X.shape)
    w = np.ones(n) if weight is None else weight.astype(np.float64)
    total = float(w.sum())
    rounding = 4 * n * float(np.finfo(np.float64).eps)  # of a sum over the rows
    sums, squares, stored = np.zeros(p), np.zeros(p), np.zeros(p)
    if isinstance(X, np.ndarray):
        for block, v in _row_blocks(X, w):
            sums += v @ block
        mean = sums / total
        for block, v in _row_blocks(X, w):
            squares += v @ (block - mean) ** 2
    else:
        if not getattr(X, "has_canonical_format", True):  # squares need the sum of numbers that stand for one place
            X = X.copy()
            X.sum_duplicates()
        for column, value, v in _stored_numbers(X, w):
            sums += np.bincount(column, v * value, p)
        mean = sums / total
        for column, value, v in _stored_numbers(X, w):
            squares += np.bincount(column, v * (value - mean[column]) ** 2, p)
            stored += np.bincount(column, v, p)
        rest = total - stored
        squares += np.where(rest > rounding * total, rest, 0) * mean**2
    scale = np.sqrt(squares / total)
    return np.where(scale > max(10 * float(np.finfo(X.dtype).eps), rounding) * np.abs(mean), scale, 1.0)


def _row_blocks(X: NDArray[Any], w: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Blocks of rows of a dense X in float64, with their weights."""
    rows = max(1, BLOCK // X.shape[1])
    for start in range(0, len(X), rows):
        v = w[start : start + rows]
        used = v > 0
        if used.all():
            yield X[start : start + rows].astype(np.float64), v
        elif used.any():
            yield X[start : start + rows][used].astype(np.float64), v[used]


def _stored_numbers(X: Any, w: NDArray[np.float64]) -> Iterator[tuple[NDArray[Any], ...]]:
    """The stored numbers of a compressed X that count, by blocks: their columns, values and weights."""
    starts = np.asarray(X.indptr, dtype=np.int64)
    for begin in range(0, int(starts[-1]), BLOCK):
        part = slice(begin, min(begin + BLOCK, int(starts[-1])))
        line = np.repeat(np.arange(len(starts) - 1), np.diff(starts.clip(part.start, part.stop)))
        row, column = (line, X.indices[part]) if X.format == "csr" else (X.indices[part], line)
        used = w[row] > 0
        yield column[used], X.data[part][used].astype(np.float64), w[row[used]]
