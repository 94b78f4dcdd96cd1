"""Errors in ulp: units in the last place of the dtype of the result, denormals included."""

from functools import cache

import mpmath as mp
import numpy as np


def ulp_errors(got, high, low=0.0, size=None):
    """The distance of `got` from the exact `high + low`, in units of the spacing of its dtype at `size`.

    An overflow counts as the largest number, so that infinity is right where the exact result rounds to it.
    """
    finfo = np.finfo(got.dtype)
    wide = high.dtype.type
    size = np.abs(high) if size is None else size
    largest = np.nextafter(finfo.max, finfo.dtype.type(0))  # beyond max itself there is nothing to measure
    spacing = np.spacing(np.minimum(size, largest).astype(got.dtype)).astype(wide)
    low = np.where(np.abs(high) < finfo.max, low, 0)
    got, high = (np.clip(x.astype(wide), wide(finfo.min), wide(finfo.max)) for x in (got, high))
    return np.abs((got - high) - low) / spacing


@cache
def arguments(case, dtype):
    """Labels and predictions that try a loss hard."""
    n = case.rows(600)
    parts = case.extremes(dtype), case.sample(n, dtype), case.sample(n, dtype, wide=True)
    return [np.concatenate(x) for x in zip(*parts, strict=True)]


@cache
def exact(case, dtype):
    """For value, gradient and hessian at `arguments`: float64 arrays high, low, size for `ulp_errors`."""
    terms = zip(*[case.exact(y, z, dtype) for y, z in zip(*arguments(case, dtype), strict=True)], strict=True)
    return [np.moveaxis([_split(x) for x in samples], -1, 0) for samples in terms]


def _split(terms):
    if isinstance(terms, list):
        return [_split(x) for x in terms]
    total = mp.fsum(terms)
    high = float(total)
    low = float(total - high) if np.isfinite(high) else 0.0
    return high, low, max(abs(high), *(float(abs(x)) for x in terms))
