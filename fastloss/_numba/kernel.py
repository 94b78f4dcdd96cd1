"""Block kernels (``simd/kernel.h``) around functions of one sample, or of one row, that users write in Python.

A kernel goes through its samples by parts that stay in the first cache: the user's function fills scratch, a loop that
vectorises as nothing there can be the memory of an argument; then weights, scale and sum, as in ``simd/blocks.hpp``.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pickle import loads
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils, sigutils
from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError
from numba.core.serialize import dumps
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from fastloss._numba import jets
from fastloss._numba.cache import KernelCache, NotCacheable, fingerprint
from fastloss._numba.jets import Jet, make
from fastloss._numba.rewrite import COMPILERS, OPTIONS, SPLIT, compiled, takes_exponential
from fastloss._runtime import BAD_LABEL, BAD_WEIGHT, RAISED

PART = 512  # samples at once

FLOATS = {"f32": types.float32, "f64": types.float64}


@intrinsic
def _pointer(context, address, like):
    """A pointer to numbers of the type of `like`, from its address."""
    kind = types.CPointer(like)

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(kind))

    return kind(address, like), generate


@intrinsic
def _scratch(context, like):
    """A part's worth of numbers of the type of `like`, on the stack."""
    kind = types.CPointer(like)

    def generate(context, builder, signature, args):
        number = context.get_value_type(like)
        with builder.goto_entry_block():  # not by alloca_once: it fills the memory with zeros, 100 ns a call
            memory = builder.alloca(ir.ArrayType(number, PART))
        memory.align = 64
        return builder.bitcast(memory, number.as_pointer())

    return kind(like), generate


@intrinsic
def _guarded(context, function, args):
    """Calls a compiled function: whether it raised, and what it returned (anything, where it raised)."""
    signature = function.get_call_type(context, tuple(args), {})
    result = signature.return_type

    def generate(context, builder, outer, values):
        dispatcher = function.dispatcher
        compiled_function = dispatcher.get_compile_result(signature)
        context.active_code_library.add_linking_library(compiled_function.library)
        callee = context.declare_function(builder.module, compiled_function.fndesc)
        unpacked = [builder.extract_value(values[1], i) for i in range(len(args))]
        unpacked = [
            context.cast(builder, value, given, wanted)
            for value, given, wanted in zip(unpacked, args, signature.args, strict=True)
        ]
        status, value = context.call_conv.call_function(builder, callee, result, signature.args, unpacked)
        return context.make_tuple(builder, outer.return_type, [status.is_error, value])

    return types.Tuple((types.boolean, result))(function, args), generate


@intrinsic
def _sum(context, a, b):
    """Adds, in an order that may change, so that a sum runs in SIMD lanes; nothing else may change."""

    def generate(context, builder, signature, args):
        return builder.fadd(*args, flags=("reassoc",))

    return a(a, a), generate


def _field(name: str) -> Callable[..., Any]:
    """A jet's value or derivative; a number has derivatives of 0."""

    @intrinsic
    def field(context, x):
        def of_jet(context, builder, signature, args):
            return getattr(cgutils.create_struct_proxy(x)(context, builder, value=args[0]), name)

        def of_number(context, builder, signature, args):
            return args[0] if name == "value" else context.get_constant(x, 0)

        return (x.dtype(x), of_jet) if isinstance(x, Jet) else (x(x), of_number)

    return field


_value, _first, _second = map(_field, jets.FIELDS)


def _evaluations(function: Any, kind: Any, given: int, curved: bool) -> tuple[Any, Any, Any]:
    """What is called for a sample.

    The first gives what is prepared in a loop of its own, or is None. The others take (y, prepared, z, params) and say
    whether the function raised, value and gradient; the last one the second derivative as well. `given` is how many of
    the three the function returns, `curved` whether the third is known at all.
    """
    number = as_dtype(kind).type
    zero, one = number(0), number(1)
    prepare = None
    if takes_exponential(function):
        exponential, point = (compiled(function, compiler) for compiler in SPLIT[kind])

        @njit(**OPTIONS)
        def prepare(y, z, params):
            return number(_guarded(exponential, (y, z, *params))[1])

        @njit(**OPTIONS)
        def labelled(y, prepared):
            return (y, prepared)
    else:
        point = compiled(function, COMPILERS[kind])

        @njit(**OPTIONS)
        def labelled(y, prepared):
            return y

    @njit(**OPTIONS)
    def from_value(y, prepared, z, params):
        raised, found = _guarded(point, (labelled(y, prepared), make(z, one, zero), *params))
        return raised, number(_value(found)), number(_first(found)), number(_second(found))

    @njit(**OPTIONS)
    def from_gradient(y, prepared, z, params):
        _, jets = _guarded(point, (labelled(y, prepared), make(z, one, zero), *params))
        raised, found = _guarded(point, (labelled(y, prepared), z, *params))  # at a kink the function's own choice
        return raised, number(found[0]), number(found[1]), number(_first(jets[1]))

    @njit(**OPTIONS)
    def as_given(y, prepared, z, params):
        raised, found = _guarded(point, (labelled(y, prepared), z, *params))
        return raised, number(found[0]), number(found[1]), number(found[-1]) if curved else number(math.nan)

    if given == 1:
        return prepare, from_value, from_value
    return prepare, as_given, from_gradient if given == 2 and curved else as_given


