import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

@disjoint_base
class Elimination:
    @property
    def hessian(self) -> NDArray[np.float64]: ...
    @property
    def gradient(self) -> NDArray[np.float64]: ...
    @property
    def fall(self) -> float: ...
    def __init__(
        self,
        hessian: NDArray[np.float64],
        gradient: NDArray[np.float64],
        free: NDArray[np.intp],
        kept: NDArray[np.intp],
    ) -> None: ...
    def step(self, part: NDArray[np.float64]) -> NDArray[np.float64]: ...
