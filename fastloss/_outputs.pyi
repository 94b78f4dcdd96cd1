from typing import Any

import numpy as np
from numpy.typing import NDArray

def are_here() -> bool: ...
def loss_and_gradient(
    loss: Any,
    X: NDArray[Any],
    W: NDArray[Any],
    b: NDArray[Any] | None,
    labels: NDArray[Any],
    weight: NDArray[Any] | None,
    offset: NDArray[Any] | None,
    gradient: bool,
    block: int,
    n_threads: int | None,
) -> tuple[float, NDArray[np.float64] | None, int]: ...
