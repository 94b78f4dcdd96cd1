from typing import Any

from numpy.typing import ArrayLike, NDArray

def as_real_array(x: ArrayLike, name: str) -> NDArray[Any]: ...
