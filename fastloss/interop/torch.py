"""Losses for PyTorch, on CPU tensors as they are: ``loss(fl.BinaryCrossEntropy(from_logits=True))(input, target)``.

**Arguments are in PyTorch's order, (input, target)**: predictions first. Everywhere else in this package labels come
first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastloss._linear_cross_entropy import linear_cross_entropy as _linear_cross_entropy
from fastloss._logits import Data, check_data, total_weight
from fastloss._runtime import get_num_threads
from fastloss.losses import CategoricalCrossEntropy, Loss

__all__ = ["LinearCrossEntropy", "LossModule", "linear_cross_entropy", "loss"]

HALF = (torch.float16, torch.bfloat16)
BLOCK = 1 << 18  # numbers of a half-precision input that are float32 at a time


class LossModule(torch.nn.Module):
    """What `loss` returns."""

    def __init__(self, loss: Loss, reduction: str = "mean") -> None:
        super().__init__()
        if not isinstance(loss, Loss):
            raise TypeError(f"loss must be a loss, such as fastloss.SquaredError(), got {loss!r}")
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.loss = loss
        self.reduction: Any = reduction

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """The loss; see `loss`."""
        _check_input("input", input)
        _check_constant("target", target)
        _check_constant("sample_weight", sample_weight)
        if input.requires_grad and torch.is_grad_enabled():
            return _Value.apply(input, target, sample_weight, self)  # type: ignore[no-any-return, no-untyped-call]
        return self.compute(input, target, sample_weight, None)

    def compute(self, input: Tensor, target: Tensor, sample_weight: Tensor | None, gradient: Tensor | None) -> Tensor:
        """The value; the gradient is written beside it, if there is a tensor for it."""
        if input.dtype in HALF:
            try:
                return self._compute_in_blocks(input, target, sample_weight, gradient)
            except ValueError:
                self._call(_array(target), _array(input), _array(sample_weight), "sum", None)  # raises, and says where
                raise
        value = self._call(_array(target), _array(input), _array(sample_weight), self.reduction, _array(gradient))
        return torch.as_tensor(value, dtype=input.dtype)

    def _call(self, y: Any, z: Any, weight: Any, reduction: Any, out: Any) -> Any:
        if out is None:
            return self.loss(y, z, weight, reduction=reduction, n_threads=_threads())
        return self.loss.value_and_grad(y, z, weight, reduction=reduction, out=out, n_threads=_threads())[0]

    def _compute_in_blocks(self, z: Tensor, y: Tensor, weight: Tensor | None, gradient: Tensor | None) -> Tensor:
        """In float32, a block of samples at a time."""
        samples = z.shape[:-1] if self.loss.many_outputs else z.shape
        if y.shape[: len(samples)] != samples or (
            weight is not None and weight.shape not in (samples, samples[:1], ())
        ):
            raise ValueError("shapes do not fit")
        if weight is not None:
            weight = weight.reshape(weight.shape + (1,) * (len(samples) - weight.ndim)).expand(samples)
        value = z.new_empty(samples if self.reduction == "none" else ())
        result = value
        if len(samples) == 0:  # a single one
            z, y, weight = z[None], y[None], None if weight is None else weight[None]
            gradient = None if gradient is None else gradient[None]
            value = value[None] if self.reduction == "none" else value
        rows = max(1, BLOCK * len(z) // max(1, z.numel()))
        parts = [slice(first, first + rows) for first in range(0, len(z), rows)]

        def arrays(part: slice) -> tuple[Any, Any, Any]:
            return _array(y[part]), _array(z[part]), _array(None if weight is None else weight[part])

        total, summed = 1.0, 0.0
        if self.reduction == "mean":
            total = sum(_total_weight(self.loss, *arrays(part)) for part in parts)
        for part in parts:
            labels, predictions, weights = arrays(part)
            out = None if gradient is None else np.empty_like(predictions)
            if self.reduction == "none":
                value[part] = torch.from_numpy(self._call(labels, predictions, weights, "none", out))
            else:
                summed += self._call(labels, predictions, weights, "sum", out)
            if gradient is not None and out is not None:
                if self.reduction == "mean":  # before it is rounded to fewer digits
                    out *= 1 / total if total > 0 else 0
                gradient[part] = torch.from_numpy(out)
        if self.reduction != "none":
            value.fill_(summed / total if total > 0 else float("nan"))
        return result

    def extra_repr(self) -> str:  # noqa: D102
        return f"{self.loss!r}, reduction={self.reduction!r}"


class _Value(torch.autograd.Function):
    """The loss as a node of the graph, with its gradient: written in the forward pass."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, target: Tensor, sample_weight: Tensor | None, module: LossModule) -> Tensor:
        gradient = _empty_like(input)
        value = module.compute(input, target, sample_weight, gradient)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return _scaled(gradient, grad_outputs[0]), None, None, None


