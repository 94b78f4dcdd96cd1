"""Elementary functions for losses of one's own.

Inside a function that `fastloss.custom_loss` compiles, and inside any ``@numba.njit`` function, these become
branch-free code that loops over arrays vectorise; called from Python they are those of `math`, with IEEE results where
`math` raises. `fastloss.custom_loss` puts them in the place of their namesakes of `math` and NumPy by itself, so only
those without a namesake, `sigmoid` and `softplus`, need to be named.
"""

from __future__ import annotations

import math

__all__ = [
    "cosh",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "sigmoid",
    "sinh",
    "softplus",
    "tanh",
]


def exp(x: float) -> float:
    """e^x; infinity where that overflows."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def expm1(x: float) -> float:
    """e^x - 1, without its cancellation for small x."""
    try:
        return math.expm1(x)
    except OverflowError:
        return math.inf


def log(x: float) -> float:
    """The natural logarithm; -inf at 0, NaN below."""
    return math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def log1p(x: float) -> float:
    """log(1 + x), without rounding 1 + x."""
    return math.log1p(x) if x > -1 else (-math.inf if x == -1 else math.nan)


def log2(x: float) -> float:
    """The logarithm to base 2."""
    return math.log2(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def log10(x: float) -> float:
    """The logarithm to base 10."""
    return math.log10(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def sinh(x: float) -> float:
    """(e^x - e^-x) / 2."""
    try:
        return math.sinh(x)
    except OverflowError:
        return math.copysign(math.inf, x)


def cosh(x: float) -> float:
    """(e^x + e^-x) / 2."""
    try:
        return math.cosh(x)
    except OverflowError:
        return math.inf


def tanh(x: float) -> float:
    """sinh(x) / cosh(x)."""
    return math.tanh(x)


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), without overflow."""
    e = exp(-abs(x))
    return (e if x < 0 else 1.0) / (1 + e)


def softplus(x: float) -> float:
    """log(1 + e^x), without overflow and with full relative precision."""
    return (0.0 if x < 0 else x) + log1p(exp(-abs(x)))
