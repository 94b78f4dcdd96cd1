"""The numerical cases of the design, with the values they must give. float64 unless a row says otherwise."""

import math

import numpy as np
import pytest

import fastloss as fl

pytestmark = pytest.mark.usefixtures("isa")

LOGITS = {"from_logits": True}
inf, nan = math.inf, math.nan


def one(loss, y, z, dtype):
    """Value and gradient of one sample."""
    value, gradient = loss.value_and_grad(np.array([y], dtype), np.array([z], dtype), reduction="none")
    return value[0], gradient[0]


# --- Worked examples ---

RENTS = np.array([1200.0, 850, 2000, 950, 1500]), np.array([1150.0, 900, 1700, 940, 1520])
SPAM = np.array([1.0, 0, 1, 0]), np.array([0.90, 0.05, 0.10, 0.60])
WEIGHTS = np.array([0.5, -0.3, 1.2, 0.8])


def test_rents():
    assert fl.mse(*RENTS) == 19100.0
    assert fl.rmse(*RENTS) == pytest.approx(138.2027496, rel=1e-9)
    losses = fl.SquaredError()(*RENTS, reduction="none")
    assert losses[2] / losses.sum() == pytest.approx(0.942, abs=5e-4)
    assert fl.mse(*RENTS) + fl.L2(0.01)(WEIGHTS) == pytest.approx(19100.0242, rel=1e-14)
    assert fl.mse(*RENTS) + fl.L1(0.01)(WEIGHTS) == pytest.approx(19100.028, rel=1e-14)


def test_spam():
    losses = fl.BinaryCrossEntropy()(*SPAM, reduction="none")
    np.testing.assert_allclose(losses, [0.105361, 0.051293, 2.302585, 0.916291], atol=5e-7)
    assert fl.binary_cross_entropy(*SPAM) == pytest.approx(0.8438824087283944, rel=1e-15)


@pytest.mark.parametrize(("p", "value"), [(0.01, 4.605170), (0.5, 0.693147)])
def test_minus_log(p, value):
    assert fl.binary_cross_entropy([1], [p]) == pytest.approx(value, abs=5e-7)


# --- Binary cross-entropy of probabilities ---


@pytest.mark.parametrize(
    ("y", "p", "value", "value32"),
    [
        (1, 0, 34.538776394910684, 34.538776394910684),
        # 1 - 1e-15 is not exact, hence not symmetric; in float32 the upper end of the clip is 1 - 2^-24.
        (0, 1, 34.53957599234088, 24 * math.log(2)),
        (0, 0, 1e-15, 1e-15),
        (1, 1, -math.log(1 - 1e-15), -math.log1p(-(2**-24))),
    ],
)
def test_certain_probabilities_are_clipped(y, p, value, value32, dtype):
    loss = fl.BinaryCrossEntropy()
    got, gradient = one(loss, y, p, dtype)
    expected, accuracy = (value32, 3e-7) if dtype == np.float32 else (value, 1e-15)
    assert got == pytest.approx(expected, rel=accuracy)
    # Beyond the clip the loss is constant.
    assert gradient == 0


@pytest.mark.parametrize("y", [0, 1])
def test_the_ends_of_the_clip_belong_to_the_inside(y, dtype):
    loss = fl.BinaryCrossEntropy(eps=2**-10)
    for p in (2**-10, 1 - 2**-10):
        value, gradient = one(loss, y, p, dtype)
        assert value == pytest.approx(-math.log(p if y else 1 - p), rel=1e-6)
        assert gradient == pytest.approx(-1 / p if y else 1 / (1 - p), rel=1e-6)
    for p, end in ((2**-11, 2**-10), (1 - 2**-11, 1 - 2**-10)):
        value, gradient = one(loss, y, p, dtype)
        assert value == one(loss, y, end, dtype)[0]
        assert gradient == 0


@pytest.mark.parametrize("y", [0, 0.5, 1])
@pytest.mark.parametrize("parameters", [{}, {"eps": 0.0}, {"label_smoothing": 0.5}, {"pos_weight": 0.0}, LOGITS])
def test_nan_flows_through(y, parameters, dtype):
    value, gradient = one(fl.BinaryCrossEntropy(**parameters), y, nan, dtype)
    assert np.isnan([value, gradient]).all()


@pytest.mark.parametrize("p", [-1e-30, -1, 1.0000002, 2, inf, -inf])
def test_what_is_no_probability_is_refused(p, dtype):
    with pytest.raises(ValueError, match="y_pred"):
        fl.BinaryCrossEntropy()(np.array([1], dtype), np.array([p], dtype))


