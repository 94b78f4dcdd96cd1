"""`fastloss.vmath`: in Python, and as Numba compiles it, over the whole range of the dtype, in ulp."""

import math

import mpmath as mp
import numpy as np
import pytest

from fastloss import vmath

numba = pytest.importorskip("numba", reason="fastloss.vmath is compiled by Numba")
pytest.importorskip("fastloss._numba.vector_math")

# Name -> (bound in ulp, the function in mpmath); the bounds are the largest errors measured, rounded up.
FUNCTIONS = {
    "exp": (1.5, mp.exp),
    "expm1": (2.0, mp.expm1),
    "log": (1.0, mp.log),
    "log1p": (2.5, mp.log1p),
    "log2": (2.0, lambda x: mp.log(x, 2)),
    "log10": (3.0, mp.log10),
    "sinh": (2.5, mp.sinh),
    "cosh": (1.5, mp.cosh),
    "tanh": (2.5, mp.tanh),
    "sigmoid": (2.5, lambda x: 1 / (1 + mp.exp(-x))),
    "softplus": (2.0, lambda x: mp.log1p(mp.exp(x))),
}
LIMITS = {"log": 0, "log2": 0, "log10": 0, "log1p": -1}  # -inf there, NaN below


def test_every_function_is_here():
    assert set(FUNCTIONS) == set(vmath.__all__)


@pytest.fixture(scope="module")
def compiled():
    """All functions over an array at once, for each dtype compiled once."""
    return {name: numba.njit(_with(getattr(vmath, name))) for name in FUNCTIONS}


def _with(function):
    def apply(x, out):
        for i in range(len(x)):
            out[i] = function(x[i])

    return apply


def arguments(name, dtype):
    f = np.finfo(dtype)
    rng = np.random.default_rng(0)
    big = 709 if dtype == np.float64 else 88
    edges = [0.0, -0.0, 1, -1, 0.5, 2, f.max, f.max / 2, f.max / 4, f.tiny, f.smallest_subnormal, f.eps, f.epsneg]
    edges += [-1 + f.epsneg, -1 + 2 * f.epsneg, big + 0.5, big + 1.3, big + 2, big + 20, 2 * big, 20, 40, 1e4]
    return np.concatenate(
        [
            *(np.array(edges) * sign for sign in (1, -1)),
            rng.standard_normal(400) * 3,
            rng.uniform(-big, big, 400),
            np.exp(rng.uniform(-30, 5, 300)),
            -np.exp(rng.uniform(-30, 5, 300)),
            np.exp(rng.uniform(np.log(float(f.tiny)) - 5, np.log(float(f.max)), 400)) if name.startswith("log") else [],
        ]
    ).astype(dtype)


def exact(name, x):
    limit = LIMITS.get(name, -math.inf)
    if not x > limit:
        return mp.mpf(-math.inf if x == limit else math.nan)
    return FUNCTIONS[name][1](mp.mpf(float(x)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_in_ulp(name, dtype, compiled):
    f = np.finfo(dtype)
    x = arguments(name, dtype)
    got = np.empty_like(x)
    compiled[name](x, got)
    for argument, result in zip(x, got, strict=True):
        expected = exact(name, argument)
        if mp.isnan(expected):
            assert np.isnan(result), argument
        elif abs(expected) >= 2 * mp.mpf(float(f.max)) or mp.isinf(expected):
            assert result == mp.sign(expected) * math.inf, argument
        elif abs(expected) <= mp.mpf(float(f.max)):
            with np.errstate(over="ignore"):
                spacing = float(min(np.spacing(max(abs(dtype(float(expected))), f.tiny)), f.max * f.epsneg))
            assert abs(mp.mpf(float(result)) - expected) <= FUNCTIONS[name][0] * spacing, argument


@pytest.mark.parametrize("name", FUNCTIONS)
def test_infinities_and_nan(name, dtype, compiled):
    x, got = np.array([np.inf, -np.inf, np.nan], dtype), np.empty(3, dtype)
    compiled[name](x, got)
    function = getattr(vmath, name)
    np.testing.assert_array_equal(got, [function(float(t)) for t in x])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_in_python(name):
    function = getattr(vmath, name)
    for x in (-745.0, -1.0, -0.5, 0.0, 1e-10, 0.7, 30.0, 800.0):
        expected = float(exact(name, x))
        assert function(x) == pytest.approx(expected, rel=1e-14, nan_ok=True)


def test_integers_are_float64_and_arrays_those_of_numpy():
    exp = vmath.exp

    @numba.njit
    def both(x):
        return exp(1), exp(x)

    number, array = both(np.array([0.0, 1.0]))
    assert number == pytest.approx(math.e, rel=1e-15)
    np.testing.assert_allclose(array, [1, math.e])
