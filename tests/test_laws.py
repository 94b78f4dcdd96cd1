"""Laws that hold for every loss."""

import numpy as np
import pytest
from reference import CASES, PROBABILITY

from fastloss.losses import REGISTRY, Loss

pytestmark = pytest.mark.usefixtures("isa")

N = 1000  # two blocks of 512, the second one short


def accuracy(dtype):
    return {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-13}


def spread(w, z):
    """One weight a sample, shaped to multiply what has the shape of the predictions."""
    return w.reshape(w.shape + (1,) * (z.ndim - 1))


def weights(weighted, dtype, seed=3):
    return np.random.default_rng(seed).integers(0, 4, N).astype(dtype) if weighted else None


def total_weight(case, y, z, w):
    """What a mean divides by."""
    return (case.shares(y, z) * (1 if w is None else w)).sum(dtype=np.float64)


def test_every_loss_has_a_reference():
    assert {case.name for case in CASES} == set(REGISTRY)


def test_value_is_that_of_numpy(case, dtype, reduction, weighted):
    y, z = case.sample(N, dtype)
    w = weights(weighted, dtype)
    got = case.make()(y, z, w, reduction=reduction)
    values = case.value(y, z) * (1 if w is None else w)
    expected = {"none": values, "sum": values.sum(), "mean": values.sum() / total_weight(case, y, z, w)}
    np.testing.assert_allclose(got, expected[reduction], **accuracy(dtype))
    assert isinstance(got, np.ndarray if reduction == "none" else float)
    if reduction == "none":
        assert got.dtype == dtype


def test_reductions_agree(case, dtype, weighted):
    y, z = case.sample(N, dtype)
    w = weights(weighted, dtype)
    loss = case.make()
    values, gradients = loss.value_and_grad(y, z, w, reduction="none")
    for reduction, divisor in (("sum", 1), ("mean", total_weight(case, y, z, w))):
        value, gradient = loss.value_and_grad(y, z, w, reduction=reduction)
        np.testing.assert_allclose(value, values.sum(dtype=np.float64) / divisor, **accuracy(dtype))
        np.testing.assert_allclose(gradient, gradients.astype(np.float64) / divisor, **accuracy(dtype))


def test_value_is_the_same_with_and_without_gradient(case, dtype, reduction, weighted):
    y, z = case.sample(N, dtype)
    w = weights(weighted, dtype)
    loss = case.make()
    value, gradient = loss.value_and_grad(y, z, w, reduction=reduction)
    np.testing.assert_array_equal(loss(y, z, w, reduction=reduction), value)
    if reduction == "sum":
        np.testing.assert_array_equal(loss.grad_and_hess(y, z, w)[0], gradient)


def differences(function, z, step):
    """Central differences of a function of each sample; for several outputs, one output after the other."""
    columns = np.eye(z.shape[1]) if z.ndim > 1 else [1.0]
    slopes = [(function(z + step * c) - function(z - step * c)) / (2 * step) for c in columns]
    return np.stack(slopes, axis=-1) if z.ndim > 1 else slopes[0]


def test_gradient_is_the_slope_of_the_value(case, reduction, weighted):
    y, z = case.sample(N)
    w = weights(weighted, np.float64)
    loss = case.make()
    gradient = loss.value_and_grad(y, z, w, reduction=reduction)[1]
    slope = differences(lambda t: loss(y, t, w, reduction="none"), z, 1e-5)
    if reduction == "mean":
        slope /= total_weight(case, y, z, w)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-7)


def test_hessian_is_the_slope_of_the_gradient(case, weighted):
    # No sample lies within the step of a kink.
    y, z = case.sample(N)
    w = weights(weighted, np.float64)
    loss = case.make()
    hessian = loss.grad_and_hess(y, z, w)[1]
    for k in range(z[0].size):
        step = np.zeros(z.shape[1:])
        step.flat[k] = 1e-6
        up, down = (loss.grad_and_hess(y, z + s * step, w)[0] for s in (1, -1))
        slope = ((up - down) / 2e-6).reshape(N, -1)[:, k]
        np.testing.assert_allclose(hessian.reshape(N, -1)[:, k], slope, rtol=1e-5, atol=1e-6)


