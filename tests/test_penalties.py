"""Penalties: values, proximal operators, gradients of the smooth part."""

import copy
import math
import pickle

import numpy as np
import pytest

import fastloss as fl

PENALTIES = [fl.L1(0.7), fl.L2(0.3), fl.ElasticNet(0.7, 0.3), fl.ElasticNet(0, 0), fl.L1(0), fl.ElasticNet(0, 2)]


@pytest.fixture(params=PENALTIES, ids=repr)
def penalty(request):
    return request.param


@pytest.fixture(params=[(), (7,), (3, 4), (0,)], ids=str)
def w(request, dtype):
    w = np.asarray(np.random.default_rng(0).normal(size=request.param), dtype)
    w[w > 1.5] = 0
    return w


def test_value(penalty, w):
    w64 = w.astype(np.float64)
    assert penalty(w) == pytest.approx(penalty.l1 * np.abs(w64).sum() + penalty.l2 * (w64**2).sum(), rel=1e-6)
    assert isinstance(penalty(w), float)


def test_strengths():
    assert (fl.L1(2).lam, fl.L1(2).l1, fl.L1(2).l2) == (2, 2, 0)
    assert (fl.L2(2).lam, fl.L2(2).l1, fl.L2(2).l2) == (2, 0, 2)
    assert fl.L2(0.5)([3.0, 4.0]) == 12.5  # no 1/2


def test_float32_is_summed_in_float64():
    w = np.full(1 << 20, 0.1, np.float32)
    exactly = float(np.float32(0.1))
    assert fl.L1(1)(w) == pytest.approx(w.size * exactly, rel=1e-12)
    assert fl.L2(1)(w) == pytest.approx(w.size * exactly**2, rel=1e-7)
    assert fl.L2(1)(np.array([1e20, 1e20], np.float32)) == pytest.approx(2e40, rel=1e-6)


@pytest.mark.parametrize("step", [1e-3, 0.5, 10])
def test_prox_meets_its_optimality_condition(penalty, w, step):
    # 0 is a subgradient of l1 sum |v| + l2 sum v^2 + sum (v - w)^2 / (2 step) at v.
    v = penalty.prox(w, step)
    assert np.shape(v) == w.shape
    assert v.dtype == w.dtype
    rest = (w.astype(np.float64) - v) / step - 2 * penalty.l2 * v
    tolerance = 1e-12 if w.dtype == np.float64 else 2e-6 / min(step, 1)
    moving = v != 0
    np.testing.assert_allclose(rest[moving], (penalty.l1 * np.sign(v))[moving], atol=tolerance * 10)
    assert np.all(abs(rest[~moving]) <= penalty.l1 + tolerance)


def test_prox_is_lower_than_its_neighbours(penalty):
    rng = np.random.default_rng(1)
    w, step = rng.normal(size=20), 0.4

    def objective(v):
        return penalty(v) + ((v - w) ** 2).sum() / (2 * step)

    best = penalty.prox(w, step)
    for scale in (1e-3, 0.1, 1):
        for _ in range(50):
            assert objective(best) <= objective(best + rng.normal(scale=scale, size=20))


def test_prox_gives_exact_zeros(dtype):
    w = np.array([0.5, -0.5, 0.25, -0.0, 0.0, 0.75, -2.0], dtype)
    np.testing.assert_array_equal(fl.L1(1).prox(w, 0.5), [0, 0, 0, 0, 0, 0.25, -1.5])
    np.testing.assert_array_equal(fl.ElasticNet(1, 1).prox(w, 0.5), [0, 0, 0, 0, 0, 0.125, -0.75])
    assert not fl.L1(1e300).prox(w, 10).any()


def test_prox_of_nan_and_infinity(dtype):
    w = np.array([np.nan, np.inf, -np.inf], dtype)
    np.testing.assert_array_equal(fl.ElasticNet(1, 1).prox(w, 0.5), w)


def test_prox_into_out(penalty, w):
    if w.ndim == 0:
        w = w[None]
    expected, original = penalty.prox(w, 0.5), w.copy()
    out = np.full_like(w, np.nan)
    assert penalty.prox(w, 0.5, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(w, original)
    strided = np.full((*w.shape, 2), 9, w.dtype)
    penalty.prox(w, 0.5, out=strided[..., 0])
    np.testing.assert_array_equal(strided[..., 0], expected)
    np.testing.assert_array_equal(strided[..., 1], 9)
    assert penalty.prox(w, 0.5, out=w) is w
    np.testing.assert_array_equal(w, expected)


def test_gradient_is_the_slope_of_the_smooth_part(penalty, w):
    smooth = fl.L2(penalty.l2)
    gradient = np.asarray(penalty.gradient(w))
    assert gradient.dtype == w.dtype
    assert gradient.shape == w.shape
    h = 1e-4
    for i in range(w.size):
        step = np.zeros(w.size)
        step[i] = h
        step = step.reshape(w.shape)
        slope = (smooth(w.astype(np.float64) + step) - smooth(w.astype(np.float64) - step)) / (2 * h)
        assert gradient.flat[i] == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("make", [fl.L1, fl.L2, lambda x: fl.ElasticNet(x, 1), lambda x: fl.ElasticNet(1, x)])
@pytest.mark.parametrize("wrong", [-1, math.inf, math.nan, "1", None, True, [1.0]], ids=repr)
def test_strengths_are_checked(make, wrong):
    with pytest.raises((TypeError, ValueError), match=r"^(lam|l1|l2) must be"):
        make(wrong)


def test_arguments_are_checked(penalty):
    w = np.ones(3)
    for wrong in (0, -1, math.inf, math.nan, "1", None):
        with pytest.raises((TypeError, ValueError), match=r"^step must be"):
            penalty.prox(w, wrong)
    for wrong in (["a"], [None], [1j]):
        for call in (penalty, penalty.gradient, lambda x: penalty.prox(x, 1.0)):
            with pytest.raises(TypeError, match=r"^w must hold real numbers"):
                call(wrong)
    for wrong in (np.ones(4), np.ones((3, 1)), np.ones(3, np.float32), [1.0] * 3, np.broadcast_to(1.0, 3), 1.0):
        with pytest.raises((TypeError, ValueError), match=r"^out must be"):
            penalty.prox(w, 1.0, out=wrong)
    np.testing.assert_array_equal(w, 1)


def test_penalties_are_immutable_values(penalty):
    for clone in (copy.copy(penalty), pickle.loads(pickle.dumps(penalty)), eval(repr(penalty), vars(fl))):
        assert clone == penalty
        assert type(clone) is type(penalty)
        assert hash(clone) == hash(penalty)
    for name in ("l1", "l2", "lam", "other"):
        with pytest.raises(AttributeError):
            setattr(penalty, name, 1.0)
    assert fl.L1(1) != fl.L1(2)
    assert fl.L1(1) != fl.L2(1)