@njit(**OPTIONS)
def _write(out, start, count, numbers, weights, weighted, scale, zero):
    """Writes scale * weight * numbers, and 0 where the weight is 0."""
    if weighted:
        for i in range(count):
            w = weights[start + i]
            out[start + i] = zero if w == zero else _like(zero, np.float64(w) * scale) * numbers[i]
    else:
        factor = _like(zero, scale)
        for i in range(count):
            out[start + i] = factor * numbers[i]


@intrinsic
def _like(context, like, number):
    """`number` in the type of `like`."""

    def generate(context, builder, signature, args):
        return context.cast(builder, args[1], signature.args[1], like)

    return like(like, number), generate


@njit(**OPTIONS)
def _weighted(value, w):
    return 0.0 if w == 0 else np.float64(value) * np.float64(w)


@njit(**OPTIONS)
def _weight_is_bad(w):
    return (w < 0) | (w - w != 0)  # as one would say it, LLVM takes it to pieces, bit by bit


def _scalar_block(function: Any, kind: Any, count: int, given: int, curved: bool) -> Callable[..., Any]:
    """The block function around a function of one label and one prediction."""
    number = as_dtype(kind).type
    zero, one, size = number(0), number(1), np.dtype(number).itemsize
    prepare, two, three = _evaluations(function, kind, given, curved)
    prepares = prepare is not None
    apart = kind == types.float32  # a sum in float64 would halve the lanes of the whole loop
    load = _loader(count)

    @njit(**OPTIONS)
    def is_bad(raised, label):
        return one if raised | (label != label) else zero

    def block(params, n, k, y, z, weight, scale, value, gradient, hessian, status):
        labels, predictions, weights = _pointer(y, zero), _pointer(z, zero), _pointer(weight, zero)
        values, gradients, hessians = _pointer(value, zero), _pointer(gradient, zero), _pointer(hessian, zero)
        arguments = load(_pointer(params, 0.0), zero)
        prepared, v, g, h = _scratch(zero), _scratch(zero), _scratch(zero), _scratch(zero)
        alone = value == 0 and hessian == 0  # the gradient and the sum are all that is asked for: in one loop
        # The gradient goes to its place at once, unless the function still has to read there.
        direct = alone and gradient != 0 and gradient != z and gradient != y and gradient != weight
        factor = number(scale)
        total = 0.0
        found = np.int32(0)
        start = np.intp(0)  # a literal would have everything compiled once more
        while start < n:
            m = min(PART, n - start)
            bad = bad_weights = zero
            if prepares:
                for i in range(m):
                    prepared[i] = prepare(labels[start + i], predictions[start + i], arguments)
            out = _pointer(gradient + start * size, zero) if direct else g
            if alone and weight == 0:
                for i in range(m):
                    label = labels[start + i]
                    raised, x, slope, _ = two(label, prepared[i], predictions[start + i], arguments)
                    bad = _sum(bad, is_bad(raised, label))
                    out[i] = factor * slope
                    if apart:
                        v[i] = x
                    else:
                        total = _sum(total, x)
                if apart:
                    for i in range(m):
                        total = _sum(total, np.float64(v[i]))
            elif alone:
                for i in range(m):
                    label, w = labels[start + i], weights[start + i]
                    raised, x, slope, _ = two(label, prepared[i], predictions[start + i], arguments)
                    bad = _sum(bad, is_bad(raised, label))
                    bad_weights = _sum(bad_weights, one if _weight_is_bad(w) else zero)
                    out[i] = zero if w == zero else number(np.float64(w) * scale) * slope
                    if apart:
                        v[i] = x
                    else:
                        total = _sum(total, _weighted(x, w))
                if apart:
                    for i in range(m):
                        total = _sum(total, _weighted(v[i], weights[start + i]))
            else:
                if hessian == 0:
                    for i in range(m):
                        label = labels[start + i]
                        raised, v[i], g[i], _ = two(label, prepared[i], predictions[start + i], arguments)
                        bad = _sum(bad, is_bad(raised, label))
                else:
                    for i in range(m):
                        label = labels[start + i]
                        raised, v[i], g[i], h[i] = three(label, prepared[i], predictions[start + i], arguments)
                        bad = _sum(bad, is_bad(raised, label))
                if weight == 0:
                    for i in range(m):
                        total = _sum(total, np.float64(v[i]))
                else:
                    for i in range(m):
                        w = weights[start + i]
                        bad_weights = _sum(bad_weights, one if _weight_is_bad(w) else zero)
                        x = _weighted(v[i], w)
                        total = _sum(total, x)
                        v[i] = number(x)
            if bad_weights > zero:
                found |= np.int32(BAD_WEIGHT)
            if bad > zero:  # one by one, for a weight of 0 removes a sample
                for i in range(start, start + m):
                    if weight == 0 or weights[i] != zero:
                        raised, _, _, _ = two(labels[i], prepared[i - start], predictions[i], arguments)
                        found |= np.int32(BAD_LABEL if labels[i] != labels[i] else (RAISED if raised else 0))
            if alone:
                if gradient != 0 and not direct:
                    for i in range(m):
                        gradients[start + i] = g[i]
            else:
                if value != 0:
                    for i in range(m):
                        values[start + i] = v[i]
                if gradient != 0:
                    _write(gradients, start, m, g, weights, weight != 0, scale, zero)
                if hessian != 0:
                    _write(hessians, start, m, h, weights, weight != 0, scale, zero)
            start += m
        _pointer(status, np.int32(0))[0] |= found
        return total

    return block


