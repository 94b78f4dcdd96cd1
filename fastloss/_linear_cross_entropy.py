"""The last layer of a classifier over a large vocabulary, with its loss, in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastloss._arrays import as_real_array
from fastloss._logits import Data, blocks, check_data, rows_of_block, total_weight
from fastloss._rows import column_sums
from fastloss.losses import CategoricalCrossEntropy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BLOCK_NUMBERS = 16 << 20  # logits. Each block reads and writes the whole gradient of W: few blocks, then
LEAST_ROWS = 64
TILE_BYTES = 8 << 20  # of the gradient of W that passes through scratch at a time
GRADIENTS = ("X", "W", "bias")


def linear_cross_entropy(
    X: ArrayLike,
    W: ArrayLike,
    labels: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    class_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
    return_grads: Sequence[str] = GRADIENTS,
    n_threads: int | None = None,
) -> tuple[float, dict[str, NDArray[Any]]]:
    """Categorical cross-entropy of the logits ``X @ W.T + bias``, which never exist as a whole, and its gradients.

    The last layer of a language model or a recommender, where n x K logits would take many times the memory of
    everything else. Rows go through in blocks of at most 16 million logits (or 64 rows).

    Parameters
    ----------
    X : array_like of shape (..., d)
        Inputs of the layer, float32 or float64; anything else becomes float64.
    W : array_like of shape (K, d)
        Weights, of X's dtype.
    labels : array_like of shape (...) or (..., K)
        Class indices, or probabilities.
    bias : array_like of shape (K,), optional
        Zeros by default.
    sample_weight : array_like of shape (...), optional
        Finite and >= 0.
    label_smoothing, class_weight, ignore_index
        As for `CategoricalCrossEntropy`.
    reduction : {"mean", "sum"}
        ``"mean"`` divides by the sum of the weights, those of classes included.
    return_grads : sequence of {"X", "W", "bias"}
        The gradients to compute; ``()`` for none. That of the bias is defined without one, too.
    n_threads : int, optional
        For the loss, as everywhere. The matrix products use NumPy's BLAS and its number of threads.

    Returns
    -------
    value : float
    gradients : dict of str to ndarray
        Those asked for, of the shapes and the dtype of X, W and bias.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it may be; the message names it.

    Notes
    -----
    The value is summed in float64, gradients in the dtype of X, as its products are. Memory beyond arguments and
    results: one block of logits, 8 MiB, and where rows do not count a copy of the others in the block.

    References
    ----------
    E. Wijmans et al. (2024), "Cut your losses in large-vocabulary language models", arXiv:2411.09009.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> value, gradients = fl.linear_cross_entropy(np.ones((4, 3)), np.zeros((10, 3)), [1, 2, 3, 4])
    >>> round(value, 6), gradients["W"].shape
    (2.302585, (10, 3))
    """
    if (
        not isinstance(return_grads, Collection)
        or isinstance(return_grads, str)
        or any(name not in GRADIENTS for name in return_grads)
    ):
        raise ValueError(f"return_grads must be a sequence of some of {GRADIENTS}, got {return_grads!r}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    loss = CategoricalCrossEntropy(
        from_logits=True, label_smoothing=label_smoothing, class_weight=class_weight, ignore_index=ignore_index
    )
    inputs, weights = _floating(X, "X"), _floating(W, "W")
    if inputs.ndim == 0 or weights.ndim != 2 or inputs.shape[-1] != weights.shape[1]:
        raise ValueError(
            f"X must be of shape (..., d) and W of shape (K, d), got X of {inputs.shape} and W of {weights.shape}"
        )
    if weights.dtype != inputs.dtype:
        raise TypeError(f"W must have the dtype of X, {inputs.dtype}; got {weights.dtype}")
    k = len(weights)
    if k == 0:
        raise ValueError(f"W must have at least one row, got shape {weights.shape}")
    data = _data(inputs, labels, sample_weight, loss, k)
    b = None if bias is None else _fitting(bias, "bias", (k,), inputs.dtype)
    value, gradients = _passes(data, weights, b, return_grads, n_threads)
    if reduction == "mean":
        total = total_weight(data)
        value = value / total if total > 0 else float("nan")
        for gradient in gradients.values():
            gradient *= 1 / total if total > 0 else 0.0
    if "X" in gradients:
        gradients["X"] = gradients["X"].reshape(inputs.shape)
    return value, gradients


def _passes(
    data: Data, W: NDArray[Any], b: NDArray[Any] | None, wanted: Sequence[str], n_threads: int | None
) -> tuple[float, dict[str, NDArray[Any]]]:
    """The sum of the losses, and its gradients."""
    (n, d), k, dtype = data.X.shape, len(W), data.X.dtype
    shapes = {"X": (n, d), "W": (k, d), "bias": (k,)}
    gradients = {name: np.zeros(shapes[name], dtype) for name in GRADIENTS if name in wanted}
    block_rows = rows_of_block(n, k, BLOCK_NUMBERS, LEAST_ROWS)
    tile = min(k, max(1, TILE_BYTES // (max(1, d) * dtype.itemsize)))
    scratch = np.empty((tile, d), dtype) if "W" in gradients else None
    value = 0.0
    for block in blocks(data, W, b, block_rows, n_threads, gradient=bool(gradients)):
        value += block.value
        if "X" in gradients:
            if isinstance(block.rows, slice):
                np.matmul(block.residual, W, out=gradients["X"][block.rows])
            else:
                gradients["X"][block.rows] = block.residual @ W
        if scratch is not None:
            for first in range(0, k, tile):
                part = gradients["W"][first : first + tile]
                part += np.matmul(block.residual[:, first : first + tile].T, block.X, out=scratch[: len(part)])
        if "bias" in gradients:
            gradients["bias"] += column_sums(block.residual)
    return value, gradients


def _floating(x: ArrayLike, name: str) -> NDArray[Any]:
    array = as_real_array(x, name)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _fitting(x: ArrayLike, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    array = as_real_array(x, name)
    if array.shape != shape:
        raise ValueError(f"{name} must be of shape {shape}, got {array.shape}")
    return array.astype(dtype, copy=False)


def _data(
    X: NDArray[Any], labels: ArrayLike, sample_weight: ArrayLike | None, loss: CategoricalCrossEntropy, k: int
) -> Data:
    """All arguments as rows."""
    shape = X.shape[:-1]
    y = as_real_array(labels, "labels")
    if y.shape == shape:
        y = y.reshape(-1)
    elif y.shape == (*shape, k):
        y = y.reshape(-1, k)
    else:
        raise ValueError(
            f"labels must have one class for each row of X, shape {shape}, or its probabilities, shape {(*shape, k)}; "
            f"got {y.shape}"
        )
    weight = None if sample_weight is None else _fitting(sample_weight, "sample_weight", shape, X.dtype).reshape(-1)
    data = Data(X.reshape(-1, X.shape[-1]), y, weight, None, loss)
    check_data(data, k, "labels")
    return data
