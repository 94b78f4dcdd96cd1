from typing import Any

import numpy as np
from numpy.typing import NDArray

def are_here(p: int) -> bool: ...
def weighted_gram(
    X: NDArray[Any],
    weight: NDArray[np.float64] | None = None,
    extra: NDArray[np.float64] | None = None,
    origin: NDArray[np.float64] | None = None,
    index: NDArray[np.int64] | None = None,
    n_threads: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