def _row_block(point: Any, kind: Any, count: int, row_labels: bool) -> Callable[..., Any]:
    """The block function around a function of one label, or row of labels, and one row of predictions."""
    number = as_dtype(kind).type
    zero = number(0)
    size = np.dtype(number).itemsize
    load = _loader(count)

    @njit(**OPTIONS)
    def label_of(y, i, k):
        if row_labels:
            return carray(_pointer(y + i * k * size, zero), (k,))
        return _pointer(y, zero)[i]

    @njit(**OPTIONS)
    def is_missing(label):
        if row_labels:
            return np.isnan(label).any()
        return label != label

    def block(params, n, k, y, z, weight, scale, value, gradient, hessian, status):
        weights, values, hessians = _pointer(weight, zero), _pointer(value, zero), _pointer(hessian, zero)
        arguments = load(_pointer(params, 0.0), zero)
        spare = np.empty(k if gradient == 0 else 0, number)
        total = 0.0
        found = np.int32(0)
        for i in range(n):
            w = number(1) if weight == 0 else weights[i]
            if _weight_is_bad(w):
                found |= np.int32(BAD_WEIGHT)
            row = carray(_pointer(z + i * k * size, zero), (k,))
            slope = spare if gradient == 0 else carray(_pointer(gradient + i * k * size, zero), (k,))
            x = 0.0
            factor = zero
            if w != zero:
                label = label_of(y, i, k)
                raised, loss = _guarded(point, (label, row, slope, *arguments))
                if is_missing(label):
                    found |= np.int32(BAD_LABEL)
                elif raised:
                    found |= np.int32(RAISED)
                x = np.float64(loss) * np.float64(w)
                factor = number(np.float64(w) * scale)
            total += x
            if value != 0:
                values[i] = number(x)
            if gradient != 0:
                for j in range(k):
                    slope[j] = zero if w == zero else factor * slope[j]
            if hessian != 0:
                for j in range(i * k, (i + 1) * k):
                    hessians[j] = number(math.nan)
        _pointer(status, np.int32(0))[0] |= found
        return total

    return block


def _loader(count: int) -> Callable[..., Any]:
    """Reads `count` parameters, into a tuple of the type of the computation."""

    @intrinsic
    def load(context, params, zero):
        kind = types.UniTuple(zero, count)

        def generate(context, builder, signature, args):
            numbers = [builder.load(cgutils.gep(builder, args[0], i)) for i in range(count)]
            numbers = [context.cast(builder, number, params.dtype, zero) for number in numbers]
            return context.make_tuple(builder, kind, numbers)

        return kind(params, zero), generate

    return load


class _Ready:
    """What Numba's C callbacks ask for a kernel that may have been compiled already."""

    def __init__(self, kernel: Any = None) -> None:
        self.kernel = kernel

    def load_overload(self, signature: Any, context: Any) -> Any:
        return self.kernel

    def save_overload(self, signature: Any, kernel: Any) -> None:
        self.kernel = kernel


# Of a block function: params, n, k, y, z, weight; scale; value, gradient, hessian, status. Addresses are integers here.
SIGNATURE = types.float64(*[types.intp] * 6, types.float64, *[types.intp] * 4)


