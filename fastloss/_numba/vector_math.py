"""`fastloss.vmath` for Numba: the same branch-free functions as in ``simd/vmath.hpp``, which explains them.

LLVM vectorises loops over them; calls of the C library, which Numba would make of ``math.exp``, it cannot. Fused
multiply-add is allowed here, nothing else that changes results: reassociation would undo the rounding by magic numbers.
tests/test_vector_math.py measures their error in ulp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from fastloss import vmath

INLINED: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "forceinline": True}


def _hex(numbers: str) -> tuple[float, ...]:
    return tuple(map(float.fromhex, numbers.split()))


# Of simd/vmath.hpp, by the width of the type.
_DOUBLE = SimpleNamespace(
    T=np.float64,
    U=np.uint64,
    mantissa=52,
    bias=1023,
    sqrt_half=0x3FE6A09E667F3BCD,
    two_to_mantissa=0x4330000000000000,
    ln2=_hex("0x1.62e42feep-1 0x1.a39ef35793c76p-33"),
    lowest=-746,
    highest=710,
    shift=128,
    saturated=20,  # tanh is 1 from here on
    log_shift=54,
    exp_tail=_hex(
        "0x1.000000000000ap-1 0x1.55555555554fap-3 0x1.55555555508cbp-5 0x1.1111111127b97p-7 0x1.6c16c1841c139p-10 "
        "0x1.a01a012a58797p-13 0x1.a0199a2ce13d0p-16 0x1.71df25799584bp-19 0x1.28ad5860886b8p-22 0x1.ad7efffdb4577p-26"
    ),
    log_tail=_hex(
        "0x1.5555555555592p-1 0x1.999999998009fp-2 0x1.24924941cfa3dp-2 0x1.c71c522085cc2p-3 0x1.74663ac1ff1edp-3 "
        "0x1.39a219f0cb6cap-3 0x1.2f02035e40c1fp-3"
    ),
)
_SINGLE = SimpleNamespace(
    T=np.float32,
    U=np.uint32,
    mantissa=23,
    bias=127,
    sqrt_half=0x3F3504F3,
    two_to_mantissa=0x4B000000,
    ln2=_hex("0x1.63p-1 -0x1.bd0106p-13"),
    lowest=-104,
    highest=89,
    shift=32,
    saturated=10,
    log_shift=25,
    exp_tail=_hex("0x1.fffffcp-2 0x1.555492p-3 0x1.5558f0p-5 0x1.1239d4p-7 0x1.6a2472p-10"),
    log_tail=_hex("0x1.55557ap-1 0x1.995ec6p-2 0x1.31e1f8p-2"),
)


def _reinterpret(source: Any, target: Any) -> Callable[..., Any]:
    @intrinsic
    def reinterpret(context: Any, x: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[Any]) -> Any:
            return builder.bitcast(args[0], context.get_value_type(target))

        return target(source), generate

    return reinterpret


def _polynomial(c: Sequence[Any]) -> Callable[..., Any]:
    """c[0] + c[1] x + ... by Estrin's scheme, as an expression: one function is compiled faster than a tree of them."""
    names = {f"c{i}": number for i, number in enumerate(c)}

    def write(first: int, terms: int) -> str:
        if terms == 1:
            return f"c{first}"
        half = 1
        while 2 * half < terms:
            half *= 2
        return f"({write(first, half)} + {write(first + half, terms - half)} * x{half})"

    lines = [f"    x{2 * h} = x{h} * x{h}" for h in (1, 2, 4) if 2 * h < len(c)]
    source = "\n".join(["def polynomial(x1):", *lines, f"    return {write(0, len(c))}"])
    exec(source, names)  # the only names in it are those above
    return njit(**INLINED)(names["polynomial"])


