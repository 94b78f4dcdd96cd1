from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from fastloss._columns import Columns
from fastloss._costs import Costs
from fastloss._descent import Model

@disjoint_base
class MulticlassModel(Model):
    @property
    def n_residuals(self) -> int: ...
    @property
    def profiled_slope(self) -> NDArray[np.float64]: ...
    @property
    def numbers(self) -> int: ...
    @property
    def hessian_pays(self) -> bool: ...
    def __init__(
        self,
        columns: Columns,
        places: NDArray[np.int64],
        classes: NDArray[np.int64],
        p: NDArray[np.float64],
        a: NDArray[np.float64],
        squares: NDArray[np.float64],
        gradient: NDArray[np.float64],
        c: NDArray[np.float64],
        penalty: Costs,
        intercepts: tuple[NDArray[np.float64], ...] | None,
    ) -> None: ...
    def hessian_cost(self, count: int) -> int: ...
    def sweep_cost(self, count: int) -> int: ...
    def hessian(
        self, selected: NDArray[Any], others: NDArray[Any] | None = None, n_threads: int | None = None
    ) -> NDArray[np.float64]: ...
