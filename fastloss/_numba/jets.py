"""Forward-mode differentiation: numbers that carry their first and second derivatives, as a type for Numba.

A `Jet` is (f, f', f'') by one variable. Arithmetic and elementary functions take it as they take a number, so that
the function that computes a loss, called with a jet for the prediction, computes both derivatives beside it. Griewank
and Walther (2008), "Evaluating Derivatives", chapter 13. At a kink they are those to the right, throughout: numbers
that are equal compare by how they change, so that branches, abs, max and min go on as they do just to the right of the
point, and a smooth function that is put together of such pieces has the right derivatives.
"""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.extending import intrinsic, lower_cast, make_attribute_wrapper, models, overload, register_model
from numba.np.numpy_support import as_dtype

from fastloss import vmath
from fastloss._numba.rewrite import COMPILERS, compiled, prepared_exp
from fastloss._numba.vector_math import INLINED, log1p_unit, sigmoid_from, softplus_from

FIELDS = ("value", "first", "second")


class Jet(types.Type):
    """The type: a number of `dtype` with two derivatives."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Jet({dtype})")

    def unify(self, context: Any, other: Any) -> Any:
        """Where one branch gives a jet and the other a number, the result is a jet."""
        return self if isinstance(other, types.Number | types.Boolean) else None

    def can_convert_from(self, context: Any, other: Any) -> Any:
        """A number is a jet whose derivatives are 0."""
        return Conversion.safe if isinstance(other, types.Number | types.Boolean) else None


@register_model(Jet)
class _JetModel(models.StructModel):
    def __init__(self, manager: Any, jet: Jet) -> None:
        super().__init__(manager, jet, [(field, jet.dtype) for field in FIELDS])


for _field in FIELDS:
    make_attribute_wrapper(Jet, _field, _field)


@intrinsic
def make(context, value, first, second):
    """A jet of the type of `value`."""
    jet = Jet(value)

    def generate(context, builder, signature, args):
        struct = cgutils.create_struct_proxy(jet)(context, builder)
        for field, arg, kind in zip(FIELDS, args, signature.args, strict=True):
            setattr(struct, field, context.cast(builder, arg, kind, jet.dtype))
        return struct._getvalue()

    return jet(value, first, second), generate


@lower_cast(types.Number, Jet)
@lower_cast(types.Boolean, Jet)
def _constant(context, builder, source, target, number):
    struct = cgutils.create_struct_proxy(target)(context, builder)
    struct.value = context.cast(builder, number, source, target.dtype)
    struct.first = struct.second = context.get_constant(target.dtype, 0)
    return struct._getvalue()


@njit(**INLINED)
def _chain(x, y, first, second):
    """The jet of y = f(x), with f' and f'' at x."""
    return make(y, first * x.first, first * x.second + second * x.first * x.first)


# Each in terms of the number x and y = f(x): first and second derivative.
_DERIVATIVES: dict[str, Callable[..., Any]] = {
    "exp": lambda x, y: (y, y),
    "expm1": lambda x, y: (y + 1, y + 1),
    "log": lambda x, y: (1 / x, -1 / (x * x)),
    "log1p": lambda x, y: (1 / (1 + x), -1 / ((1 + x) * (1 + x))),
    "log2": lambda x, y: (1 / (x * math.log(2)), -1 / (x * x * math.log(2))),
    "log10": lambda x, y: (1 / (x * math.log(10)), -1 / (x * x * math.log(10))),
    "sinh": lambda x, y: (vmath.cosh(x), y),
    "cosh": lambda x, y: (vmath.sinh(x), y),
    "tanh": lambda x, y: (1 - y * y, -2 * y * (1 - y * y)),
    "sigmoid": lambda x, y: (y * vmath.sigmoid(-x), y * vmath.sigmoid(-x) * (vmath.sigmoid(-x) - y)),
    "softplus": lambda x, y: (vmath.sigmoid(x), vmath.sigmoid(x) * vmath.sigmoid(-x)),
    "sqrt": lambda x, y: (0.5 / y, -0.25 / (x * y)),
    "sin": lambda x, y: (math.cos(x), -y),
    "cos": lambda x, y: (-math.sin(x), -y),
    "tan": lambda x, y: (1 + y * y, 2 * y * (1 + y * y)),
    "atan": lambda x, y: (1 / (1 + x * x), -2 * x / ((1 + x * x) * (1 + x * x))),
    "asinh": lambda x, y: (1 / math.sqrt(1 + x * x), -x / ((1 + x * x) * math.sqrt(1 + x * x))),
    "erf": lambda x, y: (2 / math.sqrt(math.pi) * vmath.exp(-x * x), -4 / math.sqrt(math.pi) * x * vmath.exp(-x * x)),
    "erfc": lambda x, y: (-2 / math.sqrt(math.pi) * vmath.exp(-x * x), 4 / math.sqrt(math.pi) * x * vmath.exp(-x * x)),
}
# Under other names.
_ALSO = {"arctan": "atan", "arcsinh": "asinh"}


def _implement(function: Callable[..., Any], value: Callable[..., Any], derivatives: Callable[..., Any]) -> None:
    def choose(x):
        if not isinstance(x, Jet):
            return None
        derive = compiled(derivatives, COMPILERS[x.dtype])
        T = as_dtype(x.dtype).type

        def apply(x):
            y = T(value(x.value))
            first, second = derive(x.value, y)
            return _chain(x, y, T(first), T(second))

        return apply

    overload(function, jit_options=INLINED)(choose)


for _name, _derivatives in _DERIVATIVES.items():
    _value = getattr(vmath, _name, None) or getattr(math, _name)
    _implement(_value, _value, _derivatives)
_implement(log1p_unit, vmath.log1p, _DERIVATIVES["log1p"])


