from typing import Any

from numpy.typing import NDArray

def most() -> int: ...
def losses_and_gradients(
    loss: Any,
    X: NDArray[Any],
    W: NDArray[Any],
    b: NDArray[Any],
    y: NDArray[Any],
    weight: NDArray[Any] | None,
    offset: NDArray[Any] | None,
    z: NDArray[Any],
    n_threads: int | None,
) -> tuple[NDArray[Any], NDArray[Any], int]: ...
