from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from fastloss._reduce import BlockLoss

@disjoint_base
class Design:
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def name(self) -> str: ...
    @property
    def by_rows(self) -> bool: ...
    @property
    def held(self) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[np.int64] | None]: ...
    def __init__(
        self,
        layout: str,
        data: NDArray[Any],
        indices: NDArray[Any] | None,
        starts: NDArray[np.int64] | None,
        stride: int,
        shape: tuple[int, int],
    ) -> None: ...
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
        z: NDArray[Any] | None = None,
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
    def columns_in_place(self) -> NDArray[np.float64] | None: ...
    def take_columns(
        self, selected: NDArray[np.int64], weight: NDArray[Any] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int32] | None, NDArray[np.int64] | None]: ...