class Kernels:
    """The block functions of one user's function, each compiled when it is asked for.

    Attributes
    ----------
    given : int
        How many of value, gradient and second derivative the function returns.
    curved : bool
        Whether second derivatives are known.
    """

    def __init__(self, function: Any, count: int, rows: bool, row_labels: bool, key: Any) -> None:
        self._function, self._settings = function, (count, rows, row_labels)
        self._key = key  # of the place on disk; None for none
        self._blocks: dict[str, Any] = {}
        self.given, self.curved = 0, False

    def address(self, name: str) -> int:
        """The address of the function for "f32" or "f64"; it is valid as long as this object lives."""
        with _lock:
            if name not in self._blocks:
                self._blocks[name] = self._compile(name)
            return int(self._blocks[name].address)

    def _compile(self, name: str) -> Any:
        function, (count, rows, row_labels) = self._function, self._settings
        place = None if self._key is None else KernelCache(function, (*self._key, name))
        saved, kernel = None if place is None else place.load(), None
        if saved is not None:
            (self.given, self.curved), kernel = saved
        elif not self.given:  # else the function for the other dtype has told
            self.given, self.curved = _describe_rows(function, count, row_labels) if rows else describe(function, count)
        kind = FLOATS[name]
        if rows:
            block = _row_block(compiled(function, COMPILERS[kind]), kind, count, row_labels)
        else:
            block = _scalar_block(function, kind, count, self.given, self.curved)
        callback = CFunc(block, sigutils.normalize_signature(SIGNATURE), {}, OPTIONS)
        callback._cache = _Ready(kernel)
        try:
            callback.compile()
        except NumbaError as error:
            raise NotCompiled(_explain(error)) from error
        if place is not None and saved is None:
            place.save((self.given, self.curved), callback._cache.kernel)
        return callback


class NotCompiled(TypeError):
    """A function that Numba cannot compile, with the part of its message that helps."""


def _explain(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("Failed in", "During:", "- Resolution", "File"))]
    return "\n".join(useful[:12])


def _infer(function: Callable[..., Any], kind: Any, arguments: tuple[Any, ...]) -> Any:
    """The type that a function returns."""
    dispatcher = compiled(function, COMPILERS[kind])
    try:
        dispatcher.compile(arguments)
    except (NumbaError, NotImplementedError, TypeError) as error:
        raise NotCompiled(_explain(error)) from error
    return dispatcher.overloads[arguments].signature.return_type


def _is_number(kind: Any) -> bool:
    return isinstance(kind, types.Number | types.Boolean | Jet)


def describe(function: Callable[..., Any], count: int) -> tuple[int, bool]:
    """How many results a function of one label and prediction returns; whether second derivatives are known.

    Raises
    ------
    NotCompiled
        If it cannot be compiled, or returns something else.
    """
    kind = types.float64
    result = _infer(function, kind, (kind,) * (2 + count))
    given = len(result) if isinstance(result, types.BaseTuple) else 1
    parts = list(result) if given > 1 else [result]
    if given not in (1, 2, 3) or not all(map(_is_number, parts)):
        raise NotCompiled(f"it must return value, (value, gradient) or (value, gradient, hessian), not {result}")
    if given == 3:
        return 3, True
    try:
        _infer(function, kind, (kind, Jet(kind), *[kind] * count))
    except NotCompiled as error:
        if given == 2:
            return 2, False
        raise NotCompiled(
            f"it returns a value alone, and something in it cannot be differentiated; return (value, gradient)\n{error}"
        ) from error
    return given, True


def dump_function(function: Callable[..., Any]) -> bytes:
    """A function as bytes; by its code, since its name may now be that of the loss that was made of it."""
    return dumps(function)


def load_function(code: bytes) -> Callable[..., Any]:
    """The function again: the same object each time in one process, so that it is compiled once."""
    found = _loaded.get(code)
    if found is None:
        found = _loaded.setdefault(code, loads(code))
    return found


_loaded: dict[bytes, Callable[..., Any]] = {}


def compile_kernels(
    function: Any, count: int, *, rows: bool = False, row_labels: bool = False, cache: bool = True
) -> Kernels:
    """Compile a user's function with `count` parameters for float64, or load what another process compiled.

    Raises
    ------
    NotCompiled
        If it cannot be compiled.
    """
    function = getattr(function, "py_func", function)
    try:
        key = (fingerprint(function), count, rows, row_labels)
    except NotCacheable:
        key = None
    with _lock:
        kernels = _compiled.get(key)
        if kernels is None:
            kernels = Kernels(function, count, rows, row_labels, key if cache else None)
            kernels.address("f64")
            if key is not None:
                _compiled[key] = kernels
        return kernels


_lock = threading.RLock()  # two threads with one function compile it once
_compiled: dict[Any, Kernels] = {}


def _describe_rows(function: Callable[..., Any], count: int, row_labels: bool) -> tuple[int, bool]:
    kind = types.float64
    row = types.Array(kind, 1, "C")
    result = _infer(function, kind, (row if row_labels else kind, row, row, *[kind] * count))
    if not _is_number(result):
        raise NotCompiled(f"it must write the gradient to its third argument and return the value, not {result}")
    return 2, False
