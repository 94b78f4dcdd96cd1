from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self, disjoint_base

from fastloss._reduce import BlockLoss

@disjoint_base
class DenseRows:
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    def __new__(cls, x: NDArray[Any]) -> Self: ...
    def loss_and_gradient(
        self,
        loss: BlockLoss,
        y: NDArray[Any],
        weight: NDArray[Any] | None,
        offset: NDArray[Any] | None,
        w: NDArray[Any],
        intercept: float,
        gradient: bool,
        n_threads: int | None,
    ) -> tuple[float, NDArray[np.float64] | None, int]: ...
    def predict(
        self,
        w: NDArray[Any],
        intercept: float,
        offset: NDArray[Any] | None,
        z: NDArray[Any],
        n_threads: int | None,
    ) -> None: ...
    def transposed_product(
        self, r: NDArray[Any], weight: NDArray[Any] | None, n_threads: int | None
    ) -> NDArray[np.float64]: ...