def _functions(c: SimpleNamespace) -> dict[str, Callable[..., Any]]:
    """All functions for one type. Constants are of that type: literals would make Numba compute in float64."""
    T, U = c.T, c.U
    float_type, bits_type, signed_type = (types.float64, types.uint64, types.int64)
    if T is np.float32:
        float_type, bits_type, signed_type = (types.float32, types.uint32, types.int32)
    bits, number = _reinterpret(float_type, bits_type), _reinterpret(bits_type, float_type)
    signed = _reinterpret(float_type, signed_type)
    exp_tail, log_tail = (_polynomial([T(x) for x in tail]) for tail in (c.exp_tail, c.log_tail))

    zero, quarter, half, one, two, three = T(0), T(0.25), T(0.5), T(1), T(2), T(3)
    inf, nan = T(math.inf), T(math.nan)
    magic, log2e, ln2_hi, ln2_lo = T(1.5 * 2.0**c.mantissa), T(1 / math.log(2)), T(c.ln2[0]), T(c.ln2[1])
    lowest, highest, saturated = T(c.lowest), T(c.highest), T(c.saturated)
    bias, bias_up, bias_down = T(c.bias), T(c.bias + c.shift), T(c.bias - c.shift)
    two_to_shift, two_to_minus_shift = T(2.0**c.shift), T(2.0**-c.shift)
    mantissa = U(c.mantissa)
    to_sqrt_half = U((c.bias << c.mantissa) - c.sqrt_half)
    exponent_mask = U(((2 << (c.bias.bit_length())) - 1) << c.mantissa)
    two_over = U((2 * c.bias + 2) << c.mantissa)
    mantissa_mask, sqrt_half = U((1 << c.mantissa) - 1), U(c.sqrt_half)
    two_to_mantissa, k_offset = U(c.two_to_mantissa), T(2.0**c.mantissa + c.bias)
    tiny, denormal_scale, denormal_log2 = np.finfo(T).tiny, T(2.0**c.log_shift), T(-c.log_shift)
    root_two_minus_one = T(math.sqrt(2) - 1)
    log2_hi, log10_e = T(1 / math.log(2)), T(1 / math.log(10))

    @njit(**INLINED)
    def reduced(x):  # exp(r) - 1 and k + magic, where x = k ln 2 + r
        rounded = x * log2e + magic
        k = rounded - magic
        r = (x - k * ln2_hi) - k * ln2_lo
        return r + r * r * exp_tail(r), rounded

    @njit(**INLINED)
    def exp_half(x, halve):  # exp(x) / 2 or exp(x)
        x = lowest if x < lowest else x
        x = highest + one if x > highest + one else x
        y, rounded = reduced(x)
        negative = signed(x) < 0
        scale = number(bits(rounded + (bias_up if negative else bias_down)) << mantissa)
        rest = two_to_minus_shift if negative else two_to_shift
        return (y * scale + scale) * (half * rest if halve else rest)

    @njit(**INLINED)
    def exp(x):
        return exp_half(x, False)

    @njit(**INLINED)
    def expm1(x):
        low, high = -two * saturated, highest
        x = low if x < low else x  # -1 to the last bit
        x = high if x > high else x
        y, rounded = reduced(x)
        scale = number(bits(rounded + (bias - one)) << mantissa)  # 2^(k - 1): 2^k may overflow
        return x if x == zero else (y * scale + (scale - half)) * two

    @njit(**INLINED)
    def log1p_reduced(f, s, k):
        half_square = half * f * f
        z = s * s
        tail = z * log_tail(z)
        return k * ln2_hi - ((half_square - (s * (half_square + tail) + k * ln2_lo)) - f)

    @njit(**INLINED)
    def exponent(u):  # k of u = 2^k m, m nearest 1; as bits, and as a number
        e = bits(u) + to_sqrt_half
        return e & exponent_mask, number((e >> mantissa) | two_to_mantissa) - k_offset

    @njit(**INLINED)
    def specials(u, result):
        special = nan if u < zero else u
        special = -inf if u == zero else special
        return result if (u > zero) & (u < inf) else special

    @njit(**INLINED)
    def log(x):
        denormal = x < tiny
        u = x * denormal_scale if denormal else x
        _, k = exponent(u)
        f = number(((bits(u) + to_sqrt_half) & mantissa_mask) + sqrt_half) - one
        return specials(x, log1p_reduced(f, f / (two + f), k + (denormal_log2 if denormal else zero)))

    @njit(**INLINED)
    def log1p(x):
        u = one + x
        e, k = exponent(u)
        scale = number(two_over - e)  # 2^(2 - k): 2^-k may be denormal
        f = (quarter * x) * scale + (quarter * scale - one)  # (1 + x) 2^-k - 1, rounded once
        return specials(u, log1p_reduced(f, f / (two + f), k))

    @njit(**INLINED)
    def log1p_unit(x):  # for x in [0, 1] or NaN: half the work
        upper = x > root_two_minus_one
        s = (x + (-one if upper else zero)) / (x + (three if upper else two))
        return log1p_reduced(half * x - half if upper else x, s, one if upper else zero)

    @njit(**INLINED)
    def log2(x):
        return log(x) * log2_hi

    @njit(**INLINED)
    def log10(x):
        return log(x) * log10_e

    @njit(**INLINED)
    def tanh(x):
        size = abs(x)
        size = saturated if size > saturated else size
        t = expm1(two * size)
        return math.copysign(t / (t + two), x)

    @njit(**INLINED)
    def sinh(x):
        size = abs(x)
        t = expm1(one if size > one else size)
        e = exp_half(size, True)
        small = half * (t + t / (t + one))
        return math.copysign(small if size < one else e - half * half / e, x)

    @njit(**INLINED)
    def cosh(x):
        e = exp_half(abs(x), True)
        return e + half * half / e

    @njit(**INLINED)
    def sigmoid_from(x, e):
        inverse = one / (one + e)
        return e * inverse if x < zero else inverse

    @njit(**INLINED)
    def softplus_from(x, e):
        return (zero if x < zero else x) + log1p_unit(e)

    @njit(**INLINED)
    def sigmoid(x):
        return sigmoid_from(x, exp(-abs(x)))

    @njit(**INLINED)
    def softplus(x):
        return softplus_from(x, exp(-abs(x)))

    return {name: f for name, f in locals().items() if name in (*vmath.__all__, *INNER)}


