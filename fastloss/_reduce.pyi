from collections.abc import Sequence
from typing import Any, Literal, overload

from numpy.typing import ArrayLike, NDArray
from typing_extensions import disjoint_base

class DomainError(ValueError): ...
class LostSampleError(RuntimeError): ...

@disjoint_base
class BlockLoss:
    def _bind(self, kernel: str, parameters: Sequence[float], weighs: bool = False) -> None: ...
    def _bind_function(self, f64: int, parameters: Sequence[float], many_outputs: bool, row_labels: bool) -> None: ...
    def _function_for_float32(self) -> int: ...
    def _reraise(self, label: Any, prediction: Any, place: str) -> None: ...
    def check_classes(self, k: int) -> None: ...
    @property
    def rereads(self) -> bool: ...
    @property
    def kernel_address(self) -> int: ...
    @overload
    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reduction: Literal["mean", "sum"] = "mean",
        n_threads: int | None = None,
    ) -> float: ...
    @overload
    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reduction: Literal["none"],
        n_threads: int | None = None,
    ) -> NDArray[Any]: ...
    @overload
    def value_and_grad(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reduction: Literal["mean", "sum"] = "mean",
        out: NDArray[Any] | None = None,
        n_threads: int | None = None,
    ) -> tuple[float, NDArray[Any]]: ...
    @overload
    def value_and_grad(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reduction: Literal["none"],
        out: NDArray[Any] | None = None,
        n_threads: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def grad_and_hess(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        out: tuple[NDArray[Any], NDArray[Any]] | None = None,
        n_threads: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def _derivatives(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None, n_threads: int | None
    ) -> tuple[float, NDArray[Any], NDArray[Any]]: ...
