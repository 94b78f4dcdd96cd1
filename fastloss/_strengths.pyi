import numpy as np
from numpy.typing import NDArray

from fastloss._costs import Costs
from fastloss._descent import Model

def descend_along(
    model: Model,
    unit: Costs,
    strengths: NDArray[np.float64],
    loss: float,
    wanted: float,
    budget: int,
    points: NDArray[np.float64],
    objectives: NDArray[np.float64],
    gaps: NDArray[np.float64],
    first: int = 0,
) -> int: ...
