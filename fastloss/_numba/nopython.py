"""Losses inside functions that users compile with ``@numba.njit``.

A loss is there the address of its C struct (``simd/kernel.h``), whose block function is called once for all samples. It
may be an argument or a global constant, and be kept in tuples and lists: it carries a reference to the Python object.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.extending import (
    NativeValue,
    box,
    intrinsic,
    lower_builtin,
    models,
    overload,
    overload_method,
    register_model,
    typeof_impl,
    unbox,
)

import fastloss._numba.vector_math  # noqa: F401 -- for what it registers
from fastloss._reduce import BlockLoss
from fastloss._runtime import BAD_LABEL, BAD_PREDICTION, BAD_WEIGHT, KERNEL_VERSION, RAISED

OPTIONS: dict[str, Any] = {"error_model": "numpy"}  # 0 / 0 is NaN, as for the methods in Python


def init() -> None:
    """What Numba calls before it compiles, by the entry point ``numba_extensions``: importing this has done it all."""


class Struct(ctypes.Structure):
    """``fastloss_kernel`` of simd/kernel.h."""

    _fields_ = (
        ("version", ctypes.c_int32),
        ("label_width", ctypes.c_int32),
        ("outputs", ctypes.c_int64),
        ("n_params", ctypes.c_int64),
        ("params", ctypes.c_void_p),
        ("f32", ctypes.c_void_p),
        ("f64", ctypes.c_void_p),
        ("weigh_f32", ctypes.c_void_p),
        ("weigh_f64", ctypes.c_void_p),
    )


_INT32, _INT64, _DOUBLE, _POINTER = ir.IntType(32), ir.IntType(64), ir.DoubleType(), ir.IntType(8).as_pointer()


class LossType(types.Type):
    """The type of losses with the same shapes of labels and predictions.

    Parameters
    ----------
    many_outputs : bool
        Whether a sample has a row of predictions.
    row_labels : bool
        Whether it has a row of labels too.
    classes : int
        How many outputs there must be; 0 for any number.
    """

    def __init__(self, many_outputs: bool, row_labels: bool, classes: int) -> None:
        self.many_outputs, self.row_labels, self.classes = many_outputs, row_labels, classes
        super().__init__(f"Loss(many_outputs={many_outputs}, row_labels={row_labels}, classes={classes})")


_loss_type = functools.lru_cache(maxsize=None)(LossType)  # asked for at every call with a loss as an argument


@typeof_impl.register(BlockLoss)
def typeof_loss(loss: Any, context: Any) -> LossType | None:
    """The type of a loss; None of what has no kernel, as Numba wants it."""
    kernel = Struct.from_address(loss.kernel_address)
    if not kernel.f64:
        return None
    if kernel.version != KERNEL_VERSION:
        raise TypingError(f"{loss!r} has a kernel of version {kernel.version}; only {KERNEL_VERSION} is known here")
    many_outputs = kernel.outputs != 1
    # The kernel reads a weight for each class, however many it was given.
    class_weight = getattr(loss, "class_weight", None) if many_outputs else None
    return _loss_type(many_outputs, kernel.label_width != 1, 0 if class_weight is None else len(class_weight))


@register_model(LossType)
class LossModel(models.StructModel):
    """A reference to the Python object, which is counted without the GIL; that object; and the address of its kernel.

    A constant has no reference: its object is kept for good.
    """

    def __init__(self, manager: Any, kind: LossType) -> None:
        members = [
            ("meminfo", types.MemInfoPointer(types.voidptr)),
            ("object", types.voidptr),
            ("kernel", types.voidptr),
        ]
        super().__init__(manager, kind, members)


@unbox(LossType)
def unbox_loss(kind: LossType, loss: Any, c: Any) -> NativeValue:
    """From the object that is an argument."""
    native = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    address = c.pyapi.object_getattr_string(loss, "kernel_address")
    native.kernel = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    native.object = c.builder.bitcast(loss, _POINTER)
    native.meminfo = c.pyapi.nrt_meminfo_new_from_pyobject(native.kernel, native.object)
    return NativeValue(native._getvalue(), is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


@box(LossType)
def box_loss(kind: LossType, value: Any, c: Any) -> Any:
    """The object that it came from."""
    native = cgutils.create_struct_proxy(kind)(c.context, c.builder, value=value)
    loss = c.builder.bitcast(native.object, c.pyapi.pyobj)
    c.pyapi.incref(loss)
    c.context.nrt.decref(c.builder, kind, value)
    return loss


_constants: dict[int, BlockLoss] = {}  # the global may be bound to another loss, while compiled code has this one


@lower_constant(LossType)
def loss_constant(context: Any, builder: Any, kind: LossType, loss: Any) -> Any:
    """A global, or a variable of an enclosing function; Numba does not cache code with addresses of one process."""
    _constants[id(loss)] = loss
    native = cgutils.create_struct_proxy(kind)(context, builder)
    native.meminfo = cgutils.get_null_value(native.meminfo.type)
    native.object = context.add_dynamic_addr(builder, id(loss), info="loss")
    native.kernel = context.add_dynamic_addr(builder, loss.kernel_address, info="kernel")
    return native._getvalue()


@lower_builtin(LossType, types.VarArg(types.Any))
def call_loss(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """``loss(...)`` is found by the type of `loss`; what it does is its method ``__call__``."""
    return context.get_function((LossType, "__call__"), signature)(builder, args)


def _member(context: Any, builder: Any, kind: LossType, loss: Any, name: str, member_type: Any) -> Any:
    """A member of the C struct."""
    kernel = cgutils.create_struct_proxy(kind)(context, builder, value=loss).kernel
    place = cgutils.gep_inbounds(builder, kernel, getattr(Struct, name).offset)
    return builder.load(builder.bitcast(place, member_type.as_pointer()))


def _pointer(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """To the data of an array; NULL of None."""
    if not isinstance(kind, types.Array):
        return cgutils.get_null_value(_POINTER)
    return builder.bitcast(context.make_array(kind)(context, builder, value=value).data, _POINTER)


def _suffix(number: Any) -> str:
    return "f32" if number == types.float32 else "f64"


@intrinsic
def _block(context, loss, n, k, y, z, weight, scale, value, gradient):
    """The sum of the losses of all samples, and the status. Arrays but y and z may be None."""
    result = types.Tuple((types.float64, types.int32))

    def generate(context, builder, signature, args):
        status = cgutils.alloca_once_value(builder, _INT32(0))
        pointers = [_pointer(context, builder, *pair) for pair in zip(signature.args[3:], args[3:], strict=True)]
        arguments = [
            _member(context, builder, loss, args[0], "params", _POINTER), args[1], args[2], *pointers[:3], args[6],
            *pointers[4:], cgutils.get_null_value(_POINTER), builder.bitcast(status, _POINTER),
        ]  # fmt: skip
        kernel = ir.FunctionType(_DOUBLE, [argument.type for argument in arguments]).as_pointer()
        function = _member(context, builder, loss, args[0], _suffix(z.dtype), kernel)
        total = builder.call(function, arguments)
        return context.make_tuple(builder, result, [total, builder.load(status)])

    return result(loss, types.int64, types.int64, y, z, weight, types.float64, value, gradient), generate


@intrinsic
def _weigh(context, loss, n, k, y, weight):
    """What a mean divides by, where the kernel says it; or else a negative number."""

    def generate(context, builder, signature, args):
        status = cgutils.alloca_once_value(builder, _INT32(0))  # the block function finds the same faults
        arguments = [
            _member(context, builder, loss, args[0], "params", _POINTER), args[1], args[2],
            *(_pointer(context, builder, *pair) for pair in zip(signature.args[3:], args[3:], strict=True)),
            builder.bitcast(status, _POINTER),
        ]  # fmt: skip
        kernel = ir.FunctionType(_DOUBLE, [argument.type for argument in arguments]).as_pointer()
        function = _member(context, builder, loss, args[0], f"weigh_{_suffix(y.dtype)}", kernel)
        total = cgutils.alloca_once_value(builder, _DOUBLE(-1.0))
        with builder.if_then(cgutils.is_not_null(builder, function)):
            builder.store(builder.call(function, arguments), total)
        return builder.load(total)

    return types.float64(loss, types.int64, types.int64, y, weight), generate


@njit(fastmath={"reassoc"}, **OPTIONS)
def _sum(weight):
    total = 0.0
    for w in weight:
        total += np.float64(w)
    return total


@njit(**OPTIONS)
def _divisor(loss, n, k, y, weight):
    """What a mean divides by."""
    total = _weigh(loss, n, k, y, weight)
    if total >= 0 or total != total:
        return total
    return np.float64(n) if weight is None else _sum(weight)


@njit(**OPTIONS)
def _check_status(status):
    if status & BAD_WEIGHT:
        raise ValueError("sample_weight must hold finite numbers >= 0")
    if status & BAD_LABEL:
        raise ValueError("y_true holds a label outside the domain of the loss")
    if status & BAD_PREDICTION:
        raise ValueError("y_pred holds a prediction outside the domain of the loss")
    if status & RAISED:
        raise ValueError("the function of the loss raised an exception for a sample")
    if status:
        raise ValueError("the kernel of the loss found fault with a sample")


@njit(**OPTIONS)
def _overlap(a, b):
    start, other = a.ctypes.data, b.ctypes.data
    return start < other + b.nbytes and other < start + a.nbytes


@njit(**OPTIONS)
def _check_out(in_place, y, z, weight, out):
    """A gradient may take the place of predictions or labels sample by sample, not be shifted against them."""
    if out.shape != z.shape:
        raise ValueError("out must have the shape of y_pred")
    if _overlap(out, z) and not (in_place and out.ctypes.data == z.ctypes.data):
        raise ValueError("out must not share memory with y_pred, unless it is that very array, of one dimension")
    if _overlap(out, y) and not (in_place and out.ctypes.data == y.ctypes.data):
        raise ValueError("out must not share memory with y_true, unless it is that very array, of one dimension")
    if weight is not None and _overlap(out, weight):
        raise ValueError("out must not share memory with sample_weight")


def _evaluate(loss, mean, y, z, weight, out):
    """The loss; its gradient goes to `out`, unless that is None."""
    raise NotImplementedError("compiled only")


@overload(_evaluate, jit_options=OPTIONS)
def _implement(loss, mean, y, z, weight, out):
    many_outputs, row_labels, classes = loss.many_outputs, loss.row_labels, loss.classes

    def evaluate(loss, mean, y, z, weight, out):
        n, k = len(z), 1
        if len(y) != n:
            raise ValueError("y_true must have one entry for each of y_pred")
        if many_outputs:
            k = z.shape[1]
            if k == 0:
                raise ValueError("y_pred must have at least one class along its last axis")
            if classes != 0 and k != classes:
                raise ValueError("class_weight must have one entry for each class of y_pred")
        if row_labels and y.shape != z.shape:
            raise ValueError("y_true must have the shape of y_pred")
        if weight is not None and len(weight) != n:
            raise ValueError("sample_weight must have one entry for each of y_pred")
        if out is not None:
            _check_out(not many_outputs, y, z, weight, out)
        total, scale = 1.0, 1.0
        if mean:
            total = _divisor(loss, n, k, y, weight)
            scale = 1 / total if total > 0 else 0.0  # without any weight the gradient is 0
        value, status = _block(loss, n, k, y, z, weight, scale, None, out)
        _check_status(status)
        return value / total if total > 0 else np.nan

    return evaluate


def _check_types(loss: LossType, y: Any, z: Any, weight: Any, out: Any, reduction: Any) -> bool:
    """Refuse what kernels cannot read where it is; whether the reduction is a mean."""

    def check(name: str, array: Any, ndim: int, numbers: tuple[Any, ...]) -> None:
        fits = isinstance(array, types.Array) and array.layout == "C" and array.ndim == ndim and array.aligned
        if not fits or array.dtype not in numbers or (name == "out" and not array.mutable):
            kind = "writable C-contiguous" if name == "out" else "C-contiguous"
            dtype = " or ".join(map(str, numbers)) + ("" if name == "y_pred" else ", as y_pred is")
            raise TypingError(f"{name} must be a {kind} {ndim}-d array of {dtype}; got {array}")

    width = 2 if loss.many_outputs else 1
    check("y_pred", z, width, (types.float32, types.float64))
    check("y_true", y, width if loss.row_labels else 1, (z.dtype,))
    for name, array, ndim in (("sample_weight", weight, 1), ("out", out, width)):
        if not _is_none(array):
            check(name, array, ndim, (z.dtype,))
    reduction = getattr(reduction, "literal_value", getattr(reduction, "value", reduction))
    if reduction not in ("mean", "sum"):
        raise TypingError(f"reduction must be the constant 'mean' or 'sum' in compiled code; got {reduction}")
    return bool(reduction == "mean")


def _is_none(kind: Any) -> bool:
    return kind is None or isinstance(kind, types.NoneType) or getattr(kind, "value", 0) is None


@overload_method(LossType, "__call__", jit_options=OPTIONS, prefer_literal=True)
def call(loss, y_true, y_pred, sample_weight=None, reduction="mean"):
    """``loss(y_true, y_pred)``."""
    mean = _check_types(loss, y_true, y_pred, sample_weight, None, reduction)

    def implementation(loss, y_true, y_pred, sample_weight=None, reduction="mean"):
        return _evaluate(loss, mean, y_true, y_pred, sample_weight, None)

    return implementation


@overload_method(LossType, "value_and_grad", jit_options=OPTIONS, prefer_literal=True)
def value_and_grad(loss, y_true, y_pred, sample_weight=None, reduction="mean", out=None):
    """``loss.value_and_grad(y_true, y_pred, out=out)``; allocates nothing but a gradient without `out`."""
    mean = _check_types(loss, y_true, y_pred, sample_weight, out, reduction)

    def into(loss, y_true, y_pred, sample_weight=None, reduction="mean", out=None):
        return _evaluate(loss, mean, y_true, y_pred, sample_weight, out), out

    def allocating(loss, y_true, y_pred, sample_weight=None, reduction="mean", out=None):
        gradient = np.empty_like(y_pred)
        return _evaluate(loss, mean, y_true, y_pred, sample_weight, gradient), gradient

    return allocating if _is_none(out) else into
