"""Penalties: values, proximal operators, gradients of the smooth part."""

import copy
import math
import pickle

import numpy as np
import pytest
from scipy import optimize

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


WEIGHTS = [0.0, 1.0, 2.5, 1e-3]
FEATURES = [
    fl.L1(0.7, weights=WEIGHTS),
    fl.L1(0.7, positive=True),
    fl.L2(0.3, weights=WEIGHTS),
    fl.L2(0.3, weights=WEIGHTS, positive=True),
    fl.ElasticNet(0.7, 0.3, weights=WEIGHTS),
    fl.ElasticNet(0.7, 0.3, positive=True),
    fl.ElasticNet(0.7, 0.3, WEIGHTS, True),
    fl.ElasticNet(0, 0, positive=True),
    fl.L1(0, weights=WEIGHTS, positive=True),
]
featured = pytest.mark.parametrize("penalty", FEATURES, ids=repr)


def cost(penalty, x, j):
    """Of one coefficient, feature j: the formula."""
    v = 1.0 if penalty.weights is None else WEIGHTS[j]
    return math.inf if penalty.positive and x < 0 else v * (penalty.l1 * abs(x) + penalty.l2 * x * x)


@pytest.fixture(params=[(4,), (3, 4), (2, 3, 4), (0, 4)], ids=str)
def points(request, dtype):
    """Any shape whose last axis has the four features."""
    return np.random.default_rng(0).normal(size=request.param).astype(dtype)


@featured
def test_value_by_features(penalty, points):
    right = abs(points)
    for w in (right, right if penalty.positive else -right):
        expected = sum(cost(penalty, float(x), index[-1]) for index, x in np.ndenumerate(w))
        assert penalty(w) == pytest.approx(expected, rel=1e-12)
    right[..., 2] *= -1
    assert (penalty(right) == math.inf) == (penalty.positive and right.size > 0)
    assert penalty(np.zeros_like(points)) == 0


@featured
@pytest.mark.parametrize("step", [1e-2, 0.5, 20])
def test_prox_is_the_minimum_by_features(penalty, points, step):
    result = penalty.prox(points, step)
    assert (result.shape, result.dtype) == (points.shape, points.dtype)
    tolerance = 1e-7 if points.dtype == np.float64 else 2e-6
    for index, w in np.ndenumerate(points):
        w, j = float(w), index[-1]

        def total(v, w=w, j=j):
            return cost(penalty, v, j) + (v - w) ** 2 / (2 * step)

        sides = [(0.0, abs(w) + 1)] if penalty.positive else [(0.0, abs(w) + 1), (-abs(w) - 1, 0.0)]
        found = [optimize.minimize_scalar(total, bounds=b, method="bounded", options={"xatol": 1e-10}).x for b in sides]
        best = min([0.0, *found], key=total)
        assert result[index] == pytest.approx(best, abs=tolerance)
        assert total(float(result[index])) <= total(best) + 1e-6 * (points.dtype == np.float32) + 1e-13
        if best == 0:
            assert result[index] == 0


