"""Blocks of rows of X in any layout, and the two products of a model with many outputs: X_b W and the sum of X_b' R.

Dense X is a NumPy array here; its products are BLAS's. A compressed one is a `Compressed`, with products of our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._compressed import add_transposed, copy_rows, count_rows, new_sums, times

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from fastloss._linear import Design

    Selection = slice | NDArray[np.intp]

NUMBERS = 1 << 17  # stored ones of a compressed block: they stay in cache between the products
COPIED = 1 << 18  # numbers of a dense block that is copied
LEAST_ROWS = 256  # of it
PARTS = 16  # that X is cut into, more or less, where each looks at all of it


class Compressed:
    """A CSR or CSC matrix that is given out by blocks of rows.

    Those of CSR are views. Those of CSC are copied, one at a time, into the form of CSR: each column goes on where the
    block before left it. If the numbers of columns are in no order each block searches all of X, and there are few. CSC
    takes memory for a number a row and column.
    """

    def __init__(self, design: Design) -> None:
        data, indices, starts = design.held
        assert indices is not None
        assert starts is not None
        self.data, self.indices, self.starts = data, indices, starts
        self.shape, self.dtype, self.by_rows = design.shape, design.dtype, design.name == "csr"
        self.row_starts, self.ordered, self.least_rows = starts, True, 1
        if not self.by_rows:
            self.row_starts = np.zeros(self.shape[0] + 1, dtype=np.int64)
            self.ordered = count_rows(indices, starts, self.row_starts[1:])
            np.cumsum(self.row_starts, out=self.row_starts)
            if not self.ordered:
                self.least_rows = -(-len(self) // PARTS)

    def __len__(self) -> int:
        return self.shape[0]

    def cut(self, rows: int) -> Iterator[slice]:
        """Blocks of up to so many rows, with a bounded number of stored numbers if a single row has not more."""
        numbers = NUMBERS
        if not self.by_rows:  # each block looks at each column, or at everything
            numbers = max(NUMBERS, self.shape[1] if self.ordered else len(self.data) // PARTS)
        start = 0
        while start < len(self):
            full = int(np.searchsorted(self.row_starts, self.row_starts[start] + numbers, side="right")) - 1
            stop = min(max(start + 1, full), start + rows, len(self))
            yield slice(start, stop)
            start = stop

    def read(self, selections: Iterable[Selection]) -> Iterator[tuple[Selection, CompressedRows]]:
        """The rows of each selection, one behind the other."""
        if self.by_rows:
            for rows in selections:
                yield rows, CompressedRows(self.data, self.indices, self.row_starts, rows)
            return
        cursors, data, indices = self.starts[:-1].copy(), self.data[:0], self.indices[:0]
        for rows in selections:
            first, last = (rows.start, rows.stop - 1) if isinstance(rows, slice) else (rows[0], rows[-1])
            starts = self.row_starts[first : last + 2] - self.row_starts[first]
            if starts[-1] > len(data):
                data, indices = np.empty(starts[-1], data.dtype), np.empty(starts[-1], indices.dtype)
            copy_rows(
                self.data, self.indices, self.starts, cursors, self.ordered, first, starts[:-1].copy(), data, indices
            )
            inside = slice(None) if isinstance(rows, slice) else rows - first
            yield rows, CompressedRows(data, indices, starts, inside)


class CompressedRows:
    """Some rows of a compressed matrix."""

    def __init__(
        self, data: NDArray[Any], indices: NDArray[Any], starts: NDArray[np.int64], selected: Selection
    ) -> None:
        self.data, self.indices = data, indices
        self.begins, self.ends = starts[:-1][selected], starts[1:][selected]

    def __len__(self) -> int:
        return len(self.begins)


def cut(X: NDArray[Any] | Compressed, rows: int) -> Iterator[slice]:
    """Blocks of up to so many rows that cover X."""
    if isinstance(X, Compressed):
        return X.cut(rows)
    return (slice(start, min(len(X), start + rows)) for start in range(0, len(X), rows))


def rows_in_place(X: NDArray[Any]) -> bool:
    """Whether BLAS takes slices of rows of X as they are."""
    (n, p), (row, column) = X.shape, (stride // X.itemsize for stride in X.strides)
    return (column == 1 and row >= p) or (row == 1 and column >= n)


def copied_rows(p: int) -> int:
    """How many rows of p numbers to copy at a time."""
    return max(LEAST_ROWS, COPIED // p)


def read(X: NDArray[Any] | Compressed, selections: Iterable[Selection]) -> Iterator[tuple[Selection, Any]]:
    """The rows of X of each selection, one behind the other: views where that can be, else copies."""
    if isinstance(X, Compressed):
        yield from X.read(selections)
        return
    in_place, by_rows = rows_in_place(X), abs(X.strides[0]) >= abs(X.strides[1])
    for rows in selections:
        if not isinstance(rows, slice):  # by columns in Fortran order: four times as fast
            yield rows, X[rows] if by_rows else X.T[:, rows].T
        else:
            yield rows, X[rows] if in_place else X[rows].copy(order="K")


def factor(X: NDArray[Any] | Compressed, W: NDArray[Any]) -> NDArray[Any]:
    """W' as `multiply` wants it, of a W in C order."""
    return np.ascontiguousarray(W.T) if isinstance(X, Compressed) else W.T


def multiply(
    rows: NDArray[Any] | CompressedRows, factor: NDArray[Any], out: NDArray[Any], n_threads: int | None
) -> None:
    """Write X_b W' to `out`, in C order; all of one dtype."""
    if isinstance(rows, CompressedRows):
        times(rows.data, rows.indices, rows.begins, rows.ends, factor, out, n_threads)
    else:
        np.matmul(rows, factor, out=out)


class Gradient:
    """The sum of R' (X_b, 1) over blocks; in float64, but for the products of dense blocks, that are in X's dtype."""

    def __init__(self, X: NDArray[Any] | Compressed, k: int, n_threads: int | None) -> None:
        p = X.shape[1]
        self.shape = k, p + 1
        self.sums = new_sums(p + 1, k, n_threads) if isinstance(X, Compressed) else np.zeros(self.shape)
        self.product = None if isinstance(X, Compressed) else np.empty((k, p), X.dtype)

    def add(self, rows: NDArray[Any] | CompressedRows, R: NDArray[Any]) -> None:
        """One more block, with an R in C order and of X's dtype."""
        if isinstance(rows, CompressedRows):
            add_transposed(rows.data, rows.indices, rows.begins, rows.ends, R, self.sums)
        else:
            self.sums[:, :-1] += np.matmul(R.T, rows, out=self.product)
            self.sums[:, -1] += column_sums(R)

    def total(self) -> NDArray[np.float64]:
        """The sum, of shape (K, p + 1)."""
        if self.product is not None:
            return self.sums
        k, width = self.shape
        return self.sums.transpose(0, 2, 1).reshape(-1, width)[:k]


def column_sums(R: NDArray[Any]) -> NDArray[Any]:
    """The sums over rows: by BLAS, NumPy's own reduction over rows is slower than the loss."""
    sums: NDArray[Any] = np.ones(len(R), R.dtype) @ R
    return sums
