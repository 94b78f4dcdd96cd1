from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastloss._columns import Columns

def conjugate_gradients(
    columns: Columns,
    places: NDArray[np.int64],
    weight: float,
    centre: NDArray[np.float64],
    total: float,
    diagonal: NDArray[np.float64],
    b: NDArray[np.float64],
    start: NDArray[np.float64],
    least: NDArray[Any],
    ratio: float,
    budget: int,
    n_threads: int | None = None,
) -> tuple[NDArray[np.float64], int]: ...