@featured
def test_prox_by_features_into_out(penalty, points):
    expected, original = penalty.prox(points, 0.5), points.copy()
    out = np.full_like(points, np.nan)
    assert penalty.prox(points, 0.5, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(points, original)
    assert penalty.prox(points, 0.5, out=points) is points
    np.testing.assert_array_equal(points, expected)


@featured
def test_gradient_by_features(penalty, points):
    weights = 1.0 if penalty.weights is None else np.array(WEIGHTS)
    gradient = penalty.gradient(points)
    np.testing.assert_allclose(gradient, 2 * penalty.l2 * weights * points, rtol=1e-6)
    assert gradient.shape == points.shape


@featured
def test_costs_say_the_same(penalty):
    costs, w = penalty.costs(4), np.array([0.5, -1.0, 2.0, -0.25])
    for c in (w, -w, abs(w), np.zeros(4)):
        assert costs.value(c) == pytest.approx(penalty(c), rel=1e-14)
        np.testing.assert_allclose(costs.prox(c, 0.3), penalty.prox(c, 0.3), rtol=1e-14, atol=1e-16)
        assert np.isfinite(costs.value(costs.project(c)))
    np.testing.assert_array_equal(costs.project(w), np.maximum(w, 0) if penalty.positive else w)
    taken = costs.take(np.array([1, 3]))
    assert taken.value(w[[1, 3]]) == pytest.approx(costs.value(np.where([0, 1, 0, 1], w, 0)))
    for j in range(4):
        free = not penalty.positive and cost(penalty, 1.0, j) == 0
        assert (j in costs.free) == free


@featured
@pytest.mark.parametrize("seed", range(5))
def test_the_gap_is_that_of_fenchel(penalty, seed):
    """penalty(c) + conjugate(u) - u'c, the conjugate max over x of u x - penalty(x) found by a search."""
    rng, costs = np.random.default_rng(seed), penalty.costs(4)
    c, force = costs.project(rng.normal(size=4)), rng.normal(size=4)
    force[costs.free] = 0
    scale, gap = costs.gap(c, force)
    assert 0 <= scale <= 1
    conjugate = 0.0
    for j in range(4):
        u = scale * force[j]
        sides = [(0, 1e5)] if penalty.positive else [(0, 1e5), (-1e5, 0)]
        for side in sides:
            x = optimize.minimize_scalar(
                lambda x, u=u, j=j: cost(penalty, x, j) - u * x, bounds=side, method="bounded", options={"xatol": 1e-8}
            )
            conjugate = conjugate + max(0.0, -x.fun)
    assert gap == pytest.approx(costs.value(c) + conjugate - scale * force @ c, rel=1e-6, abs=1e-6)
    assert gap >= 0


@featured
@pytest.mark.parametrize("seed", range(5))
def test_a_look_is_value_residual_and_gap(penalty, seed):
    rng, costs = np.random.default_rng(seed), penalty.costs(4)
    c, slope = costs.project(rng.normal(size=4) * (rng.random(4) < 0.7)), rng.normal(size=4)
    value, residual, scale, gap = costs.look(c, slope)
    assert value == costs.value(c)
    assert residual == costs.residual(c, -slope)
    slope[costs.free] = 0
    assert (scale, gap) == costs.gap(c, -slope)


def test_weights_are_those_of_scaled_columns():
    weights = np.array(WEIGHTS)
    w = np.random.default_rng(0).normal(size=4)
    assert fl.L1(0.7, weights=WEIGHTS)(w) == pytest.approx(fl.L1(0.7)(weights * w), rel=1e-14)
    assert fl.ElasticNet(0.7, 0.3, weights=[1] * 4)(w) == fl.ElasticNet(0.7, 0.3)(w)


@featured
def test_featured_penalties_are_immutable_values(penalty):
    for clone in (copy.copy(penalty), copy.deepcopy(penalty), pickle.loads(pickle.dumps(penalty))):
        assert clone == penalty
        assert type(clone) is type(penalty)
        assert hash(clone) == hash(penalty)
        assert repr(clone) == repr(penalty)
        assert penalty.positive is clone.positive
        np.testing.assert_array_equal(clone.weights, penalty.weights)
    for name in ("weights", "positive"):
        with pytest.raises(AttributeError):
            setattr(penalty, name, None)
    if penalty.weights is not None:
        with pytest.raises(ValueError, match="read-only"):
            penalty.weights[0] = 1
    assert type(penalty).__name__ in repr(penalty)
    assert ("positive=True" in repr(penalty)) == penalty.positive
    assert ("weights=" in repr(penalty)) == (penalty.weights is not None)
    other = penalty.with_strengths(0.5, 0.25)
    assert (other.l1, other.l2, other.positive) == (0.5, 0.25, penalty.positive)
    np.testing.assert_array_equal(other.weights, penalty.weights)


def test_penalties_that_differ():
    different = [fl.L1(1), fl.L1(1, [1, 2]), fl.L1(1, [2, 1]), fl.L1(1, [1]), fl.L1(1, positive=True)]
    different.append(fl.L1(1, [1, 2], positive=True))
    assert len(set(different)) == len(different)
    assert fl.L1(1, [1, 2]) == fl.L1(1, np.array([1.0, 2.0])) == fl.L1(1, (1, 2))


def test_weights_are_copied():
    weights = np.ones(3)
    penalty = fl.L1(1.0, weights=weights)
    weights[:] = 5
    assert penalty(np.ones(3)) == 3
    assert weights.flags.writeable


BAD_WEIGHTS = [-1.0, [-1.0, 1.0], [math.nan], [math.inf], 1.0, [[1.0, 2.0]], ["a"], [None], [1j], "weights"]


@pytest.mark.parametrize(
    "make", [lambda **k: fl.L1(1, **k), lambda **k: fl.L2(1, **k), lambda **k: fl.ElasticNet(1, 1, **k)]
)
@pytest.mark.parametrize("wrong", BAD_WEIGHTS, ids=repr)
def test_weights_are_checked(make, wrong):
    with pytest.raises((TypeError, ValueError), match=r"^weights must"):
        make(weights=wrong)


@pytest.mark.parametrize("wrong", [1, 0, None, "yes", [True]], ids=repr)
def test_positive_is_checked(wrong):
    for make in (lambda **k: fl.L1(1, **k), lambda **k: fl.L2(1, **k), lambda **k: fl.ElasticNet(1, 1, **k)):
        with pytest.raises(TypeError, match=r"^positive must be True or False"):
            make(positive=wrong)


@pytest.mark.parametrize("shape", [(), (3,), (5,), (4, 3), (0,)], ids=str)
def test_weights_have_to_fit(shape):
    penalty = fl.ElasticNet(1, 1, weights=WEIGHTS)
    for call in (penalty, penalty.gradient, lambda x: penalty.prox(x, 1.0)):
        with pytest.raises(ValueError, match=r"^w must have 4 features"):
            call(np.ones(shape))
    with pytest.raises(ValueError, match=r"^penalty must have one weight for each of 3 features"):
        fl.LinearObjective(np.ones((5, 3)), np.ones(5), fl.SquaredError(), penalty)


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
