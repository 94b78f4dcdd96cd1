"""Checks of parameters that are numbers."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_number(name: str, value: Any, low: float, high: float, ends: str = "()") -> float:
    """`value` as a float inside the interval from `low` to `high`; `ends` says which ends belong to it.

    Raises TypeError or ValueError, naming the parameter.
    """
    if type(value) is not float:
        if isinstance(value, bool | np.bool_ | str) or not hasattr(value, "__float__") or np.ndim(value):
            raise TypeError(f"{name} must be a number, got {value!r}")
        value = float(value)
    number: float = value
    above = number >= low if ends[0] == "[" else number > low
    below = number <= high if ends[1] == "]" else number < high
    if not (above and below):
        raise ValueError(f"{name} must be in {ends[0]}{low:g}, {high:g}{ends[1]}, got {number:g}")
    return number