def test_without_a_clip_certainty_is_exact(dtype):
    loss = fl.BinaryCrossEntropy(eps=0.0)
    assert one(loss, 0, 0, dtype) == (0, 1)
    assert one(loss, 1, 1, dtype) == (0, -1)
    assert one(loss, 1, 0, dtype) == (inf, -inf)
    assert one(loss, 0, 1, dtype) == (inf, inf)


# --- Binary cross-entropy of logits ---


@pytest.mark.parametrize(
    ("y", "z", "value", "gradient"),
    [
        (0, 1e4, 1e4, 1),
        (0, -1e4, 0, 0),
        (1, inf, 0, 0),
        (0, -inf, 0, 0),
        (0, inf, inf, 1),
        (1, -inf, inf, -1),
    ],
)
def test_large_logits(y, z, value, gradient, dtype):
    assert one(fl.BinaryCrossEntropy(**LOGITS), y, z, dtype) == (value, gradient)


def test_denormals_are_not_flushed():
    loss = fl.BinaryCrossEntropy(**LOGITS)
    assert one(loss, 0, -745, np.float64)[0] == 5e-324
    assert one(loss, 0, -103, np.float32)[0] == np.finfo(np.float32).smallest_subnormal


def test_pos_weight(dtype):
    value, gradient = one(fl.BinaryCrossEntropy(**LOGITS, pos_weight=3), 1, 0, dtype)
    assert value == pytest.approx(2.0794415416798357, rel=3 * float(np.finfo(dtype).eps))
    assert gradient == -1.5


# --- Regression ---


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("delta", [1.0, 0.75])
def test_huber_at_delta_and_at_infinity(sign, delta, dtype):
    loss = fl.Huber(delta)
    assert one(loss, 0, sign * delta, dtype) == (delta**2 / 2, sign * delta)
    assert one(loss, 0, sign * inf, dtype) == (inf, sign * delta)


@pytest.mark.parametrize("y", [0, -0.0, 3.5, -1e30])
@pytest.mark.parametrize("loss", ["SquaredError", "AbsoluteError", "Huber", "Quantile"])
def test_without_a_residual_value_and_gradient_are_zero(loss, y, dtype):
    assert one(getattr(fl, loss)(), y, y, dtype) == (0, 0)


def test_rmse_without_residuals(dtype):
    assert fl.rmse(np.ones(3, dtype), np.ones(3, dtype)) == 0


@pytest.mark.parametrize("loss", ["SquaredError", "AbsoluteError", "Huber", "Quantile"])
@pytest.mark.parametrize("z", [inf, -inf, nan])
def test_regression_at_infinity_and_nan(loss, z, dtype):
    value, gradient = one(getattr(fl, loss)(), 0, z, dtype)
    np.testing.assert_equal(float(value), abs(z))
    if math.isnan(z):
        assert math.isnan(gradient)
    else:
        assert gradient * z > 0


def test_poisson_at_infinity(dtype):
    loss = fl.Poisson()
    assert one(loss, 2, inf, dtype) == (inf, inf)
    assert one(loss, 0, -inf, dtype) == (0, 0)
    assert one(loss, 2, -inf, dtype) == (inf, -2)
    assert np.isnan(one(loss, 0, nan, dtype)).all()


# --- Sums ---


def test_squares_of_float32_are_summed_in_float64():
    y, p = np.zeros(4, np.float32), np.full(4, 1e20, np.float32)
    assert fl.mse(y, p) == pytest.approx(1e40, rel=1e-7)
    assert fl.SquaredError()(y, p, reduction="sum") == pytest.approx(4e40, rel=1e-7)


def test_many_ones_of_float32_have_mean_one():
    y = np.broadcast_to(np.float32(0), 1 << 25)
    assert fl.mse(y, np.ones(1 << 25, np.float32)) == 1.0


def test_no_samples_and_no_weight(case, dtype):
    y, z = case.sample(5, dtype)
    loss = case.make()
    for args in ((y[:0], z[:0]), (y[:0], z[:0], np.zeros(0, dtype)), (y, z, np.zeros(5, dtype))):
        assert loss(*args, reduction="sum") == 0
        value, gradient = loss.value_and_grad(*args)
        assert math.isnan(value)
        np.testing.assert_array_equal(gradient, np.zeros_like(args[1]))


def test_one_sample(case, dtype):
    y, z = case.sample(1, dtype)
    loss = case.make()
    (share,) = case.shares(y, z)
    expected, gradients = loss.value_and_grad(y, z, reduction="none")
    value, gradient = loss.value_and_grad(y, z)
    accuracy = float(np.finfo(dtype).eps)
    assert value == pytest.approx(float(expected[0]) / share, rel=accuracy)
    np.testing.assert_allclose(gradient, gradients / share, rtol=0 if share == 1 else 4 * accuracy)
