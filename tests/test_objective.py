"""Laws of the value and gradient of `LinearObjective`; its other laws: test_objective_memory.py, test_duality.py."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from problems import FEW, LINEAR, SETTINGS, SMOOTH, Problem, bits
from scipy import optimize

import fastloss as fl
from fastloss import _runtime

linear = pytest.mark.parametrize("case", LINEAR, ids=str)
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)
few_settings = pytest.mark.parametrize("setting", FEW, ids=str)
DEMO = Problem.draw(SMOOTH[0])
LARGE = {"n": 4001, "p": 11}  # more than 32768 numbers: threads are used


def accuracy(dtype):
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-13}


def assert_same(problem, other, w, **tolerance):
    for a, b in zip(problem.objective().value_and_grad(w), other.objective().value_and_grad(w), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@linear
@every_setting
def test_value_and_gradient_are_those_of_numpy(case, setting, dtype):
    problem = Problem.draw(case, setting, dtype=dtype)
    objective, w = problem.objective(), problem.point()
    value, gradient = objective.value_and_grad(w)
    expected, expected_gradient = problem.oracle(w)
    np.testing.assert_allclose(value, expected, **accuracy(dtype))
    np.testing.assert_allclose(gradient, expected_gradient, **accuracy(dtype))
    assert type(value) is float
    assert gradient.dtype == np.float64
    assert bits(objective.value(w)) == bits(value)
    l1 = setting.penalty.l1 if setting.penalty else 0.0
    assert objective.objective(w) == pytest.approx(value + l1 * abs(w[:6]).sum(), rel=1e-14)


@linear
@every_setting
def test_gradient_is_the_slope_of_the_value(case, setting):
    problem = Problem.draw(case, setting)
    objective, w = problem.objective(), problem.point()
    error = optimize.check_grad(objective.value, lambda w: objective.value_and_grad(w)[1], w)
    assert error <= 1e-6 * max(1, np.linalg.norm(objective.value_and_grad(w)[1]))


SHAPES = [(1, 1), (1, 5), (7, 3), (8, 3), (63, 1), (65, 3), (513, 7), (5000, 2), (3, 5000), (130, 2500)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("setting", [SETTINGS[0], SETTINGS[-1]], ids=str)
def test_every_shape(shape, setting, dtype, isa):
    problem = Problem.draw(LINEAR[0], setting, *shape, dtype=dtype)
    w = problem.point(scale=0.4 / np.sqrt(shape[1]))
    for got, expected in zip(problem.objective().value_and_grad(w), problem.oracle(w), strict=True):
        np.testing.assert_allclose(got, expected, **accuracy(dtype))


@pytest.mark.parametrize("case", LINEAR, ids=str)
@few_settings
def test_agrees_with_scikit_learn(case, setting):
    base = pytest.importorskip("sklearn._loss.loss")
    module = pytest.importorskip("sklearn.linear_model._linear_loss")
    theirs, factor = {
        "SquaredError": lambda: (base.HalfSquaredError(), 2),
        "AbsoluteError": lambda: (base.AbsoluteError(), 1),
        "Huber": lambda: (base.HuberLoss(delta=case.parameters["delta"]), 1),
        "Quantile": lambda: (base.PinballLoss(quantile=case.parameters["q"]), 1),
        "BinaryCrossEntropy": lambda: (base.HalfBinomialLoss(), 1),
        "Poisson": lambda: (base.HalfPoissonLoss(), 1),
    }.get(case.name, lambda: (None, 0))()
    if theirs is None or "label_smoothing" in case.parameters or "pos_weight" in case.parameters:
        return
    problem = Problem.draw(case, setting)
    w = problem.point()
    l2 = setting.penalty.l2 if setting.penalty else 0.0
    expected = module.LinearModelLoss(theirs, fit_intercept=setting.intercept).loss_gradient(
        w, problem.X, problem.y, problem.weight, l2_reg_strength=2 * l2 / factor
    )
    for got, half in zip(problem.objective().value_and_grad(w), expected, strict=True):
        np.testing.assert_allclose(got, factor * half, rtol=1e-11, atol=1e-13)


@linear
@few_settings
def test_identical_for_any_number_of_threads(case, setting, dtype, isa):
    problem = Problem.draw(case, setting, dtype=dtype, **LARGE)
    w = problem.point()
    one = bits(*problem.objective(1).value_and_grad(w))
    for n_threads in (2, 3, 8, None):
        objective = problem.objective(n_threads)
        assert bits(*objective.value_and_grad(w)) == one
        assert bits(objective.value(w)) == one[:8]


def test_identical_in_concurrent_calls():
    objective = Problem.draw(SMOOTH[0], **LARGE).objective()
    points = [np.random.default_rng(i).normal(size=objective.size) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(objective.value_and_grad, points))
    assert [bits(*x) for x in found] == [bits(*objective.value_and_grad(w)) for w in points]


@linear
@few_settings
def test_instruction_sets_agree(case, setting, dtype, isas):
    problem = Problem.draw(case, setting, dtype=dtype)
    found = []
    for name in isas:
        _runtime.use_instruction_set(name)
        found.append(problem.objective().value_and_grad(problem.point()))
    for value, gradient in found[1:]:
        np.testing.assert_allclose(value, found[0][0], **accuracy(dtype))
        np.testing.assert_allclose(gradient, found[0][1], **accuracy(dtype))


@linear
@pytest.mark.parametrize("offset", [False, True])
def test_weights_that_are_integers_are_repetitions(case, offset):
    problem = Problem.draw(case, SETTINGS[0]._replace(weighted=True, offset=offset, intercept=True))
    repeated = problem.rows(np.repeat(np.arange(200), problem.weight.astype(int)))
    assert_same(problem, repeated, problem.point(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 7.0])
@pytest.mark.parametrize("where", ["y", "X"])
@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_weight_zero_removes_a_row(case, where, bad, dtype):
    problem = Problem.draw(case, SETTINGS[0]._replace(weighted=True, intercept=True), dtype=dtype)
    gone = problem.weight == 0
    kept = problem.rows(~gone)
    kept.weight = problem.weight[~gone]
    getattr(problem, where)[gone] = bad
    assert_same(problem, kept, problem.point(), **accuracy(dtype))


@pytest.mark.parametrize("where", ["y", "X"])
@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_weight_zero_removes_a_row_from_the_gap(case, where):
    problem = Problem.draw(case, SETTINGS[0]._replace(weighted=True, intercept=True, penalty=fl.L1(0.01)))
    gone = problem.weight == 0
    kept = problem.rows(~gone)
    kept.weight = problem.weight[~gone]
    getattr(problem, where)[gone] = np.nan
    if not problem.objective().has_duality_gap:
        return
    w = problem.point()
    assert problem.objective().duality_gap(w) == pytest.approx(kept.objective().duality_gap(w), rel=1e-9)
    assert problem.objective().lambda_max() == pytest.approx(kept.objective().lambda_max(), rel=1e-9)


@linear
@pytest.mark.parametrize("power", [-100, 100])
def test_the_scale_of_the_weights_does_not_matter(case, power, dtype):
    problem = Problem.draw(case, SETTINGS[0]._replace(weighted=True, intercept=True), dtype=dtype)
    scaled = Problem.draw(case, problem.setting, dtype=dtype)
    scaled.weight = np.ldexp(problem.weight, power)
    assert_same(scaled, problem, problem.point(), rtol=1e-6, atol=1e-7)


def test_float32_is_summed_in_float64():
    n = 1 << 20
    X, y = np.full((n, 1), 0.1, np.float32), np.zeros(n, np.float32)
    value, gradient = fl.LinearObjective(X, y, fl.SquaredError()).value_and_grad([1.0, 0.0])
    x = float(np.float32(0.1))
    np.testing.assert_allclose([value, *gradient], [x * x, 2 * x * x, 2 * x], rtol=1e-6)
    y[:] = 1e20
    assert fl.LinearObjective(X, y, fl.SquaredError()).value([0.0, 0.0]) == pytest.approx(1e40, rel=1e-6)


@pytest.mark.parametrize("convert", [list, np.float32, lambda w: np.repeat(w, 2)[::2]], ids=["list", "f32", "strided"])
def test_a_point_of_any_kind(convert):
    w = DEMO.point().astype(np.float32).astype(np.float64)
    assert bits(*DEMO.objective().value_and_grad(convert(w))) == bits(*DEMO.objective().value_and_grad(w))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows(bad):
    w = DEMO.point()
    w[1] = bad
    value, gradient = DEMO.objective().value_and_grad(w)
    assert not np.isfinite(value)
    assert not np.isfinite(gradient).any()


@pytest.mark.parametrize("case", SMOOTH, ids=str)
@few_settings
def test_scipy_reaches_the_same_minimum(case, setting):
    problem = Problem.draw(case, setting)
    objective = problem.objective(penalty=fl.L2(0.1))
    theirs = optimize.minimize(objective.value_and_grad, np.zeros(objective.size), jac=True, tol=1e-12)
    ours = fl.minimize(objective, tol=1e-10)
    assert ours.fun == pytest.approx(theirs.fun, rel=1e-9)
    # Where the loss is linear at all samples the intercept has no price, up to the next kink.
    linear = not objective.derivatives(objective.predict(ours.x))[2].any()
    unique = 6 if linear else objective.size
    np.testing.assert_allclose(ours.x[:unique], theirs.x[:unique], atol=1e-4)
