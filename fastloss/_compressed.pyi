from typing import Any

import numpy as np
from numpy.typing import NDArray

def count_rows(indices: NDArray[Any], starts: NDArray[np.int64], counts: NDArray[np.int64]) -> bool: ...
def copy_rows(
    data: NDArray[Any],
    indices: NDArray[Any],
    starts: NDArray[np.int64],
    cursors: NDArray[np.int64],
    ordered: bool,
    first: int,
    places: NDArray[np.int64],
    data_out: NDArray[Any],
    indices_out: NDArray[Any],
) -> None: ...
def times(
    data: NDArray[Any],
    indices: NDArray[Any],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    W: NDArray[Any],
    out: NDArray[Any],
    n_threads: int | None,
) -> None: ...
def new_sums(p: int, k: int, n_threads: int | None) -> NDArray[np.float64]: ...
def add_transposed(
    data: NDArray[Any],
    indices: NDArray[Any],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    R: NDArray[Any],
    sums: NDArray[np.float64],
) -> None: ...