INNER = ("log1p_unit", "sigmoid_from", "softplus_from")
_BY_TYPE = {types.float32: _functions(_SINGLE), types.float64: _functions(_DOUBLE)}


def log1p_unit(x: float) -> float:
    """log1p of a number that is known to be in [0, 1], or NaN."""
    return vmath.log1p(x)


def sigmoid_from(x: float, e: float) -> float:
    """sigmoid(x) with e = exp(-abs(x))."""
    return vmath.sigmoid(x)


def softplus_from(x: float, e: float) -> float:
    """softplus(x) with e = exp(-abs(x))."""
    return vmath.softplus(x)


# What takes their place for arrays.
NUMPY = {name: getattr(np, name) for name in vmath.__all__ if hasattr(np, name)}


def _implement(stub: Callable[..., Any]) -> None:
    name = stub.__name__

    def choose(x):
        x = types.unliteral(x)
        if isinstance(x, types.Integer | types.Boolean):
            function = _BY_TYPE[types.float64][name]
            return lambda x: function(np.float64(x))
        if x in _BY_TYPE:
            function = _BY_TYPE[x][name]
            return lambda x: function(x)
        if isinstance(x, types.Array) and name in NUMPY:
            function = NUMPY[name]
            return lambda x: function(x)
        return None

    overload(stub, jit_options=INLINED)(choose)


def _implement_from(stub: Callable[..., Any]) -> None:
    def choose(x, e):
        if x == e and x in _BY_TYPE:
            function = _BY_TYPE[x][stub.__name__]
            return lambda x, e: function(x, e)
        return None

    overload(stub, jit_options=INLINED)(choose)


for _name in vmath.__all__:
    _implement(getattr(vmath, _name))
_implement(log1p_unit)
_implement_from(sigmoid_from)
_implement_from(softplus_from)
