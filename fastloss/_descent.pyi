from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from fastloss._columns import Columns
from fastloss._costs import Costs

def copy_square(
    source: NDArray[np.float64], taken: NDArray[np.int64], target: NDArray[np.float64], places: NDArray[np.int64]
) -> None: ...

@disjoint_base
class Model:
    @property
    def penalty(self) -> Costs: ...
    @property
    def c(self) -> NDArray[np.float64]: ...
    @property
    def start(self) -> NDArray[np.float64]: ...
    @property
    def slope(self) -> NDArray[np.float64]: ...
    @property
    def curvature(self) -> NDArray[np.float64]: ...
    @property
    def finished(self) -> bool: ...
    @property
    def stalled(self) -> bool: ...
    def objective(self) -> float: ...
    def gradient(self, n_threads: int | None = None) -> NDArray[np.float64]: ...
    def move(self, c: NDArray[np.float64]) -> None: ...
    def descend(
        self,
        start: float,
        height: float,
        wanted: float,
        budget: int,
        rough: bool = False,
        n_threads: int | None = None,
    ) -> int: ...

@disjoint_base
class ResidualModel(Model):
    @property
    def columns(self) -> Columns: ...
    @property
    def n_residuals(self) -> int: ...
    @property
    def profiled_slope(self) -> NDArray[np.float64]: ...
    def __init__(
        self,
        columns: Columns,
        weight: float,
        gradient: NDArray[np.float64],
        c: NDArray[np.float64],
        penalty: Costs,
        intercept: tuple[float, NDArray[np.float64], float] | None,
    ) -> None: ...
    def solve(
        self,
        places: NDArray[np.int64],
        pull: NDArray[np.float64],
        start: NDArray[np.float64],
        least: NDArray[np.float64],
        ratio: float,
        budget: int,
        n_threads: int | None,
    ) -> tuple[NDArray[np.float64], int]: ...
    @property
    def hessian_pays(self) -> bool: ...
    def hessian_cost(self, count: int) -> int: ...
    def sweep_cost(self, count: int) -> int: ...
    def hessian(
        self, selected: NDArray[Any], others: NDArray[Any] | None = None, n_threads: int | None = None
    ) -> NDArray[np.float64]: ...

@disjoint_base
class GramModel(Model):
    @property
    def matrix(self) -> NDArray[np.float64]: ...
    def __init__(
        self,
        hessian: NDArray[np.float64],
        gradient: NDArray[np.float64],
        c: NDArray[np.float64],
        penalty: Costs,
        like: GramModel | None = None,
    ) -> None: ...
    def sweep_cost(self, count: int) -> int: ...
    def hessian(
        self, selected: NDArray[Any], others: NDArray[Any] | None = None, n_threads: int | None = None
    ) -> NDArray[np.float64]: ...
