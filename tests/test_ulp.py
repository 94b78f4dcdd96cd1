"""Values and derivatives of single samples, against mpmath, in ulp."""

import numpy as np
import pytest
from reference import CASES, LONG_CASES
from ulp import arguments, exact, ulp_errors

from fastloss import _runtime

# From the exact result. The first two are promised by NUMERICS.md. Second derivatives only scale steps, and are a
# product more.
BOUNDS = {"value": 4, "gradient": 4, "hessian": 6}
BETWEEN_INSTRUCTION_SETS = 4


@pytest.fixture(params=[*CASES, *LONG_CASES], ids=str)
def case(request):
    return request.param


def results(case, dtype):
    y, z = arguments(case, dtype)
    loss = case.make()
    value, gradient = loss.value_and_grad(y, z, reduction="none")
    again, hessian = loss.grad_and_hess(y, z)
    np.testing.assert_array_equal(gradient, again)
    return {"value": value, "gradient": gradient, "hessian": hessian}


def test_every_sample_is_near_the_exact_result(case, dtype, isa, record_ulp):
    y, z = arguments(case, dtype)
    failures = []
    for (what, got), (high, low, size) in zip(results(case, dtype).items(), exact(case, dtype), strict=True):
        errors = np.where(np.isnan(high), 0, ulp_errors(got, high, low, size))  # at a kink anything is right
        record_ulp(case, what, dtype, isa, errors.max())
        wrong = ~(errors <= BOUNDS[what])
        if wrong.any():
            i = np.unravel_index(errors.argmax(), errors.shape)  # of NaN, where there is one
            failures.append(
                f"{what}{list(map(int, i[1:]))} at y={y[i[0]]!r}, z={z[i[0]]!r}: "
                f"{got[i]!r}, exactly {high[i]!r}; {errors[i]:.1f} ulp. "
                f"{wrong.sum()} of {wrong.size} samples miss {BOUNDS[what]} ulp"
            )
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("times", [1, 9, 700])
def test_sums_keep_the_digits_of_small_values(case, dtype, isa, times):
    # Values that are only summed need not be found one by one: a product of many may have one logarithm.
    loss, labels, predictions = case.make(), *arguments(case, dtype)
    for y, z in zip(labels[::20], predictions[::20], strict=True):
        one = float(loss(y[None], z[None], reduction="none")[0])
        if not one < 1000:
            continue
        many = [np.repeat(x[None], times, axis=0) for x in (y, z)]
        wanted = pytest.approx(times * one, rel=2e-6 if dtype == np.float32 else 1e-13)
        assert loss(*many, reduction="sum") == wanted
        assert loss.value_and_grad(*many, reduction="sum")[0] == wanted


def test_instruction_sets_agree(case, dtype, isas, record_ulp):
    found = []
    for name in isas:
        _runtime.use_instruction_set(name)
        found.append(results(case, dtype))
    for name, other in zip(isas[1:], found[1:], strict=True):
        for (what, base), (high, _, size) in zip(found[0].items(), exact(case, dtype), strict=True):
            errors = np.where(np.isnan(high), 0, ulp_errors(other[what], base.astype(np.float64), 0.0, size))
            record_ulp(case, what, dtype, f"{name} - {isas[0]}", errors.max())
            # A product more: of sums whose order differs too, or of an exponential from a table.
            more = what == "hessian" and (case.outputs or name == "avx512")
            assert errors.max() <= (BOUNDS[what] if more else BETWEEN_INSTRUCTION_SETS)


def test_sums_of_instruction_sets_agree(case, dtype, isas):
    y, z = case.sample(case.rows(10_000), dtype)
    sums = []
    for name in isas:
        _runtime.use_instruction_set(name)
        sums.append(case.make()(y, z, reduction="sum"))
    np.testing.assert_allclose(sums, sums[0], rtol=1e-7 if dtype == np.float32 else 1e-14)