def loss(loss: Loss, reduction: str = "mean") -> LossModule:
    """Make a PyTorch loss, called as ``(input, target, sample_weight=None)``: **predictions first**, as PyTorch does.

    Parameters
    ----------
    loss : Loss
        Any loss of this package, those of the user's own included.
    reduction : {"mean", "sum", "none"}
        As everywhere in this package: with weights, "mean" divides by their sum.

    Returns
    -------
    LossModule
        A `torch.nn.Module` without parameters, to be called with

        * ``input``: predictions, a CPU tensor of a floating dtype, of any shape and strides. A loss of many outputs has
          its classes along the **last** axis (`torch.nn.CrossEntropyLoss`: the second): ``input.movedim(1, -1)``, which
          copies nothing, where it is another;
        * ``target``: labels, a CPU tensor of any real dtype;
        * ``sample_weight``: finite and >= 0, of the shape of the samples, or one for each entry of the first axis.

        It returns a tensor of the dtype of ``input``.

    Raises
    ------
    TypeError, ValueError
        When called: for a tensor that is not on the CPU, or a target that requires a gradient. As for any loss of this
        package otherwise; the messages call ``target`` y_true and ``input`` y_pred.
    RuntimeError
        From a backward pass with ``create_graph=True``: the gradient cannot be differentiated again.

    Notes
    -----
    Nothing is copied: float32 and float64 are read where they are, and the gradient, computed beside the value in the
    forward pass, is handed to the graph as it is, multiplied only by what is not 1. Where no gradient is asked for none
    is computed. bfloat16 and float16 pass through float32 in blocks of a quarter of a million numbers. It runs on as
    many threads as both `torch.get_num_threads` and `fastloss.get_num_threads` say.
    """
    return LossModule(loss, reduction)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        sample_weight: Tensor | None,
        wanted: list[str],
        options: dict[str, Any],
    ) -> Tensor:
        value, gradients = _linear_cross_entropy(
            _array(input),
            _array(weight),
            _array(target),
            bias=_array(bias),
            sample_weight=_array(sample_weight),
            return_grads=wanted,
            n_threads=_threads(),
            **options,
        )
        tensors = {"X": input, "W": weight, "bias": bias}
        ctx.wanted = wanted
        ctx.save_for_backward(*(torch.from_numpy(gradients[name]).to(tensors[name].dtype) for name in wanted))  # type: ignore[union-attr]
        return torch.as_tensor(value, dtype=input.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        found = {
            name: _scaled(gradient, grad_outputs[0])
            for name, gradient in zip(ctx.wanted, ctx.saved_tensors, strict=True)
        }
        return found.get("X"), found.get("W"), found.get("bias"), None, None, None, None


def linear_cross_entropy(
    input: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    sample_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weight: Any = None,
    ignore_index: int | None = -100,
    reduction: str = "mean",
) -> Tensor:
    """``F.cross_entropy(F.linear(input, weight, bias), target)`` without the logits: they exist a block at a time.

    Parameters
    ----------
    input : Tensor of shape (..., d)
        On the CPU, of a floating dtype; bfloat16 and float16 are converted to float32 as a whole.
    weight : Tensor of shape (K, d)
        Of the dtype of ``input``, or both of 32 bits or fewer, as under `torch.autocast`; converted likewise.
    target : Tensor of shape (...) or (..., K)
        Class indices, or probabilities.
    bias : Tensor of shape (K,), optional
        Zeros by default.
    sample_weight : Tensor of shape (...), optional
        Finite and >= 0.
    label_smoothing, class_weight, ignore_index, reduction
        As for `fastloss.linear_cross_entropy`.

    Returns
    -------
    Tensor
        A number, of the dtype of ``input``. Gradients are computed beside it, for those of ``input``, ``weight`` and
        ``bias`` that require one.

    Raises
    ------
    TypeError, ValueError
        As for `loss` and for `fastloss.linear_cross_entropy`.
    """
    _check_input("input", input)
    _check_input("weight", weight)
    if bias is not None:
        _check_input("bias", bias)
    _check_constant("target", target)
    _check_constant("sample_weight", sample_weight)
    tensors = {"X": input, "W": weight, "bias": bias}
    wanted = [name for name, tensor in tensors.items() if tensor is not None and tensor.requires_grad]
    options = {
        "label_smoothing": label_smoothing,
        "class_weight": class_weight,
        "ignore_index": ignore_index,
        "reduction": reduction,
    }
    return _LinearCrossEntropy.apply(  # type: ignore[no-any-return, no-untyped-call]
        input, weight, bias, target, sample_weight, wanted if torch.is_grad_enabled() else [], options
    )


class LinearCrossEntropy(torch.nn.Linear):
    """The last layer of a classifier with its loss: `linear_cross_entropy` with the parameters of `torch.nn.Linear`.

    Parameters
    ----------
    in_features, num_classes : int
    bias : bool
    label_smoothing, ignore_index, class_weight, reduction
        As for `linear_cross_entropy`.
    device, dtype
        Of the parameters, as for `torch.nn.Linear`, whose names they have: its ``state_dict`` fits.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        label_smoothing: float = 0.0,
        ignore_index: int | None = -100,
        class_weight: Any = None,
        *,
        reduction: str = "mean",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, num_classes, bias, device, dtype)
        self.options: dict[str, Any] = {
            "label_smoothing": label_smoothing,
            "ignore_index": ignore_index,
            "class_weight": class_weight,
            "reduction": reduction,
        }

    def forward(  # type: ignore[override]
        self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """The loss of inputs of shape (..., in_features) and their targets."""
        return linear_cross_entropy(
            input,
            self.weight,
            target,
            self.bias,
            sample_weight=sample_weight,
            **self.options,
        )

    def logits(self, input: Tensor) -> Tensor:
        """What the classes are predicted by, of shape (..., num_classes)."""
        return super().forward(input)


def _check_input(name: str, tensor: Tensor) -> None:
    _check_tensor(name, tensor)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be of a floating dtype, got {tensor.dtype}")


def _check_constant(name: str, tensor: Tensor | None) -> None:
    if tensor is None:
        return
    _check_tensor(name, tensor)
    if tensor.requires_grad:
        raise ValueError(f"{name} must not require a gradient: there is none with respect to it; use {name}.detach()")


def _check_tensor(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor on the CPU, got {tensor.layout} on {tensor.device}")


def _array(tensor: Tensor | None) -> Any:
    """The memory of a tensor as an array; float32 in place of half precision."""
    if tensor is None:
        return None
    return (tensor.float() if tensor.dtype in HALF else tensor).detach().numpy()


def _empty_like(tensor: Tensor) -> Tensor:
    # NumPy asks the system for huge pages: 10^7 fresh numbers take 6 ms rather than PyTorch's 20, most of page faults.
    if tensor.dtype in HALF:  # to NumPy, numbers of 16 bits
        return torch.from_numpy(np.empty_like(tensor.detach().view(torch.int16).numpy())).view(tensor.dtype)
    return torch.from_numpy(np.empty_like(_array(tensor)))


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """The gradient times what comes from above, mostly 1. Not in place, since the graph may be gone through again."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the gradient of a loss of fastloss cannot be differentiated again: call backward without create_graph=True"
        )
    if factor.ndim == 0 and factor.item() == 1:
        return gradient
    return gradient * factor.reshape(factor.shape + (1,) * (gradient.ndim - factor.ndim))


def _total_weight(loss: Loss, y: NDArray[Any], z: NDArray[Any], weight: NDArray[Any] | None) -> float:
    """What a mean over these samples divides by."""
    if isinstance(loss, CategoricalCrossEntropy):
        k = z.shape[-1]
        labels = y.reshape(-1) if y.ndim < z.ndim else y.reshape(-1, k)
        data = Data(z, labels, None if weight is None else weight.reshape(-1), None, loss)
        check_data(data, k, "target")
        return total_weight(data)
    if weight is not None:
        return float(weight.sum(dtype=np.float64))
    return z.size / z.shape[-1] if loss.many_outputs else z.size


def _threads() -> int:
    return min(torch.get_num_threads(), get_num_threads())