def _implement_from(function: Callable[..., Any], first: Callable[..., Any], second: Callable[..., Any]) -> None:
    """Functions of x and e = exp(-abs(x)), a jet too: derivatives by x alone, or its kink would count."""

    def choose(x, e):
        if not (isinstance(x, Jet) and isinstance(e, Jet)):
            return None
        slope, curvature = (compiled(derivative, COMPILERS[x.dtype]) for derivative in (first, second))

        def apply(x, e):
            p, q = sigmoid_from(x.value, e.value), sigmoid_from(-x.value, e.value)
            return _chain(x, function(x.value, e.value), slope(p, q), curvature(p, q))

        return apply

    overload(function, jit_options=INLINED)(choose)


_implement_from(sigmoid_from, lambda p, q: p * q, lambda p, q: p * q * (q - p))
_implement_from(softplus_from, lambda p, q: p, lambda p, q: p * q)


@overload(prepared_exp, jit_options=INLINED)
def _prepared_exp(x, e):
    if not isinstance(x, Jet):
        return lambda x, e: e
    return lambda x, e: _chain(x, e, e, e)


for _name in (*_DERIVATIVES, *_ALSO):
    if not hasattr(vmath, _name) and hasattr(np, _name):
        _source = _ALSO.get(_name, _name)
        _implement(getattr(np, _name), getattr(math, _source), _DERIVATIVES[_source])


@njit(**INLINED)
def _less(a, b):
    """Whether a < b just to the right of the point."""
    return (a.value < b.value) | (
        (a.value == b.value) & ((a.first < b.first) | ((a.first == b.first) & (a.second < b.second)))
    )


@njit(**INLINED)
def _equal(a, b):
    return (a.value == b.value) & (a.first == b.first) & (a.second == b.second)


def _binary(function: Callable[..., Any], both: Callable[..., Any]) -> None:
    """An operation whose second or first operand may be a number: it then is a jet without derivatives."""
    combine = njit(**INLINED)(both)

    def choose(a, b):
        if isinstance(a, Jet) and isinstance(b, Jet):
            return lambda a, b: combine(a, b)
        if isinstance(a, Jet) and isinstance(b, types.Number | types.Boolean):
            T = as_dtype(a.dtype).type
            return lambda a, b: combine(a, make(T(b), T(0), T(0)))
        if isinstance(b, Jet) and isinstance(a, types.Number | types.Boolean):
            T = as_dtype(b.dtype).type
            return lambda a, b: combine(make(T(a), T(0), T(0)), b)
        return None

    overload(function, jit_options=INLINED)(choose)


def _add(a, b):
    return make(a.value + b.value, a.first + b.first, a.second + b.second)


def _sub(a, b):
    return make(a.value - b.value, a.first - b.first, a.second - b.second)


def _mul(a, b):
    return make(
        a.value * b.value,
        a.first * b.value + a.value * b.first,
        a.second * b.value + (a.first * b.first + a.first * b.first) + a.value * b.second,
    )


def _truediv(a, b):
    value = a.value / b.value
    first = (a.first - value * b.first) / b.value
    return make(value, first, (a.second - (first * b.first + first * b.first) - value * b.second) / b.value)


def _maximum(a, b):
    return b if _less(a, b) else a


def _minimum(a, b):
    return b if _less(b, a) else a


for _functions, _both in {
    (operator.add, operator.iadd): _add,
    (operator.sub, operator.isub): _sub,
    (operator.mul, operator.imul): _mul,
    (operator.truediv, operator.itruediv): _truediv,
    (builtins.max, np.maximum): _maximum,
    (builtins.min, np.minimum): _minimum,
}.items():
    for _function in _functions:
        _binary(_function, _both)


def _power(a, b):
    if not isinstance(a, Jet) or not isinstance(b, types.Number):
        return None
    T = as_dtype(a.dtype).type

    def power(a, b):
        # Not value / x: right at 0 too.
        value = T(a.value**b)
        first = T(0) if b == 0 else T(b * a.value ** (b - 1))
        second = T(0) if b * (b - 1) == 0 else T(b * (b - 1) * a.value ** (b - 2))
        return _chain(a, value, first, second)

    return power


for _function in (operator.pow, operator.ipow, math.pow, np.power):
    overload(_function, jit_options=INLINED)(_power)


for _function, _both in {
    operator.lt: lambda a, b: _less(a, b),
    operator.gt: lambda a, b: _less(b, a),
    operator.le: lambda a, b: _less(a, b) | _equal(a, b),
    operator.ge: lambda a, b: _less(b, a) | _equal(a, b),
    operator.eq: lambda a, b: _equal(a, b),
    operator.ne: lambda a, b: not _equal(a, b),
}.items():
    _binary(_function, _both)


def _of_value(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: (lambda x: function(x.value)) if isinstance(x, Jet) else None


for _function in (math.isnan, math.isinf, math.isfinite, np.isnan, np.isinf, np.isfinite):
    overload(_function, jit_options=INLINED)(_of_value(_function))


@overload(operator.neg, jit_options=INLINED)
def _neg(x):
    return (lambda x: make(-x.value, -x.first, -x.second)) if isinstance(x, Jet) else None


@overload(operator.pos, jit_options=INLINED)
def _pos(x):
    return (lambda x: x) if isinstance(x, Jet) else None


def _abs(x):
    if not isinstance(x, Jet):
        return None
    T = as_dtype(x.dtype).type

    def absolute(x):
        sign = T(-1) if x < T(0) else T(1)
        return make(abs(x.value), sign * x.first, sign * x.second)

    return absolute


for _function in (builtins.abs, math.fabs, np.abs, np.fabs):
    overload(_function, jit_options=INLINED)(_abs)