def test_integer_weights_are_repetitions(case, dtype):
    y, z = case.sample(N, dtype)
    w = weights(True, dtype)
    loss = case.make()
    repeats = w.astype(int)
    value, gradient = loss.value_and_grad(y, z, w)
    value_again, gradient_again = loss.value_and_grad(np.repeat(y, repeats, axis=0), np.repeat(z, repeats, axis=0))
    np.testing.assert_allclose(value, value_again, **accuracy(dtype))
    kept = repeats > 0
    first = np.cumsum(repeats)[kept] - repeats[kept]
    np.testing.assert_allclose(gradient[kept], gradient_again[first] * spread(w[kept], z), **accuracy(dtype))


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_weight_zero_removes_a_sample(case, dtype, reduction, zero):
    y, z = case.sample(N, dtype)
    w = weights(True, dtype, seed=4) + dtype(1)
    gone = np.arange(N) % 3 == 1
    w[gone] = zero
    # Whatever stands there: NaN, infinity, what is not in the domain.
    z[gone] = np.resize(np.array([np.nan, np.inf, -np.inf, 7, -7], dtype), z[gone].shape)
    if y.dtype.kind == "f":
        y[gone] = np.resize(np.array([np.nan, np.inf, -1, 0.3], dtype), y[gone].shape)
    loss = case.make()
    value, gradient = loss.value_and_grad(y, z, w, reduction=reduction)
    hessian = loss.grad_and_hess(y, z, w)[1]
    np.testing.assert_array_equal(gradient[gone], 0)
    np.testing.assert_array_equal(hessian[gone], 0)
    value_without, gradient_without = loss.value_and_grad(y[~gone], z[~gone], w[~gone], reduction=reduction)
    np.testing.assert_allclose(gradient[~gone], gradient_without, rtol=1e-6)
    if reduction == "none":
        np.testing.assert_array_equal(value[gone], 0)
        value = value[~gone]
    np.testing.assert_allclose(value, value_without, **accuracy(dtype))


def check_scale_of_weights(case, dtype, power):
    y, z = case.sample(8, dtype)
    w = np.array([1, 2, 3, 1, 0, 2, 1, 1], dtype)
    loss = case.make()
    value, gradient = loss.value_and_grad(y, z, w)
    value_scaled, gradient_scaled = loss.value_and_grad(y, z, np.ldexp(w, power))
    np.testing.assert_allclose(value_scaled, value, rtol=1e-6)
    np.testing.assert_allclose(gradient_scaled, gradient, rtol=1e-6)


@pytest.mark.parametrize("power", [-120, 20, 120])
def test_the_scale_of_the_weights_does_not_matter(case, dtype, power):
    check_scale_of_weights(case, dtype, power)


@pytest.mark.parametrize("power", [-147, 125])
def test_nor_at_the_ends_of_the_range_of_float32(power):
    # Sums are float64; in float32 1 / (sum of the weights) would overflow here, or be denormal.
    check_scale_of_weights(CASES[0], np.float32, power)


def test_a_convex_loss_lies_above_its_tangents(case):
    y, z = case.sample(N)
    other = np.roll(z, 1, axis=0)
    loss = case.make()
    value, gradient = loss.value_and_grad(y, z, reduction="none")
    tangent = value + (gradient * (other - z)).reshape(N, -1).sum(axis=1)
    assert np.all(loss(y, other, reduction="none") >= tangent - 1e-12 * (1 + abs(tangent)))


def conjugate_of(case, y, u):
    """The conjugate; None for a loss that says that it does not know it."""
    loss, predictions = case.make(), case.reference.predictions
    if type(loss).conjugate is not Loss.conjugate and predictions is not PROBABILITY:
        return loss.conjugate(y, u)
    with pytest.raises(TypeError, match="conjugate"):
        loss.conjugate(y, u)
    return None


def test_fenchel_young(case, dtype):
    y, z = case.sample(N, dtype)
    loss = case.make()
    value, u = loss.value_and_grad(y, z, reduction="none")
    y, z, value = y.astype(np.float64), z.astype(np.float64), value.astype(np.float64)
    # u is of its own dtype, which says how near to the domain's end rounding leaves it.
    conjugate = conjugate_of(case, y, u)
    if conjugate is None:
        return
    u = u.astype(np.float64)
    product = (u * z).reshape(N, -1).sum(axis=1)
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(value + conjugate, product, rtol=tolerance, atol=tolerance)
    # An inequality at any other point.
    other = np.roll(z, 1, axis=0)
    gap = loss(y, other, reduction="none") + conjugate - (u * other).reshape(N, -1).sum(axis=1)
    assert np.all(gap >= -tolerance * (1 + abs(conjugate)))


@pytest.mark.parametrize("end", [-1e30, 1e30])
def test_the_conjugate_is_infinite_beyond_every_gradient(case, end):
    y, z = case.sample(4)
    if case.reference.predictions is PROBABILITY:
        return
    u = case.make().value_and_grad(y, np.full_like(z, end), reduction="none")[1]
    conjugate = conjugate_of(case, y, u + np.sign(end))
    if conjugate is not None and np.all(abs(u) < 1e20):
        np.testing.assert_array_equal(conjugate, np.inf)


def test_no_second_derivative_is_negative(case, dtype):
    for wide in (False, True):
        assert np.all(case.make().grad_and_hess(*case.sample(N, dtype, wide=wide))[1] >= 0)


def test_smooth_means_that_the_gradient_has_no_jump(case):
    loss = case.make()
    low, high = (0.2, 0.8) if case.reference.predictions is PROBABILITY else (-3, 3)
    path = np.linspace(low, high, 20_001)
    y, z = (np.resize(x, (len(path), *x.shape[1:])) for x in case.sample(1))
    if z.ndim == 1:
        y[:] = 0.5  # on the path, where the losses of a residual have their kink
    gradient = loss.value_and_grad(y, z * 0 + spread(path, z), reduction="none")[1]
    assert loss.smooth == (abs(np.diff(gradient, axis=0)).max() < 0.1)
