import numpy as np
from numpy.typing import NDArray

def update(
    hessian: NDArray[np.float64], step: NDArray[np.float64], change: NDArray[np.float64], least_change: float
) -> bool: ...
