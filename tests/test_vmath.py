"""exp, log, log1p and sigmoid over the whole range of the dtype, in ulp."""

import mpmath as mp
import numpy as np
import pytest
from ulp import ulp_errors

from fastloss import _runtime

# Name -> (bound in ulp, range where something happens, the function in NumPy, in mpmath). The bounds are the largest
# errors measured, rounded up to the next half.
FUNCTIONS = {
    "exp": (1.5, (-110, 90), (-750, 712), np.exp, mp.exp),
    "log": (1.0, (0, 2), (0, 2), np.log, mp.log),
    "log1p": (1.5, (-1, 3), (-1, 3), np.log1p, mp.log1p),
    "sigmoid": (3.0, (-110, 20), (-750, 40), lambda x: 1 / (1 + np.exp(-x)), lambda x: 1 / (1 + mp.exp(-x))),
}
WITH_TABLES = {"log": 1.5, "log1p": 2.0}  # the same of AVX-512, whose logarithms add a number of a table
LONG = np.finfo(np.longdouble).nmant >= 63
PIECE = 10**6


@pytest.fixture(params=FUNCTIONS)
def name(request):
    return request.param


def exact(name, x):
    """The function of `x` as two arrays to be added, far more accurate than the dtype of `x`."""
    if x.dtype == np.float32 or LONG:
        with np.errstate(all="ignore"):
            return FUNCTIONS[name][3](x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)), 0.0
    results = [_exact(FUNCTIONS[name][4], float(t)) for t in x]
    return np.array([float(r) for r in results]), np.array([float(r - float(r)) for r in results])


def _exact(function, x):
    result = function(mp.mpf(x)) if x == x else mp.nan
    return result if isinstance(result, mp.mpf) else mp.nan  # complex outside the domain


def errors(name, x):
    """The error of each result, for each instruction set that can run; infinite where only one of the two is NaN."""
    high, low = exact(name, x)
    for isa in [s for s in _runtime.compiled_instruction_sets() if _runtime.cpu_supports(s)]:
        _runtime.use_instruction_set(isa)
        got = _runtime._vmath(name, x)
        assert got.dtype == x.dtype
        off = ulp_errors(got, high, low)
        yield isa, got, np.where(np.isnan(high), np.where(np.isnan(got), 0, np.inf), off)


def check(name, dtype, arguments, record_ulp):
    for isa, got, error in errors(name, arguments):
        bound = WITH_TABLES.get(name, FUNCTIONS[name][0]) if isa == "avx512" else FUNCTIONS[name][0]
        worst = error.argmax()  # of NaN, where there is one
        record_ulp(name, "error", dtype, isa, error[worst])
        assert error[worst] <= bound, (
            f"{isa}: {name}({arguments[worst]!r}) = {got[worst]!r}, {error[worst]:.2f} ulp off"
        )


@pytest.mark.usefixtures("isas")
def test_ten_million_random_arguments(name, dtype, record_ulp):
    rng = np.random.default_rng(1)
    low, high = FUNCTIONS[name][1 if dtype == np.float32 else 2]
    integer = np.dtype(dtype).str.replace("f", "u")
    pieces = 10 if dtype == np.float32 or LONG else 1
    size = PIECE if pieces > 1 else 10**4  # mpmath
    for _ in range(pieces):
        bits = rng.integers(0, np.iinfo(integer).max, size // 2, integer, endpoint=True).view(dtype)
        uniform = rng.uniform(low, high, size - size // 2).astype(dtype)
        check(name, dtype, np.concatenate([bits, uniform]), record_ulp)


@pytest.mark.usefixtures("isas")
def test_edge_arguments(name, dtype, record_ulp):
    f = np.finfo(dtype)
    magnitudes = [
        *(0, f.smallest_subnormal, 3 * f.smallest_subnormal, f.tiny, f.max, np.inf, f.eps, f.epsneg, 0.5, 1, 2, 3),
        # Where the range reduction takes its steps, results overflow, become denormal and vanish.
        *(np.log(2) * np.arange(0.5, 4), np.sqrt(0.5), np.sqrt(2), np.sqrt(2) - 1, 1 - np.sqrt(0.5)),
        *(np.log(f.max), -np.log(f.tiny), -np.log(f.smallest_subnormal), -np.log(f.smallest_subnormal) + np.log(2)),
        *(
            89,
            104,
            710,
            746,
            2.0 ** (f.nmant - 1),
            2.0**f.nmant,
            2.0 ** (f.nmant + 1),
            2.0 ** (f.nmant + 2),
            1e15,
            1e30,
        ),
    ]
    with np.errstate(over="ignore"):  # at the largest number and its neighbour
        x = np.hstack(magnitudes).astype(dtype)
        x = np.concatenate([x, np.nextafter(x, dtype(0)), np.nextafter(x, dtype(np.inf))])
    check(name, dtype, np.concatenate([x, -x, [dtype(np.nan)]]), record_ulp)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    ("name", "x", "result"),
    [
        *(("exp", 0, 1), ("exp", -np.inf, 0), ("exp", np.inf, np.inf)),
        *(("log", 1, 0), ("log", 0, -np.inf), ("log", -0.0, -np.inf), ("log", -1, np.nan), ("log", np.inf, np.inf)),
        *(("log1p", 0, 0), ("log1p", -1, -np.inf), ("log1p", -2, np.nan), ("log1p", np.inf, np.inf)),
        *(("sigmoid", 0, 0.5), ("sigmoid", np.inf, 1), ("sigmoid", -np.inf, 0)),
    ],
)
def test_exact_results(name, x, result, dtype):
    np.testing.assert_array_equal(_runtime._vmath(name, np.array([x, np.nan], dtype)), [result, np.nan])


@pytest.mark.usefixtures("isa")
def test_a_result_does_not_depend_on_its_place(name, dtype):
    # Vector and remainder of the loop compute the same.
    x = np.random.default_rng(2).uniform(0.1, 5, 75).astype(dtype)
    whole = _runtime._vmath(name, x)
    for start in range(1, 40):
        np.testing.assert_allclose(
            _runtime._vmath(name, x[start:].copy()), whole[start:], rtol=2 * float(np.finfo(dtype).eps)
        )
